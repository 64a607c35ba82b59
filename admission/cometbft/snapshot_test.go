package cometbft_test

import (
	"bytes"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	e2e "github.com/cometbft/cometbft/test/e2e/app"

	"github.com/quorate/quorate/admission/cometbft"
)

// snapshotRig is a rig whose application makes a snapshot at height 2.
func snapshotRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, 4, nil)
	config := e2e.DefaultConfig(t.TempDir())
	config.SnapshotInterval, config.VoteExtensionsUpdateHeight = 2, -1
	app, err := e2e.NewApplication(config)
	if err != nil {
		t.Fatal(err)
	}
	r.app.Application = app
	return r
}

// takeover is a fresh rig that is offered the snapshot of another one.
type takeover struct {
	*rig
	snapshot *abci.Snapshot
	chunks   [][]byte
	hash     []byte // trusted
}

func newTakeover(t *testing.T) *takeover {
	t.Helper()
	from := snapshotRig(t)
	from.initChain()
	from.block([]byte("a=1"))
	from.block(cometbft.Tx(from.bundleOf(9, birth, 2)), []byte("b=2"))
	from.block()
	list, err := from.gate.ListSnapshots(ctx, &abci.RequestListSnapshots{})
	if err != nil || len(list.Snapshots) != 1 || list.Snapshots[0].Height != 2 {
		t.Fatalf("%v %v", list, err)
	}
	to := &takeover{rig: snapshotRig(t), snapshot: list.Snapshots[0], hash: from.hashes[2]}
	for i := range to.snapshot.Chunks {
		res, err := from.gate.LoadSnapshotChunk(ctx, &abci.RequestLoadSnapshotChunk{Height: 2, Format: to.snapshot.Format, Chunk: i})
		if err != nil || len(res.Chunk) == 0 {
			t.Fatalf("chunk %d: %v", i, err)
		}
		to.chunks = append(to.chunks, res.Chunk)
	}
	if res, err := from.gate.LoadSnapshotChunk(ctx, &abci.RequestLoadSnapshotChunk{Height: 77}); err != nil || len(res.Chunk) != 0 {
		t.Errorf("a height that nobody has: %v %v", res, err)
	}
	return to
}

func (o *takeover) offer(s *abci.Snapshot, hash []byte) abci.ResponseOfferSnapshot_Result {
	o.Helper()
	res, err := o.gate.OfferSnapshot(ctx, &abci.RequestOfferSnapshot{Snapshot: s, AppHash: hash})
	if err != nil {
		o.Fatal(err)
	}
	return res.Result
}

func (o *takeover) apply(i int, chunk []byte) *abci.ResponseApplySnapshotChunk {
	o.Helper()
	res, err := o.gate.ApplySnapshotChunk(ctx, &abci.RequestApplySnapshotChunk{Index: uint32(i), Chunk: chunk, Sender: "peer"})
	if err != nil {
		o.Fatal(err)
	}
	return res
}

// A node takes over a snapshot only if its parts make the hash that it trusts.
func TestSnapshots(t *testing.T) {
	o := newTakeover(t)
	if got := o.apply(0, o.chunks[0]).Result; got != abci.ResponseApplySnapshotChunk_ABORT {
		t.Errorf("a chunk of no snapshot: %v", got)
	}
	altered := *o.snapshot
	altered.Metadata = bytes.Replace(altered.Metadata, []byte(`"Root":"`), []byte(`"Root":"AAAA`), 1)
	for name, c := range map[string]struct {
		s    *abci.Snapshot
		hash []byte
	}{
		"another hash":     {o.snapshot, o.hashOf(1)},
		"another root":     {&altered, o.hash},
		"no metadata":      {&abci.Snapshot{Height: 2, Chunks: 2}, o.hash},
		"no chunk":         {&abci.Snapshot{Height: 2, Metadata: o.snapshot.Metadata}, o.hash},
		"nothing":          {nil, o.hash},
		"not even a hash":  {o.snapshot, nil},
		"the gate's alone": {&abci.Snapshot{Height: 2, Chunks: 1, Metadata: []byte("{}")}, o.hash},
	} {
		if got := o.offer(c.s, c.hash); got != abci.ResponseOfferSnapshot_REJECT {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := o.offer(o.snapshot, o.hash); got != abci.ResponseOfferSnapshot_ACCEPT {
		t.Fatalf("twin: %v", got)
	}
	for name, chunk := range map[string][]byte{
		"nothing": nil, "the application's": o.chunks[1], "altered": bytes.Replace(o.chunks[0], []byte(" 10 10 "), []byte(" 10 99 "), 1), "cut": o.chunks[0][:len(o.chunks[0])-1],
	} {
		res := o.apply(0, chunk)
		if res.Result != abci.ResponseApplySnapshotChunk_RETRY || len(res.RefetchChunks) != 1 || len(res.RejectSenders) != 1 {
			t.Errorf("%s: %v", name, res)
		}
	}
	for i, chunk := range o.chunks {
		if got := o.apply(i, chunk).Result; got != abci.ResponseApplySnapshotChunk_ACCEPT {
			t.Fatalf("twin: chunk %d: %v", i, got)
		}
	}
	info, err := o.gate.Info(ctx, &abci.RequestInfo{})
	if err != nil || info.LastBlockHeight != 2 || !bytes.Equal(info.LastBlockAppHash, o.hash) {
		t.Errorf("%v %v", info, err)
	}
	if n := len(o.gate.State().Effective()); n != 4 {
		t.Errorf("%d validators", n)
	}
}

func (o *takeover) hashOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// Foreign bytes are no record of a gate unless a gate would write them.
func FuzzSnapshotChunk(f *testing.F) {
	r := newRig(f, 2, nil)
	r.initChain()
	r.block()
	it, err := r.gateDB.Iterator(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	seeds := 0
	for ; it.Valid(); it.Next() {
		if _, err := cometbft.ReadRecord(it.Value()); err != nil {
			f.Fatalf("seed: %v", err)
		}
		f.Add(bytes.Clone(it.Value()))
		seeds++
	}
	if err := it.Close(); err != nil || seeds == 0 {
		f.Fatalf("%d seeds (%v)", seeds, err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := cometbft.ReadRecord(b); err == nil && !bytes.Equal(again, b) {
			t.Fatal("accepted bytes that it would not write")
		}
	})
}
