package cometbft_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/crypto/tmhash"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// Results stand in the block's order, whoever they are from, and the application
// sees its own transactions only.
func TestResultsKeepTheirOrder(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	res := r.block([]byte("a=1"), cometbft.Tx([]byte("nonsense")), []byte("b=2"), cometbft.Tx(r.bundleOf(9, birth, 2)), []byte("c=3"))
	var codes []uint32
	for _, tx := range res.TxResults {
		codes = append(codes, tx.Code)
	}
	if !slices.Equal(codes, []uint32{0, cometbft.CodeRefused, 0, 0, 0}) {
		t.Errorf("codes %v", codes)
	}
	for i, key := range map[int]string{0: "a", 2: "b", 4: "c"} {
		if got := res.TxResults[i].Events[0].Attributes[1].Value; got != key {
			t.Errorf("result %d is of %q", i, got)
		}
	}
	if res.TxResults[3].Events[0].Type != "quorate_admitted" {
		t.Errorf("events %v", res.TxResults[3].Events)
	}
	var refusal admission.Refusal
	if err := json.Unmarshal([]byte(res.TxResults[1].Log), &refusal); err != nil || refusal.Check == "" || refusal.Remedy == "" {
		t.Errorf("log %q (%v)", res.TxResults[1].Log, err)
	}
}

// The application's own ways to consensus are all behind the gate.
func TestGenesisSetIsGated(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	if len(r.initialized) != 4 {
		t.Fatalf("twin: %d validators", len(r.initialized))
	}
	unknown := newRig(t, 4, nil)
	req := &abci.RequestInitChain{ChainId: chain, Time: birth, InitialHeight: 1, Validators: []abci.ValidatorUpdate{abci.UpdateValidator(keyOf(9), 10, "ed25519")}}
	if _, err := unknown.gate.InitChain(ctx, req); err == nil {
		t.Error("a chain of one validator whom nobody admitted")
	}
	req.ChainId = "example-2"
	if _, err := unknown.gate.InitChain(ctx, req); err == nil {
		t.Error("a consortium file of another chain")
	}
}

// Proposals carry the gate's transactions first, only those that would be
// accepted, and not more than a block may.
func TestProposals(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	r.block()
	good, bad := cometbft.Tx(r.bundleOf(9, birth, 2)), cometbft.Tx([]byte("nonsense"))
	res, err := r.gate.PrepareProposal(ctx, &abci.RequestPrepareProposal{Txs: [][]byte{[]byte("a=1"), bad, good, []byte("b:2")}, MaxTxBytes: 1 << 20, Height: 2})
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]byte{good, []byte("a=1"), []byte("b=2")}; !slices.EqualFunc(res.Txs, want, bytes.Equal) {
		t.Errorf("proposes %q", res.Txs)
	}
	small, err := r.gate.PrepareProposal(ctx, &abci.RequestPrepareProposal{Txs: [][]byte{good, []byte("a=1")}, MaxTxBytes: 2000, Height: 2})
	if err != nil || len(small.Txs) != 1 {
		t.Errorf("a bundle takes more than half of a small block: %q (%v)", small.Txs, err)
	}
	process := func(txs ...[]byte) abci.ResponseProcessProposal_ProposalStatus {
		res, err := r.gate.ProcessProposal(ctx, &abci.RequestProcessProposal{Txs: txs, Height: 2})
		if err != nil {
			t.Fatal(err)
		}
		return res.Status
	}
	full := slices.Repeat([][]byte{bad}, power.MaxTxs)
	for name, c := range map[string]struct {
		txs  [][]byte
		want abci.ResponseProcessProposal_ProposalStatus
	}{
		"as many as may be": {full, abci.ResponseProcessProposal_ACCEPT},
		"one too many":      {append(full, bad), abci.ResponseProcessProposal_REJECT},
		"one too large":     {[][]byte{cometbft.Tx(make([]byte, power.MaxTx+1))}, abci.ResponseProcessProposal_REJECT},
		"the application's": {[][]byte{[]byte("a=1"), good}, abci.ResponseProcessProposal_ACCEPT},
		"what it refuses":   {[][]byte{[]byte("a=b=c")}, abci.ResponseProcessProposal_REJECT},
	} {
		if got := process(c.txs...); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// An entry's proof leads to the application hash, by the means that light
// clients have; another value's does not.
func TestProofs(t *testing.T) {
	r := newRig(t, 4, nil)
	r.life()
	key := "seat/org-a/validator-9"
	res, err := r.gate.Query(ctx, &abci.RequestQuery{Path: cometbft.PathState + key, Prove: true})
	if err != nil || res.Code != 0 || len(res.Value) == 0 || res.ProofOps == nil {
		t.Fatalf("%v %v", res, err)
	}
	path := merkle.KeyPath{}.AppendKey([]byte("quorate"), merkle.KeyEncodingURL).AppendKey([]byte(key), merkle.KeyEncodingHex).String()
	runtime := merkle.DefaultProofRuntime()
	hash := r.hashes[res.Height]
	if err := runtime.VerifyValue(res.ProofOps, hash, path, res.Value); err != nil {
		t.Error(err)
	}
	if err := runtime.VerifyValue(res.ProofOps, hash, path, append(res.Value, 'x')); err == nil {
		t.Error("another value is proven")
	}
	if err := runtime.VerifyValue(res.ProofOps, r.hashes[1], path, res.Value); err == nil {
		t.Error("proven for another height")
	}
}

func TestQueries(t *testing.T) {
	r := newRig(t, 4, nil)
	if res, err := r.gate.Query(ctx, &abci.RequestQuery{Path: cometbft.PathStatus}); err != nil || res.Code == 0 {
		t.Errorf("before the chain: %v %v", res, err)
	}
	r.life()
	ask := func(path string) *abci.ResponseQuery {
		res, err := r.gate.Query(ctx, &abci.RequestQuery{Path: path, Data: []byte("a")})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var s power.Status
	if res := ask(cometbft.PathStatus); json.Unmarshal(res.Value, &s) != nil || s.Height != 2 || len(s.Validators) != 5 || s.Total != 50 {
		t.Errorf("%s", res.Value)
	}
	for _, v := range s.Validators {
		if v.Effective != 10 || v.Node == "" || v.Reason == "" {
			t.Errorf("%+v", v)
		}
	}
	for _, path := range []string{"/quorate/nonsense", "/quorate/state/nonsense", cometbft.PathState} {
		if ask(path).Code == 0 {
			t.Errorf("%s is answered", path)
		}
	}
	if res := ask("/key"); string(res.Value) != "1" {
		t.Errorf("the application's own query: %v", res)
	}
}

// The consortium file, the rules and the founders are under the application
// hash: a gate that has others differs at once.
func TestOtherConfigurationShows(t *testing.T) {
	hash := func(rules func(*power.Rules)) string {
		r := newRig(t, 4, rules)
		r.initChain()
		return string(r.hashes[0])
	}
	base := hash(nil)
	if hash(nil) != base {
		t.Fatal("the same configuration gives another hash")
	}
	for name, change := range map[string]func(*power.Rules){
		"window":   func(r *power.Rules) { r.Window++ },
		"notice":   func(r *power.Rules) { r.Notice += time.Second },
		"founders": func(r *power.Rules) { r.UnattestedUntil = 1 },
	} {
		if hash(change) == base {
			t.Errorf("another %s, the same hash", name)
		}
	}
}

// CheckTx keeps what a block would refuse out of the mempool.
func TestCheckTx(t *testing.T) {
	r := newRig(t, 4, nil)
	check := func(tx []byte) uint32 {
		res, err := r.gate.CheckTx(ctx, &abci.RequestCheckTx{Tx: tx})
		if err != nil {
			t.Fatal(err)
		}
		return res.Code
	}
	bundle := cometbft.Tx(r.bundleOf(9, birth, 2))
	if check(bundle) != cometbft.CodeRefused {
		t.Error("accepted before the chain started")
	}
	r.initChain()
	r.block()
	if check(bundle) != 0 || check([]byte("a=1")) != 0 || check(cometbft.Tx(nil)) != cometbft.CodeRefused {
		t.Error("a good bundle, a good transaction of the application, an empty one")
	}
	if code := check([]byte("a=b=c")); code == 0 || code == cometbft.CodeRefused {
		t.Errorf("a bad transaction of the application: code %d", code)
	}
	r.block(bundle)
	if check(bundle) != cometbft.CodeRefused {
		t.Error("accepted twice")
	}
}

// A gate needs all that it is made of.
func TestNewRefuses(t *testing.T) {
	r := newRig(t, 1, nil)
	for i, c := range []cometbft.Config{{}, {Schedule: r.schedule}, {Schedule: r.schedule, Upstream: cometbft.InProcess(r.app)}} {
		if _, err := cometbft.New(c); err == nil {
			t.Errorf("configuration %d: no error", i)
		}
	}
	if _, err := r.gate.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: 1}); err == nil {
		t.Error("a block before the chain")
	}
	if _, err := r.gate.Commit(ctx, &abci.RequestCommit{}); err == nil {
		t.Error("a commit without a block")
	}
}

// Proof that a validator signed twice takes its power.
func TestA174_DuplicateVote(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	r.block()
	address := tmhash.SumTruncated(keyOf(2))
	hash := blockOf(2)
	req := &abci.RequestFinalizeBlock{Height: 2, Time: birth.Add(2 * time.Second), Hash: hash, Misbehavior: []abci.Misbehavior{{
		Type: abci.MisbehaviorType_LIGHT_CLIENT_ATTACK, Validator: abci.Validator{Address: address, Power: 10},
	}}}
	if res, err := r.gate.FinalizeBlock(ctx, req); err != nil || len(res.ValidatorUpdates) != 0 {
		t.Fatalf("twin: another misbehaviour, which is the application's to judge: %v %v", res, err)
	}
	r = newRig(t, 4, nil)
	r.initChain()
	r.block()
	req.Misbehavior[0].Type = abci.MisbehaviorType_DUPLICATE_VOTE
	r.app.Application = withoutPunishment{r.app.Application}
	res, err := r.gate.FinalizeBlock(ctx, req)
	if err != nil || len(res.ValidatorUpdates) != 1 || res.ValidatorUpdates[0].Power != 0 || !bytes.Equal(res.ValidatorUpdates[0].PubKey.GetEd25519(), keyOf(2)) {
		t.Fatalf("%v %v", res, err)
	}
}

// withoutPunishment is an application that does not care about misbehaviour.
type withoutPunishment struct{ abci.Application }

func (w withoutPunishment) FinalizeBlock(ctx context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	forward := *req
	forward.Misbehavior = nil
	return w.Application.FinalizeBlock(ctx, &forward)
}

// seen is an application that notes what it is asked about vote extensions.
type seen struct {
	abci.BaseApplication
	txs [][]byte
}

func (s *seen) ExtendVote(_ context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	s.txs = req.Txs
	return &abci.ResponseExtendVote{VoteExtension: []byte("mine")}, nil
}

func (s *seen) VerifyVoteExtension(_ context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	status := abci.ResponseVerifyVoteExtension_REJECT
	if string(req.VoteExtension) == "mine" {
		status = abci.ResponseVerifyVoteExtension_ACCEPT
	}
	return &abci.ResponseVerifyVoteExtension{Status: status}, nil
}

// Vote extensions are the application's own affair.
func TestVoteExtensionsPass(t *testing.T) {
	r := newRig(t, 1, nil)
	app := &seen{}
	gate, err := cometbft.New(cometbft.Config{Upstream: cometbft.InProcess(app), Schedule: r.schedule, Store: cometbft.NewStore(r.gateDB)})
	if err != nil {
		t.Fatal(err)
	}
	res, err := gate.ExtendVote(ctx, &abci.RequestExtendVote{Txs: [][]byte{[]byte("a"), cometbft.Tx([]byte("x")), []byte("b")}})
	if err != nil || string(res.VoteExtension) != "mine" || len(app.txs) != 2 {
		t.Errorf("%v %v, the application saw %q", res, err, app.txs)
	}
	for extension, want := range map[string]abci.ResponseVerifyVoteExtension_VerifyStatus{
		"mine": abci.ResponseVerifyVoteExtension_ACCEPT, "yours": abci.ResponseVerifyVoteExtension_REJECT,
	} {
		res, err := gate.VerifyVoteExtension(ctx, &abci.RequestVerifyVoteExtension{VoteExtension: []byte(extension)})
		if err != nil || res.Status != want {
			t.Errorf("%s: %v %v", extension, res, err)
		}
	}
}

// Keys of types that nobody can be admitted with are known and have no power;
// keys of unknown types end the block, as they would without a gate.
func TestOtherKeyTypes(t *testing.T) {
	r := newRig(t, 4, nil)
	r.initChain()
	r.app.Application = wishing{r.app.Application, abci.UpdateValidator(bytes.Repeat([]byte{2}, 33), 10, "secp256k1")}
	if res := r.block(); len(res.ValidatorUpdates) != 0 {
		t.Errorf("%v", res.ValidatorUpdates)
	}
	r.app.Application = wishing{r.app.Application, abci.ValidatorUpdate{Power: 10}}
	if _, err := r.gate.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: 2, Hash: blockOf(2)}); err == nil {
		t.Error("a key of no type")
	}
}

// wishing is an application that wants a validator in every block.
type wishing struct {
	abci.Application
	want abci.ValidatorUpdate
}

func (w wishing) FinalizeBlock(ctx context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	res, err := w.Application.FinalizeBlock(ctx, req)
	if err == nil {
		res.ValidatorUpdates = append(res.ValidatorUpdates, w.want)
	}
	return res, err
}

// A gate whose mempool has seen the transactions and one that has not come to the
// same hash and the same results.
func TestMempoolDecidesNothing(t *testing.T) {
	var hashes, results []string
	for _, checked := range []bool{true, false} {
		r := newRig(t, 4, nil)
		r.initChain()
		r.block()
		good, few := cometbft.Tx(r.bundleOf(1, birth, 2)), cometbft.Tx([]byte("quorate/bundle/v1\n"))
		if checked {
			for _, tx := range [][]byte{good, few} {
				if _, err := r.gate.CheckTx(ctx, &abci.RequestCheckTx{Tx: tx}); err != nil {
					t.Fatal(err)
				}
			}
		}
		res := r.block(good, few, []byte("a=1"), good)
		hashes, results = append(hashes, string(res.AppHash)), append(results, fmt.Sprint(res.TxResults))
	}
	if hashes[0] != hashes[1] || results[0] != results[1] {
		t.Errorf("%x and %x:\n%s\n%s", hashes[0], hashes[1], results[0], results[1])
	}
}
