package seal

import "github.com/quorate/quorate/admission"

var checks = []admission.Check{
	{ID: "seal.other-tpm", Title: "The key was sealed by another TPM.", Protects: "A consensus key that is copied to another host.",
		Got: "what this TPM makes or made of it", Want: "what the sealed key's file names", Remedy: "Run the signer on the host that sealed the key; a lost host's key is moved with quorate-agent signer recover."},
	{ID: "seal.unapproved", Title: "No approval covers the state that the TPM measured.", Protects: "A key that is released to a system that was changed.",
		Got: "the PCRs that differ from the closest approval", Want: "a state that the policy authority approved", Remedy: "Boot the approved system; or print this state with quorate-agent signer predict and have it approved."},
	{ID: "seal.authority", Title: "The approval is not by the policy authority, or for another ledger.", Protects: "States that somebody approves for themselves.",
		Got: "who signed, or for which ledger", Want: "the authority and ledger that the key was sealed with", Remedy: "Have the policy authority approve the state: quorate-agent signer approve."},
	{ID: "seal.capped", Title: "A key was released before in this boot.", Protects: "An intruder who asks the TPM after the signer did.",
		Got: "the cap PCR has moved", Want: "the first release of this boot", Remedy: "Reboot the host; seal the next key with a grantor, who can allow a second start."},
	{ID: "seal.grant", Title: "The grant is not for this start, or not by the grantor.", Protects: "Grants that are used again, elsewhere or for longer.",
		Got: "what is wrong with it", Want: "a grant for the present request", Remedy: "Have the grantor sign the present request; it is new at every start."},
	{ID: "seal.grant-late", Title: "The grant has ended.", Protects: "Grants that are kept for later.",
		Got: "a grant past its time", Want: "one that is used in its time", Remedy: "Have the grantor sign the present request, and sooner or for longer."},
	{ID: "seal.policy", Title: "The TPM finds the sealed key's policy not met.", Protects: "A signer that was made to look away: the TPM decides by itself.",
		Got: "the TPM's answer", Want: "the policy that the key was sealed with", Remedy: "See that the host booted an approved system, and that nothing released the key before."},
	{ID: "seal.moved", Title: "PCRs moved at every try to meet the policy.", Protects: "A release whose state changes while it is checked.",
		Got: "PCRs that keep moving", Want: "a moment without", Remedy: "Start the signer again when fewer programs start."},
	{ID: "seal.wrong-key", Title: "The key is not the one that its file names.", Protects: "Signatures with a key that nobody enrolled.",
		Got: "the key found", Want: "the key named", Remedy: "Restore the sealed key's file."},
	{ID: "seal.rollback", Title: "The signing state is older than what the TPM counted.", Protects: "A validator that signs twice after a backup was restored.",
		Got: "the state or record found", Want: "the newest", Remedy: "Restore the newest signing state; if it is lost, quorate-agent signer raise."},
	{ID: "seal.memory", Title: "Memory for the key cannot be locked.", Protects: "A key that is swapped out to a disk.",
		Got: "the system's answer or limit", Want: "locked memory", Remedy: "Raise the limit: LimitMEMLOCK= in the unit, or ulimit -l."},
	{ID: "seal.malformed", Title: "A file of the signer is not in its one encoding.", Protects: "Files that two readers read differently.",
		Got: "what was found", Want: "the form it must have", Remedy: "Take the file anew from where it was made."},
	{ID: "seal.owner-auth", Title: "The TPM's owner password is set.", Protects: "A start that the TPM cannot count.",
		Got: "an owner password", Want: "none when the counter is made", Remedy: "Clear it for the first start of the signer: tpm2_changeauth -c owner."},
	{ID: "seal.exists", Title: "There is a sealed key already.", Protects: "A key that is lost by overwriting it.",
		Got: "a key", Want: "none", Remedy: "Keep it, or replace it with quorate-agent signer rotate."},
	{ID: "seal.no-key", Title: "There is no sealed key.", Protects: "A signer that signs with nothing.",
		Got: "no key", Want: "one", Remedy: "Make one with quorate-agent signer create, or bring the node's with quorate-agent signer import."},
	{ID: "seal.terms", Title: "The conditions of release cannot work, or are another node's.", Protects: "Keys that never open, or open for another node.",
		Got: "the condition", Want: "what it has to be", Remedy: "Use this node's state directory and consortium file; give the keys as P-256 in PEM files."},
	{ID: "seal.recovery", Title: "Recovery file and recovery key do not fit.", Protects: "A key that is recovered under another's name.",
		Got: "what does not fit", Want: "the file and key that belong together", Remedy: "Use the key whose public half was given when the consensus key was made."},
	{ID: "seal.not-retired", Title: "The host that had the key may still sign.", Protects: "One consensus key on two hosts.",
		Got: "what the rosters say", Want: "its retirement by enough members, long enough ago", Remedy: "Retire the old node, wait until its last admission has ended, and fetch the rosters anew."},
	{ID: "seal.floor", Title: "The first height to sign is too low.", Protects: "A height that is signed twice.",
		Got: "the height given", Want: "one above everything that is signed", Remedy: "Take a height that the chain has yet to reach."},
}

// Checks returns every check of this package. Documents are generated from it.
func Checks() []admission.Check { return append([]admission.Check(nil), checks...) }
