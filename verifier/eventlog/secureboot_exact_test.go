package eventlog

import (
	"crypto/sha512"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// mode is a variable of PCR 7 or PCR 1.
func mode(pcr uint32, g GUID, name, value string) record {
	return variableRecord(pcr, EvEFIVariableDriverConfig, g, name, value)
}

// Modes are single bytes of firmware's own, one value each, wherever measured.
func TestModes(t *testing.T) {
	behind := named("dbx")
	for name, of := range map[string]func(*SecureBoot) *bool{
		"SetupMode": func(s *SecureBoot) *bool { return s.SetupMode }, "AuditMode": func(s *SecureBoot) *bool { return s.AuditMode }, "DeployedMode": func(s *SecureBoot) *bool { return s.Deployed },
	} {
		for value, want := range map[string]bool{"\x00": false, "\x01": true} {
			f := with(t, behind, mode(7, guidGlobal, name, value))
			if got := of(&f.SecureBoot); got == nil || *got != want || len(f.SecureBoot.Others) != 1 || f.SecureBoot.Others[0].Name != name {
				t.Errorf("%s %q: %v, %+v", name, value, got, f.SecureBoot.Others)
			}
		}
		f := with(t, behind, mode(7, guidGlobal, name, ""))
		if of(&f.SecureBoot) != nil {
			t.Errorf("%s without value is known", name)
		}
		f = with(t, behind, mode(7, guidShim, name, "\x01"))
		if of(&f.SecureBoot) != nil || len(f.SecureBoot.Others) != 1 {
			t.Errorf("another's %s counts: %+v", name, f.SecureBoot)
		}
		for value, got := range map[string]string{"\x02": " = 02", "\x00\x00": " = 0000", "\x00\x01\x02\x03\x04\x05\x06\x07\x08": " = 0001020304050607", "\x01\x01\x02\x03\x04\x05\x06\x07": " = 0101020304050607"} {
			b := debian(t)
			b.insert(b.find(t, behind)+1, mode(7, guidGlobal, name, value))
			_, err := judge(b.bytes())
			isRefusal(t, err, verdict.BootlogVariable)
			if !strings.Contains(err.Error(), "got "+name+got+", want") {
				t.Errorf("%s %q: %v", name, value, err)
			}
		}
		b := debian(t)
		b.insert(b.find(t, behind)+1, mode(7, guidGlobal, name, "\x00"))
		b.insert(b.find(t, inPCR(1, EvSeparator)), mode(1, guidGlobal, name, "\x00"))
		if f := admitted(t, b.bytes()); len(f.SecureBoot.Others) != 1 || of(&f.SecureBoot) == nil || len(f.Firmware.Config) != 1 {
			t.Errorf("%s in two registers: %+v", name, f.SecureBoot.Others)
		}
		b.events[b.find(t, inPCR(1, EvEFIVariableDriverConfig))] = mode(1, guidGlobal, name, "\x01")
		refused(t, b.bytes(), verdict.BootlogSecureBoot)
	}
}

// What vouched for an image is measured whole, or by shim's old way all but its
// last byte. The level of revocations counts only if shim's name for it does.
func TestAuthorities(t *testing.T) {
	behind := inPCR(7, EvEFIVariableAuthority)
	authority := func(g GUID, name, value string) record {
		return variableRecord(7, EvEFIVariableAuthority, g, name, value)
	}
	f := with(t, behind, authority(guidShim, "SbatLevel", "level"))
	if f.Shim.SBAT == "" || f.SecureBoot.Authorities[1].From != Measured {
		t.Errorf("%+v", f.SecureBoot.Authorities)
	}
	padded := authority(guidShim, "SbatLevel", "other level")
	padded.data = append(padded.data, 0)
	b := debian(t)
	b.insert(b.find(t, behind)+1, padded)
	f = admitted(t, b.bytes())
	if a := f.SecureBoot.Authorities[1]; a.From != Claimed || f.Shim.SBAT == "other level" || !slices.Contains(f.Oddities, oddShimAuthority) {
		t.Errorf("padded by one byte: %+v, %q", a, f.Oddities)
	}
	more := authority(guidShim, "SbatLevel", "other level")
	more.data = append(more.data, 0, 0)
	b.events[b.find(t, behind)+1] = more
	refused(t, b.bytes(), verdict.BootlogDigest)
	whole := authority(guidShim, "SbatLevel", "level")
	whole.digest = hash(string(whole.data[:len(whole.data)-1]))
	b.events[b.find(t, behind)+1] = whole
	refused(t, b.bytes(), verdict.BootlogDigest)
}

// Only images of PCR 4 count for the chain.
func TestImagesOfDriversAreNoChain(t *testing.T) {
	rom := record{2, EvEFIBootServicesDriver, hash("rom"), nil}
	plain := admitted(t, debian(t).bytes())
	b := debian(t)
	b.insert(b.find(t, inPCR(2, EvSeparator)), rom, rom)
	if f := admitted(t, b.bytes()); len(f.Kernels) != len(plain.Kernels) || len(f.Images) != len(plain.Images)+2 {
		t.Errorf("%d kernels of %d images", len(f.Kernels), len(f.Images))
	}
	b.events = slices.DeleteFunc(b.events, func(r record) bool {
		return r.pcr == 4 && r.kind == EvEFIBootServicesApp && string(r.digest) != plainDigest(plain)
	})
	incomplete(t, "one image and two drivers", b.bytes(), "no 2 images in PCR 4")
}

// plainDigest is that of the first image of PCR 4.
func plainDigest(f *Facts) string {
	for _, i := range f.Images {
		if i.PCR == 4 {
			return string(i.Digest)
		}
	}
	return ""
}

// All banks replay by their own hash.
func TestOtherBanksReplay(t *testing.T) {
	header := bootlog.Header("Spec ID Event03", nil, bootlog.Algorithm{Alg: 0xc, Size: 48}, bootlog.Algorithm{Alg: 0xb, Size: 32}, bootlog.Algorithm{Alg: 0xd, Size: 64})
	long := sha512.Sum384([]byte("x"))
	longest := sha512.Sum512([]byte("x"))
	raw := header
	for range 2 {
		raw = appendEvent(raw, record{4, EvEFIAction, nil, []byte("x")}, []Alg{SHA384, SHA256, SHA512}, [][]byte{long[:], hash("x"), longest[:]})
	}
	extended384, extended512 := [48]byte{}, [64]byte{}
	value := make([]byte, 32)
	for range 2 {
		extended384 = sha512.Sum384(append(extended384[:], long[:]...))
		extended512 = sha512.Sum512(append(extended512[:], longest[:]...))
		value = hash(string(value) + string(hash("x")))
	}
	banks := map[Alg]string{SHA256: string(value), SHA384: string(extended384[:]), SHA512: string(extended512[:])}
	for alg, want := range banks {
		l, err := Parse(raw, alg, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Replay().Value(4); string(got) != want {
			t.Errorf("%s: %x", alg, got)
		}
		for other, want := range banks {
			if b := l.ReplayOther(other); b == nil || b.Alg() != other || string(b.Value(4)) != want {
				t.Errorf("%s of a log of %s: %+v", other, alg, b)
			}
		}
		if l.ReplayOther(SHA1) != nil {
			t.Error("a bank that is not there")
		}
	}
}

// A list is no shorter than its own header.
func TestShortSignatureLists(t *testing.T) {
	for _, total := range []byte{0, 27, 28} {
		list := slices.Concat(SignatureX509[:], []byte{total, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0}, make([]byte, 17))
		want := fmt.Sprintf("a list of %d bytes in 45", total)
		if total == 28 {
			want = "0 bytes for entries of 17"
		}
		if _, err := ParseSignatureLists(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
