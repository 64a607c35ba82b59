package cometbft

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/proto/tendermint/crypto"

	"github.com/quorate/quorate/admission/power"
)

// Paths of queries that the gate answers.
const (
	PathStatus = "/quorate/status" // a power.Status as JSON; no proof
	PathState  = "/quorate/state/" // one entry by its key; with a proof if asked
	pathOwn    = "/quorate/"
	pathFilter = "/p2p/filter/"
)

// Query answers what is asked of the gate, and passes everything else to the
// application.
func (g *Gate) Query(ctx context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	switch {
	case strings.HasPrefix(req.Path, pathFilter):
		return g.filter(strings.TrimPrefix(req.Path, pathFilter)), nil
	case strings.HasPrefix(req.Path, pathOwn):
		return g.answer(req), nil
	}
	return g.Upstream.Query.Query(ctx, req)
}

func (g *Gate) answer(req *abci.RequestQuery) *abci.ResponseQuery {
	rec := g.committed()
	if rec == nil || req.Height != 0 && uint64(req.Height) != rec.state.Height() {
		return refusedQuery("the gate knows the latest height only")
	}
	res := &abci.ResponseQuery{Codespace: Codespace, Height: int64(rec.state.Height())}
	if req.Path == PathStatus {
		raw, err := json.Marshal(rec.state.Status(g.Schedule))
		if err != nil {
			return refusedQuery(err.Error())
		}
		res.Value = raw
		return res
	}
	if key, ok := strings.CutPrefix(req.Path, PathState); ok {
		return prove(rec, key, req.Prove, res)
	}
	return refusedQuery(fmt.Sprintf("there is no query %s", req.Path))
}

func refusedQuery(log string) *abci.ResponseQuery {
	return &abci.ResponseQuery{Code: CodeRefused, Codespace: Codespace, Log: log}
}

// prove answers with one entry, and with the path from it to the application
// hash in the header of the next block. The path's key is
// KeyPath{"quorate", key}.
func prove(rec *record, key string, proof bool, res *abci.ResponseQuery) *abci.ResponseQuery {
	entries := rec.entries
	i := slices.IndexFunc(entries, func(e power.Entry) bool { return e.Key == key })
	if i < 0 {
		return refusedQuery("there is no entry " + key)
	}
	res.Key, res.Value = []byte(key), []byte(entries[i].Value)
	if proof && !rec.adopted {
		root, proofs := merkle.ProofsFromByteSlices(leaves(entries))
		_, tops := merkle.ProofsFromByteSlices([][]byte{leaf(leafApplication, rec.inner), leaf(leafGate, root)})
		res.ProofOps = &crypto.ProofOps{Ops: []crypto.ProofOp{
			merkle.NewValueOp([]byte(key), proofs[i]).ProofOp(), merkle.NewValueOp([]byte(leafGate), tops[1]).ProofOp(),
		}}
	}
	return res
}

// filter answers a node that asks whether to keep a connection. Addresses say
// nothing; a peer's id must be bound to a node whose admission stands.
func (g *Gate) filter(what string) *abci.ResponseQuery {
	id, ok := strings.CutPrefix(what, "id/")
	if !ok {
		return &abci.ResponseQuery{}
	}
	if !g.Welcome(id) {
		return refusedQuery("peer " + id + " belongs to no node whose admission stands")
	}
	return &abci.ResponseQuery{}
}

// Welcome reports whether a peer may be connected: this node's operator trusts
// it, or it is bound to a node whose admission stands.
func (g *Gate) Welcome(id string) bool {
	if slices.Contains(g.Trusted, id) {
		return true
	}
	rec := g.committed()
	return rec != nil && rec.state.Peer(id, g.Schedule)
}
