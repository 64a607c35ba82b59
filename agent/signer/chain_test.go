package signer

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/abci/example/kvstore"
	cometconfig "github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	cometnode "github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/types"
	loopback "github.com/quorate/quorate/simulator/site"
)

// chain is four validators in this process, the first of which signs with the
// sealed key.
type chain struct {
	*testing.T
	genesis *types.GenesisDoc
	keys    []*privval.FilePV
	nodes   []*cometnode.Node
	peers   []string
}

func newChain(t *testing.T, sealed crypto.PubKey) *chain {
	t.Helper()
	c := &chain{T: t, genesis: &types.GenesisDoc{ChainID: chainID, GenesisTime: time.Now().Add(-time.Second), ConsensusParams: types.DefaultConsensusParams()}}
	for i := range 4 {
		dir := t.TempDir()
		c.keys = append(c.keys, privval.GenFilePV(filepath.Join(dir, "key"), filepath.Join(dir, "state")))
		key := c.keys[i].Key.PubKey
		if i == 0 {
			key = sealed
		}
		c.genesis.Validators = append(c.genesis.Validators, types.GenesisValidator{PubKey: key, Power: 10})
	}
	if err := c.genesis.ValidateAndComplete(); err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs the next node, connected to those before.
func (c *chain) start(signerAddress string) {
	c.Helper()
	cfg := cometconfig.TestConfig().SetRoot(c.TempDir())
	cfg.DBBackend, cfg.RPC.ListenAddress, cfg.PrivValidatorListenAddr = "memdb", "", signerAddress
	cfg.P2P.ListenAddress, cfg.P2P.AllowDuplicateIP, cfg.P2P.AddrBookStrict, cfg.P2P.PexReactor = "tcp://"+freeAddress(c.T), true, false, false
	cfg.P2P.PersistentPeers = strings.Join(c.peers, ",")
	cfg.Consensus.TimeoutPropose, cfg.Consensus.TimeoutCommit, cfg.Consensus.SkipTimeoutCommit = time.Second, 100*time.Millisecond, false
	id := &p2p.NodeKey{PrivKey: cmted25519.GenPrivKey()}
	n, err := cometnode.NewNode(cfg, c.keys[len(c.nodes)], id, proxy.NewLocalClientCreator(kvstore.NewInMemoryApplication()),
		func() (*types.GenesisDoc, error) { return c.genesis, nil }, cometconfig.DefaultDBProvider,
		cometnode.DefaultMetricsProvider(cfg.Instrumentation), cmtlog.NewNopLogger())
	if err != nil {
		c.Fatal(err)
	}
	if err := n.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = n.Stop() // it may have stopped by itself; then the test has failed
		n.Wait()
	})
	c.nodes = append(c.nodes, n)
	c.peers = append(c.peers, fmt.Sprintf("%s@%s", id.ID(), strings.TrimPrefix(cfg.P2P.ListenAddress, "tcp://")))
}

// freeAddress is an address on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := loopback.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// height is that of a node that is not the signer's.
func (c *chain) height() int64 { return c.nodes[1].BlockStore().Height() }

// signed reports whether the key's vote is in the last block's commit.
func (c *chain) signed(key crypto.PubKey) bool {
	commit := c.nodes[1].BlockStore().LoadSeenCommit(c.height())
	if commit == nil {
		return false
	}
	for _, s := range commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit && bytes.Equal(s.ValidatorAddress, key.Address()) {
			return true
		}
	}
	return false
}

// TestChainGoesOnWithoutTheVote: real nodes, one with the sealed key. Suspended, its
// vote is missing and blocks come; admitted again, it is back.
func TestChainGoesOnWithoutTheVote(t *testing.T) {
	s := newSite(t)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	key := cmted25519.PubKey(k.PublicKey())
	c := newChain(t, key)
	s.run()
	c.start(s.link.Address)
	for range 3 {
		c.start("")
	}
	eventually(t, "its vote is in a block", func() bool { return c.height() > 1 && c.signed(key) })
	s.verdicts("denied", "denied", "denied")
	eventually(t, "its vote is missing", func() bool { return !c.signed(key) })
	from := c.height()
	eventually(t, "blocks come without it", func() bool {
		if c.height() > from+1 && c.signed(key) {
			t.Fatalf("signed at height %d while suspended", c.height())
		}
		return c.height() >= from+5
	})
	s.verdicts("admitted", "admitted", "admitted")
	eventually(t, "its vote is back", func() bool { return c.signed(key) })
	if at, err := readPosition(statePath(s.cfg)); err != nil || at.Height <= from {
		t.Errorf("signing state at %+v: %v", at, err)
	}
}
