package ledger

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
)

// brief is a pace at which admissions end while a test looks on.
var brief = site.Timing{ChallengeEvery: time.Second, LateAfter: 8 * time.Second, AdmissionFor: 12 * time.Second}

// frozen waits until the set is frozen, and checks that blocks go on and that no
// more than a third of the power has left: who lapses alone, before it shows that
// everyone does, may go.
func (l *Ledger) frozen(t *testing.T, ctx context.Context) {
	t.Helper()
	var since uint64
	err := site.Poll(ctx, func() bool {
		s, err := l.Power(ctx)
		since = s.Frozen
		return err == nil && since > 0
	})
	if err != nil {
		t.Fatalf("the set is not frozen: %v", err)
	}
	if err := l.Chain.Reach(ctx, int64(since)+5); err != nil {
		t.Fatalf("the chain stands: %v", err)
	}
	s, err := l.Power(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Frozen == 0 || 3*s.Total <= 2*machines*chain.Power {
		t.Errorf("frozen since %d, total power %d of %d", s.Frozen, s.Total, machines*chain.Power)
	}
	t.Logf("frozen since height %d with power %d of %d", s.Frozen, s.Total, machines*chain.Power)
}

// keeps checks that all machines had their power in every block from a height on.
func (l *Ledger) keeps(t *testing.T, ctx context.Context, from int64) {
	t.Helper()
	now, err := l.Chain.Nodes[0].Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for height := from; height <= now; height++ {
		set, err := l.Chain.Nodes[0].Validators(ctx, height)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range l.Machines {
			if set[m.Node.Key()] != chain.Power {
				t.Fatalf("height %d: %s has power %d", height, m.ID, set[m.Node.Key()])
			}
		}
	}
	t.Logf("all %d machines had their power from height %d to %d", machines, from, now)
}

// stand waits until everyone's admission stands, on the ledger.
func (l *Ledger) stand(t *testing.T, ctx context.Context) {
	t.Helper()
	err := site.Poll(ctx, func() bool {
		s, err := l.Power(ctx)
		stand := err == nil && s.Held == 0 && s.Frozen == 0 && len(s.Nodes) == machines
		for _, n := range s.Nodes {
			stand = stand && n.Stands
		}
		return stand
	})
	if err != nil {
		t.Fatalf("not everyone is admitted again: %v", err)
	}
}

// With one verifier of three down, renewals go on. With two down they cannot, and
// all admissions end; the set is frozen and blocks go on. Once one of the two is
// back, everyone is admitted again by evidence. In no block of all this does anybody
// have less power.
func TestVerifiersDown(t *testing.T) {
	ctx, l := running(t, brief)
	began := time.Now()
	l.Members.Sites[0].Kill()
	err := site.Poll(ctx, func() bool {
		s, err := l.Power(ctx)
		renewed := err == nil
		for _, n := range s.Nodes {
			renewed = renewed && n.Ends.After(began.Add(brief.AdmissionFor+time.Second)) // of a statement made since
		}
		return renewed && len(s.Nodes) == machines
	})
	if err != nil {
		t.Fatalf("with one verifier down nobody is renewed: %v", err)
	}
	from, err := l.Chain.Nodes[0].Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Members.Sites[1].Kill()
	l.frozen(t, ctx)
	if text, _ := l.Members.Sites[0].Output(ctx, "quorate-gate", "status", "--node", l.Chain.Nodes[0].RPC); !strings.Contains(string(text), "no quorum of verifiers seen since") {
		t.Errorf("quorate-gate status does not say why: %s", text)
	}
	l.keeps(t, ctx, from)
	if err := l.Members.Sites[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	l.stand(t, ctx)
	l.everyone(t, ctx)
	l.keeps(t, ctx, from)
	if _, err := l.Chain.Same(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// A policy that refuses every machine comes into force by mistake. The set is
// frozen, the gate says so, the chain goes on. With the right policy back in force,
// and a word of the machines' own operators, who latched suspensions wait for,
// everyone is admitted again.
func TestA173_PolicyThatRefusesEverybody(t *testing.T) {
	ctx, l := running(t, brief)
	wrong := l.path("wrong")
	like := l.Machines[0].ID
	learn := func(out string, more ...string) error {
		args := append([]string{"policy", "learn", like, "--out", out, "--challenge-every", "1s", "--late-after", "8s", "--admission-for", "12s"}, more...)
		_, err := l.Members.Sites[0].Quorate(ctx, nil, args...)
		return err
	}
	if err := learn(wrong); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(wrong, "policy.yaml"), "root=", "rooot=")
	if err := l.Members.Approve(ctx, wrong); err != nil {
		t.Fatal(err)
	}
	l.frozen(t, ctx)
	if text, _ := l.Members.Sites[0].Output(ctx, "quorate-gate", "status", "--node", l.Chain.Nodes[0].RPC); !strings.Contains(string(text), "FROZEN") {
		t.Errorf("quorate-gate status does not ring: %s", text)
	}
	right := l.path("right")
	if err := learn(right); err != nil {
		t.Fatal(err)
	}
	if err := l.Members.Approve(ctx, right); err != nil {
		t.Fatal(err)
	}
	for i, m := range l.Machines {
		for _, s := range l.Members.Sites {
			_, err := l.Members.Sites[i%len(members)].Quorate(ctx, nil, "node", "resume", m.ID, "--reason", "the policy was wrong", "--verifier", s.Verifier)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	l.everyone(t, ctx)
	if _, err := l.Chain.Same(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in a file.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), old, new)
	if text == string(raw) {
		t.Fatalf("%s does not say %q:\n%s", path, old, raw)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
