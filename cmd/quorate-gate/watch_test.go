package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/swtpm"
)

// peerage is a consortium of three verifiers, a host that they admit, and a
// script that stands for the ledger: it writes down what it is told.
type peerage struct {
	*testing.T
	ctx  context.Context
	dir  string
	fed  *site.Federation
	host *site.Host
}

func newPeerage(t *testing.T) *peerage {
	t.Helper()
	swtpm.Require(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	p := &peerage{T: t, ctx: ctx, dir: t.TempDir()}
	bin := t.TempDir()
	p.must(site.Build(ctx, bin))
	var err error
	p.fed, err = site.Federate(ctx, site.Federal{
		Bin: bin, Dir: p.path("fed"), Consortium: "three-net", LedgerID: "three-1", Members: []string{"org-a", "org-b", "org-c"}, Threshold: 2, Approvals: 2,
	})
	p.must(err)
	t.Cleanup(p.fed.Close)
	p.host, err = site.NewHost(ctx, "org-b/validator-1", t.TempDir(), p.fed.ConsortiumFile(), p.fed.Vendor)
	p.must(err)
	t.Cleanup(p.host.Close)
	p.must(p.host.Boot(bootlog.Debian()))
	p.must(p.host.Join(ctx, false, p.fed.Sites...))
	p.must(p.host.RunAgent(ctx, p.fed.Sites[0].Program("quorate-agent")))
	p.must(p.fed.AgreeOnPolicy(ctx, p.host, p.path("policy"), site.Timing{ChallengeEvery: 2 * time.Second, LateAfter: 20 * time.Second, AdmissionFor: time.Hour}))
	p.must(os.WriteFile(p.path("ledger.sh"), []byte("#!/bin/sh\n[ -e "+p.path("down")+" ] && exit 1\necho \"$@\" >>"+p.path("told")+"\n"), 0o700))
	p.must(os.WriteFile(p.path("peers.yaml"), []byte("peers: {org-b/validator-1: \"enode://1\"}\n"), 0o600))
	return p
}

func (p *peerage) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *peerage) path(name string) string { return filepath.Join(p.dir, name) }

// watch starts the program.
func (p *peerage) watch() *exec.Cmd {
	p.Helper()
	cmd := exec.Command(os.Args[0], "watch", "--consortium", p.fed.ConsortiumFile(), "--key", p.fed.Sites[0].OperatorKey(),
		"--state", p.path("state.json"), "--peers", p.path("peers.yaml"), "--json", "--", p.path("ledger.sh"))
	cmd.Env = append(os.Environ(), "QUORATE_GATE_TEST=gate")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	p.must(cmd.Start())
	p.Cleanup(func() {
		kill(cmd)
		if p.Failed() {
			p.Logf("watch:\n%s", out.String())
		}
	})
	return cmd
}

func (p *peerage) told(want string) {
	p.Helper()
	var got []byte
	if err := site.Poll(p.ctx, func() bool {
		got, _ = os.ReadFile(p.path("told"))
		return string(got) == want
	}); err != nil {
		p.Fatalf("told %q, want %q: %v", got, want, err)
	}
}

// A ledger is told of a host that is admitted by real verifiers, and, by the next
// process after a kill, that two of the three suspended it meanwhile.
func TestWatchFollowsVerifiers(t *testing.T) {
	p := newPeerage(t)
	p.must(os.WriteFile(p.path("down"), nil, 0o600))
	first := p.watch()
	p.must(site.Poll(p.ctx, func() bool {
		state, err := os.ReadFile(p.path("state.json"))
		return err == nil && strings.Contains(string(state), `"action": "add"`)
	}))
	kill(first)
	p.must(os.Remove(p.path("down")))
	second := p.watch()
	p.told("add org-b/validator-1 enode://1 1\n")
	kill(second)
	for i, s := range p.fed.Sites[:2] {
		if _, err := s.Quorate(p.ctx, nil, "node", "suspend", "org-b/validator-1", "--reason", "a test"); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	p.watch()
	p.told("add org-b/validator-1 enode://1 1\nremove org-b/validator-1 enode://1 2\n")
}

func TestWatchUsage(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	state := filepath.Join(dir, "state")
	for name, args := range map[string][]string{
		"no state":            {"--", "true"},
		"no ledger":           {"--state", state},
		"two ledgers":         {"--state", state, "--preset", "besu", "--rpc", "http://127.0.0.1:1", "--", "true"},
		"an unknown preset":   {"--state", state, "--preset", "fabric", "--rpc", "http://127.0.0.1:1"},
		"a preset alone":      {"--state", state, "--preset", "besu"},
		"a preset, no peers":  {"--state", state, "--preset", "besu", "--rpc", "http://127.0.0.1:1"},
		"a window of nothing": {"--state", state, "--window", "0s", "--", "true"},
		"an age of nothing":   {"--state", state, "--max-age", "-1s", "--", "true"},
	} {
		var out, err bytes.Buffer
		if code := run(append([]string{"watch"}, args...), nil, &out, &err); code != exitUsage || !strings.Contains(err.String(), "hint: ") {
			t.Errorf("%s: exit %d, %s", name, code, err.String())
		}
	}
	var out, err bytes.Buffer
	if code := run([]string{"watch", "--state", state, "--consortium", filepath.Join(dir, "none"), "--", "true"}, nil, &out, &err); code != exitUnknown {
		t.Errorf("no consortium file: exit %d", code)
	}
	if code := run([]string{"watch", "--state", state, "--consortium", file("bad", "x: y"), "--", "true"}, nil, &out, &err); code == exitGood {
		t.Error("a file that is none was taken")
	}
}

func TestPeersFiles(t *testing.T) {
	if names, err := parsePeers([]byte("peers:\n  org-a/x: enode://1\n  org-b/y: enode://2\n")); err != nil || names["org-b/y"] != "enode://2" {
		t.Fatalf("the twin: %v %v", names, err)
	}
	for name, text := range map[string]string{
		"empty":           "",
		"no peers":        "peers: {}\n",
		"an unknown key":  "peers: {org-a/x: enode://1}\nmore: 1\n",
		"a node twice":    "peers:\n  org-a/x: enode://1\n  org-a/x: enode://2\n",
		"a peer twice":    "peers: {org-a/x: enode://1, org-a/y: enode://1}\n",
		"no node id":      "peers: {validator: enode://1}\n",
		"an empty peer":   "peers: {org-a/x: \"\"}\n",
		"a space":         "peers: {org-a/x: \"a b\"}\n",
		"a long peer":     "peers: {org-a/x: " + strings.Repeat("x", 1025) + "}\n",
		"two documents":   "peers: {org-a/x: enode://1}\n---\npeers: {}\n",
		"too long a file": "# " + strings.Repeat("x", maxPeers) + "\npeers: {org-a/x: enode://1}\n",
		"a list":          "- org-a/x\n",
	} {
		if names, err := parsePeers([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, names)
		}
	}
}

func FuzzParsePeers(f *testing.F) {
	seeds := []string{"peers: {org-a/x: enode://1}\n", "peers: {}\n", "peers: {org-a/x: enode://1, org-a/x: enode://1}\n"}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		names, err := parsePeers(text)
		if err != nil {
			return
		}
		peers := map[string]bool{}
		for _, peer := range names {
			peers[peer] = true
		}
		if len(names) == 0 || len(peers) != len(names) {
			t.Fatalf("%q gives %v", text, names)
		}
	})
}
