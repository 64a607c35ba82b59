package chain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"

	"github.com/quorate/quorate/simulator/site"
)

// Node is one machine's share of the network: application, gate and node, each
// a process of its own, joined by sockets in its folder.
type Node struct {
	Name             string
	App, Gate, Comet *site.Service
	RPC              string // URL
	Bin              string // folder of the programs
	dir              string
	p2p, rpc         string // host:port
	id               p2p.ID
	key              crypto.PubKey
	peers            []string
	client           *rpchttp.HTTP
}

func newNode(i int, o Options) (n *Node, err error) {
	n = &Node{Name: fmt.Sprintf("node-%d", i+1), Bin: o.Bin}
	n.dir = filepath.Join(o.Dir, n.Name)
	for _, address := range []*string{&n.p2p, &n.rpc} {
		if *address, err = site.FreeAddress(); err != nil {
			return nil, err
		}
	}
	n.RPC = "http://" + n.rpc
	if err := n.makeKeys(); err != nil {
		return nil, fmt.Errorf("chain: %s: %w", n.Name, err)
	}
	n.client, err = rpchttp.New(n.RPC, "/websocket")
	return n, err
}

func (n *Node) path(elements ...string) string {
	return filepath.Join(append([]string{n.dir}, elements...)...)
}

func (n *Node) socket(name string) string { return "unix://" + n.path(name) }

// makeKeys writes the consensus key and the key of the node's network.
func (n *Node) makeKeys() error {
	for _, dir := range []string{"config", "data"} {
		if err := os.MkdirAll(n.path(dir), 0o700); err != nil {
			return err
		}
	}
	pv := privval.GenFilePV(n.KeyFile(), n.StateFile())
	pv.Save()
	n.key = pv.Key.PubKey
	nodeKey, err := p2p.LoadOrGenNodeKey(n.path("config", "node_key.json"))
	if err != nil {
		return err
	}
	n.id = nodeKey.ID()
	return nil
}

// KeyFile is the path of the consensus key in clear.
func (n *Node) KeyFile() string { return n.path("config", "priv_validator_key.json") }

// StateFile is the path of what the key signed last.
func (n *Node) StateFile() string { return n.path("data", "priv_validator_state.json") }

// Key is the public consensus key as statements name it.
func (n *Node) Key() string { return "ed25519:" + base64.StdEncoding.EncodeToString(n.key.Bytes()) }

// configure writes the node's configuration as its own library does.
func (n *Node) configure(commit time.Duration) error {
	c := config.DefaultConfig()
	c.SetRoot(n.dir)
	c.Moniker, c.LogLevel = n.Name, "error"
	c.ProxyApp = n.socket("gate.sock")
	c.RPC.ListenAddress = "tcp://" + n.rpc
	c.P2P.ListenAddress = "tcp://" + n.p2p
	c.P2P.PersistentPeers = strings.Join(n.peers, ",")
	c.P2P.PersistentPeersMaxDialPeriod = time.Second
	c.P2P.AllowDuplicateIP, c.P2P.AddrBookStrict, c.P2P.PexReactor = true, false, false
	c.Consensus.TimeoutCommit = commit
	c.Consensus.TimeoutPropose = time.Second
	if err := c.ValidateBasic(); err != nil {
		return err
	}
	config.WriteConfigFile(n.path("config", "config.toml"), c)
	return nil
}

// UseSigner has the node ask a remote signer, which dials the returned address,
// for signatures, and takes the consensus key in clear away from it.
func (n *Node) UseSigner() (address string, err error) {
	path := n.path("config", "config.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	address = n.socket("signer.sock")
	set := strings.Replace(string(text), `priv_validator_laddr = ""`, fmt.Sprintf("priv_validator_laddr = %q", address), 1)
	if set == string(text) {
		return "", errors.New("chain: the configuration has no priv_validator_laddr")
	}
	return address, os.WriteFile(path, []byte(set), 0o600)
}

// Start starts application, gate and node. gate are the arguments of the gate
// beyond its addresses and folder.
func (n *Node) Start(ctx context.Context, gate ...string) error {
	n.App = n.service("app", "app.sock", "abci-cli", "kvstore", "--address", n.socket("app.sock"), "--persist", n.path("app"), "--abci", "socket")
	n.Gate = n.service("gate", "gate.sock", "quorate-gate", append([]string{"cometbft", "--listen", n.socket("gate.sock"), "--app", n.socket("app.sock"),
		"--data", n.path("gate")}, gate...)...)
	n.Comet = n.service("comet", "signer.sock", "cometbft", "node", "--home", n.dir)
	for _, s := range []*site.Service{n.App, n.Gate, n.Comet} {
		if err := s.Start(ctx); err != nil {
			return fmt.Errorf("chain: %s: %w", n.Name, err)
		}
	}
	return nil
}

// service is a program that listens on a socket of that name. What a killed
// predecessor left of it is removed before each start.
func (n *Node) service(name, socket, program string, args ...string) *site.Service {
	return &site.Service{
		Program: filepath.Join(n.Bin, program), Args: args, Log: n.path(name + ".log"),
		Before: func() error {
			if err := os.Remove(n.path(socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		},
	}
}

// Stop ends the three, the one that asks first.
func (n *Node) Stop() {
	for _, s := range []*site.Service{n.Comet, n.Gate, n.App} {
		if s != nil {
			s.Stop()
		}
	}
}
