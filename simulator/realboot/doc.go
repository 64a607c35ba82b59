// Package realboot boots the real thing: Debian's signed shim, GRUB and kernel
// under OVMF firmware with Secure Boot and a swtpm TPM, up to an ext4 root with
// IMA measuring and the static quorate-agent inside. It needs Debian packages,
// no root rights and no KVM: QEMU emulates the processor, so that a boot is the
// same on every machine, and takes 10 to 20 seconds.
//
// Nothing between firmware and agent is simulated, apart from the TPM being a
// process. What this package shows about a boot log, an IMA list or a TPM is
// therefore what a host will do, not what we believe about hosts.
package realboot
