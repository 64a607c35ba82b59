package cometbft

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/tmhash"
	"github.com/cometbft/cometbft/proto/tendermint/crypto"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
)

// What a refused transaction of the gate carries: Log is the refusal as JSON.
const (
	CodeRefused = 77
	Codespace   = "quorate"
)

// Tx makes a transaction of a bundle, a roster or a command.
func Tx(payload []byte) []byte { return append([]byte(Prefix), payload...) }

func isOwn(tx []byte) bool { return bytes.HasPrefix(tx, []byte(Prefix)) }

// split separates the gate's transactions, without prefix, from the
// application's, both in the block's order.
func split(txs [][]byte) (own, theirs [][]byte) {
	for _, tx := range txs {
		if isOwn(tx) {
			own = append(own, tx[len(Prefix):])
		} else {
			theirs = append(theirs, tx)
		}
	}
	return own, theirs
}

// merge puts the results of both into the block's order.
func merge(txs [][]byte, own []power.Result, theirs []*abci.ExecTxResult) []*abci.ExecTxResult {
	out := make([]*abci.ExecTxResult, 0, len(txs))
	for _, tx := range txs {
		if isOwn(tx) {
			out, own = append(out, result(own[0])), own[1:]
		} else {
			out, theirs = append(out, theirs[0]), theirs[1:]
		}
	}
	return out
}

func result(r power.Result) *abci.ExecTxResult {
	code, log := verdict(r.Refusal)
	return &abci.ExecTxResult{Code: code, Codespace: Codespace, Log: log, Events: events(r.Events)}
}

func verdict(r *admission.Refusal) (uint32, string) {
	if r == nil {
		return abci.CodeTypeOK, ""
	}
	log, err := json.Marshal(r)
	if err != nil {
		return CodeRefused, r.Error()
	}
	return CodeRefused, string(log)
}

func events(in []power.Event) []abci.Event {
	var out []abci.Event
	for _, e := range in {
		event := abci.Event{Type: e.Type}
		for _, pair := range e.Pairs {
			event.Attributes = append(event.Attributes, abci.EventAttribute{Key: pair[0], Value: pair[1], Index: true})
		}
		out = append(out, event)
	}
	return out
}

// powers turns what an application asks for into the gate's terms.
func powers(in []abci.ValidatorUpdate) ([]power.Power, error) {
	var out []power.Power
	for _, u := range in {
		key, err := formatKey(u.PubKey)
		if err != nil {
			return nil, err
		}
		out = append(out, power.Power{Key: key, Power: u.Power})
	}
	return out, nil
}

func formatKey(key crypto.PublicKey) (string, error) {
	switch k := key.Sum.(type) {
	case *crypto.PublicKey_Ed25519:
		return "ed25519:" + base64.StdEncoding.EncodeToString(k.Ed25519), nil
	case *crypto.PublicKey_Secp256K1:
		return "secp256k1:" + base64.StdEncoding.EncodeToString(k.Secp256K1), nil
	}
	return "", fmt.Errorf("gate: the application asks for power of a key of an unknown type %T", key.Sum)
}

// doubled returns the keys among the powers that a block proves to have signed
// twice. Validators that have left by now have nothing to lose here.
func doubled(proofs []abci.Misbehavior, powers []power.Power) []string {
	if len(proofs) == 0 {
		return nil
	}
	var out []string
	for _, p := range powers {
		_, text, _ := strings.Cut(p.Key, ":")
		raw, err := base64.StdEncoding.DecodeString(text)
		if err == nil && slices.ContainsFunc(proofs, func(m abci.Misbehavior) bool {
			return m.Type == abci.MisbehaviorType_DUPLICATE_VOTE && bytes.Equal(m.Validator.Address, tmhash.SumTruncated(raw))
		}) {
			out = append(out, p.Key)
		}
	}
	return out
}

// updates turns the gate's decisions into consensus's terms.
func updates(in []power.Power) ([]abci.ValidatorUpdate, error) {
	var out []abci.ValidatorUpdate
	for _, p := range in {
		kind, text, _ := strings.Cut(p.Key, ":")
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("gate: key %q: %w", p.Key, err)
		}
		out = append(out, abci.UpdateValidator(raw, p.Power, kind))
	}
	return out, nil
}

func blockHash(h []byte) (d admission.Digest) {
	copy(d[:], h)
	return d
}

// CheckTx judges the gate's transactions against the latest state, and passes
// all others to the application.
func (g *Gate) CheckTx(ctx context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	if !isOwn(req.Tx) {
		return g.Upstream.Mempool.CheckTx(ctx, req)
	}
	code, log := verdict(g.try(req.Tx))
	return &abci.ResponseCheckTx{Code: code, Codespace: Codespace, Log: log, GasWanted: 1}, nil
}

func (g *Gate) try(tx []byte) *admission.Refusal {
	state := g.State()
	if state == nil {
		return &admission.Refusal{Check: power.Malformed, Message: "The chain has not started."}
	}
	payload := tx[len(Prefix):]
	key := sha256.Sum256(payload)
	known, refusal := state.Try(payload, g.memory.get(key), g.Schedule)
	if refusal == nil {
		g.memory.put(key, known)
	}
	return refusal
}

// PrepareProposal puts the gate's transactions first, as many as a block may
// carry and at most half of it, and lets the application fill the rest.
func (g *Gate) PrepareProposal(ctx context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	var own [][]byte
	size := int64(0)
	for _, tx := range req.Txs {
		cost := cmttypes.ComputeProtoSizeForTxs([]cmttypes.Tx{tx})
		if isOwn(tx) && len(own) < power.MaxTxs && size+cost <= req.MaxTxBytes/2 && g.try(tx) == nil {
			own, size = append(own, tx), size+cost
		}
	}
	forward := *req
	_, forward.Txs = split(req.Txs)
	forward.MaxTxBytes -= size
	res, err := g.Upstream.Consensus.PrepareProposal(ctx, &forward)
	if err != nil {
		return nil, err
	}
	_, theirs := split(res.Txs)
	return &abci.ResponsePrepareProposal{Txs: append(own, theirs...)}, nil
}

// ProcessProposal refuses a proposal with more of the gate's transactions, or
// larger ones, than a block may carry, and asks the application about the rest.
// A transaction that the gate will refuse is no reason to refuse the proposal.
func (g *Gate) ProcessProposal(ctx context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	own, theirs := split(req.Txs)
	for _, tx := range own {
		if len(own) > power.MaxTxs || len(tx) > power.MaxTx {
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
	}
	forward := *req
	forward.Txs = theirs
	return g.Upstream.Consensus.ProcessProposal(ctx, &forward)
}
