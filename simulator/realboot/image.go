package realboot

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Chain is how the guest's firmware comes to the kernel.
type Chain string

// The chains that can be built. Only ShimGrub passes Secure Boot with
// Microsoft's keys, since Debian 12 does not sign systemd-boot, and signs its
// kernels with a key that only shim knows.
const (
	ShimGrub Chain = "shim-grub"
	EFIStub  Chain = "efi-stub" // firmware starts the kernel, as QEMU hands it over
	UKI      Chain = "uki"
)

// CommandLine is what the kernel of a plain image gets: console, read-only
// root, and IMA measuring what root runs and reads.
const CommandLine = "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb"

// File is one file of the guest's root file system.
type File struct {
	Path    string // absolute, in the guest
	Mode    os.FileMode
	Content []byte
}

// ImageSpec says what is on a disk.
type ImageSpec struct {
	Chain       Chain
	CommandLine string
	Files       []File // besides busybox and the guest's init
}

// Image is a disk with a GPT: EFI system partition, root (ext4, read-only in
// the guest), and state (ext4), which boots share.
type Image struct {
	Disk string
	host *Host
	work string
	spec ImageSpec
}

const (
	mib        = 1 << 20
	espStart   = 1 * mib
	espSize    = 64 * mib
	rootStart  = espStart + espSize
	rootSize   = 128 * mib
	stateStart = rootStart + rootSize
	stateSize  = 32 * mib
	diskSize   = stateStart + stateSize + mib
	sector     = 512
)

// The identifiers are constants because firmware measures the partition table:
// random ones would make every image a different boot.
const (
	diskGUID  = "7f5c1c4e-0b6a-4f0e-9d7b-3b0d7b6b2a00"
	espGUID   = "7f5c1c4e-0b6a-4f0e-9d7b-3b0d7b6b2a01"
	rootGUID  = "7f5c1c4e-0b6a-4f0e-9d7b-3b0d7b6b2a02"
	stateGUID = "7f5c1c4e-0b6a-4f0e-9d7b-3b0d7b6b2a03"
)

var (
	//go:embed guest/initramfs.sh
	initramfsScript string
	//go:embed guest/init.sh
	initScript []byte
)

// drivers are loaded in this order; the last two need those before them.
var drivers = []string{
	"virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci_legacy_dev",
	"virtio/virtio_pci", "block/virtio_blk", "../net/core/failover", "net/net_failover", "net/virtio_net",
}

// applets are the busybox commands that the guest has.
var applets = []string{
	"sh", "mount", "umount", "ip", "hostname", "chown", "chmod", "mkdir", "stty", "printf", "killall", "sleep",
	"sync", "poweroff", "reboot", "cat", "base64", "su", "rm", "test",
}

// BuildImage writes a disk image into dir, which it may fill with other files
// too. No loop device and no root right is needed: every tool writes into the
// image file at an offset.
func BuildImage(ctx context.Context, host *Host, dir string, spec ImageSpec) (*Image, error) {
	i := &Image{Disk: filepath.Join(dir, "disk.img"), host: host, work: dir, spec: spec}
	for _, step := range []func(context.Context) error{i.partition, i.writeInitrd, i.formatESP, i.writeRoot, i.writeState} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("build disk image: %w", err)
		}
	}
	return i, nil
}

// SetCommandLine changes what the next boots' kernel gets, and nothing else.
func (i *Image) SetCommandLine(ctx context.Context, commandLine string) error {
	i.spec.CommandLine = commandLine
	if err := i.writeLoader(ctx); err != nil {
		return fmt.Errorf("change kernel command line: %w", err)
	}
	return nil
}

// ReplaceOnESP writes one file of the EFI system partition, as an attacker with
// the disk in hand would.
func (i *Image) ReplaceOnESP(ctx context.Context, path string, content []byte) error {
	from := i.path("replacement")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return i.copyToESP(ctx, from, path)
}

func (i *Image) partition(ctx context.Context) error {
	if err := os.WriteFile(i.Disk, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(i.Disk, diskSize); err != nil {
		return err
	}
	part := func(number, start, size int, guid, kind string) []string {
		return []string{"-n", fmt.Sprintf("%d:%d:%d", number, start/sector, (start+size)/sector-1),
			"-t", fmt.Sprintf("%d:%s", number, kind), "-u", fmt.Sprintf("%d:%s", number, guid)}
	}
	args := []string{"-U", diskGUID}
	args = append(args, part(1, espStart, espSize, espGUID, "ef00")...)
	args = append(args, part(2, rootStart, rootSize, rootGUID, "8300")...)
	args = append(args, part(3, stateStart, stateSize, stateGUID, "8300")...)
	return run(ctx, "sgdisk", append(args, i.Disk)...)
}

func (i *Image) path(name string) string { return filepath.Join(i.work, name) }

// writeInitrd packs busybox, the first script and the drivers.
func (i *Image) writeInitrd(context.Context) error {
	busybox, err := os.ReadFile(i.host.Busybox)
	if err != nil {
		return err
	}
	modules := make(map[string][]byte)
	var names []string
	for _, driver := range drivers {
		raw, err := os.ReadFile(filepath.Join(i.host.Modules, "kernel/drivers", driver+".ko"))
		if err != nil {
			return fmt.Errorf("driver: %w", err)
		}
		names = append(names, filepath.Base(driver))
		modules[filepath.Base(driver)] = raw
	}
	script := strings.ReplaceAll(initramfsScript, "@MODULES@", strings.Join(names, " "))
	archive, err := cpioArchive(func(w *cpioWriter) {
		for _, dir := range []string{"bin", "dev", "modules", "newroot", "proc", "sys"} {
			w.add(dir, cpioDirectory, nil)
		}
		w.add("init", cpioFile, []byte(script))
		w.add("bin/busybox", cpioFile, busybox)
		for _, name := range names {
			w.add("modules/"+name+".ko", cpioFile, modules[name])
		}
	})
	if err != nil {
		return err
	}
	return writeGzip(i.path("initrd.img"), archive)
}

func writeGzip(path string, content []byte) error {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, packed.Bytes(), 0o600)
}

// onESP is mtools' way to say "the file system at this offset".
func (i *Image) onESP() string { return fmt.Sprintf("%s@@%d", i.Disk, espStart) }

func (i *Image) formatESP(ctx context.Context) error {
	if err := run(ctx, "mformat", "-i", i.onESP(), "-F", "-T", fmt.Sprint(espSize/sector), "-h", "16", "-s", "32", "-N", "51554f52", "::"); err != nil {
		return err
	}
	if err := run(ctx, "mmd", "-i", i.onESP(), "::EFI", "::EFI/BOOT", "::EFI/debian", "::EFI/Linux", "::loader"); err != nil {
		return err
	}
	var files [][2]string
	switch i.spec.Chain {
	case UKI:
		files = [][2]string{{i.host.SystemdBoot, "EFI/BOOT/BOOTX64.EFI"}}
	case ShimGrub:
		files = [][2]string{{i.host.Shim, "EFI/BOOT/BOOTX64.EFI"}, {i.host.Grub, "EFI/BOOT/grubx64.efi"},
			{i.host.Kernel, "vmlinuz"}, {i.path("initrd.img"), "initrd.img"}}
	}
	for _, f := range files {
		if err := i.copyToESP(ctx, f[0], f[1]); err != nil {
			return err
		}
	}
	return i.writeLoader(ctx)
}

func (i *Image) copyToESP(ctx context.Context, from, to string) error {
	return run(ctx, "mcopy", "-o", "-i", i.onESP(), from, "::"+to)
}

// writeLoader writes the part that holds the command line: GRUB's
// configuration, or the whole unified kernel image.
func (i *Image) writeLoader(ctx context.Context) error {
	switch i.spec.Chain {
	case UKI:
		return i.writeUKI(ctx)
	case EFIStub:
		return nil // see handedOver
	}
	config := "set timeout=0\nserial --unit=0 --speed=115200\nterminal_output serial\n" +
		"linux /vmlinuz " + i.spec.CommandLine + "\ninitrd /initrd.img\nboot\n"
	if err := os.WriteFile(i.path("grub.cfg"), []byte(config), 0o600); err != nil {
		return err
	}
	return i.copyToESP(ctx, i.path("grub.cfg"), "EFI/debian/grub.cfg")
}

// handedOver is what QEMU needs to hand kernel, initrd and command line to the
// firmware by itself.
func (i *Image) handedOver() []string {
	if i.spec.Chain != EFIStub {
		return nil
	}
	return []string{"-kernel", i.host.Kernel, "-initrd", i.path("initrd.img"), "-append", i.spec.CommandLine}
}

// writeRoot fills the ext4 root from a folder of the same shape.
func (i *Image) writeRoot(ctx context.Context) error {
	tree := i.path("root")
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "run", "tmp", "etc", "var/lib/quorate"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	busybox, err := os.ReadFile(i.host.Busybox)
	if err != nil {
		return err
	}
	for _, f := range append(i.spec.Files, File{"/bin/busybox", 0o755, busybox}, File{"/sbin/init", 0o755, initScript},
		File{"/etc/passwd", 0o644, []byte("root:x:0:0::/:/bin/sh\nquorate:x:990:0::/var/lib/quorate:/bin/sh\n")},
		File{"/etc/group", 0o644, []byte("root:x:0:\n")}) {
		if err := writeInto(tree, f); err != nil {
			return err
		}
	}
	for _, applet := range applets {
		if err := os.Symlink("busybox", filepath.Join(tree, "bin", applet)); err != nil {
			return err
		}
	}
	return i.makeExt4(ctx, rootStart, rootSize, "-d", tree)
}

func (i *Image) writeState(ctx context.Context) error { return i.makeExt4(ctx, stateStart, stateSize) }

func (i *Image) makeExt4(ctx context.Context, start, size int, more ...string) error {
	args := append([]string{"-q", "-F", "-t", "ext4", "-E", fmt.Sprintf("offset=%d,root_owner=0:0", start)}, more...)
	return run(ctx, "mke2fs", append(args, i.Disk, fmt.Sprintf("%dk", size>>10))...)
}

func writeInto(tree string, f File) error {
	path := filepath.Join(tree, f.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, f.Content, f.Mode); err != nil {
		return err
	}
	return os.Chmod(path, f.Mode) // whatever the umask is
}

// run runs one tool and reports what it said when it fails.
func run(ctx context.Context, program string, args ...string) error {
	path, err := lookProgram(program)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
