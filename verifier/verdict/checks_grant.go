package verdict

// Checks of grants, by which a node's TPM releases its sealed consensus key. That
// the node is admitted at all is for the checks of its life cycle.
const (
	GrantNoKey     CheckID = "grant.no-key"    // this verifier has no grant key
	GrantAdmission CheckID = "grant.admission" // the node's admission has ended
	GrantKey       CheckID = "grant.key"       // another consensus key than the enrolled one
	GrantRate      CheckID = "grant.rate"      // too many grants in the last hour
)

var grantChecks = []Check{
	{
		ID: GrantNoKey, Title: "this verifier signs no grants",
		Protects: "a signer that waits for somebody who cannot answer",
		Got:      "no grant key", Want: "`keys.grant` in the verifier's configuration, and `grantKey` in the consortium file",
		Remedy: "have another grantor answer; for a new consortium file `quorate-verifier init` makes the key, see docs/signer.md",
	},
	{
		ID: GrantAdmission, Title: "no admission of this verifier stands for the node",
		Protects: "a grant that outlasts the proof it rests on",
		Got:      "the end of the last admission", Want: "an admission that has not ended",
		Remedy: "wait for the next challenge; the agent's status says why there is no admission",
	},
	{
		ID: GrantKey, Title: "the key to release is not the one that the node enrolled with",
		Protects: "a key that nobody proved to be the node's",
		Got:      "the key asked for", Want: "the enrolled consensus key",
		Remedy: "enrol the node with this key, `quorate-agent join --signer`; its first start is granted by a person",
	},
	{
		ID: GrantRate, Title: "the node was granted too many starts in the last hour",
		Protects: "the journal, and a signer that starts again and again without anybody looking",
		Got:      "the grants of the last hour", Want: "fewer",
		Remedy: "find out why the signer keeps starting; wait, or have a person grant this start",
	},
}
