package cometbft

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cometbft/cometbft/rpc/client"

	"github.com/quorate/quorate/admission/power"
)

// Adoption puts a gate before a chain that ran without one. Every node's
// application stops after the same height, and starts again behind a gate with
// the same adoption; the rules must leave the set unattested for a while.
type Adoption struct {
	Height     uint64        `json:"height"`     // the last one without a gate
	Time       time.Time     `json:"time"`       // of its block
	Validators []power.Power `json:"validators"` // the whole set after it
}

// AdoptionAt asks a node for the set after a height.
func AdoptionAt(ctx context.Context, node client.SignClient, height int64) (*Adoption, error) {
	block, err := node.Block(ctx, &height)
	if err != nil {
		return nil, fmt.Errorf("gate: block %d: %w", height, err)
	}
	out := &Adoption{Height: uint64(height), Time: block.Block.Time}
	next, perPage := height+1, 100
	for page := 1; ; page++ {
		res, err := node.Validators(ctx, &next, &page, &perPage)
		if err != nil {
			return nil, fmt.Errorf("gate: validators of height %d: %w", next, err)
		}
		for _, v := range res.Validators {
			key := v.PubKey.Type() + ":" + base64.StdEncoding.EncodeToString(v.PubKey.Bytes())
			out.Validators = append(out.Validators, power.Power{Key: key, Power: v.VotingPower})
		}
		if len(out.Validators) >= res.Total || len(res.Validators) == 0 {
			return out, nil
		}
	}
}

// adopt starts the state at the adopted height, for an application that is there.
func (g *Gate) adopt(height uint64, hash []byte) (*record, error) {
	if height != g.Adopt.Height {
		return nil, fmt.Errorf("gate: the application is at height %d, the adoption is for height %d: every node must stop there", height, g.Adopt.Height)
	}
	state, err := power.Adopt(power.Genesis{
		ChainID: g.Schedule.Ledger().ID, Height: height, Time: g.Adopt.Time, Validators: g.Adopt.Validators,
	}, g.Schedule)
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	rec := newRecord(hash, state, true)
	return rec, g.Store.save(rec)
}
