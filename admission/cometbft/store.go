package cometbft

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/merkle"

	"github.com/quorate/quorate/admission/power"
)

// Names of the two leaves under the application hash.
const (
	leafApplication = "application"
	leafGate        = "quorate"
)

// record is the gate's state of one height and the application's hash with it, both
// unchanging. Only newRecord makes one.
type record struct {
	inner   []byte // the application's own hash
	state   *power.State
	adopted bool // the height was decided without a gate: its hash is the application's own
	text    string
	entries []power.Entry
	root    []byte // over the entries
}

// newRecord prints the state, once for all that need its text.
func newRecord(inner []byte, state *power.State, adopted bool) *record {
	r := &record{inner: inner, state: state, adopted: adopted}
	r.text, r.entries = state.Print()
	r.root = merkle.HashFromByteSlices(leaves(r.entries))
	return r
}

// decided is the height whose rules the state was made by: an adopted state by
// those of the first block behind the gate.
func (r *record) decided() uint64 {
	if r.adopted {
		return r.state.Height() + 1
	}
	return r.state.Height()
}

// hash is the application hash of the height: the root over the application's
// hash and the root over the gate's state.
func (r *record) hash() []byte {
	if r.adopted {
		return r.inner
	}
	return outerHash(r.inner, r.root)
}

func outerHash(inner, root []byte) []byte {
	return merkle.HashFromByteSlices([][]byte{leaf(leafApplication, inner), leaf(leafGate, root)})
}

func leaves(entries []power.Entry) [][]byte {
	out := make([][]byte, len(entries))
	var value []byte
	for i, e := range entries {
		value = append(value[:0], e.Value...)
		out[i] = leaf(e.Key, value)
	}
	return out
}

// leaf encodes a key and the hash of its value as merkle.ValueOp does, so that
// light clients can check it with what they have.
func leaf(key string, value []byte) []byte {
	sum := sha256.Sum256(value)
	out := make([]byte, 0, len(key)+len(sum)+2*binary.MaxVarintLen16)
	out = append(binary.AppendUvarint(out, uint64(len(key))), key...)
	return append(binary.AppendUvarint(out, uint64(len(sum))), sum[:]...)
}

const recordHeader = "quorate/gate-record/v1"

func (r *record) marshal() []byte {
	head := fmt.Appendf(nil, "%s %t %x\n", recordHeader, r.adopted, r.inner)
	return append(append(make([]byte, 0, len(head)+len(r.text)), head...), r.text...)
}

func parseRecord(b []byte) (*record, error) {
	line, state, _ := strings.Cut(string(b), "\n")
	words := strings.Split(line, " ")
	if len(words) != 3 || words[0] != recordHeader {
		return nil, errors.New("gate: not a record of a gate")
	}
	inner, err := hex.DecodeString(words[2])
	if err != nil {
		return nil, fmt.Errorf("gate: record: %w", err)
	}
	parsed, err := power.ParseState([]byte(state))
	if err != nil {
		return nil, err
	}
	r := newRecord(inner, parsed, words[1] == "true")
	if !bytes.Equal(r.marshal(), b) {
		return nil, errors.New("gate: a record that is not in its one form")
	}
	return r, nil
}

// kept is how many heights an application may be behind the gate.
const kept = 16

// errNoRecord says that the gate has no state of a height.
var errNoRecord = errors.New("gate: no state of this height")

// Store keeps the gate's latest states. Writes are durable when they return.
type Store struct{ db dbm.DB }

// NewStore keeps states in a database, which the caller closes.
func NewStore(db dbm.DB) *Store { return &Store{db} }

func recordKey(height uint64) []byte { return fmt.Appendf(nil, "state/%020d", height) }

func (s *Store) save(r *record) error {
	if err := s.db.SetSync(recordKey(r.state.Height()), r.marshal()); err != nil {
		return fmt.Errorf("gate: storing height %d: %w", r.state.Height(), err)
	}
	return nil
}

func (s *Store) load(height uint64) (*record, error) {
	raw, err := s.db.Get(recordKey(height))
	if err != nil {
		return nil, fmt.Errorf("gate: reading height %d: %w", height, err)
	}
	if raw == nil {
		return nil, fmt.Errorf("%w: the application is at height %d; restore the gate's folder together with the application's, or empty both and sync the node anew", errNoRecord, height)
	}
	return parseRecord(raw)
}

func (s *Store) empty() bool {
	heights, err := s.heights()
	return err == nil && len(heights) == 0
}

func (s *Store) heights() ([]uint64, error) {
	it, err := s.db.Iterator([]byte("state/"), []byte("state0"))
	if err != nil {
		return nil, fmt.Errorf("gate: reading the store: %w", err)
	}
	defer it.Close()
	var out []uint64
	for ; it.Valid(); it.Next() {
		var height uint64
		if _, err := fmt.Sscanf(string(it.Key()), "state/%d", &height); err != nil {
			return nil, fmt.Errorf("gate: key %q: %w", it.Key(), err)
		}
		out = append(out, height)
	}
	return out, it.Error()
}

// prune forgets heights that no crash and no snapshot of the application needs,
// now and then.
func (g *Gate) prune(ctx context.Context, height uint64) error {
	if height%kept != 0 {
		return nil
	}
	list, err := g.Upstream.Snapshot.ListSnapshots(ctx, &abci.RequestListSnapshots{})
	if err != nil {
		return err
	}
	needed := map[uint64]bool{}
	for _, s := range list.Snapshots {
		needed[s.Height] = true
	}
	heights, err := g.Store.heights()
	if err != nil {
		return err
	}
	for _, h := range heights {
		if h+kept <= height && !needed[h] {
			if err := g.Store.db.Delete(recordKey(h)); err != nil {
				return fmt.Errorf("gate: forgetting height %d: %w", h, err)
			}
		}
	}
	return nil
}
