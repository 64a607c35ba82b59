package appraise

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/policy"
)

// A host with a key can extend and log thousands of unknown things. Saying what was
// wanted instead must not take a sorted manifest for each.
func TestRefusesFullLogsQuickly(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	for _, m := range manifests {
		if m.Name != lesson.Name+"-firmware" {
			continue
		}
		for i := range 50_000 {
			m.Entries = append(m.Entries, policy.Entry{Kind: policy.KindFirmware, Digest: fmt.Sprintf("sha256:%064x", i+1)})
		}
	}
	set := compile(t, p, manifests)
	facts := *h.whole().Facts()
	for i := range eventlog.DefaultLimits.Events {
		facts.Firmware.Blobs = append(facts.Firmware.Blobs, eventlog.Blob{Measurement: eventlog.Measurement{Digest: eventlog.Digest(fmt.Sprintf("f%031d", i))}})
		facts.CommandLines = append(facts.CommandLines, eventlog.CommandLine{Text: fmt.Sprint(i), TextFrom: eventlog.Measured})
	}
	began := time.Now()
	b := &boot{newReport(0, 0), set, set.Policy(), &facts, noon}
	b.firmware()
	b.commandLine()
	if took := time.Since(began); took > 5*time.Second || len(b.findings) != 2*(maxRepeats+1) {
		t.Errorf("%d findings in %v", len(b.findings), took)
	}
}
