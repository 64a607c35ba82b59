package rpc

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/attack"
)

// The hostile set against a verifier that knows the attacker's vendor and a policy
// that admits its boots: everything is refused by the check that has to, and a
// genuine host is admitted before and after.
func TestHostileSet(t *testing.T) {
	w := newWorld(t, manyHosts)
	w.teach()
	report, err := attack.Run(t.Context(), attack.Options{
		Consortium: w.consortium, Verifier: w.self, Node: member + "/attacker", Token: w.invite(member + "/attacker"), Vendor: w.vendor,
	})
	must(t, err)
	for _, row := range report.Rows {
		if row.Outcome != attack.Refused && row.Outcome != attack.Passed {
			t.Errorf("%s: %s: %s by %q, want %v: %s", row.Group, row.Name, row.Outcome, row.By, row.Expected, row.Detail)
		}
	}
	_ = slices.Contains[[]string]
}
