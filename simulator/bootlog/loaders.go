package bootlog

import (
	"encoding/binary"
	"slices"
)

// shim is started by firmware, measures its own lists, and starts GRUB.
func (b Boot) shim() []Event {
	text := func(s string) []byte { return append([]byte(s), 0) }
	vendor := Certificate("Quorate Simulated Distribution CA")
	events := []Event{
		b.start(b.Shim),
		described(14, EvIPL, CertificateLists(vendor), text("MokList")),
		described(14, EvIPL, DigestList([32]byte{}), text("MokListX")),
		hashed(7, EvEFIVariableAuthority, variable(guidShim, "SbatLevel", []byte(b.SBAT))),
		described(14, EvIPL, []byte{1}, text("MokListTrusted")),
	}
	if b.SecureBoot {
		entry := slices.Concat(guidShim[:], vendor)
		events = append(events, hashed(7, EvEFIVariableAuthority, variable(guidShim, "MokListRT", entry)))
	}
	return append(events, Event{PCR: 4, Type: EvEFIBootServicesApplication, Digest: b.Loader.Authenticode(),
		Data: imageEvent(len(b.Loader.Content), filePath(b.Loader.Path))})
}

// grub measures every command before it runs (PCR 8) and every file it reads
// (PCR 9). The kernel is verified, and so measured, twice.
func (b Boot) grub() []Event {
	const config = "(hd0,gpt1)/EFI/debian/grub.cfg"
	commands := []string{"[ -e " + config + " ]", "source " + config}
	var events []Event
	for _, c := range commands {
		events = append(events, grubText("grub_cmd: ", c))
	}
	linux := "linux " + b.Kernel.Path + " " + b.CommandLine
	events = append(events, described(9, EvIPL, b.grubConfig(linux), append([]byte(config), 0)))
	for _, c := range b.GrubCommands {
		events = append(events, grubText("grub_cmd: ", c))
	}
	kernel := Event{PCR: 4, Type: EvEFIBootServicesApplication, Digest: b.Kernel.Authenticode(),
		Data: imageEvent(len(b.Kernel.Content), nil)}
	return append(events,
		grubText("grub_cmd: ", linux),
		described(9, EvIPL, b.Kernel.Content, append([]byte(b.Kernel.Path), 0)),
		kernel, kernel,
		grubText("kernel_cmdline: ", b.Kernel.Path+" "+b.CommandLine),
		grubText("grub_cmd: ", "initrd "+b.Initrd.Path),
		described(9, EvIPL, b.Initrd.Content, append([]byte(b.Initrd.Path), 0)),
		grubText("grub_cmd: ", "boot"))
}

func (b Boot) grubConfig(linux string) []byte {
	var text []byte
	for _, line := range slices.Concat(b.GrubCommands, []string{linux, "initrd " + b.Initrd.Path, "boot"}) {
		text = append(append(text, line...), '\n')
	}
	return text
}

// grubText is an event of PCR 8: the digest covers the text behind the prefix,
// without the NUL.
func grubText(prefix, text string) Event {
	return described(8, EvIPL, []byte(text), append([]byte(prefix+text), 0))
}

// systemdBoot starts a unified kernel image, whose stub measures its sections.
func (b Boot) systemdBoot() []Event {
	uki := Image{`\EFI\Linux\quorate.efi`, slices.Concat(b.Kernel.Content, b.Initrd.Content, []byte(b.CommandLine))}
	line := append(utf16le(b.CommandLine), 0, 0)
	events := []Event{b.start(b.Loader), b.start(uki), hashed(12, EvIPL, line)}
	for _, s := range []struct {
		name    string
		content []byte
	}{
		{".linux", b.Kernel.Content},
		{".osrel", []byte("ID=debian\n")},
		{".cmdline", []byte(b.CommandLine)},
		{".initrd", b.Initrd.Content},
	} {
		name := append(utf16le(s.name), 0, 0)
		events = append(events,
			described(11, EvIPL, append([]byte(s.name), 0), name),
			described(11, EvIPL, s.content, name))
	}
	inner := Event{PCR: 4, Type: EvEFIBootServicesApplication, Digest: b.Kernel.Authenticode(),
		Data: imageEvent(len(b.Kernel.Content), endOfPath)}
	return append(events, hashed(12, EvIPL, line), inner)
}

// stub is the kernel's own EFI stub: it measures the load options and the
// initrd into PCR 9, and logs neither.
func (b Boot) stub() []Event {
	tag := func(id uint32, text string) []byte {
		data := binary.LittleEndian.AppendUint32(nil, id)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(text)+1))
		return append(append(data, text...), 0)
	}
	return []Event{
		described(9, EvEventTag, append(utf16le(b.CommandLine), 0, 0), tag(0x8f3b22ed, "LOADED_IMAGE::LoadOptions")),
		described(9, EvEventTag, b.Initrd.Content, tag(0x8f3b22ec, "Linux initrd")),
	}
}
