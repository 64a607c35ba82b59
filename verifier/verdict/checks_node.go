package verdict

// Checks of a node's life cycle.
const (
	NodeNotApproved CheckID = "node.not-approved" // enrolled, but too few operators said yes
	NodeUnproven    CheckID = "node.unproven"     // approved, but no evidence has passed since
	NodeLate        CheckID = "node.late"         // no fresh evidence in time
	NodeSuspended   CheckID = "node.suspended"    // refused evidence or an operator holds it back
	NodeQuarantined CheckID = "node.quarantined"  // identity in doubt
	NodeRetired     CheckID = "node.retired"      // out of service for good
	NodeTransition  CheckID = "node.transition"   // the event may not happen in this state
	NodeOperator    CheckID = "node.operator"     // operator or reason missing, or the same operator twice
)

var nodeChecks = []Check{
	{
		ID: NodeNotApproved, Title: "not enough operators approved this node",
		Protects: "a genuine TPM that nobody of the consortium vouches for",
		Got:      "the approvals that are missing", Want: "every approval that the enrolment takes",
		Remedy: "an operator runs `quorate node approve NODE`",
	},
	{
		ID: NodeUnproven, Title: "no evidence has passed since the node was approved or resumed",
		Protects: "an admission that rests on an operator's word alone",
		Got:      "what the node waits for", Want: "evidence that the policy accepts",
		Remedy: "wait for the next challenge; if it is refused, `quorate node explain NODE` says why",
	},
	{
		ID: NodeLate, Title: "the last proof is too old",
		Protects: "a node that stopped proving itself, and a verifier that stopped asking",
		Got:      "until when the last proof counted", Want: "a proof within the policy's lateAfter",
		Remedy: "check that quorate-agent runs on the host and reaches the verifier; the node recovers with its next proof",
	},
	{
		ID: NodeSuspended, Title: "the node is suspended",
		Protects: "a refused host that tries again until something lets it pass",
		Got:      "why it was suspended", Want: "a pass after a reboot, or an operator's release",
		Remedy: "mend the cause and reboot the host, or an operator runs `quorate node resume NODE --reason …`",
	},
	{
		ID: NodeQuarantined, Title: "two hosts may have this node's identity",
		Protects: "a copied or rolled-back TPM state that votes twice",
		Got:      "the sign of a copy", Want: "one host with one history",
		Remedy: "find the second host; then two operators run `quorate node resume NODE --reason …`, or retire the node",
	},
	{
		ID: NodeRetired, Title: "the node is retired",
		Protects: "the return of a host that was taken out of service",
		Got:      "why it was retired", Want: "a node in service",
		Remedy: "enrol the host again under a new node id; two operators must approve a TPM that served before",
	},
	{
		ID: NodeTransition, Title: "this may not happen to a node in this state",
		Protects: "shortcuts through the life cycle",
		Got:      "what was asked for", Want: "an event that the state allows",
		Remedy: "see the node's state and reason with `quorate node show NODE`",
	},
	{
		ID: NodeOperator, Title: "an operator's act must name the operator and a reason, and counts once",
		Protects: "one person acting as two",
		Got:      "the act", Want: "another operator, and a reason",
		Remedy: "give a reason, or ask another operator",
	},
}
