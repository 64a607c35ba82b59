package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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

// The second suite: what the story promises comes true, in its order.
func TestStory(t *testing.T) {
	swtpm.Require(t)
	out := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	if err := Run(t.Context(), Options{Bin: programs, Out: out}, t.Output()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(out, "ledger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if j := r.Joiner; j.Before != 0 || j.Power != chain.Power || j.Signed == 0 || j.Single != "admission.threshold" {
		t.Errorf("joiner: %+v", j)
	}
	if a := r.Attack; a.Signer != "signer.suspended" || a.Again != "power.barred" || a.Out > a.Bound || a.Blocks < 3 {
		t.Errorf("attack: %+v", a)
	}
	if b := r.Return; b.Power != chain.Power || b.Signed <= r.Attack.Height || !r.SameHash {
		t.Errorf("return: %+v", b)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "quorate-ledger-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Ctrl-C while five machines start leaves no process and no folder behind.
func TestInterrupted(t *testing.T) {
	swtpm.Require(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Setenv("TMPDIR", t.TempDir())
	began := func() bool {
		sockets, err := filepath.Glob(filepath.Join(os.TempDir(), "quorate-ledger-*", "nodes", "*", "gate.sock"))
		return err == nil && len(sockets) > 1
	}
	go func() {
		_ = site.Poll(t.Context(), began) // if it never is so, Run ends by itself
		cancel()
	}()
	if err := Run(ctx, Options{Bin: programs, Out: t.TempDir()}, t.Output()); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("an interrupted story returned %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "quorate-ledger-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if out, err := exec.Command("pgrep", "-f", os.TempDir()).Output(); err == nil {
		t.Errorf("processes left: %s", out)
	}
}
