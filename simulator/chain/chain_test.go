package chain

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/site"
)

// programs is the folder of the programs, built once.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "chain-")
	if err == nil {
		programs, err = dir, site.Build(context.Background(), dir, Programs...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // leaves a temporary folder behind
	os.Exit(code)
}

// running starts a network whose founders need no admission while a test lasts.
func running(t *testing.T, nodes int) (context.Context, *Network) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 85*time.Second)
	t.Cleanup(cancel)
	n, err := New(Options{Bin: programs, Dir: t.TempDir(), ID: "chain-1", Nodes: nodes, Founders: nodes, Commit: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	for _, node := range n.Nodes {
		if err := node.Start(ctx, gateArguments(t, n)...); err != nil {
			t.Fatal(err)
		}
	}
	return ctx, n
}

func gateArguments(t *testing.T, n *Network) []string {
	t.Helper()
	c, err := issuer.New(issuer.Setup{Ledger: admission.Ledger{ID: n.ID, Genesis: n.Genesis}, Test: true})
	if err != nil {
		t.Fatal(err)
	}
	consortium, rules := filepath.Join(n.Dir, "consortium.yaml"), filepath.Join(n.Dir, "rules.yaml")
	for path, text := range map[string][]byte{
		consortium: c.File, rules: []byte("rules: quorate/power-rules/v1\nfrom:\n  - {height: 1, unattestedUntil: 100000}\n"),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--consortium", consortium, "--rules", rules}
}

// reach waits until every node has a block of that height.
func reach(t *testing.T, ctx context.Context, n *Network, height int64) {
	t.Helper()
	if err := n.Reach(ctx, height); err != nil {
		for _, node := range n.Nodes {
			t.Logf("%s: comet %s\ngate %s", node.Name, node.Comet.Output(), node.Gate.Output())
		}
		t.Fatal(err)
	}
}

// Each of the three programs of a machine is killed while transactions come in;
// afterwards every machine has the same blocks, and all transactions are there.
func TestKilledProgramsComeBack(t *testing.T) {
	ctx, n := running(t, 4)
	reach(t, ctx, n, 2)
	load := NewLoad(n)
	load.Start(ctx)
	for i, kill := range []*site.Service{n.Nodes[0].Gate, n.Nodes[1].App, n.Nodes[2].Comet} {
		before := load.Stored()
		kill.Kill()
		if err := site.Poll(ctx, func() bool { return load.Stored() > before+5 }); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
	}
	stored := load.Stop()
	if _, err := n.Same(ctx, stored); err != nil {
		t.Fatal(err)
	}
}

// A network that falls into halves makes no block in either, and goes on with
// one history when they meet again.
func TestSplitNetworkStandsAndGoesOn(t *testing.T) {
	ctx, n := running(t, 4)
	reach(t, ctx, n, 2)
	n.Split(func(node int) bool { return node < 2 })
	still, err := n.Still(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n.Join()
	reach(t, ctx, n, still+3)
	if _, err := n.Same(ctx, nil); err != nil {
		t.Fatal(err)
	}
}
