package verdict

// Checks of package appraise: what a policy can find wrong with an authentic boot.
const (
	PolicyNone     CheckID = "policy.none"
	PolicyOutdated CheckID = "policy.outdated"
	PolicySkipped  CheckID = "policy.skipped"

	TimingClock CheckID = "timing.clock"

	TPMClass    CheckID = "tpm.class"
	TPMVendor   CheckID = "tpm.vendor"
	TPMFirmware CheckID = "tpm.firmware"
	TPMRollback CheckID = "tpm.firmware-rollback"

	FirmwareBlob CheckID = "firmware.blob"

	SecureBootOff       CheckID = "secureboot.off"
	SecureBootMode      CheckID = "secureboot.mode"
	SecureBootWeakened  CheckID = "secureboot.weakened"
	SecureBootPK        CheckID = "secureboot.pk"
	SecureBootKEK       CheckID = "secureboot.kek"
	SecureBootDB        CheckID = "secureboot.db"
	SecureBootDBX       CheckID = "secureboot.dbx"
	SecureBootAuthority CheckID = "secureboot.authority"
	SecureBootMOK       CheckID = "secureboot.mok"

	BootProfile       CheckID = "boot.profile"
	BootIncomplete    CheckID = "boot.incomplete"
	BootImage         CheckID = "boot.image"
	BootKernel        CheckID = "boot.kernel"
	BootInitrd        CheckID = "boot.initrd"
	BootCommandLine   CheckID = "boot.command-line"
	BootLoaderFile    CheckID = "boot.loader-file"
	BootLoaderCommand CheckID = "boot.loader-command"
	BootOther         CheckID = "boot.other"
	BootPCR           CheckID = "boot.pcr"

	RuntimeIMAMissing   CheckID = "runtime.ima-missing"
	RuntimeIMAGap       CheckID = "runtime.ima-gap"
	RuntimeIMAUnlisted  CheckID = "runtime.ima-unlisted"
	RuntimeIMAViolation CheckID = "runtime.ima-violation"
	RuntimeKexec        CheckID = "runtime.kexec"

	RuleDenied CheckID = "rule.denied"
)

const (
	gotDigest  = "the digest found"
	wantListed = "a digest that the policy's manifests list"
	remedyBoot = "if the change was intended, publish a manifest with the new digest and a policy that refers to it; if not, restore the file from its package and reboot"
)

var appraiseChecks = []Check{
	{
		ID: PolicyNone, Title: "there is no policy to appraise with",
		Protects: "no host is admitted while nobody has said what is acceptable",
		Got:      "no policy", Want: "an approved policy for the node's role",
		Remedy: "approve a policy: quorate policy learn, then quorate policy lint and approve",
	},
	{
		ID: PolicyOutdated, Title: "something is accepted that its publisher calls outdated",
		Protects: "hosts are updated before old versions are refused",
		Got:      "the digest and the manifest that lists it", Want: "an entry of a manifest that is good",
		Remedy: "update the package on the host before the manifest is revoked",
	},
	{
		ID: PolicySkipped, Title: "a check that the policy requires did not run",
		Protects: "a check that was left out never counts as passed",
		Got:      "the check", Want: "every required check to run",
		Remedy: "report this: it is a fault of the verifier",
	},
	{
		ID: TimingClock, Title: "the verifier's clock went back since the last appraisal",
		Protects: "a clock set back cannot revive what was revoked",
		Got:      "the time now", Want: "no earlier than the last appraisal, a minute's difference apart",
		Remedy: "mend the verifier's time synchronisation",
	},
	{
		ID: TPMClass, Title: "this class of TPM is not accepted",
		Protects: "a virtual TPM is not taken for a chip",
		Got:      "the class its endorsement certificate was issued under", Want: "the classes that the policy accepts",
		Remedy: "use a host with an accepted TPM, or agree on a policy that accepts this class",
	},
	{
		ID: TPMVendor, Title: "the policy sets no least firmware version for this TPM vendor",
		Protects: "a TPM that nobody looked at is not accepted by omission",
		Got:      "the vendor", Want: "the vendors in tpm.minFirmware",
		Remedy: "add the vendor with its least good version to tpm.minFirmware",
	},
	{
		ID: TPMFirmware, Title: "the TPM's firmware is older than the policy accepts",
		Protects: "TPMs with known weaknesses are not trusted",
		Got:      "the firmware version in the quote", Want: "the least version",
		Remedy: "install the TPM firmware update of the machine's vendor, then enrol again if the endorsement key changed",
	},
	{
		ID: TPMRollback, Title: "the TPM's firmware is older than it was",
		Protects: "a weakness that was mended cannot be brought back",
		Got:      "the firmware version in the quote", Want: "the version seen before",
		Remedy: "install the newer TPM firmware again",
	},
	{
		ID: FirmwareBlob, Title: "the machine's firmware is not listed",
		Protects: "altered or outdated firmware cannot run below everything that is measured later",
		Got:      gotDigest, Want: wantListed,
		Remedy: "if the firmware was updated on purpose, publish a firmware manifest for it; if not, flash the vendor's firmware",
	},
	{
		ID: SecureBootOff, Title: "Secure Boot is not on",
		Protects: "the firmware starts only signed loaders",
		Got:      "what the log measured of the SecureBoot variable", Want: "SecureBoot measured as 1",
		Remedy: "turn Secure Boot on in the firmware setup, then reboot",
	},
	{
		ID: SecureBootMode, Title: "Secure Boot is in a mode that can be changed without a key",
		Protects: "nobody replaces the Secure Boot keys without their owner",
		Got:      "the mode", Want: "neither setup mode nor audit mode",
		Remedy: "enrol a platform key in the firmware setup, leave audit mode, then reboot",
	},
	{
		ID: SecureBootWeakened, Title: "the firmware reports a debug mode or missing DMA protection",
		Protects: "a debugger or a device cannot change memory behind the measurements",
		Got:      "the firmware's action", Want: "no such action",
		Remedy: "turn off debugging and turn on DMA protection (IOMMU) in the firmware setup, then reboot",
	},
	{
		ID: SecureBootPK, Title: "the platform key is not listed",
		Protects: "published test keys and foreign owners are refused",
		Got:      gotDigest, Want: wantListed,
		Remedy: "restore the machine's platform key in the firmware setup, or publish a manifest with it",
	},
	{
		ID: SecureBootKEK, Title: "the key exchange keys are not listed",
		Protects: "nobody but the listed owners changes the signature databases",
		Got:      gotDigest, Want: wantListed,
		Remedy: "restore the machine's keys in the firmware setup, or publish a manifest with them",
	},
	{
		ID: SecureBootDB, Title: "the allowed signatures are not listed",
		Protects: "no further signer is trusted by the firmware",
		Got:      gotDigest, Want: wantListed,
		Remedy: "restore the machine's keys in the firmware setup, or publish a manifest with the new database",
	},
	{
		ID: SecureBootDBX, Title: "the forbidden signatures are not listed",
		Protects: "loaders known to be broken are refused by the firmware",
		Got:      gotDigest, Want: wantListed,
		Remedy: "install the current dbx update (fwupdmgr update), or publish a manifest with the new list",
	},
	{
		ID: SecureBootAuthority, Title: "what vouched for a loaded image is not listed",
		Protects: "an image cannot be vouched for by an unexpected key",
		Got:      gotDigest, Want: wantListed,
		Remedy: remedyBoot,
	},
	{
		ID: SecureBootMOK, Title: "one of shim's lists is not listed",
		Protects: "nobody enrols further keys in shim, or lowers its revocation level",
		Got:      gotDigest, Want: wantListed,
		Remedy: "inspect with mokutil --list-enrolled; remove foreign keys and reboot, or publish a manifest with the list",
	},
	{
		ID: BootProfile, Title: "this boot chain is not accepted",
		Protects: "a log of another chain is not judged by the wrong expectations",
		Got:      "the chain that the log shows", Want: "the chains that the policy accepts",
		Remedy: "start the host by the accepted loader, or agree on a policy that accepts this one",
	},
	{
		ID: BootIncomplete, Title: "the log does not show the firmware being left",
		Protects: "a boot that stopped half way is not taken for a complete one",
		Got:      "no ExitBootServices", Want: "ExitBootServices measured",
		Remedy: "reboot the host; if it stays, its firmware or loader does not measure the hand-over",
	},
	{
		ID: BootImage, Title: "an image was loaded that is not listed",
		Protects: "only known loaders, drivers and option ROMs run before the kernel",
		Got:      gotDigest, Want: wantListed,
		Remedy: remedyBoot,
	},
	{
		ID: BootKernel, Title: "the kernel is not listed",
		Protects: "only a known kernel runs",
		Got:      gotDigest, Want: wantListed,
		Remedy: remedyBoot,
	},
	{
		ID: BootInitrd, Title: "the initial RAM disk is not listed",
		Protects: "nothing unknown runs before the root file system",
		Got:      gotDigest, Want: wantListed,
		Remedy: remedyBoot,
	},
	{
		ID: BootCommandLine, Title: "the kernel command line is not allowed",
		Protects: "an argument cannot turn off what the kernel enforces, or start another program first",
		Got:      "the command line as measured", Want: "the nearest one that is allowed",
		Remedy: "correct the arguments in the boot loader's configuration (for GRUB /etc/default/grub, then update-grub) and reboot; or allow the new command line in the policy",
	},
	{
		ID: BootLoaderCommand, Title: "the boot loader ran a command that is not listed",
		Protects: "a command typed at the boot loader's prompt cannot change what is booted, or how",
		Got:      gotDigest, Want: wantListed,
		Remedy: "reboot without touching the boot loader's menu; if its configuration changed on purpose, publish a manifest with the new commands",
	},
	{
		ID: BootLoaderFile, Title: "the boot loader read a file that is not listed",
		Protects: "only known configuration and modules steer the boot loader",
		Got:      gotDigest, Want: wantListed,
		Remedy: remedyBoot,
	},
	{
		ID: BootOther, Title: "the boot measured something of no known kind that is not listed",
		Protects: "nothing that was measured goes unjudged",
		Got:      gotDigest, Want: wantListed,
		Remedy: "find out what measured it (quorate eventlog show); list it as kind event if it is wanted",
	},
	{
		ID: BootPCR, Title: "a PCR does not have an accepted value",
		Protects: "anything that this register measures",
		Got:      "the quoted value", Want: "the accepted values",
		Remedy: "compare the boot with the last accepted one (quorate node explain); update the policy if the change was intended",
	},
	{
		ID: RuntimeIMAMissing, Title: "the host has no IMA list",
		Protects: "a host that does not measure what it runs is not accepted",
		Got:      "no entry", Want: "the kernel's list",
		Remedy: "boot with ima_policy=tcb, and give the agent access to the binary IMA list",
	},
	{
		ID: RuntimeIMAGap, Title: "earlier IMA entries were not judged under this policy",
		Protects: "a new policy judges what already ran, not only what runs next",
		Got:      "the first entry sent", Want: "the first entry not yet judged",
		Remedy: "none needed: the verifier asks for the whole list next",
	},
	{
		ID: RuntimeIMAUnlisted, Title: "a file was executed or loaded that is not listed",
		Protects: "only known programs run on the host, each at its own path",
		Got:      "path and digest", Want: "what is listed for that path",
		Remedy: "find out who ran it; if it is wanted, publish a manifest with path and digest; then reboot the host, since what has run cannot be undone",
	},
	{
		ID: RuntimeIMAViolation, Title: "a file changed while it was being measured",
		Protects: "a digest that may not be what ran is not believed",
		Got:      "the path", Want: "no violation",
		Remedy: "find out who writes the file while it is open; then reboot the host",
	},
	{
		ID: RuntimeKexec, Title: "another kernel was loaded for kexec",
		Protects: "a kernel cannot be replaced without a measured boot",
		Got:      "the entry", Want: "no kexec",
		Remedy: "forbid kexec (lockdown=integrity, kernel.kexec_load_disabled=1) and reboot the host",
	},
	{
		ID: RuleDenied, Title: "a rule of the policy refuses this boot",
		Protects: "what the rule's author had in mind; see its message",
		Got:      "the rule's expression is true, or could not be evaluated", Want: "the expression to be false",
		Remedy: "see the rule's remedy",
	},
}
