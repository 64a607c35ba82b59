package verdict

// Checks of the measured boot log.
const (
	BootlogMissing       CheckID = "bootlog.missing"
	BootlogSize          CheckID = "bootlog.size"
	BootlogHeader        CheckID = "bootlog.header"
	BootlogMalformed     CheckID = "bootlog.malformed"
	BootlogAlgorithms    CheckID = "bootlog.algorithms"
	BootlogPCR           CheckID = "bootlog.pcr"
	BootlogNoAction      CheckID = "bootlog.no-action"
	BootlogLocality      CheckID = "bootlog.locality"
	BootlogReplay        CheckID = "bootlog.replay"
	BootlogSeparator     CheckID = "bootlog.separator"
	BootlogAfter         CheckID = "bootlog.after-separator"
	BootlogType          CheckID = "bootlog.type"
	BootlogDigest        CheckID = "bootlog.digest"
	BootlogVariable      CheckID = "bootlog.variable"
	BootlogSignatureList CheckID = "bootlog.signature-list"
	BootlogSecureBoot    CheckID = "bootlog.secure-boot"
	BootlogLabel         CheckID = "bootlog.label"
	BootlogExit          CheckID = "bootlog.exit"
	BootlogProfile       CheckID = "bootlog.profile"
	BootlogIncomplete    CheckID = "bootlog.incomplete"
)

const (
	firmwareRemedy = "Update the host's firmware; if the newest version still writes this, report the model with its log so that the oddity can be judged."
	hostRemedy     = "Reboot the host and let its agent read the log again; a log that the kernel hands out does not look like this, so if it persists, examine the host."
)

var eventlogChecks = []Check{
	{
		BootlogMissing, "the host has no measured boot log",
		"A host that hides how it booted.", "nothing", "the firmware's log, as the kernel hands it out",
		"Check that /sys/kernel/security/tpm0/binary_bios_measurements exists. GRUB drops the log when Secure Boot is off: turn Secure Boot on, or boot a unified kernel image.",
	},
	{
		BootlogSize, "the boot log is larger than a boot can make it",
		"Exhausting the verifier with a log without end.", "bytes or events of the log", "the limit", hostRemedy,
	},
	{
		BootlogHeader, "the boot log's header is not that of a TPM 2.0 log with the quoted bank",
		"Falling back to a log format or algorithm that proves less.", "what the header says", "what it has to say",
		"Turn the SHA-256 bank on in firmware setup (and SHA-1 off), then reboot. A firmware that only writes the old SHA-1 format cannot be attested.",
	},
	{
		BootlogMalformed, "the boot log is not a sequence of whole events",
		"Bytes that one reader sees and another does not.", "what stands at that place", "an event, or the end", hostRemedy,
	},
	{
		BootlogAlgorithms, "an event does not carry the header's digests once each, in order",
		"Two digests for one event, so that one is shown and the other extended.", "the digests found", "the header's algorithms", hostRemedy,
	},
	{
		BootlogPCR, "an event names a PCR that a boot does not extend",
		"Events for PCRs that anyone can reset or that another log explains.", "the PCR named", "the PCRs of a boot", hostRemedy,
	},
	{
		BootlogNoAction, "an event that extends nothing is of no known kind, or carries a digest",
		"Text that looks measured and is not.", "the event found", "the kinds that are known", firmwareRemedy,
	},
	{
		BootlogLocality, "the start of PCR 0 is not one that a TPM has",
		"Choosing where the replay starts instead of what was measured.", "the locality or its place", "0 or 3, or 4 with an H-CRTM event, first in PCR 0", firmwareRemedy,
	},
	{
		BootlogReplay, "the boot log does not explain the quoted PCR values",
		"Showing a good log beside a TPM that measured another boot.", "the value that the log gives", "the value that the TPM signed",
		"If the log was read while something was still being measured, the next attestation passes. If it persists, something extended this PCR without logging it.",
	},
	{
		BootlogSeparator, "a separator is missing, repeated, misplaced, or reports a firmware error",
		"Measuring after the firmware handed over, or pretending that it had.", "the separators found", "exactly one, of four zero bytes, in each of PCR 0 to 7", firmwareRemedy,
	},
	{
		BootlogAfter, "something was measured after the separator that belongs before it",
		"Firmware facts such as Secure Boot made up by a boot loader.", "the event found", "what the specification allows there", firmwareRemedy,
	},
	{
		BootlogType, "an event is of a kind that has no meaning in its PCR",
		"Events that every rule overlooks.", "the event's type", "the types that this PCR knows", firmwareRemedy,
	},
	{
		BootlogDigest, "an event's text is not what was measured",
		"Text changed after the digest was extended.", "the digest that the text has", "the digest that was extended", hostRemedy,
	},
	{
		BootlogVariable, "a measured EFI variable, partition table or tagged event has not the size it says",
		"Hiding bytes from one of two readers.", "what was found", "the exact size", hostRemedy,
	},
	{
		BootlogSignatureList, "a measured signature database is malformed",
		"Injecting hashes through sizes that one reader skips and another reads.", "what was found", "what the UEFI specification requires", firmwareRemedy,
	},
	{
		BootlogSecureBoot, "the Secure Boot variables are not measured once each, in order",
		"A second SecureBoot variable that contradicts the first.", "the variable found", "SecureBoot, PK, KEK, db, dbx, in this order, once", firmwareRemedy,
	},
	{
		BootlogLabel, "what an event calls itself does not fit its neighbours",
		"Renaming one measured command as another, such as a typed text as the kernel's command line.", "the event found", "what has to come before or after it", hostRemedy,
	},
	{
		BootlogExit, "the boot log does not end with the firmware being left properly",
		"Cutting off the part of the log that a host does not want to show.", "how the log ends", "Exit Boot Services Invocation, then Returned with Success, last",
		"Use a kernel that appends the final events table (5.3 or later, started by its EFI stub), and firmware that writes it.",
	},
	{
		BootlogProfile, "the boot log shows no boot chain that is known",
		"A chain whose complete log nobody can describe, so that nothing is ever missing from it.", "the PCRs that were used", "shim and GRUB, GRUB, EFI stub, unified kernel image, or systemd-boot",
		"Boot through one of the known chains, or report the log so that the chain can be added.",
	},
	{
		BootlogIncomplete, "the boot log lacks what its boot chain always measures",
		"Leaving out an event together with what it would have shown.", "what is missing", "what a complete log of this chain holds",
		"Check that the boot loader's TPM support is on and that it measured its command line, kernel and initial RAM disk.",
	},
}
