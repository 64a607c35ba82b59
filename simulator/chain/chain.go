// Package chain runs a CometBFT network of separate processes on loopback:
// unmodified nodes and unmodified kvstore applications, with or without a gate
// between the two, started again when they end, and joined by links that can
// be cut.
package chain

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/site"
)

// Programs are the packages to build besides the shipped programs.
var Programs = []string{
	"github.com/quorate/quorate/cmd/quorate-gate", "github.com/quorate/quorate/cmd/quorate-signer",
	"github.com/cometbft/cometbft/cmd/cometbft", "github.com/cometbft/cometbft/abci/cmd/abci-cli",
}

// Power is what every validator of the genesis document has.
const Power = 10

// Options say what the network looks like.
type Options struct {
	Bin, Dir string
	ID       string // of the chain
	Nodes    int
	Founders int           // the first ones are in the genesis document
	Commit   time.Duration // pause after each block
}

// Network is the nodes and what joins them.
type Network struct {
	Options
	Nodes   []*Node
	Genesis admission.Digest // of the genesis document, as it lies on every node
	links   map[[2]int]*site.Link
}

// New makes keys, configurations and the genesis document. Nothing runs.
func New(o Options) (*Network, error) {
	n := &Network{Options: o, links: map[[2]int]*site.Link{}}
	for i := range o.Nodes {
		node, err := newNode(i, o)
		if err != nil {
			return nil, err
		}
		n.Nodes = append(n.Nodes, node)
	}
	for _, step := range []func() error{n.connect, n.configure, n.writeGenesis} {
		if err := step(); err != nil {
			n.Close()
			return nil, fmt.Errorf("chain: %w", err)
		}
	}
	return n, nil
}

// connect makes one link for each pair of nodes; the one with the lower number
// dials.
func (n *Network) connect() error {
	for i := range n.Nodes {
		for j := i + 1; j < len(n.Nodes); j++ {
			link, err := site.NewLink(n.Nodes[j].p2p)
			if err != nil {
				return err
			}
			n.links[[2]int{i, j}] = link
			n.Nodes[i].peers = append(n.Nodes[i].peers, fmt.Sprintf("%s@%s", n.Nodes[j].id, link.Address()))
		}
	}
	return nil
}

func (n *Network) configure() error {
	var errs []error
	for _, node := range n.Nodes {
		errs = append(errs, node.configure(n.Commit))
	}
	return errors.Join(errs...)
}

// writeGenesis gives every node the same document.
func (n *Network) writeGenesis() error {
	doc := &cmttypes.GenesisDoc{ChainID: n.ID, GenesisTime: time.Now().UTC(), ConsensusParams: cmttypes.DefaultConsensusParams()}
	for i, node := range n.Nodes[:n.Founders] {
		doc.Validators = append(doc.Validators, cmttypes.GenesisValidator{PubKey: node.key, Power: Power, Name: fmt.Sprintf("founder-%d", i+1)})
	}
	if err := doc.ValidateAndComplete(); err != nil {
		return err
	}
	for _, node := range n.Nodes {
		if err := doc.SaveAs(node.path("config", "genesis.json")); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile(n.Nodes[0].path("config", "genesis.json"))
	n.Genesis = sha256.Sum256(raw)
	return err
}

// Split cuts every link between the two groups of nodes that the condition
// makes.
func (n *Network) Split(apart func(node int) bool) {
	for pair, link := range n.links {
		if apart(pair[0]) != apart(pair[1]) {
			link.Cut()
		}
	}
}

// Join mends every link.
func (n *Network) Join() {
	for _, link := range n.links {
		link.Mend()
	}
}

// Close ends all processes and links.
func (n *Network) Close() {
	for _, node := range n.Nodes {
		node.Stop()
	}
	for _, link := range n.links {
		_ = link.Close() // nobody listens any more
	}
}
