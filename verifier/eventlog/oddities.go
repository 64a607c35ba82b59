package eventlog

// Genuine firmware departs from the specification in ways that hide nothing. Each
// is a row here, is tolerated where the row says, and is listed in the facts; a
// departure without a row is refused.
const (
	oddVersion           = "the firmware's version text is not what it measured (seen on an Ubuntu server with Boot Guard); only the digest counts"
	oddHandoff           = "handoff tables are measured after the separator of PCR 1 (seen on servers)"
	oddEarlyApp          = "an application of PCR 4 was started before the firmware announced the boot (seen with management agents, and with QEMU's -kernel)"
	oddExitFailure       = "a first attempt to leave the firmware failed (seen on Google Compute Engine)"
	oddLateBootVariables = "boot variables are measured after the separator of PCR 1 (seen on AMI firmware)"
	oddValueOnly         = "boot variables are measured by value, without their names (seen on EDK II and most others)"
	oddEmptySecureBoot   = "the SecureBoot variable is measured empty (seen on older workstations): its state is unknown"
	oddLateEncryption    = "whether memory is encrypted is measured after the separator of PCR 2 (seen on AMD workstations)"
	oddShimAuthority     = "shim logged its authority with padding, of which it measured all but one byte (shim 15 and older): only the digest counts"
	oddGrubSpace         = "GRUB's labels end without a colon (Red Hat Enterprise Linux 8)"
)

// oddity notes a tolerated departure once.
func (x *extractor) oddity(text string) {
	if !x.odd[text] {
		x.odd[text] = true
		x.f.Oddities = append(x.f.Oddities, text)
	}
}
