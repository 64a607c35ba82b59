package appraise

import (
	"testing"

	"github.com/quorate/quorate/verifier/eventlog"
)

// Where only values are measured, a host can name any variable BootOrder.
func TestRefusesClaimedBootOrderAsFact(t *testing.T) {
	all := copier{reads: func(string) bool { return true }}
	f := &eventlog.Facts{Boot: eventlog.Boot{Order: []int{3, 1}, OrderFrom: eventlog.Claimed}}
	if got := all.boot(f).Order; len(got) != 0 {
		t.Errorf("rules see the claimed order %v", got)
	}
	f.Boot.OrderFrom = eventlog.Measured
	if got := all.boot(f).Order; len(got) != 2 || got[0] != 3 {
		t.Errorf("rules see %v of a measured order", got)
	}
}
