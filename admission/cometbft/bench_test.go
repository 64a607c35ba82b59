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

// renewals is how many of them renew in one block, where that is measured.
const renewals = 10

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

// BenchmarkCost reports what a renewal adds to a block, beside the four signatures
// that it cannot do without, and what the gate adds to a block at 100 validators,
// as a part of the second that such a chain takes for one. The limits are 300 µs
// and 2 %; quorate-sim bench holds them. These are averages, with whatever else the
// machine did.
func BenchmarkCost(b *testing.B) {
	r := newRig(b, size, nil)
	r.initChain()
	public, private, _ := ed25519.GenerateKey(nil)
	signature := ed25519.Sign(private, public)
	var empty, renewal, bare time.Duration
	for i := 0; b.Loop(); i++ {
		txs := [][]byte{[]byte("a=1")}
		for j := range renewals {
			txs = append(txs, cometbft.Tx(r.bundleOf((i*renewals+j)%size, birth, 2)))
		}
		empty += timeOf(func() { r.block(txs[0]) })
		renewal += timeOf(func() { r.block(txs...) })
		bare += timeOf(func() {
			for range 4 * renewals {
				ed25519.Verify(public, public, signature)
			}
		})
	}
	n := float64(b.N)
	b.ReportMetric(float64((renewal-empty).Microseconds())/n/renewals, "µs/bundle")
	b.ReportMetric(float64(renewal-empty)/float64(bare), "x-bare")
	b.ReportMetric(100*float64(empty)/n/float64(time.Second), "%-of-block-time")
}

func timeOf(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
