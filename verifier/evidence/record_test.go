package evidence_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

var at = time.Date(2026, 11, 22, 16, 0, 0, 123, time.FixedZone("CET", 3600))

// record makes a record of what the scene holds, and checks that it survives its
// encoding and gives the same outcome again.
func (s *scene) record(earlier ...evidence.Digest) *evidence.File {
	s.t.Helper()
	v, verifyErr := s.verify()
	r, blobs := evidence.NewRecord(s.raw, s.want, v, at)
	r.IMAEarlier = earlier
	r.History = json.RawMessage(`{"judged":2}`)
	r.Verdict = verdict.Verdict{Decision: verdict.Admitted, Policy: "validators sha256:00", At: r.At}
	encoded, err := r.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	again, err := evidence.ParseRecord(encoded)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, encoded)
	}
	f := &evidence.File{Record: again, Blobs: blobs}
	if verifyErr != nil {
		_, err := f.Verify()
		if err == nil || err.Error() != verifyErr.Error() {
			s.t.Fatalf("recorded %v, again %v", verifyErr, err)
		}
	}
	return f
}

func TestRecordGivesTheSameEvidence(t *testing.T) {
	s := newScene(t)
	first := s.passes()
	f := s.record()
	v, err := f.Verify()
	if err != nil {
		t.Fatal(err)
	}
	if v.Clock() != first.Clock() || v.IMA().End != first.IMA().End || !reflect.DeepEqual(v.Facts(), first.Facts()) {
		t.Error("the recorded evidence says something else")
	}
	// A later round, which continues the list and knows the log.
	s.remember(first)
	from := s.want.IMA.Bytes
	s.run("/usr/bin/second")
	s.raw.IMA = s.raw.IMA[from:]
	s.want.Challenge.Beacon = binding.Beacon{Height: 8, Hash: [32]byte{8}}
	s.answer()
	second := s.passes()
	later := s.record(f.Record.IMA)
	for d, b := range f.Blobs {
		later.Blobs[d] = b
	}
	if v, err = later.Verify(); err != nil {
		t.Fatal(err)
	}
	if v.IMA().End != second.IMA().End || v.IMA().Len() != 1 || v.Transition() != evidence.SameEpoch {
		t.Errorf("recorded %+v", v.IMA().End)
	}
	exported, err := later.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := later.VerifyWhole()
	if err != nil || whole.IMA().Len() != 3 || whole.IMA().End != second.IMA().End {
		t.Errorf("as a whole: %v", err)
	}
	if whole, err = f.VerifyWhole(); err != nil || whole.IMA().Len() != 2 {
		t.Errorf("the first round as a whole: %v", err)
	}
	back, err := evidence.ParseFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Marshal(); err != nil || !bytes.Equal(again, exported) {
		t.Errorf("exported in two forms: %v", err)
	}
	if _, err := back.Verify(); err != nil {
		t.Error(err)
	}
}

func TestRecordOfRefusals(t *testing.T) {
	for name, break_ := range map[string]func(s *scene){
		"signature": func(s *scene) { s.raw.Signature[20] ^= 1 },
		"nonce":     func(s *scene) { s.want.Challenge.Nonce[0]++ },
		"selection": func(s *scene) { s.want.PCRs = quotedPCRs[:13] },
		"no log":    func(s *scene) { s.raw.BootLog = nil },
		"other log": func(s *scene) { s.raw.BootLog = []byte("other") },
		"list":      func(s *scene) { s.raw.IMA = s.raw.IMA[:len(s.raw.IMA)-1] },
		"rollback":  func(s *scene) { s.want.Previous.Epoch.Reset = 9 },
		"known log of another epoch": func(s *scene) {
			s.remember(s.passes())
			s.node.Resume()
			s.answer()
		},
		"nothing": func(s *scene) { s.raw = evidence.Raw{} },
	} {
		each(t, name, func(s *scene) {
			break_(s)
			if _, err := s.verify(); err == nil {
				t.Fatal("verified")
			}
			s.record()
		})
	}
}

func TestA178_RecordsAndBlobsAltered(t *testing.T) {
	s := newScene(t)
	f := s.record()
	if _, err := f.Verify(); err != nil {
		t.Fatal(err)
	}
	for d, honest := range f.Blobs {
		f.Blobs[d] = append(bytes.Clone(honest), 0)
		if _, err := f.Verify(); err == nil {
			t.Errorf("blob %v altered, and the record verifies", d)
		}
		delete(f.Blobs, d)
		if _, err := f.Verify(); err == nil {
			t.Errorf("blob %v missing, and the record verifies", d)
		}
		f.Blobs[d] = honest
	}
	encoded, err := f.Record.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	text := string(encoded)
	for name, other := range map[string]string{
		"space":     strings.Replace(text, ":", ": ", 1),
		"trailing":  text + "\n",
		"twice":     text + text,
		"unknown":   strings.Replace(text, "{", `{"extra":1,`, 1),
		"repeated":  strings.Replace(text, "{", `{"node":"x",`, 1),
		"case":      strings.Replace(text, `"node"`, `"Node"`, 1),
		"format":    strings.Replace(text, "evidence/v1", "evidence/v2", 1),
		"bank":      strings.Replace(text, `"bank":"sha256"`, `"bank":"sha1"`, 1),
		"time":      strings.Replace(text, "15:00:00Z", "15:00:00.5Z", 1),
		"time zone": strings.Replace(text, "15:00:00Z", "16:00:00+01:00", 1),
		"digest":    strings.Replace(text, "sha256:", "sha256:A", 1),
		"empty":     "",
		"null":      "null",
		"list":      "[]",
	} {
		if other == text {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := evidence.ParseRecord([]byte(other)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// A position in the list is only as good as the entries that lead to it.
func TestRecordedPositionIsReplayed(t *testing.T) {
	s := newScene(t)
	f := s.record()
	s.remember(s.passes())
	s.answer()
	good := s.record(f.Record.IMA)
	maps.Copy(good.Blobs, f.Blobs)
	if _, err := good.Verify(); err != nil {
		t.Fatalf("the twin is refused: %v", err)
	}
	missing := s.record()
	if _, err := missing.Verify(); err == nil {
		t.Error("a position without its entries is believed")
	}
	moved := s.record(f.Record.IMA)
	maps.Copy(moved.Blobs, f.Blobs)
	moved.Record.IMAStart.Entries++
	if _, err := moved.Verify(); err == nil {
		t.Error("a position at another entry is believed")
	}
	twice := s.record(f.Record.IMA, f.Record.IMA)
	maps.Copy(twice.Blobs, f.Blobs)
	if _, err := twice.Verify(); err == nil {
		t.Error("entries behind the position are ignored")
	}
}

func TestParseFileIsExact(t *testing.T) {
	s := newScene(t)
	f := s.record()
	good, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.ParseFile(good); err != nil {
		t.Fatal(err)
	}
	parse := func(change func(*evidence.File)) error {
		other := &evidence.File{Record: f.Record, Blobs: maps.Clone(f.Blobs)}
		change(other)
		b, err := other.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = evidence.ParseFile(b)
		return err
	}
	any := slices.Collect(maps.Keys(f.Blobs))[0]
	for name, change := range map[string]func(*evidence.File){
		"no record":  func(f *evidence.File) { f.Record = nil },
		"no blobs":   func(f *evidence.File) { f.Blobs = nil },
		"one less":   func(f *evidence.File) { delete(f.Blobs, any) },
		"one more":   func(f *evidence.File) { f.Blobs[evidence.Sum([]byte("x"))] = []byte("x") },
		"other blob": func(f *evidence.File) { f.Blobs[any] = []byte("x") },
	} {
		if parse(change) == nil {
			t.Errorf("%s: parsed", name)
		}
	}
	if _, err := evidence.ParseFile(append(good, ' ')); err == nil {
		t.Error("trailing space parsed")
	}
}

func TestRecordedChallengesOfWrongSizes(t *testing.T) {
	for name, change := range map[string]func(*evidence.Challenge){
		"nonce":      func(c *evidence.Challenge) { c.Nonce = c.Nonce[:31] },
		"long nonce": func(c *evidence.Challenge) { c.Nonce = make([]byte, 33) },
		"exporter":   func(c *evidence.Challenge) { c.Exporter = nil },
		"block":      func(c *evidence.Challenge) { c.Block = make([]byte, 5) },
	} {
		f := newScene(t).record()
		change(&f.Record.Challenge)
		if _, err := f.Verify(); err == nil {
			t.Errorf("%s: verified", name)
		}
		f = newScene(t).record()
		change(&f.Record.Challenges[0])
		if _, err := f.Verify(); err == nil {
			t.Errorf("%s among all: verified", name)
		}
	}
}
