package main

import (
	"context"
	"crypto/rand"
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
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quorate-agent": main})
}

// TestScripts runs testdata/*.txtar. Every script finds a consortium file and a
// configuration; those with a TPM, a booted host too.
func TestScripts(t *testing.T) {
	_, err := exec.LookPath("swtpm")
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Condition: func(name string) (bool, error) { return name == "swtpm" && err == nil, nil },
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
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

func setup(t *testing.T, env *testscript.Env, withTPM bool) error {
	consortium, err := consortiumFile()
	if err != nil {
		return err
	}
	device := "swtpm:" + filepath.Join(env.WorkDir, "none")
	bootLog, ima := filepath.Join(env.WorkDir, "bootlog"), filepath.Join(env.WorkDir, "ima")
	if withTPM {
		host, err := bootHost(t, env.WorkDir)
		if err != nil {
			return err
		}
		env.Defer(func() { host.Close() })
		device, bootLog, ima = host.Device(), host.BootLogPath(), host.IMAPath()
	}
	config := fmt.Sprintf("node: org-a/validator-1\nstateDir: state\nconsortium: consortium.yaml\ndevice: %s\nbootLog: %s\nimaList: %s\n",
		device, bootLog, ima)
	if err := os.WriteFile(filepath.Join(env.WorkDir, "agent.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(env.WorkDir, "consortium.yaml"), consortium, 0o600)
}

func bootHost(t *testing.T, dir string) (*bootlog.Host, error) {
	ca, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		return nil, err
	}
	host, err := bootlog.NewHost(context.Background(), filepath.Join(dir, "host"), swtpm.Options{Vendor: ca})
	if err != nil {
		return nil, err
	}
	return host, host.Boot(bootlog.Debian())
}

// consortiumFile names two verifiers at addresses where nobody answers.
func consortiumFile() ([]byte, error) {
	public := func(name string) string {
		_, key, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			panic(err)
		}
		return key
	}
	c := &admission.Consortium{
		Name: "example-net", Test: true, Threshold: 1,
		Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))},
		Members: []admission.Member{{Name: "org-a", Operators: []admission.Operator{
			{Member: "org-a", Key: public("org-a/alice"), Role: admission.RoleAdmin}}}},
		Approvals: admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{
			Templates: map[string]string{"discrete": "rsa-2048", "firmware": "ecc-p256", "virtual": "ecc-p256"},
			Roots:     sha256.Sum256([]byte("roots")),
		},
	}
	for i, name := range []string{"a.example", "b.example"} {
		c.Verifiers = append(c.Verifiers, admission.Verifier{
			Name: name, Member: "org-a", AdmissionKey: public(name), LogKey: public(name + "/journal"),
			TLSKey: sha256.Sum256([]byte(name)), Attest: fmt.Sprintf("127.0.0.1:%d", 2*i+1), Enroll: fmt.Sprintf("127.0.0.1:%d", 2*i+2),
		})
	}
	return c.Marshal()
}
