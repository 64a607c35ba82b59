package eventlog

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
)

// oddities are all rows of the table of tolerated departures.
var oddities = []string{
	oddVersion, oddHandoff, oddEarlyApp, oddExitFailure, oddLateBootVariables, oddValueOnly, oddEmptySecureBoot, oddShimAuthority, oddGrubSpace,
}

// Genuine machines differ. Whatever one of them does that hides nothing is read, and
// told where the specification has it otherwise; whatever hides something is refused
// by name. Every tolerated departure has a composed log that shows it.
func TestQuirks(t *testing.T) {
	twin := admitted(t, bootlog.Debian().Log().Bytes())
	shown := map[string]bool{}
	for _, q := range bootlog.Quirks() {
		t.Run(q.Name, func(t *testing.T) {
			log := bootlog.Debian().Log()
			q.Apply(log)
			if q.Check != "" {
				refused(t, log.Bytes(), q.Check)
				return
			}
			facts := admitted(t, log.Bytes())
			for _, odd := range facts.Oddities {
				shown[odd] = true
			}
			told := slices.ContainsFunc(facts.Oddities, func(odd string) bool { return !slices.Contains(twin.Oddities, odd) })
			if told != q.Odd {
				t.Errorf("oddities %q", facts.Oddities)
			}
			if len(facts.CommandLines) != len(twin.CommandLines) || len(facts.Images) < len(twin.Images) || len(facts.Kernels) != len(twin.Kernels) {
				t.Errorf("the boot reads otherwise: %+v", facts)
			}
		})
	}
	for _, odd := range oddities {
		if !shown[odd] {
			t.Errorf("no composed log shows: %s", odd)
		}
	}
	if len(shown) != len(oddities) {
		t.Errorf("%d departures are shown, the table has %d", len(shown), len(oddities))
	}
}
