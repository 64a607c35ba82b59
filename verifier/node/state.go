// Package node is a node's life cycle: which state it is in, what may happen to
// it there, and what that state is worth at a given time.
//
// The package is pure. It knows no store and no clock: a record and an event go
// in, the next record comes out. Two rules hold whatever the order of events:
//
//   - A refusal is latched. No timeout and no pass in the same boot epoch ends a
//     suspension; only a pass after a reboot or an operator does.
//   - A node counts as admitted because of its last good proof and the time since
//     (Status), never because nobody has objected. A component that stops working
//     can only let nodes expire.
package node

import (
	"encoding/hex"
	"fmt"
	"slices"
)

// State is where a node is in its life. The zero State is Pending, which gives
// no power.
type State uint8

const (
	// Pending nodes are enrolled and wait for approval, or for passing evidence.
	Pending State = iota
	// Admitted nodes passed, are approved and fresh.
	Admitted
	// Late nodes were admitted and owe fresh evidence. Passing brings them back;
	// being late says nothing about integrity.
	Late
	// Suspended nodes had evidence refused, or an operator suspended them.
	Suspended
	// Retired is final.
	Retired
	// Quarantined nodes are in doubt of their identity. Two operators lift it.
	Quarantined
)

var stateNames = []string{"pending", "admitted", "late", "suspended", "retired", "quarantined"}

// States returns every state, in the order of the constants.
func States() []State {
	return []State{Pending, Admitted, Late, Suspended, Retired, Quarantined}
}

// String returns the state's lower-case name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState is the inverse of String.
func ParseState(name string) (State, error) {
	if i := slices.Index(stateNames, name); i >= 0 {
		return State(i), nil
	}
	return 0, fmt.Errorf("node: unknown state %q", name)
}

// MarshalText makes states readable in JSON.
func (s State) MarshalText() ([]byte, error) {
	if int(s) >= len(stateNames) {
		return nil, fmt.Errorf("node: unknown state %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText accepts exactly what MarshalText prints.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}

// Digest is a SHA-256 digest. Its text is "sha256:" and 64 lower-case hex
// digits; the zero Digest means none and its text is empty.
type Digest [32]byte

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns the digest's text.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return "sha256:" + hex.EncodeToString(d[:])
}

// ParseDigest is the inverse of String.
func ParseDigest(text string) (Digest, error) {
	var d Digest
	err := d.UnmarshalText([]byte(text))
	return d, err
}

// MarshalText makes digests readable in JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}
	const prefix = "sha256:"
	s := string(text)
	if len(s) != len(prefix)+64 || s[:len(prefix)] != prefix || !isLowerHex(s[len(prefix):], 64) {
		return fmt.Errorf("node: %q is not a digest (want sha256: and 64 lower-case hex digits)", s)
	}
	var sum Digest
	if _, err := hex.Decode(sum[:], text[len(prefix):]); err != nil {
		return fmt.Errorf("node: digest: %w", err)
	}
	if sum.IsZero() {
		return fmt.Errorf("node: the all-zero digest means none and has no text")
	}
	*d = sum
	return nil
}
