package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
)

const (
	gateChain      = "example-1"
	gateValidators = 100
	gateVerifiers  = 2           // k, and so many admissions in a bundle
	gateSignatures = 4           // of each admission and of its journal
	gateRenewals   = 16          // in the block that is measured
	gateBlockTime  = time.Second // of a chain with so many validators
)

// gateRows are what a gate before a chain of 100 validators costs: a renewal in a
// block, beside the signatures that it cannot do without, and a block altogether. A
// block without renewals is subtracted from one with some.
func gateRows() ([]Row, error) {
	g, err := newGated()
	if err != nil {
		return nil, err
	}
	unseen, err := g.measure(Row{Operation: "gate: renewal of 2 admissions", Gate: 1.5}, g.renewals)
	if err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	seen, err := g.measure(Row{Operation: "gate: renewal that CheckTx saw", Gate: 0.2}, g.renewals)
	if err != nil {
		return nil, err
	}
	most := Row{Operation: "gate: the same, in time", Unit: "µs", Ours: unseen.Ours, Gate: 300}
	share := Row{Operation: "gate: block of 100 validators", Unit: "% of 1 s", Gate: 2}
	share.Ours = 100 * (g.empty + unseen.Ours) * 1e3 / float64(gateBlockTime)
	return []Row{unseen, most, seen, share}, nil
}

// gated is a gate whose chain has its validators, with bundles that renew some of
// them, at a block that is executed again and again.
type gated struct {
	gate      *cometbft.Gate
	renewals  [][]byte
	public    ed25519.PublicKey
	signature []byte
	empty     float64 // µs of a block without a renewal, as measured last
}

func newGated() (*gated, error) {
	network, err := issuer.New(issuer.Setup{Threshold: gateVerifiers, Ledger: admission.Ledger{ID: gateChain, Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		return nil, err
	}
	schedule, err := power.NewSchedule(power.DefaultRules(network.Consortium))
	if err != nil {
		return nil, err
	}
	g := &gated{}
	var founding [][]byte
	var validators []abci.ValidatorUpdate
	for i := range gateValidators {
		bundle, key, err := gateBundle(network, i, noon)
		if err != nil {
			return nil, err
		}
		founding, validators = append(founding, bundle), append(validators, abci.UpdateValidator(key, 10, "ed25519"))
	}
	for i := range gateRenewals {
		renewal, _, err := gateBundle(network, i, noon.Add(12*time.Hour))
		if err != nil {
			return nil, err
		}
		g.renewals = append(g.renewals, cometbft.Tx(renewal))
	}
	g.gate, err = cometbft.New(cometbft.Config{
		Upstream: cometbft.InProcess(abci.NewBaseApplication()), Schedule: schedule, Founding: founding, Store: cometbft.NewStore(dbm.NewMemDB()),
	})
	if err != nil {
		return nil, err
	}
	params := cmttypes.DefaultConsensusParams().ToProto()
	_, err = g.gate.InitChain(context.Background(), &abci.RequestInitChain{
		ChainId: gateChain, Time: noon.Add(12 * time.Hour), InitialHeight: 1, ConsensusParams: &params, Validators: validators,
	})
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	g.public, g.signature = public, ed25519.Sign(private, public)
	return g, err
}

// gateBundle is a bundle of the i-th validator by two of three verifiers, and its key.
func gateBundle(network *issuer.Network, i int, from time.Time) ([]byte, ed25519.PublicKey, error) {
	seed := sha256.Sum256(fmt.Append(nil, "consensus key ", i))
	key := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	bundle, err := network.Bundle(issuer.Node{
		ID: fmt.Sprintf("org-%c/validator-%d", 'a'+i%3, i), ConsensusKey: key, NotBefore: from, NotAfter: from.Add(24 * time.Hour),
	}, "org-a", "org-b")
	return bundle, key, err
}

// check lets the mempool see the renewals.
func (g *gated) check() error {
	for _, tx := range g.renewals {
		res, err := g.gate.CheckTx(context.Background(), &abci.RequestCheckTx{Tx: tx})
		if err != nil {
			return err
		}
		if res.Code != abci.CodeTypeOK {
			return errors.New(res.Log)
		}
	}
	return nil
}

// block executes the block and commits nothing, so that it can come again.
func (g *gated) block(txs [][]byte) error {
	res, err := g.gate.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{
		Height: 1, Time: noon.Add(12*time.Hour + time.Second), Hash: g.public, Txs: txs,
	})
	if err != nil {
		return err
	}
	for _, r := range res.TxResults {
		if r.Code != abci.CodeTypeOK {
			return errors.New(r.Log)
		}
	}
	return nil
}

func (g *gated) verify() error {
	for range gateSignatures * gateRenewals { // as long as what it is compared with
		if !ed25519.Verify(g.public, g.public, g.signature) {
			return errors.New("bad signature")
		}
	}
	return nil
}

// measure fills in the row of what one of the transactions adds to a block. The
// three operations take turns, and the least that each took counts: a difference of
// medians would be mostly what else the machine did.
func (g *gated) measure(r Row, txs [][]byte) (Row, error) {
	ops := []func() error{g.verify, func() error { return g.block(nil) }, func() error { return g.block(txs) }}
	least := [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	runtime.GC()
	for range 2 * blocks {
		for i, op := range ops {
			took, err := timed(op, 1)
			if err != nil {
				return r, fmt.Errorf("%s: %w", r.Operation, err)
			}
			least[i] = min(least[i], took)
		}
	}
	r.Against, r.Unit, g.empty = fmt.Sprintf("%d ed25519.Verify", gateSignatures), "µs", least[1]/1e3
	each := float64(len(txs))
	r.Ours, r.Bare = (least[2]-least[1])/each/1e3, least[0]/each/1e3
	r.Ratio = r.Ours / r.Bare
	with, err := allocations(ops[2])
	if err != nil {
		return r, err
	}
	without, err := allocations(ops[1])
	added := (with - without) / each
	r.Allocs = &added
	return r, err
}
