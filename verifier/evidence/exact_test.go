package evidence_test

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// Hosts without a boot id may reboot.
func TestRebootWithoutBootID(t *testing.T) {
	s := newScene(t)
	s.raw.BootID = ""
	s.want.Previous = s.passes().Clock()
	s.node.Reboot()
	s.boot(s.log)
	s.raw.BootID = ""
	s.answer()
	if v := s.passes(); v.Transition() != evidence.Rebooted {
		t.Errorf("%v", v.Transition())
	}
}

// keyRefused parses a key and wants the words of its refusal.
func keyRefused(t *testing.T, name string, public []byte, got string) {
	t.Helper()
	_, err := evidence.ParseAK(public)
	var r *verdict.Refusal
	if !errors.As(err, &r) || r.Got != got {
		t.Errorf("%s: %v, want %q", name, err, got)
	}
}

func TestKeysToTheByte(t *testing.T) {
	ecc := papertpm.ECCKey(elliptic.P256(), "bytes", papertpm.AKAttributes()).Bytes()
	keyRefused(t, "1025 bytes", append(bytes.Clone(ecc), make([]byte, 1025-len(ecc))...), "1025 bytes")
	keyRefused(t, "1024 bytes", append(bytes.Clone(ecc), make([]byte, 1024-len(ecc))...), "936 bytes behind it")
	x, y := ecc[xAt+2:yAt], ecc[yAt+2:]
	keyRefused(t, "x of 33 bytes", slices.Concat(ecc[:xAt], []byte{0, 33, 0}, x, []byte{0, 32}, y), "coordinates of a wrong size")
	keyRefused(t, "y of 33 bytes", slices.Concat(ecc[:xAt], []byte{0, 32}, x, []byte{0, 33, 0}, y), "coordinates of a wrong size")
	key, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	head := key.Bytes()[:modulusAt]
	modulus := func(declared, size, zeros int) []byte {
		n := append(make([]byte, zeros), bytes.Repeat([]byte{0xff}, size)...)
		return slices.Concat(alter(head, bitsAt, 2, uint64(declared)), []byte{byte(len(n) >> 8), byte(len(n))}, n)
	}
	for _, bits := range []int{2048, 3072, 4096} {
		if _, err := evidence.ParseAK(modulus(bits, bits/8, 0)); err != nil {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
	keyRefused(t, "4104 bits", modulus(4104, 513, 0), "a modulus of 4104 bits for 4104")
	keyRefused(t, "2040 bits", modulus(2040, 255, 0), "a modulus of 2040 bits for 2040")
	keyRefused(t, "a leading zero", modulus(2048, 256, 1), "a modulus of 2048 bits for 2048")
	keyRefused(t, "2049 bits", modulus(2049, 256, 0), "a modulus of 2048 bits for 2049")
}

func TestDigestTexts(t *testing.T) {
	good := evidence.Sum([]byte("x"))
	var d evidence.Digest
	if err := d.UnmarshalText([]byte(good.String())); err != nil || d != good {
		t.Errorf("%v, %v", d, err)
	}
	for _, bad := range []string{"", good.String()[7:], good.String() + "00", good.String()[:70], strings.ToUpper(good.String()), "sha256:" + strings.ToUpper(good.String()[7:]), good.String()[:70] + "x"} {
		if err := d.UnmarshalText([]byte(bad)); err == nil || !strings.Contains(err.Error(), "is not a digest") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A record keeps what was verified of the list, and no blob of nothing.
func TestRecordKeepsWhatWasVerified(t *testing.T) {
	s := newScene(t)
	whole := bytes.Clone(s.raw.IMA)
	more := bootlog.List{Entries: []bootlog.Entry{bootlog.FileEntry("/usr/bin/late", [32]byte{1})}}
	s.raw.IMA = append(bytes.Clone(whole), more.Bytes()...)
	v := s.passes()
	r, blobs := evidence.NewRecord(s.raw, s.want, v, at)
	if r.IMA != evidence.Sum(whole) || !bytes.Equal(blobs[r.IMA], whole) || len(blobs) != 2 || r.Challenge.Block != nil {
		t.Errorf("%v, %d blobs, block %x", r.IMA, len(blobs), r.Challenge.Block)
	}
	r, _ = evidence.NewRecord(s.raw, s.want, nil, at)
	if r.IMA != evidence.Sum(s.raw.IMA) {
		t.Error("a refusal is recorded with another list than was sent")
	}
	s.raw.BootLog, s.raw.IMA = nil, nil
	if r, blobs = evidence.NewRecord(s.raw, s.want, nil, at); !r.BootLog.IsZero() || !r.IMA.IsZero() || len(blobs) != 0 {
		t.Errorf("%v, %v, %d blobs", r.BootLog, r.IMA, len(blobs))
	}
}

// A known log is recorded if the quote names it, and if there is a quote at all.
func TestRecordOfAKnownLog(t *testing.T) {
	s := newScene(t)
	v := s.passes()
	sent := s.raw.BootLog
	s.want.KnownLog, s.raw.BootLog = v.KnownLog(), nil
	if r, _ := evidence.NewRecord(s.raw, s.want, nil, at); r.BootLog != evidence.Sum(sent) {
		t.Error("the known log is not recorded")
	}
	s.raw.BootLogDigest[0]++
	if r, _ := evidence.NewRecord(s.raw, s.want, nil, at); !r.BootLog.IsZero() {
		t.Error("another log than the one named is recorded")
	}
	s.raw.BootLogDigest[0]--
	early, err := evidence.NewKnownLog(verdict.Epoch{}, eventlog.SHA256, sent)
	if err != nil {
		t.Fatal(err)
	}
	s.want.KnownLog, s.raw.Quote = early, []byte("x")
	if r, _ := evidence.NewRecord(s.raw, s.want, nil, at); !r.BootLog.IsZero() {
		t.Error("a log is recorded without a quote")
	}
}

// What keeps a record from being evidence is said.
func TestRecordsSayWhy(t *testing.T) {
	for want, spoil := range map[string]func(*evidence.Record){
		"a recorded challenge with a nonce or exporter of a wrong size": func(r *evidence.Record) { r.Challenge.Nonce = nil },
		"a recorded challenge with a nonce or exporter of a wrong":      func(r *evidence.Record) { r.Challenges[0].Exporter = nil },
		"a recorded challenge with a block hash of a wrong size":        func(r *evidence.Record) { r.Challenge.Block = []byte{1} },
		"a recorded challenge with a block hash of a wrong":             func(r *evidence.Record) { r.Challenges[0].Block = []byte{1} },
		"attributes 0x00000000":                                         func(r *evidence.Record) { r.AK = nil },
		"record of format":                                              func(r *evidence.Record) { r.Format = "x" },
		"record of the bank":                                            func(r *evidence.Record) { r.Bank = "sha1" },
		"not UTC in whole":                                              func(r *evidence.Record) { r.At = r.At.Add(1) },
		"missing or altered":                                            func(r *evidence.Record) { r.BootLog[0]++ },
		"is missing":                                                    func(r *evidence.Record) { r.IMAEarlier = []evidence.Digest{{1}} },
		"10 PCRs asked for":                                             func(r *evidence.Record) { r.PCRs = r.PCRs[:10] },
	} {
		s := newScene(t)
		s.passes()
		f := s.record()
		spoil(f.Record)
		v, err := f.Verify()
		if v != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestRecordsAreBytes(t *testing.T) {
	s := newScene(t)
	s.passes()
	f := s.record()
	text, err := f.Record.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for bad, want := range map[string]string{
		"x": "evidence: record: invalid", string(text) + "{}": "followed by other bytes", string(text) + " ": "canonical form", string(text) + "x": "followed by other bytes",
		strings.Replace(string(text), `{"evidence"`, `{"x":1,"evidence"`, 1): "unknown field",
	} {
		if _, err := evidence.ParseRecord([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", bad, err, want)
		}
	}
	f.Record.At = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if text, err := f.Record.Marshal(); err == nil || text != nil || !strings.HasPrefix(err.Error(), "evidence: ") {
		t.Errorf("the year 10000: %v", err)
	}
	if text, err := f.Marshal(); err == nil || text != nil || !strings.HasPrefix(err.Error(), "evidence: ") {
		t.Errorf("the year 10000: %v", err)
	}
}

func TestBlobsAreSorted(t *testing.T) {
	r := &evidence.Record{IMAEarlier: []evidence.Digest{{9}, {3}, {7}, {3}}, BootLog: evidence.Digest{5}, IMA: evidence.Digest{}}
	if got := r.Blobs(); !slices.Equal(got, []evidence.Digest{{3}, {5}, {7}, {9}}) {
		t.Errorf("%v", got)
	}
}

// PCR 16 and above are not for boots, even if all below are asked for.
func TestNoRegisterBehindTheLast(t *testing.T) {
	s := newScene(t)
	s.want.PCRs = append(slices.Clone(quotedPCRs), 15, 16)
	if _, err := s.verify(); err == nil || !strings.Contains(err.Error(), "are not 0 to 14 and perhaps 15") {
		t.Errorf("%v", err)
	}
}

// A position behind the very first entry is explained by that entry, to the byte.
func TestPositionBehindTheFirstEntry(t *testing.T) {
	s := newScene(t)
	s.boot(s.log)
	s.answer()
	first := bytes.Clone(s.raw.IMA)
	v := s.passes()
	s.remember(v)
	if s.want.IMA.Entries != 1 {
		t.Fatalf("%d entries", s.want.IMA.Entries)
	}
	s.run("/usr/bin/x")
	s.raw.IMA = s.raw.IMA[len(first):]
	s.answer()
	later := s.passes()
	file := func(earlier []byte) *evidence.File {
		r, blobs := evidence.NewRecord(s.raw, s.want, later, at)
		r.IMAEarlier = []evidence.Digest{evidence.Sum(earlier)}
		blobs[evidence.Sum(earlier)] = earlier
		return &evidence.File{Record: r, Blobs: blobs}
	}
	whole, err := file(first).VerifyWhole()
	if err != nil || whole.IMA().Start.Entries != 0 || whole.IMA().End.Entries != 2 {
		t.Errorf("%v", err)
	}
	if _, err := file(append(bytes.Clone(first), 0)).Verify(); err == nil {
		t.Error("a byte behind the earlier entries")
	}
	r, blobs := evidence.NewRecord(s.raw, s.want, later, at)
	if _, err := (&evidence.File{Record: r, Blobs: blobs}).Verify(); err == nil {
		t.Error("a position that nothing explains")
	}
}
