package verdict

// Checks of sessions and join tokens: who may speak to the verifier at all.
const (
	SessionVersion    CheckID = "session.version"    // a protocol version that this verifier does not speak
	SessionIdentity   CheckID = "session.identity"   // a node id that is not the key's
	SessionMalformed  CheckID = "session.malformed"  // a message of the wrong form
	SessionSuperseded CheckID = "session.superseded" // the node opened another session
	SessionSize       CheckID = "session.size"       // more bytes announced or sent than allowed
	SessionBank       CheckID = "session.bank"       // the TPM has no bank that the verifier quotes
	SessionToken      CheckID = "session.token"      // the join token is not good
	EnrollActivation  CheckID = "enroll.activation"  // the credential was not activated
)

var sessionChecks = []Check{
	{
		ID: SessionVersion, Title: "the agent speaks another version of the protocol",
		Protects: "a downgrade to rules that no longer hold",
		Got:      "the agent's version", Want: "the verifier's version",
		Remedy: "upgrade the older of the two",
	},
	{
		ID: SessionIdentity, Title: "the node id is not the one of the connection's key",
		Protects: "one host acting for another",
		Got:      "the node id given", Want: "the node id enrolled with this TLS key",
		Remedy: "correct `node` in the agent's configuration, or enrol this host under that id",
	},
	{
		ID: SessionMalformed, Title: "a message has the wrong form",
		Protects: "two readers of the same bytes seeing different things",
		Got:      "what is wrong", Want: "a message of the published contract",
		Remedy: "run an agent built from the same release as the verifier",
	},
	{
		ID: SessionSuperseded, Title: "the node opened another session",
		Protects: "two agents sharing one TPM without anybody noticing",
		Got:      "an older session", Want: "one session per node",
		Remedy: "run one agent per host; after a restart of the agent this is normal once",
	},
	{
		ID: SessionSize, Title: "more bytes than the limits allow",
		Protects: "the verifier's memory and time",
		Got:      "the size announced or sent", Want: "the limit",
		Remedy: "if the host's logs are genuinely that long, raise `limits` in the verifier's configuration",
	},
	{
		ID: SessionBank, Title: "the TPM has no PCR bank that this verifier quotes",
		Protects: "a quote over a bank that nothing was measured into",
		Got:      "the banks that the agent reports", Want: "sha256 among them",
		Remedy: "allocate the sha256 bank in firmware setup or with tpm2_pcrallocate, then reboot",
	},
	{
		ID: SessionToken, Title: "the join token is not good for this enrolment",
		Protects: "enrolment by somebody who was not invited, or twice with one invitation",
		Got:      "what is wrong with the token", Want: "an unused, unexpired token for this node id",
		Remedy: "ask an operator for a new one: `quorate node invite NODE`",
	},
	{
		ID: EnrollActivation, Title: "the activation secret is wrong",
		Protects: "an attestation key that lives in another TPM than the endorsement key",
		Got:      "another secret", Want: "the secret that only the TPM with this EK and AK can decrypt",
		Remedy: "let the agent use the TPM whose certificate it sends; then ask for a new join token and try again",
	},
}
