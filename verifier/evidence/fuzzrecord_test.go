package evidence_test

import (
	"bytes"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/evidence"
)

// FuzzRecord feeds records and exported files. What parses is its own encoding,
// and verifying it ends in a value or an error.
func FuzzRecord(f *testing.F) {
	s := newScene(f)
	file := s.record()
	record, err := file.Record.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	whole, err := file.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{record, whole, []byte(`{"record":null,"blobs":null}`)} {
		if len(seed) == 0 {
			f.Fatal("an empty seed")
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = evidence.ParseRecord(b) })
		weigh.Bounded(t, len(b), func() { _, _ = evidence.ParseFile(b) })
		if r, err := evidence.ParseRecord(b); err == nil {
			if again, err := r.Marshal(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("not the only encoding: %v", err)
			}
			_, _ = evidence.FromRecord(r, file.Blobs)
		}
		if other, err := evidence.ParseFile(b); err == nil {
			if again, err := other.Marshal(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("not the only encoding: %v", err)
			}
			_, _ = other.Verify()
		}
	})
}
