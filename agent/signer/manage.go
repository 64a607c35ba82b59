package signer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/statedir"
)

// Conditions are what an operator chooses for a new key.
type Conditions struct {
	Authority seal.PublicKey   // approves measured states
	Grantors  []seal.PublicKey // any one grants further starts in a boot; may be empty
	Recipient seal.PublicKey   // of a recovery file; empty: the key has no copy
	Strict    bool             // every start needs a grant
}

// Create makes a key inside this host's TPM context and seals it. The signer must
// not be running.
func Create(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions) (*seal.Key, *seal.Recovery, error) {
	return install(ctx, cfg, dev, c, stateBytes(position{}), func(t seal.Terms) (*seal.Key, *seal.Recovery, error) { return seal.Create(ctx, dev, t, c.Recipient) })
}

// Import seals a key that CometBFT made, with the signing state that belongs to
// it: without that, the key could sign twice at one height.
func Import(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions, private ed25519.PrivateKey, state []byte) (*seal.Key, *seal.Recovery, error) {
	var s privval.FilePVLastSignState
	if err := cmtjson.Unmarshal(state, &s); err != nil {
		return nil, nil, &seal.Refusal{Check: seal.Malformed, Got: "signing state: " + err.Error(), Want: "CometBFT's priv_validator_state.json", Cause: err}
	}
	return install(ctx, cfg, dev, c, state, func(t seal.Terms) (*seal.Key, *seal.Recovery, error) {
		return seal.Import(ctx, dev, t, private, c.Recipient)
	})
}

// ParseKeyFile reads CometBFT's priv_validator_key.json.
func ParseKeyFile(data []byte) (ed25519.PrivateKey, error) {
	var k privval.FilePVKey
	if err := cmtjson.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("signer: key file: %w", err)
	}
	private, ok := k.PrivKey.(cmted25519.PrivKey)
	if !ok || len(private) != ed25519.PrivateKeySize {
		return nil, errors.New("signer: key file: not an Ed25519 consensus key of CometBFT")
	}
	return ed25519.PrivateKey(private), nil
}

// install seals a key and writes what belongs to it, the key's file last: before
// that there is no key.
func install(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions, state []byte, seals func(seal.Terms) (*seal.Key, *seal.Recovery, error)) (*seal.Key, *seal.Recovery, error) {
	dir, err := statedir.Open(Dir(cfg))
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	if _, err := dir.Read(keyFile); !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &seal.Refusal{Check: seal.Exists, Got: "a sealed key in " + Dir(cfg), Want: "none",
			Remedy: "keep it, or replace it with `quorate-agent signer rotate`"}
	}
	return place(ctx, cfg, dev, dir, c, state, seals)
}

func place(ctx context.Context, cfg agent.Config, dev *device.Device, dir *statedir.Dir, c Conditions, state []byte, seals func(seal.Terms) (*seal.Key, *seal.Recovery, error)) (*seal.Key, *seal.Recovery, error) {
	terms, err := newTerms(ctx, cfg, dev, c)
	if err != nil {
		return nil, nil, err
	}
	k, r, err := seals(terms)
	if err != nil {
		return nil, nil, err
	}
	if err := dir.Write(stateFile, state); err != nil {
		return nil, nil, err
	}
	if err := beginStarts(ctx, cfg, dev, dir); err != nil {
		return nil, nil, err
	}
	return k, r, dir.Write(keyFile, k.Marshal())
}

func newTerms(ctx context.Context, cfg agent.Config, dev *device.Device, c Conditions) (seal.Terms, error) {
	consortium, err := agent.ReadConsortium(cfg)
	if err != nil {
		return seal.Terms{}, err
	}
	banks, err := key.Banks(dev.With(ctx))
	if err != nil {
		return seal.Terms{}, err
	}
	if len(banks) == 0 {
		return seal.Terms{}, fmt.Errorf("signer: %w: neither sha256 nor sha384", key.ErrBank)
	}
	t := seal.Terms{
		Ledger: consortium.Ledger.ID, Genesis: consortium.Ledger.Genesis.String(), Node: cfg.Node,
		Authority: c.Authority, Strict: c.Strict, Bank: banks[0],
	}
	if len(c.Grantors) > 0 {
		t.Grantor, t.OtherGrantors = c.Grantors[0], c.Grantors[1:]
	}
	return t, nil
}

// beginStarts records the present signing state as the newest.
func beginStarts(ctx context.Context, cfg agent.Config, dev *device.Device, dir *statedir.Dir) error {
	at, err := readPosition(statePath(cfg))
	if err != nil {
		return err
	}
	return countStart(ctx, dev, dir, at)
}

// stateBytes is a signing state at a position, with nothing signed there.
func stateBytes(p position) []byte {
	data, err := cmtjson.MarshalIndent(privval.FilePVLastSignState{Height: p.Height, Round: p.Round, Step: p.Step}, "", "  ")
	if err != nil {
		return nil // three numbers always encode
	}
	return data
}

// Accept takes an approval or a grant into the signer's directory, where a
// running signer finds it. It says which it was.
func Accept(cfg agent.Config, data []byte) (string, error) {
	if g, err := seal.ParseGrant(data); err == nil {
		if err := checkAsked(cfg, g); err != nil {
			return "", err
		}
		return "grant", leave(cfg, grantFile, g.Marshal())
	}
	a, err := seal.ParseApproval(data)
	if err != nil {
		return "", err
	}
	k, err := ReadKey(cfg)
	if err != nil {
		return "", err
	}
	if err := a.Check(k.Terms); err != nil {
		return "", err
	}
	return "approval", leave(cfg, approvalsDir+"/"+shortName(a.Marshal()), a.Marshal())
}

// checkAsked refuses a grant that no signer waits for.
func checkAsked(cfg agent.Config, g seal.Grant) error {
	dir, err := statedir.Look(Dir(cfg))
	if err != nil {
		return err
	}
	defer dir.Close()
	data, err := dir.Read(requestFile)
	if err != nil {
		return &seal.Refusal{Check: seal.GrantDenied, Got: "a grant, while no signer waits for one", Want: "a request", Cause: err,
			Remedy: "see `quorate-agent signer status`"}
	}
	r, err := seal.ParseRequest(data)
	if err != nil {
		return err
	}
	if !bytes.Equal(r.Nonce, g.Nonce) {
		return &seal.Refusal{Check: seal.GrantDenied, Got: "a grant for another start", Want: "one for the present request",
			Remedy: "have the grantor sign the present request; it is new at every start"}
	}
	return nil
}

// shortName names a file by what is in it.
func shortName(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]) + ".json"
}

// leave writes a file beside a running signer, which holds the lock.
func leave(cfg agent.Config, name string, data []byte) error {
	dir, err := statedir.Join(Dir(cfg))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Mkdir(approvalsDir); err != nil {
		return err
	}
	return dir.Write(name, data)
}
