package signer

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/cometbft/cometbft/crypto"
	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/quorate/quorate/agent/seal"
)

// validator signs for a CometBFT node. Whether two signatures contradict each
// other is decided by CometBFT's own FilePV; whether any is made, by permit.
type validator struct {
	permit func() error

	mu     sync.Mutex
	pv     *privval.FilePV
	key    *hidden
	unsaid bool // a signature was made and is not on disk
}

// newValidator reads the signing state, which must exist.
func newValidator(public ed25519.PublicKey, stateFile string, permit func() error) (*validator, error) {
	key := &hidden{public: cmted25519.PubKey(bytes.Clone(public))}
	pv := privval.NewFilePV(key, "", stateFile)
	data, err := os.ReadFile(stateFile)
	if err != nil {
		return nil, fmt.Errorf("signer: signing state: %w", err)
	}
	if err := cmtjson.Unmarshal(data, &pv.LastSignState); err != nil {
		return nil, fmt.Errorf("signer: signing state %s: %w", stateFile, err)
	}
	if pv.LastSignState.SignBytes != nil && pv.LastSignState.Signature == nil {
		return nil, fmt.Errorf("signer: signing state %s: what was signed is without its signature", stateFile)
	}
	return &validator{permit: permit, pv: pv, key: key}, nil
}

// release hands the key over.
func (v *validator) release(s *seal.Secret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key.secret = s
}

// withdraw takes the key back.
func (v *validator) withdraw() *seal.Secret {
	v.mu.Lock()
	defer v.mu.Unlock()
	secret := v.key.secret
	v.key.secret = nil
	return secret
}

// saved reports whether everything that was signed is on disk.
func (v *validator) saved() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.unsaid
}

// last returns the position that was signed last.
func (v *validator) last() position {
	v.mu.Lock()
	defer v.mu.Unlock()
	return position{v.pv.LastSignState.Height, v.pv.LastSignState.Round, v.pv.LastSignState.Step}
}

// GetPubKey returns the consensus key's public half, which needs no permission.
func (v *validator) GetPubKey() (crypto.PubKey, error) { return v.key.PubKey(), nil }

// SignVote signs a vote, unless permit or FilePV refuses.
func (v *validator) SignVote(chainID string, vote *cmtproto.Vote) error {
	if vote == nil || vote.Type != cmtproto.PrevoteType && vote.Type != cmtproto.PrecommitType {
		return errors.New("signer: neither a prevote nor a precommit")
	}
	return v.sign(func() error { return v.pv.SignVote(chainID, vote) })
}

// SignProposal signs a proposal, unless permit or FilePV refuses.
func (v *validator) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	if proposal == nil {
		return errors.New("signer: no proposal")
	}
	return v.sign(func() error { return v.pv.SignProposal(chainID, proposal) })
}

// sign makes one signature. FilePV panics when it cannot write its state, and by
// then believes to have signed: nothing more is signed, and that signature is
// not handed out, before the state is on disk.
func (v *validator) sign(fn func() error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.unsaid {
		if err := guard(func() error { v.pv.LastSignState.Save(); return nil }); err != nil {
			return err
		}
		v.unsaid = false
	}
	if err := v.permit(); err != nil {
		return err
	}
	before := v.pv.LastSignState.SignBytes
	err := guard(fn)
	var panicked *panicError
	if errors.As(err, &panicked) && !bytes.Equal(before, v.pv.LastSignState.SignBytes) {
		v.unsaid = true
	}
	return err
}

// panicError is what FilePV panicked with.
type panicError struct{ said any }

func (p *panicError) Error() string { return fmt.Sprintf("signer: %v", p.said) }

func guard(fn func() error) (err error) {
	defer func() {
		if said := recover(); said != nil {
			err = &panicError{said}
		}
	}()
	return fn()
}

// hidden is a CometBFT private key whose bytes nobody gets.
type hidden struct {
	public cmted25519.PubKey
	secret *seal.Secret // nil until released
}

// Bytes returns nothing: CometBFT wants it to write key files.
func (h *hidden) Bytes() []byte { return nil }

// Sign signs with the released key.
func (h *hidden) Sign(message []byte) ([]byte, error) {
	if h.secret == nil {
		return nil, errors.New("signer: the TPM has not released the key")
	}
	return h.secret.Sign(message)
}

// PubKey returns the public half.
func (h *hidden) PubKey() crypto.PubKey { return h.public }

// Equals reports whether the other key has the same public half.
func (h *hidden) Equals(other crypto.PrivKey) bool { return h.public.Equals(other.PubKey()) }

// Type returns CometBFT's name of the kind of key.
func (h *hidden) Type() string { return cmted25519.KeyType }

// position is where in the chain a signature belongs.
type position struct {
	Height int64 `json:"height"`
	Round  int32 `json:"round"`
	Step   int8  `json:"step"`
}

func (p position) before(q position) bool {
	if p.Height != q.Height {
		return p.Height < q.Height
	}
	if p.Round != q.Round {
		return p.Round < q.Round
	}
	return p.Step < q.Step
}

// readPosition reads a signing state file; one that is absent was at nothing.
func readPosition(stateFile string) (position, error) {
	data, err := os.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return position{}, nil
	}
	if err != nil {
		return position{}, fmt.Errorf("signer: signing state: %w", err)
	}
	var s privval.FilePVLastSignState
	if err := cmtjson.Unmarshal(data, &s); err != nil {
		return position{}, fmt.Errorf("signer: signing state %s: %w", stateFile, err)
	}
	return position{s.Height, s.Round, s.Step}, nil
}
