package verdict

// Checks of the IMA list.
const (
	IMASize          CheckID = "ima.size"
	IMAReset         CheckID = "ima.pcr-reset"
	IMAFormat        CheckID = "ima.format"
	IMAPCR           CheckID = "ima.pcr"
	IMATemplate      CheckID = "ima.template"
	IMADigest        CheckID = "ima.digest"
	IMAPath          CheckID = "ima.path"
	IMASignature     CheckID = "ima.signature"
	IMABootAggregate CheckID = "ima.boot-aggregate"
	IMAReplay        CheckID = "ima.replay"
	IMASuffix        CheckID = "ima.suffix"
)

var imaChecks = []Check{
	{
		ID: IMASize, Title: "the IMA list is larger than allowed",
		Protects: "a hostile host cannot make the verifier work or store without bound",
		Got:      "size in bytes", Want: "the limit",
		Remedy: "reboot the host if its list has grown for months; narrow the kernel's IMA policy if it grows fast",
	},
	{
		ID: IMAReset, Title: "there is an IMA list, but PCR 10 was never extended",
		Protects: "entries that no TPM ever saw are not believed",
		Got:      "the state of PCR 10", Want: "an extended PCR 10",
		Remedy: "check that the kernel found the TPM before IMA started (dmesg | grep -i ima), then reboot",
	},
	{
		ID: IMAFormat, Title: "an IMA entry is malformed",
		Protects: "two readers of one list cannot see different entries",
		Got:      "what is wrong", Want: "the form that the kernel writes",
		Remedy: "send the kernel's binary_runtime_measurements unchanged and whole",
	},
	{
		ID: IMAPCR, Title: "an IMA entry belongs to a PCR other than 10",
		Protects: "entries outside PCR 10 would not be covered by its replay",
		Got:      "the entry's PCR", Want: "PCR 10",
		Remedy: "remove the pcr= option from the kernel's IMA policy, then reboot",
	},
	{
		ID: IMATemplate, Title: "an IMA entry uses a template that is not accepted",
		Protects: "fields of one template cannot be read as those of another, and short digests are not accepted",
		Got:      "the template's name", Want: "the accepted templates",
		Remedy: "boot with ima_template=ima-ng or ima-sig",
	},
	{
		ID: IMADigest, Title: "the digest in an IMA entry cannot be right",
		Protects: "a digest of the wrong algorithm, size or buffer is not compared with reference values",
		Got:      "the digest or its algorithm", Want: "what it should be",
		Remedy: "boot with ima_hash=sha256; if the kernel did write this entry, report its version",
	},
	{
		ID: IMAPath, Title: "a name in an IMA entry is not acceptable",
		Protects: "names with control characters or without an end cannot forge entries on a screen or in a text list",
		Got:      "what is wrong with the name", Want: "the rule",
		Remedy: "find who ran a file of such a name on the host; remove it and reboot",
	},
	{
		ID: IMASignature, Title: "the signature attribute in an IMA entry is malformed",
		Protects: "a broken signature does not count as no signature",
		Got:      "size in bytes", Want: "a whole signature or none",
		Remedy: "sign the file anew or remove its security.ima attribute, then reboot",
	},
	{
		ID: IMABootAggregate, Title: "the boot_aggregate is missing, repeated or not that of the quoted PCRs",
		Protects: "a list of another boot, another host, or one that kexec carried over is refused",
		Got:      "the entry found", Want: "the digest of the quoted PCRs 0 to 9, at entry 0 only",
		Remedy: "reboot through the firmware instead of kexec; use a kernel of 5.8 or later with the SHA-256 bank active",
	},
	{
		ID: IMAReplay, Title: "the IMA list does not replay to the quoted PCR 10",
		Protects: "entries cannot be left out, changed or reordered",
		Got:      "PCR 10 after the last entry", Want: "the quoted PCR 10",
		Remedy: "read the list after taking the quote; if that does not help, treat the host as compromised and reinstall it",
	},
	{
		ID: IMASuffix, Title: "too much of the IMA list lies behind the quoted PCR 10",
		Protects: "entries cannot be kept out of the appraisal by moving them behind the quote",
		Got:      "bytes behind the quoted PCR 10", Want: "the limit",
		Remedy: "read the list right after taking the quote",
	},
}
