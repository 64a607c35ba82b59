package power

import (
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// Roles of nodes that a gate knows.
const (
	RoleValidator = "validator" // may have voting power
	RoleObserver  = "observer"  // may be a peer
)

// Power is a consensus key, "ed25519:<base64>", and its voting power.
type Power struct {
	Key   string `json:"key"`
	Power int64  `json:"power"`
}

// Validator is a key that the application wants in the set, or that is in it.
type Validator struct {
	Desired   int64 // what the application asks for
	Effective int64 // what consensus was told
	Founder   bool  // was in the genesis document
}

// Opinion is one verifier's part in an admission.
type Opinion struct {
	Verifier string // "<name>+<key hash>": the key that signed
	Serial   uint64
	From     time.Time        // not-before of its statement
	Evidence admission.Digest // of the archived evidence, so that it can be appraised again
}

// Seat is the admission of a node, as the ledger accepted it.
type Seat struct {
	Host      string
	Role      string
	Key       string // consensus key; empty for an observer
	Policy    admission.PolicyRef
	Epoch     admission.Epoch
	NotBefore time.Time
	NotAfter  time.Time
	Bundle    admission.Digest // of the bundle's bytes, which are in the block
	Accepted  uint64           // height
	Extended  bool             // by break-glass, since it was accepted
	Opinions  []Opinion        // ascending by verifier
}

// Host is what a host id is bound to.
type Host struct {
	Node string
	Key  string // consensus key; empty for an observer
	Last uint64 // the last height at which the binding was in use
}

// bars are the nodes that one verifier's latest roster bars.
type bars struct {
	number uint64
	since  map[string]time.Time // by node id
}

// removal is the power with which a key left the set when its admission lapsed.
type removal struct {
	height uint64
	power  int64
}

// State is everything that the rules depend on, after the block of its height.
// It is immutable: Step returns another one. Its zero value knows nobody.
type State struct {
	height     uint64
	time       time.Time // of the block, whole seconds
	rules      string    // text of the rules of this height
	frozen     uint64    // since this height; 0 if not
	validators map[string]Validator
	seats      map[string]Seat // by node id
	hosts      map[string]Host // by host id
	peers      map[string]string
	retired    map[string]time.Time           // verifier key or policy digest → end of what it allowed
	barred     map[string]bars                // by verifier name
	commands   map[admission.Digest]time.Time // of several members, carried out; until their end
	numbers    map[string]uint64              // member → number of its latest command of its own
	doubled    map[string]time.Time           // consensus key → time of the block that proves that it signed twice
	removals   map[string]removal             // by consensus key, within the window
	blocks     []admission.Beacon             // recent blocks, ascending
	quorum     time.Time                      // when a quorum of verifiers was at work last, as far as bundles show; zero without R11
	seen       map[string]time.Time           // node id → when the chain saw that, within the last part of its seat's life
	keys       map[string]string              // consensus key → node id of the seat; derived
}

func newState() *State {
	return &State{
		validators: map[string]Validator{}, seats: map[string]Seat{}, hosts: map[string]Host{}, peers: map[string]string{},
		retired: map[string]time.Time{}, barred: map[string]bars{}, commands: map[admission.Digest]time.Time{}, numbers: map[string]uint64{},
		doubled: map[string]time.Time{}, removals: map[string]removal{}, keys: map[string]string{}, seen: map[string]time.Time{},
	}
}

func (s *State) clone() *State {
	c := *s
	c.validators, c.seats, c.hosts = maps.Clone(s.validators), maps.Clone(s.seats), maps.Clone(s.hosts)
	c.peers, c.retired, c.barred = maps.Clone(s.peers), maps.Clone(s.retired), maps.Clone(s.barred)
	c.commands, c.keys = maps.Clone(s.commands), maps.Clone(s.keys)
	c.doubled, c.numbers = maps.Clone(s.doubled), maps.Clone(s.numbers)
	c.removals, c.blocks, c.seen = maps.Clone(s.removals), slices.Clone(s.blocks), maps.Clone(s.seen)
	return &c
}

// Height returns the height of the block that the state follows.
func (s *State) Height() uint64 { return s.height }

// Time returns the time of that block, in whole seconds.
func (s *State) Time() time.Time { return s.time }

// Frozen returns the height since which the set is frozen, or 0.
func (s *State) Frozen() uint64 { return s.frozen }

// RulesText returns the line of the rules that held at the state's height.
func (s *State) RulesText() string { return s.rules }

// Effective returns what consensus was told, ascending by key.
func (s *State) Effective() []Power {
	var out []Power
	for _, key := range slices.Sorted(maps.Keys(s.validators)) {
		if p := s.validators[key].Effective; p > 0 {
			out = append(out, Power{key, p})
		}
	}
	return out
}

// end returns when a seat ends: with its admission, or with the notice that its
// policy or one of its verifiers was given (R6, R7).
func (s *State) end(seat Seat) time.Time {
	end := seat.NotAfter
	for _, o := range seat.Opinions {
		end = s.sooner(end, o.Verifier)
	}
	return s.sooner(end, seat.Policy.Digest.String())
}

func (s *State) sooner(end time.Time, retired string) time.Time {
	if notice, ok := s.retired[retired]; ok && notice.Before(end) {
		return notice
	}
	return end
}

// stands reports whether a node's seat holds now: it has not ended, and enough
// of its verifiers' members do not bar the node.
func (s *State) stands(node string, rules Rules) bool {
	seat, ok := s.seats[node]
	return ok && s.time.Before(s.end(seat)) && !s.isBarred(node, seat.Opinions, rules)
}

// isBarred reports whether so many verifiers bar the node that the others would
// not make a bundle. One verifier alone cannot take power away, unless the
// consortium asks for all of them.
func (s *State) isBarred(node string, opinions []Opinion, rules Rules) bool {
	var room [admission.MaxItems]string // asked of every seat in every block: no allocation
	members := room[:0]
	for _, o := range opinions {
		name := keyName(o.Verifier)
		if since, no := s.barred[name].since[node]; no && !o.From.After(since) {
			continue // what it states later, it states in spite of the bar
		}
		if v, ok := rules.Consortium.Verifier(name); ok {
			name = v.Member
		} // else of rules before these; its notice decides
		if !slices.Contains(members, name) {
			members = append(members, name)
		}
	}
	return len(members) < rules.Consortium.Threshold
}

// singular reports whether an admission is younger than the latest proof that
// its key signed twice: then the verifiers have looked at the host since.
func (s *State) singular(key string, opinions []Opinion) bool {
	proven, ok := s.doubled[key]
	return !ok || !slices.ContainsFunc(opinions, func(o Opinion) bool { return !o.From.After(proven) })
}

// mayVote is R1's condition, and R8's exception.
func (s *State) mayVote(key string, rules Rules) bool {
	if _, twice := s.doubled[key]; !twice && s.validators[key].Founder && rules.UnattestedUntil > 0 && s.height <= rules.UnattestedUntil {
		return true
	}
	node, ok := s.keys[key]
	return ok && s.seats[node].Role == RoleValidator && s.stands(node, rules) && s.singular(key, s.seats[node].Opinions)
}

// member returns who answers for a key. A founder without a seat answers for
// itself.
func (s *State) member(key string) string {
	if node, ok := s.keys[key]; ok {
		return admission.NodeMember(node)
	}
	return key
}
