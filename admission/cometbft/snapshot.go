package cometbft

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/tmhash"
)

// restore is a snapshot that this node takes over from others.
type restore struct {
	about  about
	height uint64
}

// about is the metadata of a snapshot: the application's snapshot and what the
// trusted application hash is made of.
type about struct {
	Inner    []byte // the application's hash of the height
	Root     []byte // of the gate's state
	Hash     []byte // of the application's snapshot
	Metadata []byte // of the application's snapshot
}

// ListSnapshots lists the application's snapshots of heights that the gate has
// as well. Each begins with one chunk of the gate's.
func (g *Gate) ListSnapshots(ctx context.Context, req *abci.RequestListSnapshots) (*abci.ResponseListSnapshots, error) {
	res, err := g.Upstream.Snapshot.ListSnapshots(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &abci.ResponseListSnapshots{}
	for _, s := range res.Snapshots {
		if rec, err := g.Store.load(s.Height); err == nil && !rec.adopted {
			out.Snapshots = append(out.Snapshots, wrapSnapshot(s, rec))
		}
	}
	return out, nil
}

func wrapSnapshot(s *abci.Snapshot, rec *record) *abci.Snapshot {
	// The type has nothing that cannot be encoded.
	meta, _ := json.Marshal(about{Inner: rec.inner, Root: rec.root, Hash: s.Hash, Metadata: s.Metadata})
	return &abci.Snapshot{Height: s.Height, Format: s.Format, Chunks: s.Chunks + 1, Hash: tmhash.Sum(meta), Metadata: meta}
}

// OfferSnapshot accepts a snapshot whose parts make the application hash that
// the node trusts for its height, if the application accepts its part.
func (g *Gate) OfferSnapshot(ctx context.Context, req *abci.RequestOfferSnapshot) (*abci.ResponseOfferSnapshot, error) {
	s, a := req.Snapshot, about{}
	if s == nil || s.Chunks < 1 || json.Unmarshal(s.Metadata, &a) != nil || !bytes.Equal(outerHash(a.Inner, a.Root), req.AppHash) {
		return &abci.ResponseOfferSnapshot{Result: abci.ResponseOfferSnapshot_REJECT}, nil
	}
	res, err := g.Upstream.Snapshot.OfferSnapshot(ctx, &abci.RequestOfferSnapshot{
		Snapshot: &abci.Snapshot{Height: s.Height, Format: s.Format, Chunks: s.Chunks - 1, Hash: a.Hash, Metadata: a.Metadata}, AppHash: a.Inner,
	})
	if err == nil && res.Result == abci.ResponseOfferSnapshot_ACCEPT {
		g.mu.Lock()
		g.restore = &restore{about: a, height: s.Height}
		g.mu.Unlock()
	}
	return res, err
}

// LoadSnapshotChunk gives the gate's chunk first, then the application's.
func (g *Gate) LoadSnapshotChunk(ctx context.Context, req *abci.RequestLoadSnapshotChunk) (*abci.ResponseLoadSnapshotChunk, error) {
	if req.Chunk > 0 {
		return g.Upstream.Snapshot.LoadSnapshotChunk(ctx, &abci.RequestLoadSnapshotChunk{Height: req.Height, Format: req.Format, Chunk: req.Chunk - 1})
	}
	rec, err := g.Store.load(req.Height)
	if err != nil {
		return &abci.ResponseLoadSnapshotChunk{}, nil // no chunk: the asker turns to another peer
	}
	return &abci.ResponseLoadSnapshotChunk{Chunk: rec.marshal()}, nil
}

// ApplySnapshotChunk takes the gate's chunk itself, if it has the root that the
// application hash vouches for, and passes on the application's.
func (g *Gate) ApplySnapshotChunk(ctx context.Context, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	g.mu.Lock()
	r := g.restore
	g.mu.Unlock()
	switch {
	case r == nil:
		return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ABORT}, nil
	case req.Index == 0:
		return g.take(r, req)
	}
	res, err := g.Upstream.Snapshot.ApplySnapshotChunk(ctx, &abci.RequestApplySnapshotChunk{Index: req.Index - 1, Chunk: req.Chunk, Sender: req.Sender})
	if err != nil {
		return nil, err
	}
	out := *res
	out.RefetchChunks = nil
	for _, i := range res.RefetchChunks {
		out.RefetchChunks = append(out.RefetchChunks, i+1)
	}
	return &out, nil
}

// take stores the gate's chunk. Info takes it up when the application is there.
func (g *Gate) take(r *restore, req *abci.RequestApplySnapshotChunk) (*abci.ResponseApplySnapshotChunk, error) {
	rec, err := parseRecord(req.Chunk)
	if err != nil || rec.adopted || rec.state.Height() != r.height || !bytes.Equal(rec.hash(), outerHash(r.about.Inner, r.about.Root)) {
		return &abci.ResponseApplySnapshotChunk{
			Result: abci.ResponseApplySnapshotChunk_RETRY, RefetchChunks: []uint32{0}, RejectSenders: []string{req.Sender},
		}, nil
	}
	if err := g.Store.save(rec); err != nil {
		return nil, fmt.Errorf("gate: snapshot: %w", err)
	}
	g.mu.Lock()
	g.current = nil
	g.mu.Unlock()
	return &abci.ResponseApplySnapshotChunk{Result: abci.ResponseApplySnapshotChunk_ACCEPT}, nil
}
