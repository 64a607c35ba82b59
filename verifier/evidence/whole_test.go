package evidence_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
)

// A host whose list outgrew the limit of one piece was admitted in good order. If
// the decision could not be made again, its verifier would look like a liar.
func TestWholeListLongerThanOnePiece(t *testing.T) {
	s := newScene(t)
	grow := func() {
		for i := range 40 {
			e := bootlog.BufferEntry(fmt.Sprintf("key-%d-%d", len(s.list.Entries), i), bytes.Repeat([]byte{byte(i)}, ima.DefaultLimits.Data-1024))
			s.list.Entries = append(s.list.Entries, e)
			(&bootlog.List{Entries: []bootlog.Entry{e}}).Replay(&s.node.PCRs)
		}
		s.raw.IMA = s.list.Bytes()[s.want.IMA.Bytes:]
	}
	grow()
	s.answer()
	earlier := evidence.Sum(s.raw.IMA)
	piece := s.raw.IMA
	s.remember(s.passes())
	grow()
	s.want.Challenge.Nonce = [32]byte{9}
	s.answer()
	v := s.passes()
	s.raw.BootLog = s.log.Bytes()
	r, blobs := evidence.NewRecord(s.raw, s.want, v, at)
	r.IMAEarlier = []evidence.Digest{earlier}
	blobs[earlier] = piece

	whole, err := (&evidence.File{Record: r, Blobs: blobs}).VerifyWhole()
	if err != nil {
		t.Fatal(err)
	}
	if whole.IMA().Start.Entries != 0 || whole.IMA().End != v.IMA().End || len(whole.IMA().Bytes()) <= ima.DefaultLimits.Bytes {
		t.Errorf("entries %d to %d, %d bytes", whole.IMA().Start.Entries, whole.IMA().End.Entries, len(whole.IMA().Bytes()))
	}
	blobs[earlier] = piece[:len(piece)-1]
	if _, err := (&evidence.File{Record: r, Blobs: blobs}).VerifyWhole(); err == nil {
		t.Error("a list cut short is accepted")
	}
}
