package cometbft

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/admission/power"
)

// Adoption puts a gate in front of a chain that ran without one. Every node
// stops after the same height and starts again behind a gate with the same
// adoption; the rules must leave that set unattested for a while.
type Adoption struct {
	Height     uint64
	Time       time.Time     // of the block of that height
	Validators []power.Power // the whole set after that height
}

// adopt starts the state at the adopted height, for an application that is there.
func (g *Gate) adopt(height uint64, hash []byte) (*record, error) {
	if height != g.Adopt.Height {
		return nil, fmt.Errorf("gate: the application is at height %d, the adoption is for height %d: stop every node there", height, g.Adopt.Height)
	}
	state, err := power.Adopt(power.Genesis{
		ChainID: g.Schedule.Ledger().ID, Height: height, Time: g.Adopt.Time, Validators: g.Adopt.Validators,
	}, g.Schedule)
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	rec := &record{inner: hash, state: state, adopted: true}
	return rec, g.Store.save(rec)
}
