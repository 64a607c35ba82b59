package permit

import (
	"testing"
	"time"
)

// A host that is no longer admitted signs only while the ledger would halt
// without it, and never for a reason of the host's own.
func TestLedgerThatNeedsTheKey(t *testing.T) {
	now := time.Now()
	moving := Ledger{Asked: now, Height: 7, Moved: now, Power: 10}
	long := now.Add(-time.Hour)
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   CheckID // empty: it signs
	}{
		{"frozen", func(f *Facts) { f.Ledger.Frozen = true }, ""},
		{"stands", func(f *Facts) { f.Ledger.Moved = now.Add(-StandsAfter - time.Second) }, ""},
		{"has not judged", func(f *Facts) { f.Good = now.Add(-Judging + time.Second) }, ""},
		{"goes on", func(*Facts) {}, Suspended},
		{"never was admitted", func(f *Facts) { f.Good = time.Time{} }, Suspended},
		{"has judged: no power", func(f *Facts) { f.Good, f.Ledger.Power = now, 0 }, Suspended},
		{"frozen without it", func(f *Facts) { f.Ledger.Frozen, f.Ledger.Power = true, 0 }, Suspended},
		{"frozen, long ago", func(f *Facts) { f.Ledger.Frozen, f.Ledger.Asked = true, now.Add(-time.Minute) }, Suspended},
		{"says nothing", func(f *Facts) { f.Good, f.Ledger = now, Ledger{} }, Suspended},
		{"frozen, the host moved", func(f *Facts) { f.Ledger.Frozen, f.Measured = true, false }, Moved},
		{"frozen, no key", func(f *Facts) { f.Ledger.Frozen, f.Released = true, false }, Sealed},
		{"frozen, nothing saved", func(f *Facts) { f.Ledger.Frozen, f.Saved = true, false }, Unsaved},
	} {
		f := Facts{Released: true, Measured: true, Looked: now, Saved: true, Standing: Standing{Suspended: true}, Ledger: moving, Good: long}
		c.change(&f)
		var got CheckID
		if r := Decide(f, now); r != nil {
			got = r.Check
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLedgerMoves(t *testing.T) {
	begin := time.Now()
	l := Ledger{}.Next(3, 10, false, begin)
	if l = l.Next(3, 10, true, begin.Add(time.Second)); !l.Moved.Equal(begin) || !l.Frozen || !l.Asked.After(begin) {
		t.Errorf("the same height: %+v", l)
	}
	if l = l.Next(4, 10, true, begin.Add(2*time.Second)); !l.Moved.Equal(l.Asked) {
		t.Errorf("another height: %+v", l)
	}
}
