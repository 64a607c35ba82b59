package chain

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
)

// Height is the height of the latest block that the node has.
func (n *Node) Height(ctx context.Context) (int64, error) {
	s, err := n.client.Status(ctx)
	if err != nil {
		return 0, err
	}
	return s.SyncInfo.LatestBlockHeight, nil
}

// Validators returns the powers of the set of a height, by consensus key.
func (n *Node) Validators(ctx context.Context, height int64) (map[string]int64, error) {
	all := 100
	r, err := n.client.Validators(ctx, &height, nil, &all)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, v := range r.Validators {
		out["ed25519:"+base64.StdEncoding.EncodeToString(v.PubKey.Bytes())] = v.VotingPower
	}
	return out, nil
}

// Signed reports whether the node with that consensus key signed the block of
// a height.
func (n *Node) Signed(ctx context.Context, height int64, by *Node) (bool, error) {
	r, err := n.client.Commit(ctx, &height)
	if err != nil {
		return false, err
	}
	for _, s := range r.Commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit && s.ValidatorAddress.String() == by.key.Address().String() {
			return true, nil
		}
	}
	return false, nil
}

// AppHash returns the application hash in the header of a height.
func (n *Node) AppHash(ctx context.Context, height int64) (string, error) {
	r, err := n.client.Header(ctx, &height)
	if err != nil {
		return "", err
	}
	if r.Header == nil {
		return "", fmt.Errorf("chain: %s has no header of height %d", n.Name, height)
	}
	return r.Header.AppHash.String(), nil
}

// BlockTime is the time in the header of the latest block.
func (n *Node) BlockTime(ctx context.Context) (time.Time, error) {
	s, err := n.client.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return s.SyncInfo.LatestBlockTime, nil
}

// Send puts a transaction into the node's mempool. What the application or the
// gate refuses is a *Refused.
func (n *Node) Send(ctx context.Context, tx []byte) error {
	r, err := n.client.BroadcastTxSync(ctx, tx)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return &Refused{r.Code, r.Log}
	}
	return nil
}

// Refused is a transaction's refusal.
type Refused struct {
	Code uint32
	Log  string
}

// Error names code and log.
func (r *Refused) Error() string { return fmt.Sprintf("refused with code %d: %s", r.Code, r.Log) }

// Ask is a kvstore transaction, which it carries out for anybody: the
// validator's power is to be changed.
func (n *Node) Ask(power int64) []byte {
	return fmt.Appendf(nil, "val=ed25519!%s!%d", base64.StdEncoding.EncodeToString(n.key.Bytes()), power)
}

// Value returns what the application stores under a key; empty if nothing.
func (n *Node) Value(ctx context.Context, key string) (string, error) {
	r, err := n.client.ABCIQuery(ctx, "", []byte(key))
	if err != nil {
		return "", err
	}
	return string(r.Response.Value), nil
}

// Power asks the gate who has power, and why.
func (n *Node) Power(ctx context.Context) (power.Status, error) {
	var s power.Status
	r, err := n.client.ABCIQuery(ctx, cometbft.PathStatus, nil)
	if err != nil {
		return s, err
	}
	if r.Response.IsErr() {
		return s, errors.New(r.Response.Log)
	}
	return s, json.Unmarshal(r.Response.Value, &s)
}
