package demo

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// build compiles the programs as the README says.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := site.Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// The demo's result is what its story promises.
func TestDemo(t *testing.T) {
	swtpm.Require(t)
	out := t.TempDir()
	if err := Run(t.Context(), Options{Bin: build(t), Out: out}, t.Output()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Admitted) != 3 || len(r.Refused) != 1 || r.Refused[0].Check != "boot.command-line" {
		t.Errorf("admitted %v, refused %v", r.Admitted, r.Refused)
	}
	if len(r.Suspended) != 1 || r.Suspended[0].Path != miner || r.Bundle.Before != "verified" || r.Bundle.After != "refused" {
		t.Errorf("suspended %v, bundle %v", r.Suspended, r.Bundle)
	}
}

// Ctrl-C in the middle leaves no process behind: Run returns only when all of
// them have ended, and its folder is gone.
func TestInterrupted(t *testing.T) {
	swtpm.Require(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(1500*time.Millisecond, cancel)
	out := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	if err := Run(ctx, Options{Bin: build(t), Out: out}, t.Output()); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an interrupted demo returned %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "quorate-demo-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if out, err := exec.Command("pgrep", "-f", os.TempDir()).Output(); err == nil {
		t.Errorf("processes left: %s", out)
	}
}
