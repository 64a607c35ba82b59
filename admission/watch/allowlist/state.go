package allowlist

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"
)

// Action is what a ledger does with a node.
type Action string

// The actions.
const (
	Add    Action = "add"
	Remove Action = "remove"
)

// Change is one thing for the ledger to do.
type Change struct {
	Number uint64 `json:"number"` // from 1, each one more than the one before
	Action Action `json:"action"`
	Node   string `json:"node"`
	Peer   string `json:"peer"`   // how the ledger's network knows the node
	Reason string `json:"reason"` // for people
}

// State is what the ledger was told, or will be once its outbox is empty. The zero
// State has told it nothing.
type State struct {
	Peers    map[string]string    `json:"peers"`    // by node id
	Left     map[string]time.Time `json:"left"`     // nodes that were evicted within the window
	Frozen   string               `json:"frozen"`   // why somebody is kept who should leave; empty if nobody is
	Outbox   []Change             `json:"outbox"`   // not delivered yet, in order
	Numbered uint64               `json:"numbered"` // changes so far
}

// Delivered returns the state without the first change of its outbox.
func (s State) Delivered() State {
	s = s.clone()
	if len(s.Outbox) > 0 {
		s.Outbox = s.Outbox[1:]
	}
	return s
}

// Equal reports whether both are the same state.
func (s State) Equal(other State) bool { return bytes.Equal(s.Marshal(), other.Marshal()) }

// clone also replaces what is nil, so that a state has one text.
func (s State) clone() State {
	s.Peers, s.Left = maps.Clone(s.Peers), maps.Clone(s.Left)
	if s.Peers == nil {
		s.Peers = map[string]string{}
	}
	if s.Left == nil {
		s.Left = map[string]time.Time{}
	}
	s.Outbox = append([]Change{}, s.Outbox...)
	return s
}

func (s *State) add(node, peer, reason string) {
	s.Peers[node] = peer
	s.put(Add, node, peer, reason)
}

func (s *State) remove(node, reason string) {
	s.put(Remove, node, s.Peers[node], reason)
	delete(s.Peers, node)
}

func (s *State) put(action Action, node, peer, reason string) {
	s.Numbered++
	s.Outbox = append(s.Outbox, Change{s.Numbered, action, node, peer, reason})
}

// maxState bounds a state's text, in bytes.
const maxState = 64 << 20

// Marshal returns the state's one text.
func (s State) Marshal() []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(s.clone()) // maps, strings and times of this package always encode
	return buf.Bytes()
}

// ErrState reports bytes that Marshal did not make.
var ErrState = errors.New("allowlist: not a state that this program wrote")

// ParseState accepts exactly what Marshal makes of a state in which the changes
// are numbered without gaps and every node is a valid one.
func ParseState(data []byte) (s State, err error) {
	if len(data) > maxState || json.Unmarshal(data, &s) != nil || !bytes.Equal(s.Marshal(), data) {
		return State{}, ErrState
	}
	if len(s.Peers) > 0 && Peers(s.Peers).check() != nil || uint64(len(s.Outbox)) > s.Numbered {
		return State{}, ErrState
	}
	first := s.Numbered - uint64(len(s.Outbox)) + 1
	for i, c := range s.Outbox {
		if c.Number != first+uint64(i) || !c.valid() {
			return State{}, ErrState
		}
	}
	return s, nil
}

func (c Change) valid() bool {
	one := Peers{c.Node: c.Peer}
	return slices.Contains([]Action{Add, Remove}, c.Action) && one.check() == nil
}
