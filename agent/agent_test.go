package agent_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// site is one simulated host with the verifiers of its consortium.
type site struct {
	t          *testing.T
	host       *bootlog.Host
	cfg        agent.Config
	verifiers  []*testVerifier
	consortium *admission.Consortium
}

// newSite boots a host and starts n verifiers of which k must agree.
func newSite(t *testing.T, n, k int) *site {
	t.Helper()
	swtpm.Require(t)
	dir := t.TempDir()
	ca, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	host, err := bootlog.NewHost(context.Background(), filepath.Join(dir, "host"), swtpm.Options{Vendor: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	if err := host.Boot(bootlog.Debian()); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, host: host}
	for i := range n {
		s.verifiers = append(s.verifiers, newTestVerifier(t, string(rune('a'+i))+".verifier.example-net"))
	}
	s.cfg = agent.Config{
		Node: "org-a/validator-1", Consortium: filepath.Join(dir, "consortium.yaml"), StateDir: filepath.Join(dir, "state"),
		Device: host.Device(), BootLog: host.BootLogPath(), IMAList: host.IMAPath(), BootID: filepath.Join(dir, "boot_id"),
	}
	s.rebooted("first")
	s.consortium = s.writeConsortium(k)
	for _, v := range s.verifiers {
		v.consortium = s.consortium
	}
	return s
}

// rebooted gives the host's kernel another boot id.
func (s *site) rebooted(id string) {
	s.t.Helper()
	if err := os.WriteFile(s.cfg.BootID, []byte(id+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) writeConsortium(k int) *admission.Consortium {
	s.t.Helper()
	c := &admission.Consortium{
		Name: "example-net", Test: true, Threshold: k,
		Ledger:    admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))},
		Approvals: admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{
			Templates: map[string]string{"discrete": "rsa-2048", "firmware": "ecc-p256", "virtual": "ecc-p256"},
			Roots:     sha256.Sum256([]byte("roots")),
		},
	}
	for _, v := range s.verifiers {
		operator, _ := noteKey(s.t, v.file.Member+"/alice")
		c.Members = append(c.Members, admission.Member{Name: v.file.Member, Operators: []admission.Operator{{Key: operator, Role: admission.RoleAdmin}}})
		c.Verifiers = append(c.Verifiers, v.file)
	}
	data, err := c.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.cfg.Consortium, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	parsed, err := admission.ParseConsortium(data)
	if err != nil {
		s.t.Fatal(err)
	}
	return parsed
}

// device opens the host's TPM; alter, if given, stands between.
func (s *site) device(alter func(transport.TPM) transport.TPM) *device.Device {
	s.t.Helper()
	dev, err := device.Open(s.t.Context(), s.host.Device())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { dev.Close() })
	if alter == nil {
		return dev
	}
	return device.Wrap(alter(dev))
}

func (s *site) agent(dev *device.Device) *agent.Agent {
	s.t.Helper()
	log := slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := agent.New(s.cfg, dev, log)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *site) tokens() map[string]string {
	m := map[string]string{}
	for _, v := range s.verifiers {
		m[v.name] = joinToken
	}
	return m
}

func (s *site) join() {
	s.t.Helper()
	dev := s.device(nil)
	defer dev.Close()
	results, err := s.agent(dev).Join(s.t.Context(), agent.JoinOptions{Tokens: s.tokens()})
	if err != nil || len(results) != len(s.verifiers) {
		s.t.Fatalf("join: %d results, %v", len(results), err)
	}
}

// start runs an agent until the test, or the returned function, ends it.
func (s *site) start(dev *device.Device) (stop func() error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	a := s.agent(dev)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	s.t.Cleanup(func() { stop() })
	return stop
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("never happened: " + what)
}

func (s *site) status() agent.Status {
	st, err := agent.ReadStatus(s.cfg)
	if err != nil {
		return agent.Status{}
	}
	return st
}

func TestJoinAndRun(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	stop := s.start(s.device(nil))
	v := s.verifiers[0]
	v.challenges <- nil
	r := v.next()
	if r.err != nil {
		t.Fatal(r.err)
	}
	log, err := os.ReadFile(s.host.BootLogPath())
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(s.host.IMAPath())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.evidence.GetBootLog(), log) || !bytes.Equal(r.ima, list) {
		t.Error("logs differ from the host's")
	}
	if h := r.hello; h.GetBootLogSize() != uint64(len(log)) || h.GetImaSize() != uint64(len(list)) || h.GetBanks()[0] != "sha256" {
		t.Errorf("hello: %v", h)
	}
	eventually(t, "admitted", func() bool { return s.status().Standing(time.Now()) == agent.Admitted })
	s.checkBundle(1)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if st := s.status(); st.Running || st.Standing(time.Now()) != agent.Unknown || st.Verifiers[0].Connected {
		t.Errorf("after the end: %+v", st)
	}
}

func (s *site) checkBundle(admissions int) {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.cfg.StateDir, "admission.bundle"))
	if err != nil {
		s.t.Fatal(err)
	}
	want := admission.Want{Role: "validator", NodeKey: s.verifiers[0].record.nodeKey, Node: s.cfg.Node}
	a, err := s.consortium.VerifyBundle(data, want, time.Now())
	if err != nil || len(a.Statements()) != admissions {
		s.t.Fatalf("bundle: %+v, %v", a, err)
	}
}

func TestSteadyStateSendsOnlyWhatIsNew(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	v := s.verifiers[0]
	v.challenges <- nil
	known := uint64(len(v.next().ima))
	if err := s.host.Exec("/usr/bin/new", sha256.Sum256([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	c := usual()
	c.WantBootLog, c.ImaOffset = false, known
	v.challenges <- c
	r := v.next()
	if r.err != nil || len(r.evidence.GetBootLog()) != 0 || !bytes.Contains(r.ima, []byte("/usr/bin/new")) {
		t.Errorf("boot log %d bytes, IMA %q, %v", len(r.evidence.GetBootLog()), r.ima, r.err)
	}
	c = usual()
	c.WantBootLog, c.ImaOffset = false, known+uint64(len(r.ima))
	v.challenges <- c
	if r = v.next(); r.err != nil || len(r.ima) != 0 {
		t.Errorf("IMA %d bytes, %v", len(r.ima), r.err)
	}
	if size := proto.Size(r.evidence); size > 1024 {
		t.Errorf("steady state sends %d bytes, more than 1 KiB", size)
	}
}

func TestOneQuoteForManyVerifiers(t *testing.T) {
	s := newSite(t, 3, 2)
	s.join()
	s.start(s.device(nil))
	eventually(t, "three sessions", func() bool {
		for _, v := range s.verifiers {
			v.mu.Lock()
			n := v.sessions
			v.mu.Unlock()
			if n == 0 {
				return false
			}
		}
		return true
	})
	for _, v := range s.verifiers {
		c := usual()
		c.BeaconHeight, c.BeaconHash = 7, bytes.Repeat([]byte{7}, 32)
		v.challenges <- c
	}
	quotes := map[string]int{}
	for _, v := range s.verifiers {
		r := v.next()
		if r.err != nil {
			t.Error(r.err)
		}
		quotes[string(r.evidence.GetQuote())]++
		t.Log(v.name, len(r.evidence.GetChallenges()), "challenges")
	}
	if len(quotes) != 1 {
		t.Errorf("%d quotes for three challenges", len(quotes))
	}
	eventually(t, "three admissions", func() bool { b := s.status().Bundle; return b != nil && b.Admissions == 3 })
	s.checkBundle(3)
}

func TestLongIMAListComesInParts(t *testing.T) {
	s := newSite(t, 1, 1)
	list := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // 3.2 MB, not extended: the test verifier does not replay
	if err := os.WriteFile(s.host.IMAPath(), list, 0o600); err != nil {
		t.Fatal(err)
	}
	s.join()
	s.start(s.device(nil))
	v := s.verifiers[0]
	v.challenges <- nil
	r := v.next()
	if r.err != nil || !bytes.Equal(r.ima, list) || len(r.evidence.GetIma()) != 1<<20 {
		t.Errorf("%d bytes, first part %d, %v", len(r.ima), len(r.evidence.GetIma()), r.err)
	}
}

func TestOutlastsVerifierAndTPM(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	v := s.verifiers[0]
	v.challenges <- nil
	first := v.next()

	v.stop()
	eventually(t, "disconnected", func() bool { st := s.status(); return len(st.Verifiers) == 1 && !st.Verifiers[0].Connected })
	v.restart()
	v.challenges <- nil
	if r := v.next(); r.err != nil {
		t.Error("after a restart of the verifier:", r.err)
	}

	boot := bootlog.Debian()
	boot.CommandLine += " quiet"
	if err := s.host.Boot(boot); err != nil { // the TPM restarts and the log is another
		t.Fatal(err)
	}
	v.challenges <- nil // ends the session, whose Hello announced the old log
	v.challenges <- nil
	r := v.next()
	if r.err != nil || bytes.Equal(r.hello.GetBootLogDigest(), first.hello.GetBootLogDigest()) {
		t.Error("after a restart of the TPM:", r.err)
	}

	s.rebooted("second") // the same log, but another boot
	v.challenges <- nil
	v.challenges <- nil
	if r = v.next(); r.err != nil || r.evidence.GetBootId() != "second" {
		t.Error("after a reboot:", r.err, r.evidence.GetBootId())
	}
}

func TestSurvivesItsOwnRestart(t *testing.T) {
	s := newSite(t, 2, 2)
	s.join()
	stop := s.start(s.device(nil))
	for _, v := range s.verifiers {
		v.challenges <- nil
		v.next()
	}
	eventually(t, "two admissions", func() bool { b := s.status().Bundle; return b != nil && b.Admissions == 2 })
	stop()
	s.verifiers[0].quiet()
	s.verifiers[1].stop() // from now on only one verifier answers
	s.start(s.device(nil))
	s.verifiers[0].challenges <- nil
	s.verifiers[0].next()
	eventually(t, "the stored admission counts again", func() bool {
		st := s.status()
		return st.Running && st.Bundle != nil && st.Bundle.Admissions == 2
	})
	s.checkBundle(2)
}

func TestSecondAgentIsRefused(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	eventually(t, "running", func() bool { return s.status().Running })
	if err := s.agent(s.device(nil)).Run(t.Context()); !errors.Is(err, agent.ErrBusy) {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t, 1, 1)
	a := s.agent(s.device(nil))
	if err := a.Run(t.Context()); !errors.Is(err, agent.ErrNotJoined) {
		t.Error("run before join:", err)
	}
	var refused *agent.RefusedError
	_, err := a.Join(t.Context(), agent.JoinOptions{Tokens: map[string]string{s.verifiers[0].name: "wrong"}})
	if !errors.As(err, &refused) || refused.Code != "PermissionDenied" || strings.Contains(refused.Reason, "\x1b") {
		t.Errorf("wrong token: %v", err)
	}
	if _, err := a.Join(t.Context(), agent.JoinOptions{Tokens: map[string]string{"x.example": joinToken}}); err == nil {
		t.Error("joined with a verifier that the consortium does not name")
	}
}

func TestConsensusKey(t *testing.T) {
	s := newSite(t, 1, 1)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dev := s.device(nil)
	if _, err := s.agent(dev).Join(t.Context(), agent.JoinOptions{Tokens: s.tokens(), ConsensusKey: private}); err != nil {
		t.Fatal(err)
	}
	s.start(dev)
	s.verifiers[0].challenges <- nil
	if r := s.verifiers[0].next(); r.err != nil || s.verifiers[0].record.consensus == "" {
		t.Error(r.err)
	}
	eventually(t, "admitted", func() bool { return s.status().Standing(time.Now()) == agent.Admitted })
	assertNoSecret(t, s.cfg.StateDir, private.Seed())
}

func assertNoSecret(t *testing.T, dir string, secret []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, secret) || bytes.Contains(data, []byte(joinToken)) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestInspect(t *testing.T) {
	s := newSite(t, 1, 1)
	in, err := agent.Inspect(t.Context(), s.cfg, s.device(nil))
	if err != nil {
		t.Fatal(err)
	}
	if in.Blocked() || len(in.PCRs) != 15 || in.EK.Template != "ecc-p256" || in.EK.HostID == "" || in.BootLog.Digest == "" {
		t.Errorf("%+v", in)
	}
	if err := os.Remove(s.host.BootLogPath()); err != nil {
		t.Fatal(err)
	}
	if in, err = agent.Inspect(t.Context(), s.cfg, s.device(nil)); err != nil || !in.Blocked() {
		t.Errorf("a host without boot log: %+v %v", in, err)
	}
}
