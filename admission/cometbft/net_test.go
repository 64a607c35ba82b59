package cometbft_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"
	cfg "github.com/cometbft/cometbft/config"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/site"
)

const (
	chain   = "example-1"
	polling = 60 * time.Second // limit of everything that must happen
)

// network is a chain in this process: real nodes, each with its own gate and
// application, connected over 127.0.0.1.
type network struct {
	*testing.T
	*issuer.Network
	schedule *power.Schedule
	founders [][]byte
	genesis  *cmttypes.GenesisDoc
	nodes    []*host
}

// host is one node of the network.
type host struct {
	*node.Node
	t       *testing.T
	id      string // "org-a/validator-1"
	pv      *privval.FilePV
	nodeKey *p2p.NodeKey
	address string // of its p2p listener
	gate    *cometbft.Gate
	app     abci.Application
	db      dbm.DB // the gate's
	config  *cfg.Config
}

func newIssuer(t testing.TB, k int) *issuer.Network {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Threshold: k, Ledger: admission.Ledger{ID: chain, Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newNetwork makes a network of hosts that do not run yet; the first founders of
// them are in the genesis document with power 10, and have bundles.
func newNetwork(t *testing.T, founders, hosts int, change func(*power.Rules)) *network {
	t.Helper()
	n := &network{T: t, Network: newIssuer(t, 2)}
	rules := power.DefaultRules(n.Consortium)
	if change != nil {
		change(&rules)
	}
	var err error
	if n.schedule, err = power.NewSchedule(rules); err != nil {
		t.Fatal(err)
	}
	n.genesis = &cmttypes.GenesisDoc{ChainID: chain, GenesisTime: time.Now().Add(-time.Second), ConsensusParams: cmttypes.DefaultConsensusParams()}
	for i := range hosts {
		h := n.newHost(i)
		n.nodes = append(n.nodes, h)
		if i < founders {
			n.genesis.Validators = append(n.genesis.Validators, cmttypes.GenesisValidator{PubKey: h.pv.Key.PubKey, Power: 10})
			n.founders = append(n.founders, n.bundle(h, time.Hour))
		}
	}
	if err := n.genesis.ValidateAndComplete(); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *network) newHost(i int) *host {
	h := &host{
		t: n.T, id: fmt.Sprintf("org-%c/validator-%d", 'a'+i%3, i+1), app: kvstore.NewInMemoryApplication(), db: dbm.NewMemDB(),
		nodeKey: &p2p.NodeKey{PrivKey: cmted25519.GenPrivKey()}, address: freeAddress(n.T),
	}
	dir := n.T.TempDir()
	h.pv = privval.GenFilePV(filepath.Join(dir, "key.json"), filepath.Join(dir, "state.json"))
	h.config = cfg.TestConfig().SetRoot(dir)
	h.config.DBBackend = "memdb"
	h.config.RPC.ListenAddress, h.config.RPC.GRPCListenAddress = "", ""
	h.config.P2P.ListenAddress = "tcp://" + h.address
	h.config.P2P.AllowDuplicateIP = true
	h.config.P2P.AddrBookStrict = false
	h.config.P2P.PexReactor = false
	h.config.Consensus.TimeoutPropose = time.Second
	h.config.Consensus.TimeoutCommit = 100 * time.Millisecond
	h.config.Consensus.SkipTimeoutCommit = false
	return h
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := site.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// bundle is a bundle of the host, by the verifiers of the members.
func (n *network) bundle(h *host, lasts time.Duration, members ...string) []byte {
	n.Helper()
	now := time.Now().Truncate(time.Second)
	b, err := n.Bundle(issuer.Node{
		ID: h.id, ConsensusKey: ed25519.PublicKey(h.pv.Key.PubKey.Bytes()), NotBefore: now, NotAfter: now.Add(lasts),
	}, members...)
	if err != nil {
		n.Fatal(err)
	}
	return b
}

// start runs the hosts, connected to all that run.
func (n *network) start(hosts ...*host) {
	n.Helper()
	for _, h := range hosts {
		h.makeGate(n)
		h.run(n)
	}
}

func (h *host) makeGate(n *network) {
	n.Helper()
	var err error
	h.gate, err = cometbft.New(cometbft.Config{
		Upstream: cometbft.InProcess(h.app), Schedule: n.schedule, Founding: n.founders, Store: cometbft.NewStore(h.db),
	})
	if err != nil {
		n.Fatal(err)
	}
}

func (h *host) run(n *network, options ...node.Option) {
	n.Helper()
	var peers []string
	for _, other := range n.nodes {
		if other != h && other.Node != nil {
			peers = append(peers, string(other.nodeKey.ID())+"@"+other.address)
		}
	}
	h.config.P2P.PersistentPeers = strings.Join(peers, ",")
	nd, err := node.NewNode(h.config, h.pv, h.nodeKey, proxy.NewLocalClientCreator(h.gate),
		func() (*cmttypes.GenesisDoc, error) { return n.genesis, nil }, cfg.DefaultDBProvider,
		node.DefaultMetricsProvider(h.config.Instrumentation), cmtlog.NewNopLogger(), options...)
	if err != nil {
		n.Fatal(err)
	}
	if err := nd.Start(); err != nil {
		n.Fatal(err)
	}
	h.Node = nd
	n.Cleanup(h.stop)
}

func (h *host) stop() {
	if h.Node != nil && h.Node.IsRunning() {
		_ = h.Node.Stop()
		h.Node.Wait()
	}
}

func (h *host) height() int64 { return h.BlockStore().Height() }

// submit puts a transaction into the host's mempool and returns its code there.
func (h *host) submit(tx []byte) uint32 {
	h.t.Helper()
	code := make(chan uint32, 1)
	if err := h.Mempool().CheckTx(tx, func(res *abci.ResponseCheckTx) { code <- res.Code }, mempoolInfo); err != nil {
		h.t.Fatal(err)
	}
	select {
	case c := <-code:
		return c
	case <-time.After(polling):
		h.t.Fatal("no answer from the mempool")
	}
	return 0
}

// signs reports whether the host's signature is in the latest commit that the
// other one has seen.
func (h *host) signs(at *host) bool {
	commit := at.BlockStore().LoadSeenCommit(at.height())
	if commit == nil {
		return false
	}
	for _, s := range commit.Signatures {
		if s.BlockIDFlag == cmttypes.BlockIDFlagCommit && s.ValidatorAddress.String() == h.pv.Key.Address.String() {
			return true
		}
	}
	return false
}

// effective is the host's power according to the other one's gate.
func (h *host) effective(at *host) int64 {
	key := admission.FormatConsensusKey(ed25519.PublicKey(h.pv.Key.PubKey.Bytes()))
	for _, p := range at.gate.State().Effective() {
		if p.Key == key {
			return p.Power
		}
	}
	return 0
}

// until polls until the condition holds.
func (n *network) until(what string, ok func() bool) time.Duration {
	n.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > polling {
			n.Fatalf("not within %v: %s", polling, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// advance waits for more blocks at a host.
func (n *network) advance(h *host, blocks int64) {
	n.Helper()
	to := h.height() + blocks
	n.until(fmt.Sprintf("height %d", to), func() bool { return h.height() >= to })
}
