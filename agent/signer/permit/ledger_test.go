package permit

import (
	"testing"
	"time"
)

// A host that is no longer admitted signs only while the ledger would halt
// without it, and never for a reason of the host's own.
func TestLedgerThatNeedsTheKey(t *testing.T) {
	now := time.Now()
	goesOn := Ledger{Asked: now, Power: 10}
	long := now.Add(-time.Hour)
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   CheckID // empty: it signs
	}{
		{"kept", func(f *Facts) { f.Ledger.Keeps = true }, ""},
		{"has not judged", func(f *Facts) { f.Good = now.Add(-Judging + time.Second) }, ""},
		{"goes on", func(*Facts) {}, Suspended},
		{"never was admitted", func(f *Facts) { f.Good, f.Ledger.Keeps = time.Time{}, true }, Suspended},
		{"frozen for too long", func(f *Facts) { f.Good, f.Ledger.Keeps = now.Add(-Held-time.Second), true }, Suspended},
		{"has judged: no power", func(f *Facts) { f.Good, f.Ledger.Power = now, 0 }, Suspended},
		{"frozen without it", func(f *Facts) { f.Ledger.Keeps, f.Ledger.Power = true, 0 }, Suspended},
		{"frozen, long ago", func(f *Facts) { f.Ledger.Keeps, f.Ledger.Asked = true, now.Add(-time.Minute) }, Suspended},
		{"says nothing", func(f *Facts) { f.Good, f.Ledger = now, Ledger{} }, Suspended},
		{"frozen, the host moved", func(f *Facts) { f.Ledger.Keeps, f.Measured = true, false }, Moved},
		{"frozen, no key", func(f *Facts) { f.Ledger.Keeps, f.Released = true, false }, Sealed},
		{"frozen, nothing saved", func(f *Facts) { f.Ledger.Keeps, f.Saved = true, false }, Unsaved},
	} {
		f := Facts{Released: true, Measured: true, Looked: now, Saved: true, Standing: Standing{Suspended: true}, Ledger: goesOn, Good: long}
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
