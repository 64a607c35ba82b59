package ima_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

// list composes a measurement list and the PCR 10 that a TPM would have, so that
// a hostile list replays unless the defect is in the replay itself.
type list struct {
	raw  []byte
	ends []int // offset behind each entry
	pcr  [32]byte
}

// bootPCRs are the PCRs 0 to 9 of the composed host.
var bootPCRs = [10][32]byte{0: {1}, 7: {7}, 9: {9}}

func newList() *list {
	aggregate := ima.BootAggregate(bootPCRs)
	return new(list).add("ima-ng", digest("sha256", aggregate[:]), path("boot_aggregate"))
}

func digest(alg string, d []byte) []byte { return append([]byte(alg+":\x00"), d...) }
func path(p string) []byte               { return []byte(p + "\x00") }

func content(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return digest("sha256", sum[:])
}

func fields(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	return b
}

func (l *list) file(name string) *list { return l.add("ima-ng", content(name), path(name)) }

func (l *list) add(template string, parts ...[]byte) *list {
	return l.addData(ima.PCR, template, fields(parts...))
}

func (l *list) addData(pcr uint32, template string, data []byte) *list {
	recorded, extended := sha1.Sum(data), sha256.Sum256(data)
	return l.addRaw(pcr, recorded, extended, template, data)
}

func (l *list) violation(template string, parts ...[]byte) *list {
	return l.addRaw(ima.PCR, [20]byte{}, [32]byte(bytes.Repeat([]byte{0xff}, 32)), template, fields(parts...))
}

func (l *list) addRaw(pcr uint32, recorded [20]byte, extended [32]byte, template string, data []byte) *list {
	l.raw = binary.LittleEndian.AppendUint32(l.raw, pcr)
	l.raw = append(l.raw, recorded[:]...)
	l.raw = append(l.raw, fields([]byte(template), data)...)
	l.ends = append(l.ends, len(l.raw))
	l.pcr = sha256.Sum256(append(l.pcr[:], extended[:]...))
	return l
}

func (l *list) quoted() ima.Quoted {
	return ima.Quoted{PCR10: l.pcr, BootAggregate: ima.BootAggregate(bootPCRs)}
}

func (l *list) replay() (*ima.Segment, error) {
	return ima.Replay(ima.State{}, l.raw, l.quoted(), ima.DefaultLimits)
}

func mustPass(t *testing.T, l *list) *ima.Segment {
	t.Helper()
	s, err := l.replay()
	if err != nil {
		t.Fatalf("the twin is refused: %v", err)
	}
	if s.Len() != uint64(len(l.ends)) || s.End.Bytes != uint64(len(l.raw)) || s.End.PCR10 != l.pcr {
		t.Fatalf("verified %+v of %d entries", s.End, len(l.ends))
	}
	return s
}

func mustRefuse(t *testing.T, err error, want verdict.CheckID) *verdict.Refusal {
	t.Helper()
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal by %s", err, want)
	}
	if refusal.Check != want {
		t.Fatalf("refused by %v, want %s", refusal, want)
	}
	if _, known := verdict.Lookup(want); !known {
		t.Errorf("%s is not registered", want)
	}
	return refusal
}

func refused(t *testing.T, l *list, want verdict.CheckID) *verdict.Refusal {
	t.Helper()
	_, err := l.replay()
	return mustRefuse(t, err, want)
}

// genuine reads a captured list and the PCRs of the same boot.
func genuine(t testing.TB, name string) ([]byte, ima.Quoted) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".ima"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", name+".pcrs"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(text))
	var pcrs [11][32]byte
	for i := range pcrs {
		if n, err := hex.Decode(pcrs[i][:], []byte(lines[i])); err != nil || n != 32 {
			t.Fatalf("PCR %d of %s: %v", i, name, err)
		}
	}
	return raw, ima.Quoted{PCR10: pcrs[ima.PCR], BootAggregate: ima.BootAggregate([10][32]byte(pcrs[:10]))}
}

var captured = []string{"shim-grub", "efi-stub", "uki"}

func TestGenuineLists(t *testing.T) {
	for _, name := range captured {
		raw, quoted := genuine(t, name)
		s, err := ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		entries := slices.Collect(s.Entries())
		if len(entries) != 14 || s.Ignored != 0 || s.End.Entries != 14 {
			t.Fatalf("%s: %d entries, %d bytes ignored", name, len(entries), s.Ignored)
		}
		first, last := entries[0], entries[13]
		if first.Kind != ima.KindBootAggregate || last.Kind != ima.KindFile || string(last.Path) != "/usr/local/bin/probe" {
			t.Errorf("%s: first %v, last %s", name, first.Kind, last.Path)
		}
		if last.DigestAlg != "sha256" || len(last.Digest) != 32 || last.Template != "ima-sig" || len(last.Signature) != 0 {
			t.Errorf("%s: last entry %+v", name, last)
		}
	}
}

// Every byte of a genuine list counts: no change to it is believed. Only the SHA-1
// digest beside an entry has no effect, and is nowhere reported.
func TestEveryByteOfAListCounts(t *testing.T) {
	raw, quoted := genuine(t, "shim-grub")
	s, err := ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	unused := map[int]bool{}
	for e := range s.Entries() {
		for i := range 20 {
			unused[int(e.Offset)+4+i] = true
		}
	}
	for i := range raw {
		if unused[i] {
			continue
		}
		changed := bytes.Clone(raw)
		changed[i] ^= 0x01
		if _, err := ima.Replay(ima.State{}, changed, quoted, ima.DefaultLimits); err == nil {
			t.Fatalf("byte %d changed, and the list replays", i)
		}
	}
}

func TestEntryWords(t *testing.T) {
	l := newList().add("ima-sig", content("x"), path("/bin/x"), nil)
	e := slices.Collect(mustPass(t, l).Entries())[1]
	sum := sha256.Sum256([]byte("x"))
	if got, want := e.DigestText(), "sha256:"+hex.EncodeToString(sum[:]); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if got, want := e.TemplateDigest(), sha256.Sum256(e.Data); got != want {
		t.Errorf("template digest %x, want %x", got, want)
	}
	if got := e.Where(); got != "IMA entry 1 (offset 101)" {
		t.Errorf("where: %s", got)
	}
	names := []string{ima.KindFile.String(), ima.KindBootAggregate.String(), ima.KindBuffer.String(), ima.KindKexec.String(), ima.KindViolation.String(), ima.Kind(9).String()}
	if got := strings.Join(names, " "); got != "file boot-aggregate buffer kexec violation unknown" {
		t.Errorf("kinds: %s", got)
	}
}

func TestEntriesCanStopEarly(t *testing.T) {
	seen := 0
	for range mustPass(t, newList().file("/a").file("/b")).Entries() {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("saw %d entries", seen)
	}
}
