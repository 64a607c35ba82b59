package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/simulator/vendorca"
)

const genesis = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

// execute runs the command as main does, and returns what it printed.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := new(cli).root()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// initialised writes a verifier's files and returns their folder.
func initialised(t *testing.T, trusted bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "verifier")
	args := []string{"init", "--dir", dir, "--name", "v.example", "--member", "org-a", "--ledger-id", "l-1", "--genesis", genesis,
		"--test"}
	if trusted {
		vendor, err := vendorca.New(vendorca.Options{Seed: "cmd", Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		roots := filepath.Join(t.TempDir(), "test-virtual")
		if err := errors.Join(os.MkdirAll(roots, 0o700), os.WriteFile(filepath.Join(roots, "v.pem"), vendor.RootPEM(), 0o600)); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--trust", filepath.Dir(roots))
	}
	out, err := execute(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "Next") || !strings.Contains(out, "quorate node invite") {
		t.Errorf("init does not say what to do next:\n%s", out)
	}
	return dir
}

func TestInit(t *testing.T) {
	dir := initialised(t, true)
	for _, name := range []string{"admission.key", "log.key", "tls.key", "operator.key"} {
		info, err := os.Stat(filepath.Join(dir, "keys", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := execute(t, "init", "--dir", dir, "--name", "v.example", "--member", "org-a", "--ledger-id", "l-1", "--genesis", genesis); err == nil {
		t.Error("init overwrote a verifier")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"init", "--dir", t.TempDir(), "--name", "v", "--member", "m", "--ledger-id", "l", "--genesis", "sha256:1"},
		{"init", "--dir", t.TempDir(), "--name", "v"},
		{"run", "--no-such-flag"}, {"run", "now"}, {"begin"},
	} {
		var out strings.Builder
		if code := run(args, &out, &out); code != program.Usage || !strings.Contains(out.String(), "\nhint: ") {
			t.Errorf("%v: code %d\n%s", args, code, out.String())
		}
	}
	for code, path := range map[int]string{program.Unknown: filepath.Join(t.TempDir(), "none"), program.Refused: os.DevNull} {
		var out strings.Builder
		if got := run([]string{"run", "--json", "--config", path}, &out, &out); got != code || !strings.HasPrefix(out.String(), `{"error":`) {
			t.Errorf("%s: code %d\n%s", path, got, out.String())
		}
	}
	if out, err := execute(t, "--help"); err != nil || !strings.Contains(out, "Exit codes") {
		t.Errorf("help: %v\n%s", err, out)
	}
}

func TestRunRefuses(t *testing.T) {
	cases := map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"a key that others can read": {func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "keys", "admission.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600"},
		"an unknown key of the configuration": {func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(dir, "verifier.yaml"), "skipChecks: true\n")
		}, "skipChecks"},
		"another trust bundle": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "trust", "test-virtual")); err != nil {
				t.Fatal(err)
			}
		}, "the consortium file pins"},
		"a database that cannot be opened": {func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, "data", "verifier.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "sqlite: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := initialised(t, true)
			c.spoil(t, dir)
			if _, err := execute(t, "run", "--config", filepath.Join(dir, "verifier.yaml")); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("run: %v, want %q", err, c.want)
			}
		})
	}
	t.Run("an empty trust bundle", func(t *testing.T) {
		dir := initialised(t, false)
		if _, err := execute(t, "run", "--config", filepath.Join(dir, "verifier.yaml")); err == nil || !strings.Contains(err.Error(), "quorate trust import") {
			t.Errorf("run: %v", err)
		}
	})
}

// A sound verifier serves until it is told to stop, and its database can be made
// again afterwards.
func TestRunAndRebuild(t *testing.T) {
	dir := initialised(t, true)
	config := filepath.Join(dir, "verifier.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("127.0.0.1:7600"), []byte("127.0.0.1:0")), []byte("127.0.0.1:7601"), []byte("127.0.0.1:0"))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	root := new(cli).root()
	root.SetArgs([]string{"run", "--config", config})
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "data", "journal", "checkpoint")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the verifier did not start")
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	out, err := execute(t, "rebuild", "--config", config)
	if err != nil || !strings.Contains(out, "0 nodes") {
		t.Errorf("rebuild: %v\n%s", err, out)
	}
	out, err = execute(t, "rebuild", "--json", "--config", config)
	if err != nil || !strings.Contains(out, `"nodes": 0`) {
		t.Errorf("rebuild: %v\n%s", err, out)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
