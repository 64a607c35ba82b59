package admission_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
)

// A gate remembers what it verified, the verifiers fall silent, and the gate is
// restarted in between. Nothing that it remembers gets older than it may.
func TestA175_StaleMemory(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	bundle, roster := n.bundle(nil), n.roster(1, nil)
	kept, list := n.accept(bundle), n.verifyRoster(roster, nil)
	end := kept.NotAfter()
	for _, at := range []time.Time{now, end.Add(-time.Second)} {
		if !kept.ValidAt(at) {
			t.Errorf("twin: not valid at %v", at)
		}
		if _, err := n.VerifyBundle(bundle, n.want(), at); err != nil {
			t.Errorf("twin: %v", err)
		}
	}
	if err := admission.CheckAgainstRoster(kept, list); err != nil {
		t.Errorf("twin: %v", err)
	}

	after := end.Add(end.Sub(now)) // twice its life
	if kept.ValidAt(end) || kept.ValidAt(after) {
		t.Error("a remembered admission outlives its end")
	}
	_, err := n.VerifyBundle(bundle, n.want(), after) // as a restarted gate reads it from its disk
	wantRefusal(t, err, admission.Expired)
	_, err = n.VerifyRoster(roster, n.rosterWant(nil), after)
	wantRefusal(t, err, admission.RosterStale)
	_, err = n.VerifyRoster(roster, n.rosterWant(list), after) // the same again is no fresh word
	wantRefusal(t, err, admission.RosterStale)
}
