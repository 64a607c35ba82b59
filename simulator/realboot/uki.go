package realboot

import (
	"context"
	"debug/pe"
	"fmt"
	"os"
)

const ukiAlignment = 4096

// writeUKI joins command line, kernel and initrd to systemd's stub as one PE
// image. The sections come at the next page behind the stub's own.
func (i *Image) writeUKI(ctx context.Context) error {
	if err := os.WriteFile(i.path("cmdline"), []byte(i.spec.CommandLine), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(i.path("os-release"), []byte("ID=quorate-guest\nPRETTY_NAME=\"Quorate guest\"\nVERSION_ID=1\n"), 0o600); err != nil {
		return err
	}
	at, err := endOfSections(i.host.UKIStub)
	if err != nil {
		return err
	}
	var args []string
	for _, section := range [][2]string{
		{".osrel", i.path("os-release")}, {".cmdline", i.path("cmdline")}, {".linux", i.host.Kernel}, {".initrd", i.path("initrd.img")},
	} {
		info, err := os.Stat(section[1])
		if err != nil {
			return err
		}
		args = append(args, "--add-section", section[0]+"="+section[1], "--change-section-vma", fmt.Sprintf("%s=%#x", section[0], at))
		at = alignUp(at + uint64(info.Size()))
	}
	if err := run(ctx, "objcopy", append(args, i.host.UKIStub, i.path("uki.efi"))...); err != nil {
		return err
	}
	if err := os.WriteFile(i.path("loader.conf"), []byte("timeout 0\n"), 0o600); err != nil {
		return err
	}
	if err := i.copyToESP(ctx, i.path("loader.conf"), "loader/loader.conf"); err != nil {
		return err
	}
	return i.copyToESP(ctx, i.path("uki.efi"), "EFI/Linux/guest.efi")
}

// endOfSections is the first free page behind the sections of a PE image, at
// the address objcopy counts with.
func endOfSections(path string) (uint64, error) {
	file, err := pe.Open(path)
	if err != nil {
		return 0, fmt.Errorf("read systemd stub: %w", err)
	}
	defer file.Close()
	header, ok := file.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return 0, fmt.Errorf("%s is not a 64-bit image", path)
	}
	end := uint64(0)
	for _, s := range file.Sections {
		end = max(end, uint64(s.VirtualAddress)+uint64(s.VirtualSize))
	}
	return alignUp(header.ImageBase + end), nil
}

func alignUp(n uint64) uint64 { return (n + ukiAlignment - 1) &^ (ukiAlignment - 1) }
