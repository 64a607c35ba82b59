package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate-signer": main})
}

// TestScripts runs testdata/*.txtar. Every script finds a consortium file and a
// configuration; those with a TPM, a booted host too.
func TestScripts(t *testing.T) {
	_, err := exec.LookPath("swtpm")
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Condition: func(name string) (bool, error) { return name == "swtpm" && err == nil, nil },
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "appears": appears},
		Setup:     func(env *testscript.Env) error { return setup(t, env, err == nil) },
	})
}

// exits runs a program that must end with the given code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// appears waits for a file.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
	}
	ts.Fatalf("%s does not appear", args[0])
}

func setup(t *testing.T, env *testscript.Env, withTPM bool) error {
	network, err := issuer.New(issuer.Setup{Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}, Test: true})
	if err != nil {
		return err
	}
	device := "swtpm:" + filepath.Join(env.WorkDir, "none")
	if withTPM {
		host, err := bootHost(t, env.WorkDir)
		if err != nil {
			return err
		}
		env.Defer(func() { host.Close() })
		device = host.Device()
	}
	config := fmt.Sprintf("node: org-a/validator-1\nstateDir: state\nconsortium: consortium.yaml\ndevice: %s\nsigner:\n  address: unix://%s/node.sock\n", device, env.WorkDir)
	if err := os.WriteFile(filepath.Join(env.WorkDir, "agent.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "consortium.yaml"), network.File, 0o600)
}

func bootHost(t *testing.T, dir string) (*bootlog.Host, error) {
	ca, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		return nil, err
	}
	host, err := bootlog.NewHost(context.Background(), filepath.Join(dir, "h"), swtpm.Options{Vendor: ca})
	if err != nil {
		return nil, err
	}
	return host, host.Boot(bootlog.Debian())
}
