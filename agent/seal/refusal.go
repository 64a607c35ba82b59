package seal

import "strings"

// CheckID names one reason for which the key is not released. Identifiers are
// stable: metrics, documents and people's notes refer to them.
type CheckID string

// The checks, in the order in which a start meets them.
const (
	OtherTPM    CheckID = "seal.other-tpm"   // the key was sealed by another TPM
	Unapproved  CheckID = "seal.unapproved"  // no approval covers the measured state
	Authority   CheckID = "seal.authority"   // an approval is not by the policy authority
	Capped      CheckID = "seal.capped"      // the key was released before in this boot, and no grant is possible
	GrantDenied CheckID = "seal.grant"       // the grant is not for this start, or not by the grantor
	GrantLate   CheckID = "seal.grant-late"  // the grant has ended
	Rollback    CheckID = "seal.rollback"    // the signing state is older than the TPM's counter
	Memory      CheckID = "seal.memory"      // memory for the key cannot be locked
	Malformed   CheckID = "seal.malformed"   // a file is not in its one encoding
	WrongKey    CheckID = "seal.wrong-key"   // what was unsealed is not the recorded key
	Policy      CheckID = "seal.policy"      // the TPM says that the policy is not satisfied
	Moved       CheckID = "seal.moved"       // PCRs kept changing while the policy was evaluated
	OwnerAuth   CheckID = "seal.owner-auth"  // the TPM's owner password is set
	Exists      CheckID = "seal.exists"      // there is a key already
	NoKey       CheckID = "seal.no-key"      // there is no key
	BadTerms    CheckID = "seal.terms"       // the conditions for release cannot work
	BadRecovery CheckID = "seal.recovery"    // the recovery file or key does not fit
	Unretired   CheckID = "seal.not-retired" // the key's former host may still sign
	Floor       CheckID = "seal.floor"       // the first height to sign is too low
)

// Refusal is the error of every check here.
type Refusal struct {
	Check  CheckID `json:"check"`
	Got    string  `json:"got,omitempty"`    // what was found
	Want   string  `json:"want,omitempty"`   // what was expected
	Remedy string  `json:"remedy,omitempty"` // what a person does about it
	Cause  error   `json:"-"`
}

// Error prints the refusal on one line.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(string(r.Check))
	for _, part := range []struct{ label, text string }{{": got ", r.Got}, {", want ", r.Want}, {"; ", r.Remedy}} {
		if part.text != "" {
			b.WriteString(part.label + part.text)
		}
	}
	return b.String()
}

// Unwrap returns what the TPM or the system said, if anything.
func (r *Refusal) Unwrap() error { return r.Cause }
