package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	"github.com/cometbft/cometbft/abci/server"
	cfg "github.com/cometbft/cometbft/config"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/libs/service"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/site"
)

// TestMain lets tests start the program itself, and a node, as processes.
func TestMain(m *testing.M) {
	switch os.Getenv("QUORATE_GATE_TEST") {
	case "gate":
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	case "node":
		if err := runNode(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		testscript.Main(m, map[string]func(){"quorate-gate": main})
	}
}

// runNode is an unchanged node whose application is behind the socket in dir. It
// runs until it is killed, or ends itself because its application hung up.
func runNode(dir, transport, p2pAddress, rpcAddress string) error {
	c := cfg.TestConfig().SetRoot(dir)
	c.P2P.PexReactor = false
	c.DBBackend = "goleveldb"
	c.P2P.ListenAddress = "tcp://" + p2pAddress
	c.RPC.ListenAddress, c.RPC.GRPCListenAddress = "tcp://"+rpcAddress, ""
	c.Consensus.TimeoutCommit = 50 * time.Millisecond
	genesis, err := cmttypes.GenesisDocFromFile(filepath.Join(dir, "genesis.json"))
	if err != nil {
		return err
	}
	pv := privval.LoadFilePV(filepath.Join(dir, "key.json"), filepath.Join(dir, "state.json"))
	n, err := node.NewNode(c, pv, &p2p.NodeKey{PrivKey: cmted25519.GenPrivKey()},
		proxy.NewRemoteClientCreator("unix://"+filepath.Join(dir, "gate.sock"), transport, true),
		func() (*cmttypes.GenesisDoc, error) { return genesis, nil }, cfg.DefaultDBProvider,
		node.DefaultMetricsProvider(c.Instrumentation), cmtlog.NewTMLogger(os.Stderr))
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return err
	}
	select {}
}

const limit = 60 * time.Second

// world is an application, a gate and a node, connected by sockets as in
// production: the gate and the node in processes of their own.
type world struct {
	*testing.T
	*issuer.Network
	dir     string
	pv      *privval.FilePV
	founder []byte
	disk    dbm.DB // the application's
	app     service.Service
	gate    *exec.Cmd
	node    *exec.Cmd
	rpc     string
	client  *rpchttp.HTTP
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), disk: dbm.NewMemDB()}
	var err error
	w.Network, err = issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	w.pv = privval.GenFilePV(filepath.Join(w.dir, "key.json"), filepath.Join(w.dir, "state.json"))
	w.founder = w.bundle(time.Hour)
	w.write("consortium.yaml", w.File)
	w.write("founder.bundle", w.founder)
	w.pv.Save()
	genesis := &cmttypes.GenesisDoc{
		ChainID: "example-1", GenesisTime: time.Now(), ConsensusParams: cmttypes.DefaultConsensusParams(),
		Validators: []cmttypes.GenesisValidator{{PubKey: w.pv.Key.PubKey, Power: 10}},
	}
	if err := genesis.ValidateAndComplete(); err != nil {
		t.Fatal(err)
	}
	if err := genesis.SaveAs(w.path("genesis.json")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"config", "data"} {
		if err := os.Mkdir(w.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, content []byte) {
	w.Helper()
	if err := os.WriteFile(w.path(name), content, 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) bundle(lasts time.Duration, members ...string) []byte {
	w.Helper()
	now := time.Now().Truncate(time.Second)
	b, err := w.Bundle(issuer.Node{
		ID: "org-a/validator-1", ConsensusKey: ed25519.PublicKey(w.pv.Key.PubKey.Bytes()), NotBefore: now, NotAfter: now.Add(lasts),
	}, members...)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// serveApplication is kvstore behind a socket. Started again, it knows what it
// had committed.
func (w *world) serveApplication() {
	w.Helper()
	if w.app != nil {
		_ = w.app.Stop()
	}
	var err error
	w.app, err = server.NewServer("unix://"+w.path("app.sock"), "socket", kvstore.NewApplication(w.disk))
	if err != nil {
		w.Fatal(err)
	}
	if err := w.app.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = w.app.Stop() })
}

func (w *world) startGate(transport string) {
	w.Helper()
	w.gate = w.process("gate", "cometbft", "--listen", "unix://"+w.path("gate.sock"), "--abci", transport, "--app", "unix://"+w.path("app.sock"),
		"--consortium", w.path("consortium.yaml"), "--founder", w.path("founder.bundle"), "--data", w.path("gate"))
	w.until("the gate listens", func() bool {
		c, err := net.Dial("unix", w.path("gate.sock"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// process starts this test's binary as something else.
func (w *world) process(as string, args ...string) *exec.Cmd {
	w.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "QUORATE_GATE_TEST="+as)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		kill(cmd)
		if text := log.String(); w.Failed() {
			w.Logf("%s:\n%s", as, text[max(0, len(text)-4000):])
		}
	})
	return cmd
}

// kill ends a process at once, and knows that it may have ended by itself.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func (w *world) startNode(transport string) {
	w.Helper()
	address, from := freeAddress(w.T), w.height()
	w.rpc = "tcp://" + address
	w.node = w.process("node", w.dir, transport, freeAddress(w.T), address)
	var err error
	if w.client, err = rpchttp.New(w.rpc, "/websocket"); err != nil {
		w.Fatal(err)
	}
	w.until("blocks", func() bool { return w.height() >= from+2 })
}

// height is the node's latest height, or 0 while it does not answer.
func (w *world) height() int64 {
	if w.client == nil {
		return 0
	}
	s, err := w.client.Status(context.Background())
	if err != nil {
		return 0
	}
	return s.SyncInfo.LatestBlockHeight
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := site.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for began := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			w.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// quorateGate runs the program here and returns its exit code and output.
func quorateGate(args ...string) (int, string, string) {
	var out, err bytes.Buffer
	code := run(args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// Between a node and an application that both know nothing of it, over sockets
// and over gRPC.
func TestProxy(t *testing.T) {
	for _, transport := range []string{"socket", "grpc"} {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			w.serveApplication()
			w.startGate(transport)
			w.startNode(transport)
			w.submits()
			w.shows()
			w.adopts()
			w.stops()
		})
	}
}

func (w *world) submits() {
	w.Helper()
	w.write("few.bundle", w.bundle(2*time.Hour, "org-a"))
	code, out, _ := quorateGate("submit", "--json", "--node", w.rpc, w.path("few.bundle"))
	var v submitView
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != program.Refused || v.Accepted || v.Refusal == nil || v.Refusal.Check != admission.Threshold {
		w.Fatalf("one admission of two: exit %d, %s (%v)", code, out, err)
	}
	w.write("new.bundle", w.bundle(2*time.Hour))
	code, out, errs := quorateGate("submit", "--node", w.rpc, w.path("new.bundle"))
	if code != program.Good || !strings.HasPrefix(out, "accepted in block ") {
		w.Fatalf("a renewal: exit %d, %s%s", code, out, errs)
	}
	if code, again, _ := quorateGate("submit", "--node", w.rpc, w.path("new.bundle")); code != program.Good || again != out {
		w.Fatalf("the same again: exit %d, %s, before %s", code, again, out)
	}
	if code, _, errs := quorateGate("submit", "--node", w.rpc, w.path("missing")); code != program.Unknown {
		w.Fatalf("no file: exit %d, %s", code, errs)
	}
}

func (w *world) shows() {
	w.Helper()
	code, out, errs := quorateGate("status", "--json", "--node", w.rpc)
	var s power.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != program.Good || len(s.Validators) != 1 || s.Validators[0].Effective != 10 || s.Validators[0].Node != "org-a/validator-1" {
		w.Fatalf("exit %d, %s%s (%v)", code, out, errs, err)
	}
	if code, out, _ = quorateGate("status", "--node", w.rpc); code != program.Good || !strings.Contains(out, "org-a/validator-1") {
		w.Fatalf("exit %d, %s", code, out)
	}
}

// adopts writes down the set as if there were no gate.
func (w *world) adopts() {
	w.Helper()
	code, out, errs := quorateGate("adopt", "--node", w.rpc, "--height", "2", "--out", w.path("adoption.json"))
	if code != program.Good {
		w.Fatalf("exit %d, %s%s", code, out, errs)
	}
	a, err := readAdoption(w.path("adoption.json"))
	if err != nil || a.Height != 2 || a.Time.IsZero() || len(a.Validators) != 1 || a.Validators[0].Power != 10 ||
		a.Validators[0].Key != admission.FormatConsensusKey(w.pv.Key.PubKey.Bytes()) {
		w.Fatalf("%+v (%v)", a, err)
	}
	if code, _, _ := quorateGate("adopt", "--node", w.rpc, "--height", "1000000", "--out", w.path("never.json")); code != program.Unknown {
		w.Fatalf("a height that is not there: exit %d", code)
	}
}

// stops ends the gate as systemd would.
func (w *world) stops() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	kill(w.node)
	if err := w.gate.Process.Signal(os.Interrupt); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.gate.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			w.Errorf("the gate ended with %v", err)
		}
	case <-ctx.Done():
		w.Error("the gate does not end")
	}
}

// A gate that is killed at any instant, under load, recovers with its node: the
// blocks that it lost are played to it again.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.serveApplication()
	w.startGate("socket")
	w.startNode("socket")
	for round := range 5 {
		height := w.height()
		w.load(time.Duration(round) * 17 * time.Millisecond)
		kill(w.gate)
		kill(w.node) // it would end by itself
		w.serveApplication()
		w.startGate("socket")
		w.startNode("socket")
		if now := w.height(); now <= height {
			t.Fatalf("round %d: height %d, %d before", round, now, height)
		}
	}
	w.shows()
}

// load sends transactions until some time has passed after the next block.
func (w *world) load(longer time.Duration) {
	w.Helper()
	to, end := w.height()+1, time.Time{}
	for i := 0; end.IsZero() || time.Now().Before(end); i++ {
		tx := fmt.Appendf(nil, "key%d=%d", i, to)
		if _, err := w.client.BroadcastTxAsync(context.Background(), tx); err != nil {
			w.Fatal(err)
		}
		if end.IsZero() && w.height() >= to {
			end = time.Now().Add(longer)
		}
	}
}

// What a person gets wrong is told with what to do.
func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"}, {"cometbft"}, {"cometbft", "--listen", "unix://x", "--app", "unix://y", "--data", t.TempDir()}, {"submit"}, {"status", "extra"}, {"status", "--nope"},
	} {
		code, _, errs := quorateGate(args...)
		if code != program.Usage || !strings.Contains(errs, "hint: ") {
			t.Errorf("%q: exit %d, %q", args, code, errs)
		}
	}
	if code, out, _ := quorateGate(); code != program.Good || !strings.Contains(out, "A first chain with it:") {
		t.Errorf("no arguments: exit %d, %q", code, out)
	}
	if code, _, errs := quorateGate("status", "--node", "http://127.0.0.1:1"); code != program.Unknown || !strings.Contains(errs, "hint: ") {
		t.Errorf("no node: exit %d, %q", code, errs)
	}
}
