package eventlog

import (
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// debian is the composed log of a Debian machine, taken apart.
func debian(t testing.TB) *bootLog { return takeApart(t, composed()["debian"].Log().Bytes()) }

// with is the facts of a Debian log in which an event follows the first one that fits.
func with(t *testing.T, fits func(record) bool, more ...record) *Facts {
	t.Helper()
	b := debian(t)
	b.insert(b.find(t, fits)+1, more...)
	return admitted(t, b.bytes())
}

// without is the facts of a Debian log without the events that fit.
func without(t *testing.T, fits func(record) bool) *Facts {
	t.Helper()
	b := debian(t)
	b.events = slices.DeleteFunc(b.events, fits)
	return admitted(t, b.bytes())
}

func TestEventsThatAreNotThere(t *testing.T) {
	if f := without(t, inPCR(0, EvSCRTMVersion)); f.Firmware.VersionEvent != -1 {
		t.Errorf("version at %d", f.Firmware.VersionEvent)
	}
	if f := without(t, named("BootOrder")); f.Boot.OrderEvent != -1 || len(f.Boot.Order) != 0 {
		t.Errorf("order at %d", f.Boot.OrderEvent)
	}
}

// A version of 16 bytes is a GUID unless it is a text.
func TestFirmwareVersionTexts(t *testing.T) {
	for data, want := range map[string]string{
		"0123456789abcdef": "0123456789abcdef", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f": "03020100-0504-0706-0809-0a0b0c0d0e0f",
		"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11": "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11", "v": "v",
	} {
		b := debian(t)
		b.events[b.find(t, inPCR(0, EvSCRTMVersion))] = measured(0, EvSCRTMVersion, data)
		if f := admitted(t, b.bytes()); f.Firmware.Version != want || f.Firmware.VersionClaimed != want {
			t.Errorf("%q: %q", data, f.Firmware.Version)
		}
	}
}

// Handoff tables behind the separator of PCR 1 are odd, nothing else is.
func TestLateConfiguration(t *testing.T) {
	late := func(f *Facts) bool { return slices.Contains(f.Oddities, oddHandoff) }
	b := debian(t)
	config := measured(3, EvPlatformConfigFlags, "flags")
	b.insert(b.find(t, inPCR(1, EvSeparator))+1, config)
	at := b.find(t, inPCR(3, EvSeparator))
	if at < b.find(t, inPCR(1, EvSeparator)) {
		b.events[at], b.events[b.find(t, inPCR(3, EvPlatformConfigFlags))] = b.events[b.find(t, inPCR(3, EvPlatformConfigFlags))], b.events[at]
	}
	if f := admitted(t, b.bytes()); late(f) || len(f.Firmware.Config) != 1 {
		t.Errorf("PCR 3: %q", f.Oddities)
	}
	if f := with(t, inPCR(1, EvSeparator), measured(1, EvEFIHandoffTables, "tables")); !late(f) {
		t.Errorf("PCR 1: %q", f.Oddities)
	}
	b = debian(t)
	b.insert(b.find(t, inPCR(1, EvSeparator)), measured(1, EvEFIHandoffTables, "tables"))
	if f := admitted(t, b.bytes()); late(f) {
		t.Errorf("before the separator: %q", f.Oddities)
	}
}

func TestImageStages(t *testing.T) {
	for kind, want := range map[EventType]string{EvNonhostCode: "firmware", EvEFIBootServicesDriver: "driver", EvEFIRuntimeServices: "runtime-driver", EvEFIBootServicesApp: "boot-app"} {
		b := debian(t)
		b.insert(b.find(t, inPCR(2, EvSeparator)), measured(2, kind, "rom"))
		if f := admitted(t, b.bytes()); f.Images[0].Stage != want || f.Images[0].PCR != 2 {
			t.Errorf("%s: %+v", kind, f.Images[0])
		}
	}
}

// The firmware may fail to be left before it is left, not after.
func TestFailuresToLeave(t *testing.T) {
	failure := measured(5, EvEFIAction, exitFailure)
	b := debian(t)
	b.insert(b.find(t, holding(exitCall)), failure, failure)
	if f := admitted(t, b.bytes()); !slices.Contains(f.Oddities, oddExitFailure) {
		t.Errorf("%q", f.Oddities)
	}
	b = debian(t)
	b.insert(b.find(t, holding(exitCall))+1, failure)
	refused(t, b.bytes(), verdict.BootlogExit)
}

// Boot variables are measured whole or by value, all in one way.
func TestFormsOfBootVariables(t *testing.T) {
	isBoot := inPCR(1, EvEFIVariableBoot)
	whole := func(r record) record { return measured(r.pcr, r.kind, string(r.data)) }
	b := debian(t)
	for i := range b.events {
		if isBoot(b.events[i]) {
			b.events[i] = whole(b.events[i])
		}
	}
	f := admitted(t, b.bytes())
	if f.Boot.OrderFrom != Measured || f.Boot.Entries[0].NameFrom != Measured || slices.Contains(f.Oddities, oddValueOnly) {
		t.Errorf("%+v, %q", f.Boot, f.Oddities)
	}
	if f := admitted(t, debian(t).bytes()); f.Boot.OrderFrom != Claimed || f.Boot.Entries[0].NameFrom != Claimed || !slices.Contains(f.Oddities, oddValueOnly) {
		t.Errorf("%+v, %q", f.Boot, f.Oddities)
	}
	for i := range b.events {
		if isBoot(b.events[i]) {
			mixed := bootLog{b.header, slices.Clone(b.events)}
			mixed.events[i] = debian(t).events[i]
			refused(t, mixed.bytes(), verdict.BootlogDigest)
			mixed = *debian(t)
			mixed.events[i] = whole(mixed.events[i])
			refused(t, mixed.bytes(), verdict.BootlogDigest)
		}
	}
	order := variableRecord(1, EvEFIVariableBoot, guidGlobal, "BootOrder", "\x01\x00\x02")
	order.digest = hash("\x01\x00\x02")
	b = debian(t)
	b.events[b.find(t, named("BootOrder"))] = order
	refused(t, b.bytes(), verdict.BootlogVariable)
	b = debian(t)
	second := variableRecord(1, EvEFIVariableBoot2, guidGlobal, "Boot0009", "x")
	b.insert(b.find(t, named("BootOrder")), second)
	refused(t, b.bytes(), verdict.BootlogDigest) // Boot2 is whole, the others are not
}

// grubLog is a Debian log with other texts of GRUB from its kernel's command on.
func grubLog(t *testing.T, more ...record) []byte {
	t.Helper()
	b := debian(t)
	at := b.find(t, holding("grub_cmd: linux "))
	b.events = slices.DeleteFunc(b.events, func(r record) bool {
		return strings.HasPrefix(string(r.data), "grub_cmd: linux ") || strings.HasPrefix(string(r.data), "kernel_cmdline: ") || strings.HasPrefix(string(r.data), "grub_cmd: initrd")
	})
	b.insert(at, more...)
	return b.bytes()
}

// TestKernelsOfGrub holds which sequences of commands load a kernel whole.
func TestKernelsOfGrub(t *testing.T) {
	command := func(text string) record { return grub("grub_cmd: ", text) }
	kernel := func(text string) record { return grub("kernel_cmdline: ", text) }
	module := func(text string) record { return grub("module_cmdline: ", text) }
	linux, line, initrd := command("linux /vmlinuz ro"), kernel("/vmlinuz ro"), command("initrd /initrd.img")
	for name, row := range map[string]struct {
		events []record
		lines  []string // kinds
		check  verdict.CheckID
	}{
		"kernel and initrd":                   {[]record{linux, line, initrd}, []string{"grub"}, ""},
		"kernel without line":                 {[]record{linux, initrd}, nil, verdict.BootlogIncomplete},
		"initrd before the kernel":            {[]record{initrd, linux, line}, nil, verdict.BootlogIncomplete},
		"initrd twice":                        {[]record{initrd, linux, line, initrd}, []string{"grub"}, ""},
		"kernel twice":                        {[]record{linux, line, initrd, linux, line}, nil, verdict.BootlogIncomplete},
		"kernel twice, then its initrd":       {[]record{linux, line, initrd, linux, line, initrd}, []string{"grub", "grub"}, ""},
		"second kernel without line":          {[]record{linux, line, linux, initrd}, nil, verdict.BootlogIncomplete},
		"first kernel without line":           {[]record{linux, linux, line, initrd}, []string{"grub", "grub"}, ""},
		"Xen with modules":                    {[]record{command("multiboot /vmlinuz x"), kernel("/vmlinuz x"), command("module /vmlinuz ro"), module("/vmlinuz ro"), command("module /initrd.img"), module("/initrd.img")}, []string{"grub", "module", "module"}, ""},
		"Xen with a module without line":      {[]record{command("multiboot /vmlinuz x"), kernel("/vmlinuz x"), command("module /vmlinuz ro")}, []string{"grub", "module"}, ""},
		"Xen without line, module with":       {[]record{command("multiboot /vmlinuz x"), command("module /vmlinuz ro"), module("/vmlinuz ro")}, []string{"grub", "module"}, ""},
		"a line without its command":          {[]record{linux, line, initrd, line}, nil, verdict.BootlogLabel},
		"a module's line behind the kernel's": {[]record{linux, module("/vmlinuz ro"), initrd}, nil, verdict.BootlogLabel},
		"another line behind the command":     {[]record{linux, kernel("/vmlinuz rw"), initrd}, nil, verdict.BootlogLabel},
		"a quoted line":                       {[]record{linux, kernel(`/vmlinuz "r\o"`), initrd}, []string{"grub"}, ""},
		"a line as a command":                 {[]record{linux, line, command("/vmlinuz rw"), initrd}, []string{"grub", "grub"}, ""},
	} {
		raw := grubLog(t, row.events...)
		f, err := judge(raw)
		if row.check != "" {
			if err == nil {
				t.Errorf("%s: accepted", name)
				continue
			}
			isRefusal(t, err, row.check)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var kinds []string
		for _, l := range f.CommandLines {
			kinds = append(kinds, l.Kind)
		}
		if !slices.Equal(kinds, row.lines) {
			t.Errorf("%s: %v", name, kinds)
		}
	}
}

// The header's algorithms are known, with their sizes, and not too many.
func TestHeaderAlgorithms(t *testing.T) {
	type algs []bootlog.Algorithm
	sha := bootlog.Algorithm{Alg: 0xb, Size: 32}
	for want, list := range map[string]algs{
		"0 algorithms": {}, "9 algorithms": algs(slices.Repeat(algs{sha}, 9)), "sha256 twice": algs(slices.Repeat(algs{sha}, 8)), "alg 0x0027 of 0 bytes": {sha, {Alg: 0x27, Size: 0}}, "alg 0x0027 of 32 bytes": {sha, {Alg: 0x27, Size: 32}},
		"sha256 of 31 bytes": {{Alg: 0xb, Size: 31}}, "sha1 of 32 bytes": {sha, {Alg: 4, Size: 32}}, "no digests of sha256": {{Alg: 4, Size: 20}},
	} {
		_, err := Parse(bootlog.Header("Spec ID Event03", nil, list...), SHA256, DefaultLimits)
		if err == nil || !strings.Contains(err.Error(), "got "+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	all := algs{{Alg: 4, Size: 20}, sha, {Alg: 0xc, Size: 48}, {Alg: 0xd, Size: 64}, {Alg: 0x12, Size: 32}}
	for _, bank := range []Alg{SHA256, SHA384, SHA512} {
		if l, err := Parse(bootlog.Header("Spec ID Event03", []byte("vendor"), all...), bank, DefaultLimits); err != nil || len(l.Events()) != 0 {
			t.Errorf("%s: %v", bank, err)
		}
	}
	for class := range byte(3) {
		for width := range byte(4) {
			for _, version := range [][2]byte{{0, 2}, {1, 2}, {0, 1}, {0, 3}} {
				raw := bootlog.Header("Spec ID Event03", nil, sha)
				copy(raw[32+16:], []byte{class, 0, 0, 0, version[0], version[1], 7, width})
				_, err := Parse(raw, SHA256, DefaultLimits)
				if want := class <= 1 && (width == 1 || width == 2) && version == [2]byte{0, 2}; (err == nil) != want {
					t.Errorf("class %d, version %v, width %d: %v", class, version, width, err)
				}
			}
		}
	}
}

// A startup locality comes before anything in PCR 0, and may follow other PCRs.
func TestLocalityBehindOtherRegisters(t *testing.T) {
	header := bootlog.Header("Spec ID Event03", nil, bootlog.Algorithm{Alg: 0xb, Size: 32})
	locality := quiet(0, localitySignature+"\x03")
	for pcr, want := range map[uint32]bool{0: false, 1: true, 7: true} {
		b := bootLog{header, []record{measured(pcr, EvPlatformConfigFlags, "x"), locality}}
		l, err := Parse(b.bytes(), SHA256, DefaultLimits)
		if (err == nil) != want || err == nil && l.locality != 3 {
			t.Errorf("behind PCR %d: %v", pcr, err)
		}
	}
}
