package cometbft_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/quorate/quorate/admission/cometbft"
)

// size is the number of validators in benchmarks.
const size = 100

// BenchmarkBlock is a block without bundles: what the gate costs all the time.
func BenchmarkBlock(b *testing.B) {
	r := newRig(b, size, nil)
	r.initChain()
	b.ResetTimer()
	for b.Loop() {
		r.block([]byte("a=1"))
	}
}

// BenchmarkBareBlock is the same block without a gate.
func BenchmarkBareBlock(b *testing.B) {
	app := kvstore.NewApplication(dbm.NewMemDB())
	height := int64(0)
	for b.Loop() {
		height++
		if _, err := app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: height, Txs: [][]byte{[]byte("a=1")}}); err != nil {
			b.Fatal(err)
		}
		if _, err := app.Commit(ctx, &abci.RequestCommit{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBundles is a block with a renewal by each of the validators in turn.
func BenchmarkBundles(b *testing.B) {
	r := newRig(b, size, nil)
	r.initChain()
	i := 0
	for b.Loop() {
		b.StopTimer()
		tx := cometbft.Tx(r.bundleOf(i%size, birth, 2))
		i++
		b.StartTimer()
		if res := r.block([]byte("a=1"), tx); res.TxResults[1].Code != 0 {
			b.Fatal(res.TxResults[1].Log)
		}
	}
}

// What a gate costs is bounded: a bundle in a block, and a block at 100
// validators against the time that such a chain takes for one.
func TestBudget(t *testing.T) {
	const (
		blockTime = time.Second // of a chain of 100 validators, by its default timeout_commit
		share     = 0.02
	)
	r := newRig(t, size, nil)
	r.initChain()
	public, private, _ := ed25519.GenerateKey(nil)
	signature := ed25519.Sign(private, public)
	empty, bundle, check := time.Hour, time.Hour, time.Hour
	for i := range 100 {
		check = min(check, timeOf(func() { ed25519.Verify(public, public, signature) }))
		empty = min(empty, timeOf(func() { r.block([]byte("a=1")) }))
		tx := cometbft.Tx(r.bundleOf(i, birth, 2))
		bundle = min(bundle, timeOf(func() { r.block([]byte("a=1"), tx) }))
	}
	bundle -= empty
	// On a slower or busy machine the bundle's four signatures say what is possible.
	bundleLimit := max(300*time.Microsecond, 12*check)
	t.Logf("a bundle %v, of limit %v; a block %v, %.2f %% of %v", bundle, bundleLimit, empty, 100*float64(empty)/float64(blockTime), blockTime)
	if bundle > bundleLimit && !slowed {
		t.Errorf("a bundle costs %v, limit %v", bundle, bundleLimit)
	}
	if ratio := float64(empty) / float64(blockTime); ratio > share && !slowed {
		t.Errorf("a block costs %.1f %% more, limit %.0f %%", 100*ratio, 100*share)
	}
}

// timeOf is how long f takes. The least of many is what f needs: a shared
// machine only ever adds.
func timeOf(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
