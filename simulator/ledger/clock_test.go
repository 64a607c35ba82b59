package ledger

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
)

// steady is a pace for hosts whose clocks are far off: their admissions last.
var steady = site.Timing{ChallengeEvery: 2 * time.Second, LateAfter: 20 * time.Second, AdmissionFor: 30 * time.Minute}

// The clock of one host is ten minutes ahead: that of its agent, signer, gate,
// node and application. It is admitted and signs; time on the ledger stays right,
// its gate decides as all others, and it gains no time when it is attacked.
func TestClockOfOneHostTenMinutesAhead(t *testing.T) {
	ahead := 10 * time.Minute
	bin := t.TempDir()
	if err := site.BuildWithClock(t.Context(), bin, int(ahead.Seconds()), append(chain.Programs, "github.com/quorate/quorate/cmd/quorate-agent")...); err != nil {
		t.Fatal(err)
	}
	ctx, l := runningWith(t, Setup{Pace: steady, Odd: bin})
	m := l.Machines[odd]
	if off := time.Until(logged(t, filepath.Join(m.Dir, "agent.log"))); off < ahead-time.Minute {
		t.Fatalf("the clock is %s ahead, not %s", off, ahead)
	}
	now, err := m.Node.BlockTime(ctx)
	if err != nil || time.Until(now) > time.Minute {
		t.Errorf("the ledger's time is %s ahead: %v", time.Until(now), err)
	}
	height, err := l.Chain.Nodes[0].Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := m.Exec(miner, sha256.Sum256([]byte("miner"))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.leaves(ctx, m, height); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > evictionBound {
		t.Errorf("it was in the set for %s, at most %s were promised", took, evictionBound)
	}
	if _, err := l.Chain.Same(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// logged is the time of the last line of a log.
func logged(t *testing.T, path string) time.Time {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	var line struct{ Time time.Time }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatal(err)
	}
	return line.Time
}
