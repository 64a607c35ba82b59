package bootlog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// Chain is how a machine gets from firmware to kernel.
type Chain string

// The chains that can be composed, each after a genuine log.
const (
	ShimGrub Chain = "shim-grub" // Debian: firmware, shim, GRUB, kernel
	Grub     Chain = "grub"      // images of clouds without Secure Boot: firmware, GRUB, kernel
	EFIStub  Chain = "efi-stub"  // firmware starts the kernel
	UKI      Chain = "uki"       // systemd-boot starts a unified kernel image
)

// Image is a program that firmware or a boot loader starts.
type Image struct {
	Path    string
	Content []byte
}

// Authenticode returns the digest that PCR 4 is extended with. It differs from
// the digest of the file, as it does for a signed image.
func (i Image) Authenticode() [sha256.Size]byte {
	return sha256.Sum256(append([]byte("authenticode of "), i.Content...))
}

// File returns the digest that PCR 9 is extended with: that of the whole file.
func (i Image) File() [sha256.Size]byte { return sha256.Sum256(i.Content) }

// Text returns a digest as manifests have it, "sha256:<hex>".
func Text(digest [sha256.Size]byte) string { return "sha256:" + hex.EncodeToString(digest[:]) }

// Boot says what a machine boots. Alter the result of Debian.
type Boot struct {
	Chain           Chain
	SecureBoot      bool
	FirmwareVersion string // S-CRTM version
	Firmware        [][]byte
	PK, KEK, DB     []byte  // contents of the variables: CertificateLists, DigestList
	DBX             []byte  //
	SBAT            string  // shim's revocation level
	Drivers         []Image // option ROMs that run before the loader
	Shim            Image   // ShimGrub: the first image
	Loader          Image   // GRUB or systemd-boot
	Kernel          Image   // UKI: the kernel within the image
	Initrd          Image
	GrubCommands    []string // before "linux"
	CommandLine     string   // kernel arguments, without the image's path
}

// Debian returns a Debian machine with Secure Boot on, booting through shim and
// GRUB. The programs are stand-ins; the log is shaped as the genuine one.
func Debian() Boot {
	return Boot{
		Chain: ShimGrub, SecureBoot: true,
		FirmwareVersion: "2022.11-6",
		Firmware:        [][]byte{[]byte("firmware volume PEI"), []byte("firmware volume DXE")},
		PK:              CertificateLists(Certificate("Quorate Simulated Platform Key")),
		KEK:             CertificateLists(Certificate("Quorate Simulated Key Exchange Key")),
		DB:              CertificateLists(Certificate("Quorate Simulated UEFI CA")),
		DBX:             DigestList(sha256.Sum256([]byte("a revoked boot loader"))),
		SBAT:            "sbat,1,2025021800\nshim,4\ngrub,5\n",
		Shim:            Image{`\EFI\BOOT\BOOTX64.EFI`, []byte("shim 16.1")},
		Loader:          Image{`\EFI\BOOT\grubx64.efi`, []byte("grub 2.06")},
		Kernel:          Image{"/vmlinuz", []byte("linux 6.1.0-56")},
		Initrd:          Image{"/initrd.img", []byte("initrd 6.1.0-56")},
		GrubCommands:    []string{"set timeout=0", "serial --unit=0 --speed=115200", "terminal_output serial"},
		CommandLine:     "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb",
	}
}

// Log composes the log.
func (b Boot) Log() *Log {
	events := slices.Concat(b.crtm(), b.secureBoot(), b.drivers(), b.bootOptions(), separators())
	switch b.Chain {
	case EFIStub:
		events = slices.Concat(events, b.authority(), []Event{b.start(b.Kernel)}, b.stub())
	case UKI:
		events = slices.Concat(events, b.authority(), b.systemdBoot(), b.stub())
	case Grub:
		events = slices.Concat(events, b.authority(), []Event{b.start(b.Loader)}, b.grub())
	default:
		events = slices.Concat(events, b.authority(), b.shim(), b.grub())
	}
	events = append(events,
		hashed(5, EvEFIAction, []byte("Exit Boot Services Invocation")),
		hashed(5, EvEFIAction, []byte("Exit Boot Services Returned with Success")))
	return &Log{Header: Header("Spec ID Event03", nil, Algorithm{algSHA256, sha256.Size}), Events: events}
}

// crtm measures the firmware itself into PCR 0.
func (b Boot) crtm() []Event {
	events := []Event{hashed(0, EvSCRTMVersion, append(utf16le(b.FirmwareVersion), 0, 0))}
	for i, volume := range b.Firmware {
		where := binary.LittleEndian.AppendUint64(nil, 0x820000+uint64(i)<<20)
		where = binary.LittleEndian.AppendUint64(where, 0xe0000)
		events = append(events, described(0, EvEFIPlatformFirmwareBlob, volume, where))
	}
	return events
}

// secureBoot measures the Secure Boot variables into PCR 7, and closes it for
// configuration.
func (b Boot) secureBoot() []Event {
	enabled := []byte{0}
	if b.SecureBoot {
		enabled[0] = 1
	}
	config := func(guid GUID, name string, data []byte) Event {
		return hashed(7, EvEFIVariableDriverConfig, variable(guid, name, data))
	}
	return []Event{
		config(guidGlobal, "SecureBoot", enabled),
		config(guidGlobal, "PK", b.PK),
		config(guidGlobal, "KEK", b.KEK),
		config(guidSecurity, "db", b.DB),
		config(guidSecurity, "dbx", b.DBX),
		separator(7),
	}
}

func (b Boot) drivers() []Event {
	var events []Event
	for _, d := range b.Drivers {
		events = append(events, Event{PCR: 2, Type: EvEFIBootServicesDriver, Digest: d.Authenticode(),
			Data: imageEvent(len(d.Content), filePath(d.Path))})
	}
	return events
}

// bootOptions measures the boot order and its entries into PCR 1. The digest
// covers the value only, as most firmware has it.
func (b Boot) bootOptions() []Event {
	option := binary.LittleEndian.AppendUint32(nil, 1) // active
	path := diskPath(b.first().Path)
	option = binary.LittleEndian.AppendUint16(option, uint16(len(path)))
	option = slices.Concat(option, utf16le("debian"), []byte{0, 0}, path)
	order := []byte{0, 0}
	return []Event{
		described(1, EvEFIVariableBoot, order, variable(guidGlobal, "BootOrder", order)),
		described(1, EvEFIVariableBoot, option, variable(guidGlobal, "Boot0000", option)),
		hashed(4, EvEFIAction, []byte("Calling EFI Application from Boot Option")),
	}
}

// first returns the image that firmware starts.
func (b Boot) first() Image {
	switch b.Chain {
	case EFIStub:
		return b.Kernel
	case UKI, Grub:
		return b.Loader
	}
	return b.Shim
}

func separators() []Event {
	var events []Event
	for pcr := range uint32(7) {
		events = append(events, separator(pcr))
	}
	return events
}

func separator(pcr uint32) Event { return hashed(pcr, EvSeparator, make([]byte, 4)) }

// authority measures the db entry that vouches for the first image, and the
// partition table it came from.
func (b Boot) authority() []Event {
	var events []Event
	if b.SecureBoot && len(b.DB) > 28 {
		size := binary.LittleEndian.Uint32(b.DB[24:])
		entry := b.DB[28 : 28+size]
		events = append(events, hashed(7, EvEFIVariableAuthority, variable(guidSecurity, "db", entry)))
	}
	return append(events, hashed(5, EvEFIGPT, partitionTable()))
}

// start measures an image into PCR 4.
func (b Boot) start(i Image) Event {
	return Event{PCR: 4, Type: EvEFIBootServicesApplication, Digest: i.Authenticode(), Data: imageEvent(len(i.Content), diskPath(i.Path))}
}
