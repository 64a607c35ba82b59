package policy

// approvalHeader begins the text that an operator signs to approve a set.
const approvalHeader = "quorate/policy-approval/v1"

// ApprovalText is what an operator's key signs, as a C2SP signed note, to approve
// the set in a consortium. It names both, so a signature for one network or for
// another version of the policy says nothing here.
func (s *Set) ApprovalText(consortium string) string {
	return approvalHeader + "\nconsortium: " + consortium + "\npolicy: " + s.String() + "\n"
}
