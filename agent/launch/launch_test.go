package launch_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/launch"
	"github.com/quorate/quorate/simulator/issuer"
)

const nodeID = "org-a/validator-1"

// site is a host whose agent's files the test writes, with genuine bundles.
type site struct {
	t   *testing.T
	net *issuer.Network
	cfg agent.Config
	dir string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	var err error
	s.net, err = issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = agent.DefaultConfig()
	s.cfg.Node, s.cfg.StateDir, s.cfg.Consortium = nodeID, filepath.Join(s.dir, "state"), filepath.Join(s.dir, "consortium.yaml")
	if err := os.Mkdir(s.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("../consortium.yaml", s.net.File)
	s.json("identity.json", map[string]any{"node": nodeID, "nodeKey": s.nodeKey().String()})
	return s
}

func (s *site) nodeKey() admission.Digest { return sha256.Sum256([]byte("node key")) }

func (s *site) write(name string, data []byte) {
	s.t.Helper()
	path := filepath.Join(s.cfg.StateDir, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) json(name string, v any) {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name, data)
}

func (s *site) admit(valid time.Duration) {
	s.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	b, err := s.net.Bundle(issuer.Node{ID: nodeID, NodeKey: s.nodeKey(), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(valid)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("admission.bundle", b)
}

func (s *site) verdicts(decisions ...string) {
	s.t.Helper()
	st := agent.Status{Node: nodeID}
	for i, d := range decisions {
		st.Verifiers = append(st.Verifiers, agent.VerifierStatus{Name: s.net.Verifiers[i].Name, Decision: d, Findings: []agent.Finding{}})
	}
	s.json("status.json", st)
}

// program is a shell script that runs under Run.
type program struct {
	t    *testing.T
	out  string
	stop context.CancelFunc
	done chan error
}

func (s *site) run(o launch.Options, script string) *program {
	s.t.Helper()
	out, err := os.Create(filepath.Join(s.dir, "out"))
	if err != nil {
		s.t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &program{s.t, out.Name(), stop, make(chan error, 1)}
	o.Command = []string{"/bin/sh", "-c", script}
	go func() {
		defer out.Close()
		defer null.Close()
		p.done <- launch.Run(ctx, s.cfg, o, null, out, out, slog.New(slog.NewTextHandler(io.Discard, nil)))
	}()
	s.t.Cleanup(stop)
	return p
}

func (p *program) said() string {
	p.t.Helper()
	data, err := os.ReadFile(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

func (p *program) says(text string) {
	p.t.Helper()
	eventually(p.t, text, func() bool { return strings.Contains(p.said(), text) })
}

func (p *program) ends() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(30 * time.Second):
		p.t.Fatal("does not end")
		return nil
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// forever waits for signals; it counts, so that no orphan outlives a failed test for long.
const forever = `i=0; while [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done`

func stopping() launch.Options { return launch.Options{OnLoss: launch.Stop, Grace: 20 * time.Second} }

func TestStartsOnceAdmitted(t *testing.T) {
	s := newSite(t)
	ready := s.notifySocket()
	p := s.run(stopping(), `echo "$QUORATE_BUNDLE $QUORATE_NODE $NOTIFY_SOCKET."; exit 7`)
	if got := ready(); !strings.Contains(got, "STATUS=waiting") || strings.Contains(got, "READY") {
		t.Errorf("before the admission: %q", got)
	}
	s.admit(-time.Second) // has ended
	s.verdicts("denied", "denied", "denied")
	ready()
	if got := p.said(); got != "" {
		t.Errorf("started without an admission: %s", got)
	}
	s.admit(time.Hour)
	if got := ready(); strings.Contains(got, "READY") {
		t.Error("started while suspended")
	}
	s.verdicts("admitted", "admitted", "denied")
	eventually(t, "READY", func() bool { return strings.Contains(ready(), "READY=1") })
	var exit *launch.ExitError
	if err := p.ends(); !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("got %v, want code 7", err)
	}
	if want := filepath.Join(s.cfg.StateDir, "admission.bundle") + " " + nodeID + " .\n"; p.said() != want {
		t.Errorf("environment: %q, want %q", p.said(), want)
	}
}

// notifySocket plays systemd: it returns the next message.
func (s *site) notifySocket() func() string {
	s.t.Helper()
	path := filepath.Join(s.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	s.t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		s.t.Helper()
		buf := make([]byte, 4096)
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			s.t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			s.t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestEndsBeforeTheAdmission(t *testing.T) {
	s := newSite(t)
	p := s.run(stopping(), `echo started`)
	p.stop()
	if err := p.ends(); err != nil || p.said() != "" {
		t.Error(err, p.said())
	}
}

func TestStopsWhenTheAdmissionIsGone(t *testing.T) {
	for name, lose := range map[string]func(*site){
		"suspended": func(s *site) { s.verdicts("denied", "denied", "admitted") },
		"lapsed":    func(s *site) { s.admit(-time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.admit(time.Hour)
			p := s.run(stopping(), `trap 'echo told; exit 0' TERM; echo up; `+forever)
			p.says("up")
			s.verdicts("admitted", "admitted", "denied") // one of three alone stops nothing
			lose(s)
			if err := p.ends(); !errors.Is(err, launch.ErrLost) {
				t.Error(err)
			}
			p.says("told")
		})
	}
}

func TestKillsWhatDoesNotStop(t *testing.T) {
	s := newSite(t)
	s.admit(time.Hour)
	p := s.run(launch.Options{OnLoss: launch.Stop, Grace: 50 * time.Millisecond}, `trap '' TERM; echo up; `+forever)
	p.says("up")
	s.verdicts("denied", "denied", "denied")
	if err := p.ends(); !errors.Is(err, launch.ErrLost) {
		t.Error(err)
	}
}

func TestSignalsOnceForEachLoss(t *testing.T) {
	s := newSite(t)
	s.admit(time.Hour)
	ready := s.notifySocket()
	p := s.run(launch.Options{OnLoss: launch.Signal, Signal: syscall.SIGUSR1, Grace: time.Second}, `trap 'echo lost' USR1; trap 'exit 3' TERM; echo up; `+forever)
	p.says("up")
	for i := 1; i <= 2; i++ {
		s.verdicts("denied", "denied", "denied")
		p.says(strings.Repeat("lost\n", i))
		s.verdicts("admitted", "admitted", "admitted")
		eventually(t, "admitted again", func() bool { return strings.Contains(ready(), "STATUS=admitted again") })
	}
	if got := strings.Count(p.said(), "lost"); got != 2 {
		t.Errorf("%d signals for two losses", got)
	}
	forwarded(t, p, syscall.SIGTERM, 3)
}

func TestReportsOnly(t *testing.T) {
	s := newSite(t)
	s.admit(time.Hour)
	ready := s.notifySocket()
	p := s.run(launch.Options{OnLoss: launch.Report, Grace: time.Second}, `trap 'exit 4' HUP; echo up; `+forever)
	p.says("up")
	s.verdicts("denied", "denied", "denied")
	eventually(t, "reported", func() bool { return strings.Contains(ready(), "STATUS=the admission is gone: suspended") })
	forwarded(t, p, syscall.SIGHUP, 4)
}

// forwarded sends this process a signal that the program must get.
func forwarded(t *testing.T, p *program, s syscall.Signal, want int) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
	var exit *launch.ExitError
	if err := p.ends(); !errors.As(err, &exit) || exit.Code != want {
		t.Errorf("got %v, want code %d", err, want)
	}
}

func TestEndsWithTheProgramsSignal(t *testing.T) {
	s := newSite(t)
	s.admit(time.Hour)
	var exit *launch.ExitError
	if err := s.run(stopping(), `kill -KILL $$`).ends(); !errors.As(err, &exit) || exit.Code != 137 {
		t.Error(err)
	}
	if err := s.run(stopping(), `exit 0`).ends(); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	good := launch.Options{Command: []string{"x"}, OnLoss: launch.Signal, Signal: syscall.SIGUSR1, Grace: 1}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*launch.Options){
		"no command": func(o *launch.Options) { o.Command = nil }, "on loss": func(o *launch.Options) { o.OnLoss = "" },
		"signal": func(o *launch.Options) { o.Signal = 0 }, "grace": func(o *launch.Options) { o.Grace = 0 },
	} {
		bad := good
		spoil(&bad)
		if bad.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
