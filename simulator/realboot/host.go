package realboot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Host names the files of this machine that a guest is made from. All come from
// Debian packages; none is changed.
type Host struct {
	Kernel        string // signed kernel image
	KernelRelease string // as in /lib/modules
	Modules       string // folder of that kernel's modules
	FirmwareCode  string // OVMF with Secure Boot and SMM
	VarsSecure    string // variable store with Microsoft's keys: Secure Boot on
	VarsPlain     string // variable store without keys: Secure Boot off
	Shim          string
	Grub          string
	SystemdBoot   string
	UKIStub       string
	Busybox       string // static
}

// MissingError says which Debian packages must be installed first.
type MissingError struct {
	Packages []string // sorted
	Files    []string // what was looked for and not found
}

// Error names the one command that mends it.
func (e *MissingError) Error() string {
	return fmt.Sprintf("a real boot needs Debian packages that are not installed (not found: %s); run: sudo apt-get install --no-install-recommends %s",
		strings.Join(e.Files, ", "), strings.Join(e.Packages, " "))
}

// programs are the commands that building and booting use, by package.
var programs = map[string]string{
	"swtpm": "swtpm", "qemu-system-x86_64": "qemu-system-x86", "mke2fs": "e2fsprogs", "sgdisk": "gdisk",
	"mformat": "mtools", "mcopy": "mtools", "mmd": "mtools", "objcopy": "binutils",
}

const kernelPackage = "linux-image-cloud-amd64"

// FindHost looks for everything a guest needs. The error is a *MissingError
// when packages are missing.
func FindHost() (*Host, error) {
	h := &Host{}
	var missing MissingError
	for _, f := range []struct {
		to            *string
		path, pkgName string
	}{
		{&h.FirmwareCode, "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "ovmf"},
		{&h.VarsSecure, "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", "ovmf"},
		{&h.VarsPlain, "/usr/share/OVMF/OVMF_VARS_4M.fd", "ovmf"},
		{&h.Shim, "/usr/lib/shim/shimx64.efi.signed", "shim-signed"},
		{&h.Grub, "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"},
		{&h.SystemdBoot, "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "systemd-boot-efi"},
		{&h.UKIStub, "/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "systemd-boot-efi"},
		{&h.Busybox, "/bin/busybox", "busybox-static"},
	} {
		*f.to = f.path
		if _, err := os.Stat(f.path); err != nil {
			missing.add(f.pkgName, f.path)
		}
	}
	for program, pkgName := range programs {
		if _, err := lookProgram(program); err != nil {
			missing.add(pkgName, program)
		}
	}
	if err := h.findKernel(&missing); err != nil {
		return nil, err
	}
	if len(missing.Packages) > 0 {
		slices.Sort(missing.Files)
		return nil, &missing
	}
	return h, nil
}

func (e *MissingError) add(pkgName, file string) {
	e.Files = append(e.Files, file)
	if at, found := slices.BinarySearch(e.Packages, pkgName); !found {
		e.Packages = slices.Insert(e.Packages, at, pkgName)
	}
}

// lookProgram also looks where administrators' commands live, which are not on
// the path of other users.
func lookProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// findKernel takes the newest cloud kernel whose modules are there too: that
// kernel has TPM drivers, IMA and ext4 built in.
func (h *Host) findKernel(missing *MissingError) error {
	images, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil {
		return fmt.Errorf("look for a kernel: %w", err)
	}
	slices.SortFunc(images, compareReleases)
	for _, image := range slices.Backward(images) {
		release := strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
		modules := filepath.Join("/lib/modules", release)
		if _, err := os.Stat(filepath.Join(modules, "kernel/drivers/virtio/virtio.ko")); err != nil {
			continue
		}
		file, err := os.Open(image)
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("kernel is not readable for this user: %w", err)
		}
		if err == nil {
			h.Kernel, h.KernelRelease, h.Modules = image, release, modules
			return file.Close()
		}
	}
	missing.add(kernelPackage, "/boot/vmlinuz-*-cloud-amd64 with /lib/modules/*-cloud-amd64")
	return nil
}

// compareReleases orders file names by the numbers in them: 6.1.0-9 is older
// than 6.1.0-56.
func compareReleases(a, b string) int {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	}
	return slices.CompareFunc(split(a), split(b), func(x, y string) int {
		m, _ := strconv.Atoi(x) // digits only; a number too large for int sorts as the largest
		n, _ := strconv.Atoi(y)
		return m - n
	})
}
