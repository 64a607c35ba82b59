package verdict

// Checks of the quote and of what it covers.
const (
	QuoteSize             CheckID = "quote.size"
	QuoteKey              CheckID = "quote.key"
	QuoteScheme           CheckID = "quote.scheme"
	QuoteSignature        CheckID = "quote.signature"
	QuoteMagic            CheckID = "quote.magic"
	QuoteType             CheckID = "quote.type"
	QuoteFormat           CheckID = "quote.format"
	QuoteSigner           CheckID = "quote.signer"
	QuoteNonce            CheckID = "quote.nonce"
	QuoteChannel          CheckID = "quote.channel"
	QuoteBinding          CheckID = "quote.binding"
	QuoteSelection        CheckID = "quote.selection"
	QuotePCRValues        CheckID = "quote.pcr-values"
	QuotePCRDigest        CheckID = "quote.pcr-digest"
	QuoteRollback         CheckID = "quote.rollback"
	QuoteResetWithoutBoot CheckID = "quote.reset-without-boot"
	QuoteNewEpoch         CheckID = "quote.new-epoch"
	QuoteInMotion         CheckID = "quote.in-motion"
	QuoteBootLog          CheckID = "quote.boot-log"
)

var evidenceChecks = []Check{
	{
		ID: QuoteSize, Title: "a part of the evidence has an impossible size",
		Protects: "nothing large is parsed or hashed before it is authenticated",
		Got:      "the part and its size", Want: "the limit",
		Remedy: "use the agent of this release; if it is, report the TPM's model",
	},
	{
		ID: QuoteKey, Title: "the attestation key is not one that quotes can be trusted from",
		Protects: "keys that are weak, exportable or sign arbitrary data cannot vouch for a boot",
		Got:      "the property", Want: "a restricted signing key of ECDSA P-256 or RSA of at least 2048 bits, fixed to its TPM",
		Remedy: "enrol again with the agent of this release",
	},
	{
		ID: QuoteScheme, Title: "the quote is signed with a scheme other than the key was enrolled with",
		Protects: "the sender cannot choose a weaker algorithm",
		Got:      "the signature's scheme and hash", Want: "those of the enrolled key",
		Remedy: "use the agent of this release; if it is, report the TPM's model",
	},
	{
		ID: QuoteSignature, Title: "the quote is not signed by the enrolled attestation key",
		Protects: "only the enrolled TPM can speak for the node",
		Got:      "a signature that does not verify", Want: "a signature by the enrolled key",
		Remedy: "if the TPM was cleared or replaced, retire the node and enrol it anew",
	},
	{
		ID: QuoteMagic, Title: "the signed structure was not made by a TPM",
		Protects: "data that the key was asked to sign cannot pass for a quote",
		Got:      "the first four bytes", Want: "TPM_GENERATED_VALUE",
		Remedy: "treat the host as hostile: an honest agent never sends this",
	},
	{
		ID: QuoteType, Title: "the signed structure is not a quote",
		Protects: "a certification, a time stamp or a creation proof cannot pass for a quote",
		Got:      "the structure's type", Want: "TPM_ST_ATTEST_QUOTE",
		Remedy: "treat the host as hostile: an honest agent never sends this",
	},
	{
		ID: QuoteFormat, Title: "a TPM structure is malformed or followed by further bytes",
		Protects: "one quote has one encoding",
		Got:      "what is wrong", Want: "the form that the TPM specification demands",
		Remedy: "use the agent of this release; if it is, report the TPM's model",
	},
	{
		ID: QuoteSigner, Title: "the attestation key is not a primary key of the endorsement hierarchy",
		Protects: "keys of other hierarchies quote disguised counters, which hide reboots",
		Got:      "qualified name of the signer", Want: "the enrolled key's qualified name under the endorsement hierarchy",
		Remedy: "enrol again with the agent of this release",
	},
	{
		ID: QuoteNonce, Title: "the quote does not answer this verifier's challenge",
		Protects: "old quotes, and quotes made for others, are worth nothing",
		Got:      "what the evidence answers", Want: "this verifier's name, nonce and block",
		Remedy: "none needed if it happens once, the agent answers the next challenge; if it persists, check the clock and the network between agent and verifier",
	},
	{
		ID: QuoteChannel, Title: "the quote was made for another connection",
		Protects: "evidence relayed from another machine or through a proxy is refused",
		Got:      "the exporter value that was quoted", Want: "the exporter value of this connection",
		Remedy: "remove whatever terminates TLS between agent and verifier",
	},
	{
		ID: QuoteBinding, Title: "the quote was made for another node, ledger, key or boot log",
		Protects: "a quote cannot be carried to another node, ledger or key, and its boot log cannot be exchanged",
		Got:      "the quoted qualifying data", Want: "the qualifying data of this node",
		Remedy: "check that agent and verifier use the same consortium file and node id, and that the consensus key is the enrolled one",
	},
	{
		ID: QuoteSelection, Title: "the quote covers other PCRs than asked for",
		Protects: "PCRs cannot be left out, doubled or taken from another bank",
		Got:      "the quoted selection", Want: "the selection asked for",
		Remedy: "activate the SHA-256 bank in the firmware setup (or: tpm2_pcrallocate sha256:all), then reboot",
	},
	{
		ID: QuotePCRValues, Title: "the PCR values do not fit the selection",
		Protects: "each quoted PCR has one value, of the right size",
		Got:      "number or size of values", Want: "one value for each PCR asked for",
		Remedy: "use the agent of this release",
	},
	{
		ID: QuotePCRDigest, Title: "the PCR values are not the quoted ones",
		Protects: "the values judged are those that the TPM signed",
		Got:      "digest of the values sent", Want: "the quoted digest",
		Remedy: "none needed if it happens once: a PCR moved between quote and reading; if it persists, treat the host as hostile",
	},
	{
		ID: QuoteRollback, Title: "a counter or the clock of the TPM went back",
		Protects: "a copied or restored TPM, or one cleared by its owner, does not continue as this node",
		Got:      "boot epoch and clock of this quote", Want: "not before those of the last quote",
		Remedy: "find out whether the TPM's state was copied, restored or cleared; retire the node and enrol it anew if it was cleared on purpose",
	},
	{
		ID: QuoteResetWithoutBoot, Title: "the TPM was reset while the host kept running",
		Protects: "a TPM reset behind the host's back and fed with a good boot is refused",
		Got:      "boot epochs and the host's boot id", Want: "a new boot id with each TPM reset",
		Remedy: "inspect the machine and its TPM's reset line; then reboot the host",
	},
	{
		ID: QuoteNewEpoch, Title: "the TPM was reset since the last evidence, and the IMA list is not sent from its start",
		Protects: "nothing known about an earlier boot is used for a later one",
		Got:      "the boot epoch of the quote", Want: "the whole IMA list of that epoch",
		Remedy: "none needed: the verifier asks for the whole list next",
	},
	{
		ID: QuoteInMotion, Title: "PCR 10 is not reached by the IMA list",
		Protects: "entries cannot be left out, changed or reordered",
		Got:      "PCR 10 after the last entry sent", Want: "the quoted PCR 10",
		Remedy: "none needed if it happens once: the list was read too early; if it persists, treat the host as compromised and reinstall it",
	},
	{
		ID: QuoteBootLog, Title: "the boot log is not the one that the quote names",
		Protects: "the log judged is the log that the TPM's signature covers",
		Got:      "digest of the log sent", Want: "the digest in the quote",
		Remedy: "use the agent of this release",
	},
}
