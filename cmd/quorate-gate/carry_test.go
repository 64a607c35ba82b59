package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
)

// A courier brings the bundle that it finds, by the first node that answers, and
// each one that takes its place; one that the gate refuses does not stop it.
func TestCarry(t *testing.T) {
	w := newWorld(t)
	w.serveApplication()
	w.startGate("socket")
	w.startNode("socket")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	k := &courier{nodes: []string{"http://127.0.0.1:1", w.rpc}, bundles: []string{w.path("carried.bundle")}}
	log, err := os.Create(w.path("courier.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w.write("carried.bundle", w.bundle(2*time.Hour, "org-a"))
	go func() { ended <- (&cli{out: io.Discard, err: log}).carry(ctx, k) }()
	w.until("one admission of two is refused", func() bool {
		said, err := os.ReadFile(log.Name())
		return err == nil && strings.Contains(string(said), string(admission.Threshold))
	})
	for _, lasts := range []time.Duration{2 * time.Hour, 3 * time.Hour} {
		w.write("carried.bundle", w.bundle(lasts))
		w.until("the bundle is on the ledger", func() bool { return time.Until(w.ends()) > lasts-time.Minute })
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// ends is when the seat of the only node ends.
func (w *world) ends() time.Time {
	w.Helper()
	_, out, _ := quorateGate("status", "--json", "--node", w.rpc)
	var s power.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Nodes) != 1 {
		return time.Time{}
	}
	return s.Nodes[0].Ends
}

func TestCarryUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--node", "http://127.0.0.1:1"}, {"--bundle", "x"}, {"--node", "http://127.0.0.1:1", "--consortium", "x"}} {
		code, _, errs := quorateGate(append([]string{"carry", "--key", ""}, args...)...)
		if code != program.Usage || !strings.Contains(errs, "hint: ") {
			t.Errorf("%q: exit %d, %q", args, code, errs)
		}
	}
}
