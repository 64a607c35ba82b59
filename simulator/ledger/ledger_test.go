package ledger

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// programs is the folder of the programs, built once.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ledger-")
	if err == nil {
		programs, err = dir, site.Build(context.Background(), dir, chain.Programs...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // leaves a temporary folder behind
	os.Exit(code)
}

// running starts a whole network.
func running(t *testing.T) (context.Context, *Ledger) {
	t.Helper()
	swtpm.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 85*time.Second)
	t.Cleanup(cancel)
	began := time.Now()
	dir := t.TempDir()
	l, err := New(ctx, programs, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	t.Logf("set up in %s", time.Since(began))
	return ctx, l
}

func TestStory(t *testing.T) {
	ctx, l := running(t)
	if err := l.Chain.Reach(ctx, 20); err != nil {
		for _, m := range l.Machines {
			t.Logf("%s: comet %s\ngate %s\nsigner %s", m.ID, m.Node.Comet.Output(), m.Node.Gate.Output(), m.Signer.Output())
		}
		t.Fatal(err)
	}
	s, err := l.Chain.Nodes[0].Power(ctx)
	t.Logf("%+v %v", s, err)
}
