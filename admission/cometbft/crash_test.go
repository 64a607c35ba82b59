package cometbft_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
)

var (
	ctx   = context.Background()
	birth = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
)

// rig is a gate and a kvstore on disks that survive them, driven by the test in
// a node's place.
type rig struct {
	testing.TB
	*issuer.Network
	schedule    *power.Schedule
	appDB       dbm.DB
	gateDB      dbm.DB
	app         *faulty
	gate        *cometbft.Gate
	blocks      []*abci.RequestFinalizeBlock // by height, from 1
	hashes      [][]byte                     // application hash after each; the first after InitChain
	validators  int
	founders    [][]byte
	initialized []abci.ValidatorUpdate
}

// faulty is an application that ends at a given call.
type faulty struct {
	abci.Application
	commit func() error // asked before a commit; nil lets it pass
}

func (f *faulty) Commit(ctx context.Context, req *abci.RequestCommit) (*abci.ResponseCommit, error) {
	if f.commit != nil {
		if err := f.commit(); err != nil {
			return nil, err
		}
	}
	return f.Application.Commit(ctx, req)
}

func newRig(t testing.TB, validators int, rules func(*power.Rules)) *rig {
	t.Helper()
	r := &rig{TB: t, Network: newIssuer(t, 2), appDB: dbm.NewMemDB(), gateDB: dbm.NewMemDB(), validators: validators}
	set := power.DefaultRules(r.Consortium)
	if rules != nil {
		rules(&set)
	}
	var err error
	if r.schedule, err = power.NewSchedule(set); err != nil {
		t.Fatal(err)
	}
	r.boot()
	return r
}

// boot starts application and gate on their disks.
func (r *rig) boot() {
	r.Helper()
	r.app = &faulty{Application: kvstore.NewApplication(r.appDB)}
	for i := len(r.founders); i < r.validators; i++ {
		r.founders = append(r.founders, r.bundleOf(i, birth, 1))
	}
	var err error
	r.gate, err = cometbft.New(cometbft.Config{
		Upstream: cometbft.InProcess(r.app), Schedule: r.schedule, Founding: r.founders, Store: cometbft.NewStore(r.gateDB),
	})
	if err != nil {
		r.Fatal(err)
	}
}

func keyOf(i int) ed25519.PublicKey {
	seed := sha256.Sum256(fmt.Append(nil, "key ", i))
	return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
}

// bundleOf is a bundle of the i-th validator; others of one salt are the same.
func (r *rig) bundleOf(i int, from time.Time, days int) []byte {
	r.Helper()
	b, err := r.Bundle(issuer.Node{
		ID: fmt.Sprintf("org-%c/validator-%d", 'a'+i%3, i), ConsensusKey: keyOf(i), NotBefore: from, NotAfter: from.Add(time.Duration(days) * 24 * time.Hour),
	}, "org-a", "org-b")
	if err != nil {
		r.Fatal(err)
	}
	return b
}

func (r *rig) initChain() {
	r.Helper()
	params := cmttypes.DefaultConsensusParams().ToProto()
	req := &abci.RequestInitChain{ChainId: chain, Time: birth, InitialHeight: 1, ConsensusParams: &params}
	for i := range r.validators {
		req.Validators = append(req.Validators, abci.UpdateValidator(keyOf(i), 10, "ed25519"))
	}
	res, err := r.gate.InitChain(ctx, req)
	if err != nil {
		r.Fatal(err)
	}
	if len(r.hashes) > 0 && !bytes.Equal(r.hashes[0], res.AppHash) {
		r.Fatal("InitChain gives another hash")
	}
	r.initialized = res.Validators
	r.hashes = append(r.hashes[:0:0], res.AppHash)
}

// finalize gives the gate a new block.
func (r *rig) finalize(txs ...[]byte) *abci.ResponseFinalizeBlock {
	r.Helper()
	height := int64(len(r.blocks) + 1)
	r.blocks = append(r.blocks, &abci.RequestFinalizeBlock{Height: height, Time: birth.Add(time.Duration(height) * time.Second), Hash: blockOf(height), Txs: txs})
	res, err := r.gate.FinalizeBlock(ctx, r.blocks[height-1])
	if err != nil {
		r.Fatal(err)
	}
	r.hashes = append(r.hashes, res.AppHash)
	return res
}

// blockOf is the hash of a block.
func blockOf(height int64) []byte {
	hash := sha256.Sum256(fmt.Append(nil, "block ", height))
	return hash[:]
}

func (r *rig) commit() {
	r.Helper()
	if _, err := r.gate.Commit(ctx, &abci.RequestCommit{}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) block(txs ...[]byte) *abci.ResponseFinalizeBlock {
	r.Helper()
	res := r.finalize(txs...)
	r.commit()
	return res
}

// recover does what a node does at its start: it asks for the height and plays
// all blocks after it, whose hashes must be those of the first time.
func (r *rig) recover() int64 {
	r.Helper()
	info, err := r.gate.Info(ctx, &abci.RequestInfo{})
	if err != nil {
		r.Fatal(err)
	}
	from := info.LastBlockHeight
	if from == 0 {
		blocks, hashes := r.blocks, r.hashes
		r.initChain()
		r.blocks, r.hashes = blocks, hashes
	} else if !bytes.Equal(info.LastBlockAppHash, r.hashes[from]) {
		r.Fatalf("height %d: hash %X after the start, %X before", from, info.LastBlockAppHash, r.hashes[from])
	}
	for h := from; h < int64(len(r.blocks)); h++ {
		res, err := r.gate.FinalizeBlock(ctx, r.blocks[h])
		if err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(res.AppHash, r.hashes[h+1]) {
			r.Fatalf("height %d: hash %X when played again, %X before", h+1, res.AppHash, r.hashes[h+1])
		}
		r.commit()
	}
	return from
}

func (r *rig) life() {
	r.Helper()
	r.initChain()
	r.block([]byte("a=1"), []byte(fmt.Sprintf("val=ed25519!%s!10", b64(keyOf(9)))))
	r.block(cometbft.Tx(r.bundleOf(9, birth, 2)), []byte("b=2"))
}

var errCrash = errors.New("the power went")

// Every instant at which gate and application can end, and what the node plays
// again after it: the last block, or nothing.
func TestCrashes(t *testing.T) {
	for _, c := range []struct {
		name  string
		crash func(*rig)
		from  int64
	}{
		{"before a block", func(*rig) {}, 2},
		{"between block and commit", func(r *rig) { r.finalize([]byte("c=3"), cometbft.Tx(r.bundleOf(0, birth, 3))) }, 2},
		{"between the gate's commit and the application's", func(r *rig) {
			r.app.commit = func() error { return errCrash }
			r.finalize([]byte("c=3"), cometbft.Tx(r.bundleOf(0, birth, 3)))
			if _, err := r.gate.Commit(ctx, &abci.RequestCommit{}); !errors.Is(err, errCrash) {
				r.Fatal("the commit did not end as the test wants")
			}
		}, 2},
		{"after the application's commit", func(r *rig) { r.block([]byte("c=3"), cometbft.Tx(r.bundleOf(0, birth, 3))) }, 3},
		{"with all of the application's data lost", func(r *rig) { r.block([]byte("c=3")); r.appDB = dbm.NewMemDB() }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 4, nil)
			r.life()
			c.crash(r)
			r.boot()
			if from := r.recover(); from != c.from {
				t.Errorf("plays again from height %d, want %d", from, c.from)
			}
			r.block([]byte("d=4"))
			if got := len(r.gate.State().Effective()); got != 5 {
				t.Errorf("%d validators, want 5", got)
			}
		})
	}
}

// An application that is ahead of the gate's data, or of another chain, is
// refused with what to do: its blocks cannot be played to it again.
func TestLostDataIsRefused(t *testing.T) {
	refused := func(r *rig, want string) {
		t.Helper()
		r.boot()
		if _, err := r.gate.Info(ctx, &abci.RequestInfo{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	r := newRig(t, 4, nil)
	r.life()
	kept := r.gateDB
	r.gateDB = dbm.NewMemDB()
	refused(r, "restore the gate's folder")
	r.gateDB = kept
	r.boot()
	if from := r.recover(); from != 2 {
		t.Errorf("twin: plays again from height %d", from)
	}

	other := newRig(t, 4, nil)
	other.initChain()
	other.block([]byte("x=1"))
	other.block([]byte("y=1"), []byte("z=1"), []byte("w=1"))
	other.gateDB = r.gateDB
	refused(other, "different chains")

	changed := newRig(t, 4, func(rules *power.Rules) { rules.Window++ })
	changed.appDB, changed.gateDB = r.appDB, r.gateDB
	refused(changed, "other rules")
}

// Old heights are forgotten, except those that a crash may need.
func TestStorePrunes(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	for range 64 {
		r.block()
	}
	it, err := r.gateDB.Iterator(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for ; it.Valid(); it.Next() {
		n++
	}
	if n < 16 || n > 32 {
		t.Errorf("%d heights stored after 64", n)
	}
	r.boot()
	if from := r.recover(); from != 64 {
		t.Errorf("from %d", from)
	}
}

// A chain that ran without a gate goes on behind one: its blocks before are its
// own, and from the next one on the gate decides.
func TestAdoption(t *testing.T) {
	r := newRig(t, 4, func(rules *power.Rules) { rules.UnattestedUntil = 5 })
	adoption := &cometbft.Adoption{Height: 3, Time: birth}
	for i := range 4 {
		adoption.Validators = append(adoption.Validators, power.Power{Key: "ed25519:" + b64(keyOf(i)), Power: 10})
	}
	var bare []byte
	var err error
	for h := range int64(3) {
		res, err := r.app.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: h + 1, Txs: [][]byte{[]byte("a=1")}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.app.Commit(ctx, &abci.RequestCommit{}); err != nil {
			t.Fatal(err)
		}
		bare = res.AppHash
	}
	if _, err := r.gate.Info(ctx, &abci.RequestInfo{}); err == nil {
		t.Fatal("an application at height 3 and a gate that knows nothing")
	}
	r.gate.Adopt = &cometbft.Adoption{Height: 4, Time: birth, Validators: adoption.Validators}
	if _, err := r.gate.Info(ctx, &abci.RequestInfo{}); err == nil {
		t.Fatal("adopted at another height")
	}
	later := r.schedule.At(1)
	later.From, later.Window = 4, 7 // from the first block behind the gate
	if r.schedule, err = power.NewSchedule(r.schedule.At(1), later); err != nil {
		t.Fatal(err)
	}
	r.boot()
	r.gate.Adopt = adoption
	if _, err := r.gate.Info(ctx, &abci.RequestInfo{}); err != nil {
		t.Fatal(err)
	}
	r.boot() // before the first block
	info, err := r.gate.Info(ctx, &abci.RequestInfo{})
	if err != nil || info.LastBlockHeight != 3 || !bytes.Equal(info.LastBlockAppHash, bare) {
		t.Fatalf("%v %v, want the application's own hash", info, err)
	}
	hash := sha256.Sum256([]byte("block 4"))
	res, err := r.gate.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{
		Height: 4, Time: birth.Add(time.Minute), Hash: hash[:], Txs: [][]byte{[]byte(fmt.Sprintf("val=ed25519!%s!10", b64(keyOf(9))))},
	})
	if err != nil || bytes.Equal(res.AppHash, bare) || len(res.ValidatorUpdates) != 0 {
		t.Fatalf("%v %v, want another hash and nobody new", res, err)
	}
	r.commit()
	if n := len(r.gate.State().Effective()); n != 4 {
		t.Errorf("%d validators", n)
	}
	r.boot()
	if info, err = r.gate.Info(ctx, &abci.RequestInfo{}); err != nil || info.LastBlockHeight != 4 || !bytes.Equal(info.LastBlockAppHash, res.AppHash) {
		t.Errorf("after a restart: %v %v", info, err)
	}
}
