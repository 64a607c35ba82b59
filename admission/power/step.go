package power

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// Limits of blocks.
const (
	MaxTx         = 1000 << 10        // bytes of one transaction: CometBFT's mempool takes 1 MiB unless told otherwise
	MaxTxs        = 64                // transactions in one block
	MaxTotalPower = math.MaxInt64 / 8 // of a set, as consensus allows
)

// Block is what one block brings.
type Block struct {
	Height  uint64
	Time    time.Time
	Hash    admission.Digest
	Txs     [][]byte               // bundles, rosters and commands, in order
	Known   []*admission.Admission // what Try returned for each of Txs, or nil; may be shorter. It saves time and changes nothing
	Desired []Power                // what the application asks for; 0 to leave
	Doubled []string               // consensus keys of which this block proves that they signed twice
}

// Result is what became of one transaction.
type Result struct {
	Refusal *admission.Refusal // nil if it was accepted
	Events  []Event
}

// Event is something that people and indexers want to know of.
type Event struct {
	Type  string // "quorate_…"
	Pairs [][2]string
}

// Outcome is what follows from a block.
type Outcome struct {
	Results []Result // one for each transaction
	Updates []Power  // what to tell consensus, ascending by key
	Events  []Event
}

// run is one block in work.
type run struct {
	*State
	rules  Rules
	before time.Time            // of the block before
	known  *admission.Admission // what is known of the transaction in work
	events []Event
}

func (r *run) event(kind string, pairs ...[2]string) {
	r.events = append(r.events, Event{"quorate_" + kind, pairs})
}

// Step returns the state after the block, and what follows from the block. An
// error means that the block cannot come after this state at all.
func (s *State) Step(b Block, schedule *Schedule) (*State, Outcome, error) {
	if b.Height != s.height+1 {
		return nil, Outcome{}, fmt.Errorf("power: block %d cannot follow height %d", b.Height, s.height)
	}
	r := s.begin(b.Height, b.Time, schedule)
	out := Outcome{}
	for i, tx := range b.Txs {
		r.known = nil
		if i < len(b.Known) {
			r.known = b.Known[i]
		}
		out.Results = append(out.Results, r.apply(i, tx))
	}
	if err := r.desire(b.Desired); err != nil {
		return nil, Outcome{}, err
	}
	r.double(b.Doubled)
	out.Updates = r.settle()
	r.remember(admission.Beacon{Height: b.Height, Hash: b.Hash})
	out.Events = r.events
	return r.State, out, nil
}

// Try returns why a transaction would be refused in the next block, or nil. The
// time is that of the latest block. Of a bundle it returns the verified admission,
// for Block.Known, and takes what it returned before.
func (s *State) Try(tx []byte, known *admission.Admission, schedule *Schedule) (*admission.Admission, *admission.Refusal) {
	r := s.begin(s.height+1, s.time, schedule)
	r.known = known
	refusal := r.apply(0, tx).Refusal
	return r.known, refusal
}

// begin moves a copy of the state to a height and drops what time has settled.
func (s *State) begin(height uint64, now time.Time, schedule *Schedule) *run {
	r := &run{State: s.clone(), rules: schedule.At(height), before: s.time}
	r.height, r.time = height, now.UTC().Truncate(time.Second)
	if r.rules.text != r.State.rules {
		r.change(r.rules.text)
	}
	for digest, end := range r.commands {
		if !r.time.Before(end) {
			delete(r.commands, digest)
		}
	}
	maps.DeleteFunc(r.removals, func(_ string, m removal) bool { return m.height+r.rules.Window <= height })
	return r
}

// change takes up new rules. Verifier keys that they do not know count as
// retired from now on.
func (r *run) change(text string) {
	r.State.rules = text
	for _, seat := range r.seats {
		for _, o := range seat.Opinions {
			key, ok := r.rules.Consortium.AdmissionKey(keyName(o.Verifier))
			if !ok || keyID(key) != o.Verifier {
				r.retire(o.Verifier)
			}
		}
	}
	r.lookAgain()
	r.event("rules", [2]string{"text", text})
}

// apply judges one transaction and, if it is accepted, takes it into the state.
func (r *run) apply(index int, tx []byte) Result {
	before := len(r.events)
	err := r.transact(index, tx)
	var refusal *admission.Refusal
	if err != nil && !errors.As(err, &refusal) {
		refusal = refuse(Malformed, "", err.Error(), "a bundle, a roster or a command")
	}
	events := slices.Clone(r.events[before:])
	r.events = r.events[:before]
	return Result{Refusal: refusal, Events: events}
}

func (r *run) transact(index int, tx []byte) error {
	switch {
	case index >= MaxTxs:
		return refuse(TooMany, "", "more transactions", num(MaxTxs)+" in a block")
	case len(tx) > MaxTx:
		return refuse(Malformed, "", num(uint64(len(tx)))+" bytes", "at most "+num(MaxTx))
	case isCommand(tx):
		return r.command(tx)
	case isRoster(tx):
		return r.roster(tx)
	}
	return r.bundle(tx)
}

// desire takes what the application asks for.
func (r *run) desire(asked []Power) error {
	for _, p := range asked {
		if p.Power < 0 || !validKey(p.Key) {
			return fmt.Errorf("power: the application asks for power %d of key %q", p.Power, p.Key)
		}
		v := r.validators[p.Key]
		v.Desired = p.Power
		r.validators[p.Key] = v
	}
	return nil
}

// double notes keys that signed twice: two hosts use one key, or one host lies.
// They may not vote until the verifiers admit the host anew.
func (r *run) double(keys []string) {
	for _, key := range keys {
		if _, known := r.validators[key]; known {
			r.doubled[key] = r.time
			r.event("doubled", [2]string{"key", key}, [2]string{"node", orNone(r.keys[key])})
		}
	}
}

// remember keeps the block as a beacon for as long as beacons count.
func (r *run) remember(b admission.Beacon) {
	r.blocks = append(r.blocks, b)
	if extra := len(r.blocks) - int(r.rules.BeaconAge); extra > 0 {
		r.blocks = slices.Clone(r.blocks[extra:])
	}
}
