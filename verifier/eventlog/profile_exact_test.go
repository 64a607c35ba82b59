package eventlog

import (
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
)

// loaderLine is the command line that systemd-boot measures.
func loaderLine(text string) record {
	return measured(12, EvIPL, string(append(encodeUTF16(text), 0, 0)))
}

// systemdBoot is a composed log of systemd-boot with a kernel that is not unified.
func systemdBoot(t *testing.T) *bootLog {
	t.Helper()
	b := takeApart(t, composed()["stub"].Log().Bytes())
	at := b.find(t, inPCR(4, EvEFIBootServicesApp))
	loader := b.events[at]
	loader.digest = hash("systemd-boot")
	b.insert(at, loader)
	b.insert(b.find(t, inPCR(9, EvEventTag)), loaderLine("root=/dev/vda2 ro"))
	return b
}

// drop removes the events that fit.
func (b *bootLog) drop(fits func(record) bool) *bootLog {
	return &bootLog{b.header, slices.DeleteFunc(slices.Clone(b.events), fits)}
}

// incomplete fails unless the log is refused in these words.
func incomplete(t *testing.T, name string, raw []byte, words string) {
	t.Helper()
	if _, err := judge(raw); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v\nwant %s", name, err, words)
	}
}

func TestSystemdBoot(t *testing.T) {
	b := systemdBoot(t)
	f := admitted(t, b.bytes())
	if f.Profile != ProfileSystemdBoot || len(f.Kernels) != 1 || f.Kernels[0].Kind != "image" || len(f.CommandLines) != 2 || f.CommandLines[0].Kind != "loader" {
		t.Errorf("%s: %+v, %+v", f.Profile, f.Kernels, f.CommandLines)
	}
	other := *b
	other.events = slices.Clone(b.events)
	at := other.find(t, inPCR(12, EvIPL))
	other.events[at].digest = hash("other")
	incomplete(t, "a line that is not covered", other.bytes(), "no command line of the boot loader in a systemd-boot boot")
	incomplete(t, "no line of the stub", b.drop(func(r record) bool { return r.pcr == 9 && strings.Contains(string(r.data), "LoadOptions") }).bytes(), "no command line of the kernel's EFI stub in a systemd-boot boot")
	single := b.drop(func(r record) bool { return r.pcr == 4 && string(r.digest) == string(hash("systemd-boot")) })
	incomplete(t, "one image", single.bytes(), "no 2 images in PCR 4 in a systemd-boot boot")
	incomplete(t, "no image", b.drop(inPCR(4, EvEFIBootServicesApp)).drop(inPCR(4, EvEFIAction)).bytes(), "bootlog.profile")
}

// What each chain always measures is missed if it is not there.
func TestChainsAreComplete(t *testing.T) {
	parts := map[string]*bootLog{}
	for name, b := range composed() {
		parts[name] = takeApart(t, b.Log().Bytes())
		admitted(t, parts[name].bytes())
	}
	debian, uki, stub := parts["debian"], parts["uki"], parts["stub"]
	section := 0
	linux := func(r record) bool {
		if r.pcr == 11 && strings.HasPrefix(string(r.data), ".\x00l\x00i\x00n\x00u\x00x\x00") {
			section++
			return true
		}
		return false
	}
	incomplete(t, "no kernel in the image", uki.drop(linux).bytes(), "no section .linux in a uki boot")
	if section != 2 {
		t.Errorf("%d events of the section", section)
	}
	incomplete(t, "no firmware", debian.drop(func(r record) bool { return r.pcr == 0 && r.kind != EvSeparator }).bytes(), "no firmware in PCR 0")
	first := true
	admitted(t, debian.drop(func(r record) bool {
		if r.pcr != 0 || r.kind == EvSeparator {
			return false
		}
		kept := first
		first = false
		return !kept
	}).bytes())
	stubbed := debian.drop(inPCR(9, EvIPL))
	stubbed.insert(stubbed.find(t, inPCR(5, EvEFIAction)), stub.events[stub.find(t, inPCR(9, EvEventTag))])
	incomplete(t, "no file of GRUB", stubbed.bytes(), "no file read by GRUB in a shim-grub boot")
	incomplete(t, "files of GRUB without GRUB", debian.drop(func(r record) bool { return r.pcr == 8 || r.pcr == 14 }).bytes(), "a file read by GRUB in a boot without GRUB")
	incomplete(t, "no line of the stub", stub.drop(func(r record) bool { return strings.Contains(string(r.data), "LoadOptions") }).bytes(), "no command line of the kernel's EFI stub in a efi-stub boot")
	incomplete(t, "no image", stub.drop(inPCR(4, EvEFIBootServicesApp)).bytes(), "images in PCR 4 in a efi-stub boot")
	incomplete(t, "the kernel's file", debian.drop(func(r record) bool { return r.pcr == 9 && strings.Contains(string(r.data), "/vmlinuz") }).bytes(), "no kernel among the files that GRUB read")
	incomplete(t, "the initrd's file", debian.drop(func(r record) bool { return r.pcr == 9 && strings.Contains(string(r.data), "initrd") }).bytes(), "no initrd, though GRUB was told to load one")
	incomplete(t, "one image of shim and GRUB", debian.drop(func(r record) bool {
		return r.pcr == 4 && r.kind == EvEFIBootServicesApp && string(r.digest) != string(debian.events[debian.find(t, inPCR(4, EvEFIBootServicesApp))].digest)
	}).bytes(), "no 2 images in PCR 4 in a shim-grub boot")
}

// TestProfiles holds which registers each chain extends and which it never does.
func TestProfiles(t *testing.T) {
	want := []struct {
		name         Profile
		uses, unused []int
		images       int
	}{
		{"uki", []int{4, 11}, []int{8}, 0}, {"shim-grub", []int{4, 8, 9, 14}, []int{11, 12, 13}, 2}, {"grub", []int{4, 8, 9}, []int{11, 12, 13, 14}, 1},
		{"systemd-boot", []int{4, 9, 12}, []int{8, 11}, 0}, {"efi-stub", []int{4, 9}, []int{8, 11, 12, 13}, 0},
	}
	if len(profiles) != len(want) {
		t.Fatalf("%d profiles", len(profiles))
	}
	for i, p := range profiles {
		if p.name != want[i].name || !slices.Equal(p.uses, want[i].uses) || !slices.Equal(p.unused, want[i].unused) || p.images != want[i].images {
			t.Errorf("%+v", p)
		}
	}
}

// The stub's command line has the text of one that is measured elsewhere if the
// digests agree, and no text otherwise.
func TestTextOfTheStubsLine(t *testing.T) {
	for text, known := range map[string]bool{bootlog.Debian().CommandLine: true, "root=/dev/vda2 ro": false} {
		b := systemdBoot(t)
		b.events[b.find(t, inPCR(12, EvIPL))] = loaderLine(text)
		line := admitted(t, b.bytes()).CommandLines[1]
		if line.Kind != "stub" || (line.TextFrom == Measured) != known || (line.Text == text) != known {
			t.Errorf("%q: %+v", text, line)
		}
		if !line.Matches(bootlog.Debian().CommandLine) || line.Matches("root=/dev/vda2 ro") {
			t.Errorf("%q: matches another text", text)
		}
	}
	digest := SHA256.stubDigest(append(encodeUTF16("x"), 0, 0))
	for kind, want := range map[string]bool{"stub": true, "grub": false, "loader": false} {
		if got := (CommandLine{Measurement: Measurement{Digest: digest}, Kind: kind}).Matches("x"); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if (CommandLine{Kind: "stub"}).Matches("") {
		t.Error("a line that was never measured matches")
	}
}

// What only its digest tells keeps the text beside it, without a tag's head.
func TestExtraNames(t *testing.T) {
	tagged := record{12, EvEventTag, hash("x"), append([]byte("tag.size"), "name"...)}
	text := record{13, EvIPL, hash("y"), []byte("tag.size name")}
	b := takeApart(t, composed()["uki"].Log().Bytes())
	b.insert(b.find(t, inPCR(12, EvIPL)), tagged, text, record{13, EvEventTag, hash("z"), []byte("short")})
	f := admitted(t, b.bytes())
	var names []string
	for _, e := range f.UKI.Extra {
		names = append(names, e.NameClaimed)
	}
	if !slices.Equal(names, []string{"name", "tag.size name", ""}) || len(f.Unlisted) != 3 {
		t.Errorf("%q, %d unlisted", names, len(f.Unlisted))
	}
}
