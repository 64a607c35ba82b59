package power

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/admission"
)

// Genesis is what a chain starts with.
type Genesis struct {
	ChainID    string
	Height     uint64 // of the block before the first one
	Time       time.Time
	Validators []Power  // whom the application wants
	Founding   [][]byte // bundles of founders, and commands; the same on every node
}

// New returns the state before the first block, and the whole set that consensus
// is to start with. Founders enter with bundles or, where the rules of the first
// block say so, unattested until a height (R8). It refuses a set of nobody.
func New(g Genesis, schedule *Schedule) (*State, []Power, error) {
	if id := schedule.Ledger().ID; id != g.ChainID {
		return nil, nil, fmt.Errorf("power: the consortium file is for ledger %q, this chain is %q", id, g.ChainID)
	}
	s := newState()
	s.height = g.Height
	r := &run{State: s, rules: schedule.At(g.Height + 1)}
	r.time, r.State.rules = g.Time.UTC().Truncate(time.Second), r.rules.Text()
	if err := r.desire(g.Validators); err != nil {
		return nil, nil, err
	}
	for key, v := range r.validators {
		v.Founder = true
		r.validators[key] = v
	}
	for i, tx := range g.Founding {
		if err := r.found(tx); err != nil {
			return nil, nil, fmt.Errorf("power: founding file %d: %w", i+1, err)
		}
	}
	set := r.settle()
	if len(set) == 0 {
		return nil, nil, refuse(NoFounders, "", "no validator with an admission", "genesis bundles, or founders unattested until a height")
	}
	return r.State, set, nil
}

// found takes a founder's bundle or a command. Verifiers state a founder's
// admission after the genesis document is final, which may be after the time in
// it: a bundle is judged at its own beginning, if that is later.
func (r *run) found(tx []byte) error {
	genesis := r.time
	defer func() { r.time = genesis }()
	if b, err := admission.ParseBundle(tx); err == nil {
		for _, item := range b.Items {
			if s, err := item.UntrustedStatement(); err == nil && s.NotBefore.After(r.time) {
				r.time = s.NotBefore
			}
		}
	}
	return r.transact(0, tx)
}

// Adopt returns the state of a chain that ran without a gate until height, and
// in whose set everyone counts as a founder.
func Adopt(g Genesis, schedule *Schedule) (*State, error) {
	s, set, err := New(g, schedule)
	if err != nil {
		return nil, err
	}
	for _, p := range set {
		if v := s.validators[p.Key]; v.Desired != v.Effective {
			return nil, refuse(NoFounders, "key", p.Key, "a set that stays as it is when the gate comes; caps bind later")
		}
	}
	if len(set) != len(g.Validators) {
		return nil, refuse(NoFounders, "", num(uint64(len(set)))+" of "+num(uint64(len(g.Validators))), "everyone in the set unattested until a height")
	}
	return s, nil
}
