package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// running starts a whole network in which all five machines are validators.
func running(t *testing.T, pace site.Timing) (context.Context, *Ledger) {
	t.Helper()
	return runningWith(t, Setup{Pace: pace})
}

func runningWith(t *testing.T, s Setup) (context.Context, *Ledger) {
	t.Helper()
	swtpm.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 85*time.Second)
	t.Cleanup(cancel)
	s.Bin, s.Dir = programs, t.TempDir()
	l, err := New(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	t.Cleanup(func() { l.explain(t) })
	joiner := l.Machines[machines-1]
	if err := l.Chain.Reach(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Chain.Nodes[0].Send(ctx, joiner.Node.Ask(chain.Power)); err != nil {
		t.Fatal(err)
	}
	if err := joiner.Courier.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Chain.Reach(ctx, grace+1); err != nil {
		t.Fatal(err)
	}
	l.everyone(t, ctx)
	return ctx, l
}

// everyone waits until all machines have their power and sign.
func (l *Ledger) everyone(t *testing.T, ctx context.Context) {
	t.Helper()
	var missing string
	err := site.Poll(ctx, func() bool {
		s, err := l.Power(ctx)
		missing = fmt.Sprint(err)
		for _, m := range l.Machines {
			if v := validator(s, m); v.Effective != chain.Power {
				missing = fmt.Sprintf("%s has power %d: %s", m.ID, v.Effective, v.Reason)
				return false
			}
		}
		return err == nil && s.Frozen == 0
	})
	if err != nil {
		t.Fatalf("not everyone is in the set: %v: %s", err, missing)
	}
	height, err := l.Chain.Nodes[0].Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l.Machines {
		if _, err := l.signs(ctx, m, height); err != nil {
			t.Fatal(err)
		}
	}
}

// explain shows what the programs said last, if the test has failed.
func (l *Ledger) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	for _, m := range l.Machines {
		for _, s := range []*site.Service{m.Agent, m.Signer, m.Node.App, m.Node.Gate, m.Node.Comet} {
			t.Logf("%s: %s started %d times, running %t: %s", m.ID, s.Log, s.Starts(), s.Running(), s.Output())
		}
	}
}

// Gates, nodes, applications, agents and verifiers are killed at random instants
// while transactions come in. All come back, nobody loses power for it, nothing
// that was in a block is lost, and all have the same ledger.
func TestKilledAtRandomUnderLoad(t *testing.T) {
	ctx, l := running(t, Pace)
	load := chain.NewLoad(l.Chain)
	load.Start(ctx)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for kill := range 16 {
		instant := time.Duration(200+random.IntN(800)) * time.Millisecond
		if !pause(ctx, instant) {
			t.Fatalf("no time left for kill %d", kill)
		}
		m := l.Machines[random.IntN(machines)]
		switch random.IntN(5) {
		case 0:
			m.Node.Gate.Kill()
		case 1:
			m.Node.Comet.Kill()
		case 2:
			m.Node.App.Kill()
		case 3:
			m.Agent.Kill()
		case 4:
			s := l.Members.Sites[random.IntN(len(members))]
			s.Kill()
			if err := s.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := load.Stored()
	if err := site.Poll(ctx, func() bool { return load.Stored() > before+5 }); err != nil {
		t.Fatalf("after the last kill only %d transactions went through: %v", load.Stored()-before, err)
	}
	l.everyone(t, ctx)
	stored := load.Stop()
	height, err := l.Chain.Same(ctx, stored)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions in %d blocks, the same on %d machines", len(stored), height, machines)
}
