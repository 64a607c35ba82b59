package permit

import "github.com/quorate/quorate/admission"

var checks = []admission.Check{
	{ID: "signer.sealed", Title: "The TPM has not released the consensus key.", Protects: "Signatures from a host in a state that nobody approved.",
		Got: "why it stays sealed", Want: "a key that the TPM released", Remedy: "Mend what is named; the signer goes on trying."},
	{ID: "signer.blind", Title: "The TPM was not asked for its PCRs lately.", Protects: "A state that changes unseen.",
		Got: "when it was asked last", Want: "within 30 seconds", Remedy: "See that the TPM answers."},
	{ID: "signer.moved", Title: "PCRs are no longer as approved.", Protects: "A key that outlives the state that it was released in.",
		Got: "other PCRs", Want: "the state in which the key was released", Remedy: "Reboot the host into an approved system."},
	{ID: "signer.unsaved", Title: "What was signed last is not on disk.", Protects: "A double signature after a crash.",
		Got: "a state that could not be written", Want: "a state directory with room", Remedy: "Free space in the state directory."},
	{ID: "signer.suspended", Title: "So many verifiers refuse the host that the others are too few.", Protects: "Votes of a host that executed what the policy does not know.",
		Got: "a verifier's reason", Want: "verdicts of enough verifiers that admit", Remedy: "See quorate-agent status; mend what it names and reboot."},
	{ID: "signer.no-admission", Title: "No bundle stands for this host and this key.", Protects: "Votes of a host that proved nothing.",
		Got: "what is wrong with the bundle", Want: "a bundle for this TPM's node key and this consensus key", Remedy: "See quorate-agent status; join with --signer."},
	{ID: "signer.lapsed", Title: "The admission has ended.", Protects: "Votes that outlive the proof.",
		Got: "its end", Want: "one that stands", Remedy: "See why the agent could not renew it: quorate-agent status."},
}

// Checks returns every check of this package. Documents are generated from it.
func Checks() []admission.Check { return append([]admission.Check(nil), checks...) }
