package cometbft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/quorate/quorate/admission/power"
)

// Prefix marks the transactions that are the gate's.
const Prefix = "quorate:"

// Upstream is the application behind the gate, by the four connections that a
// node opens. An application in the same process may be all four.
type Upstream struct{ Consensus, Mempool, Query, Snapshot abci.Application }

// InProcess makes an Upstream of an application in the same process.
func InProcess(app abci.Application) Upstream { return Upstream{app, app, app, app} }

// Config is what a gate needs. Every node of the chain must have the same
// Schedule and Founding: what follows from them is under the application hash.
type Config struct {
	Upstream Upstream
	Schedule *power.Schedule
	Founding [][]byte  // bundles of genesis validators, and commands; may be empty
	Adopt    *Adoption // puts the gate before a chain that ran without one; usually nil
	Store    *Store
	Trusted  []string // peer ids that this node lets in whatever the state says, such as its own sentries
}

// Gate is an ABCI application around another. Create it with New. Its methods
// are safe for concurrent use, as nodes and ABCI servers call them.
type Gate struct {
	Config

	mu      sync.RWMutex
	current *record // of the latest committed height; nil before Info or InitChain
	pending *record // of the block in work
	memory  memory
	restore *restore
}

var _ abci.Application = (*Gate)(nil)

// New makes a gate.
func New(cfg Config) (*Gate, error) {
	u := cfg.Upstream
	if u.Consensus == nil || u.Mempool == nil || u.Query == nil || u.Snapshot == nil || cfg.Schedule == nil || cfg.Store == nil {
		return nil, errors.New("gate: an application, a schedule and a store are needed")
	}
	return &Gate{Config: cfg}, nil
}

// State returns the state of the latest committed height, or nil before there
// is one.
func (g *Gate) State() *power.State {
	if rec := g.committed(); rec != nil {
		return rec.state
	}
	return nil
}

func (g *Gate) committed() *record {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.current
}

// Info answers with the application's own height, which is never above the
// gate's: the gate has stored a height before the application commits it.
// After a crash in between, the gate takes up its state of the application's
// height, and the node plays the block to both again.
func (g *Gate) Info(ctx context.Context, req *abci.RequestInfo) (*abci.ResponseInfo, error) {
	res, err := g.Upstream.Query.Info(ctx, req)
	if err != nil || res.LastBlockHeight == 0 {
		return res, err
	}
	rec, err := g.at(res)
	if err != nil {
		return nil, err
	}
	out := *res
	out.LastBlockAppHash = rec.hash()
	return &out, nil
}

// at returns the record of the application's height, and takes it up if the gate
// has just started.
func (g *Gate) at(res *abci.ResponseInfo) (*record, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	height := uint64(res.LastBlockHeight)
	if g.current != nil && g.current.state.Height() == height {
		return g.current, nil
	}
	rec, err := g.Store.load(height)
	if errors.Is(err, errNoRecord) && g.Adopt != nil && g.Store.empty() {
		rec, err = g.adopt(height, res.LastBlockAppHash)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(rec.inner, res.LastBlockAppHash) {
		return nil, fmt.Errorf("gate: height %d: the application's hash is %X, the gate remembers %X: they are of different chains", height, res.LastBlockAppHash, rec.inner)
	}
	if want := g.Schedule.At(rec.decided()).Text(); rec.state.RulesText() != want {
		return nil, fmt.Errorf("gate: height %d was decided by other rules than those configured for it:\n  %s\nconfigured:\n  %s", height, rec.state.RulesText(), want)
	}
	if g.current == nil {
		g.current = rec
	}
	return rec, nil
}

// InitChain starts the gate's state from the validators that the application
// wants, and answers with those that may vote.
func (g *Gate) InitChain(ctx context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	res, err := g.Upstream.Consensus.InitChain(ctx, req)
	if err != nil {
		return nil, err
	}
	wanted := res.Validators
	if len(wanted) == 0 {
		wanted = req.Validators
	}
	asked, err := powers(wanted)
	if err != nil {
		return nil, err
	}
	state, set, err := power.New(power.Genesis{
		ChainID: req.ChainId, Height: uint64(max(req.InitialHeight, 1)) - 1, Time: req.Time, Validators: asked, Founding: g.Founding,
	}, g.Schedule)
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	g.mu.Lock()
	g.current, g.pending = newRecord(res.AppHash, state, false), nil
	rec := g.current
	g.mu.Unlock()
	out := *res
	out.AppHash = rec.hash()
	out.Validators, err = updates(set)
	return &out, err
}

// FinalizeBlock gives the application its transactions and the gate its own,
// puts the results into the block's order, turns what the application wants for
// its validators into what they may have, and stores its own state.
func (g *Gate) FinalizeBlock(ctx context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	before := g.committed()
	if before == nil {
		return nil, errors.New("gate: a block before InitChain or Info")
	}
	own, theirs := split(req.Txs)
	res, err := g.execute(ctx, req, theirs)
	if err != nil {
		return nil, err
	}
	rec, outcome, err := g.decide(before.state, req, own, res)
	if err != nil {
		return nil, err
	}
	out := *res
	out.AppHash = rec.hash()
	out.TxResults = merge(req.Txs, outcome.Results, res.TxResults)
	out.Events = append(out.Events[:len(out.Events):len(out.Events)], events(outcome.Events)...)
	if out.ValidatorUpdates, err = updates(outcome.Updates); err != nil {
		return nil, err
	}
	if err := g.Store.save(rec); err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.pending = rec
	g.mu.Unlock()
	return &out, nil
}

// execute gives the application the block with its own transactions.
func (g *Gate) execute(ctx context.Context, req *abci.RequestFinalizeBlock, theirs [][]byte) (*abci.ResponseFinalizeBlock, error) {
	forward := *req
	forward.Txs = theirs
	res, err := g.Upstream.Consensus.FinalizeBlock(ctx, &forward)
	if err == nil && len(res.TxResults) != len(theirs) {
		return nil, fmt.Errorf("gate: the application gave %d results for %d transactions", len(res.TxResults), len(theirs))
	}
	return res, err
}

// decide makes the gate's next state of its own transactions and of what the
// application wants.
func (g *Gate) decide(before *power.State, req *abci.RequestFinalizeBlock, own [][]byte, res *abci.ResponseFinalizeBlock) (*record, power.Outcome, error) {
	asked, err := powers(res.ValidatorUpdates)
	if err != nil {
		return nil, power.Outcome{}, err
	}
	state, outcome, err := before.Step(power.Block{
		Height: uint64(req.Height), Time: req.Time, Hash: blockHash(req.Hash), Txs: own, Known: g.memory.all(own), Desired: asked, Doubled: doubled(req.Misbehavior, before.Effective()),
	}, g.Schedule)
	if err != nil {
		return nil, power.Outcome{}, fmt.Errorf("gate: %w", err)
	}
	return newRecord(res.AppHash, state, false), outcome, nil
}

// Commit lets the application commit. The gate's state of the block is stored
// already, so the application never is ahead of it.
func (g *Gate) Commit(ctx context.Context, req *abci.RequestCommit) (*abci.ResponseCommit, error) {
	g.mu.Lock()
	rec := g.pending
	g.mu.Unlock()
	if rec == nil {
		return nil, errors.New("gate: a commit without a block")
	}
	res, err := g.Upstream.Consensus.Commit(ctx, req)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.current, g.pending = rec, nil
	g.mu.Unlock()
	return res, g.prune(ctx, rec.state.Height())
}

// ExtendVote passes to the application.
func (g *Gate) ExtendVote(ctx context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	forward := *req
	_, forward.Txs = split(req.Txs)
	return g.Upstream.Consensus.ExtendVote(ctx, &forward)
}

// VerifyVoteExtension passes to the application.
func (g *Gate) VerifyVoteExtension(ctx context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	return g.Upstream.Consensus.VerifyVoteExtension(ctx, req)
}
