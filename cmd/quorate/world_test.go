package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/rpc"
)

// world is a real verifier on loopback; people talk to it only through the
// program under test.
type world struct {
	t       *testing.T
	dir     string
	vendor  *vendorca.CA
	created *verifier.Created
	config  *verifier.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	w.vendor, err = vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	must(t, err)
	trust := filepath.Join(w.dir, "roots", "test-virtual")
	must(t, os.MkdirAll(trust, 0o700))
	must(t, os.WriteFile(filepath.Join(trust, "vendor.pem"), w.vendor.RootPEM(), 0o600))
	w.created, err = verifier.Init(verifier.Setup{
		Dir: filepath.Join(w.dir, "verifier"), Name: "org-a.verifier.example-net", Member: "org-a", Operator: "alice",
		Consortium: "example-net", LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")),
		Attest: freeAddress(t), Enroll: freeAddress(t), Trust: filepath.Dir(trust), Test: true,
	})
	must(t, err)
	w.serve()
	return w
}

func (w *world) serve() {
	w.t.Helper()
	var err error
	w.config, err = verifier.ReadConfig(w.created.Config)
	must(w.t, err)
	log := slog.New(slog.NewTextHandler(testWriter{w.t}, nil))
	ctx, cancel := context.WithCancel(context.Background())
	service, err := verifier.Open(ctx, w.config, log)
	must(w.t, err)
	self, _ := service.Consortium().Verifier(w.config.Name)
	attest, err := net.Listen("tcp", self.Attest)
	must(w.t, err)
	enroll, err := net.Listen("tcp", self.Enroll)
	must(w.t, err)
	served := make(chan error, 1)
	go func() {
		served <- rpc.New(service, service.Certificate(), w.config.Limits, log).Serve(ctx, attest, enroll)
	}()
	w.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, service.Close()); err != nil {
			w.t.Errorf("stop: %v", err)
		}
	})
}

// host boots a machine, joins its agent with a token that the program made, and
// runs it until the test ends.
func (w *world) host(name string, boot bootlog.Boot) *bootlog.Host {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	machine, err := bootlog.NewHost(w.t.Context(), dir, swtpm.Options{Vendor: w.vendor})
	must(w.t, err)
	w.t.Cleanup(func() { _ = machine.Close() })
	must(w.t, machine.Boot(boot))
	must(w.t, machine.Exec("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent"))))
	dev, err := device.Open(w.t.Context(), machine.Device())
	must(w.t, err)
	w.t.Cleanup(func() { _ = dev.Close() })
	a, err := agent.New(agent.Config{
		Node: "org-a/" + name, Consortium: w.config.Consortium, StateDir: w.state(name), Device: machine.Device(),
		BootLog: machine.BootLogPath(), IMAList: machine.IMAPath(), BootID: machine.BootIDPath(),
	}, dev, slog.New(slog.NewTextHandler(testWriter{w.t}, nil)))
	must(w.t, err)
	var invited inviteView
	w.ok(&invited, "node", "invite", "org-a/"+name)
	_, err = a.Join(w.t.Context(), agent.JoinOptions{Tokens: map[string]string{w.config.Name: invited.JoinToken}})
	must(w.t, err)
	w.attest(a)
	return machine
}

func (w *world) state(name string) string { return filepath.Join(w.dir, name, "state") }

func (w *world) attest(a *agent.Agent) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("agent: %v", err)
		}
	})
}

// quorate runs the program as the world's operator.
func (w *world) quorate(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	var out, problems bytes.Buffer
	code = run(append(args, "--consortium", w.created.Consortium, "--key", w.created.OperatorKey), &out, &problems)
	return code, out.String(), problems.String()
}

// answer runs the program with --json, expects an exit code, and decodes the
// answer.
func (w *world) answer(want int, into any, args ...string) {
	w.t.Helper()
	code, out, problems := w.quorate(append(args, "--json")...)
	if code != want {
		w.t.Fatalf("quorate %v: exit code %d, want %d\n%s%s", args, code, want, out, problems)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		w.t.Fatalf("quorate %v: %v\n%s", args, err, out)
	}
}

func (w *world) ok(into any, args ...string) {
	w.t.Helper()
	w.answer(exitGood, into, args...)
}

// says runs the program, expects an exit code, and returns everything it printed.
func (w *world) says(want int, args ...string) string {
	w.t.Helper()
	code, out, problems := w.quorate(args...)
	if code != want {
		w.t.Fatalf("quorate %v: exit code %d, want %d\n%s%s", args, code, want, out, problems)
	}
	w.t.Logf("$ quorate %v\n%s%s", args, out, problems)
	return out + problems
}

// await polls a node until it is as wanted, for at most a minute.
func (w *world) await(name string, wanted func(nodeView) bool) nodeView {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var n nodeView
		w.ok(&n, "node", "show", "org-a/"+name)
		if wanted(n) {
			return n
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited a minute for %s: %+v", name, n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func inState(state string) func(nodeView) bool {
	return func(n nodeView) bool { return n.State == state }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := site.FreeAddress()
	must(t, err)
	return address
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSuffix(p, []byte("\n"))))
	return len(p), nil
}
