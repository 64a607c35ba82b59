package power

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// Status is a state for people and their tools.
type Status struct {
	Height     uint64            `json:"height"`
	Time       time.Time         `json:"time"`
	Frozen     uint64            `json:"frozen,omitempty"` // since this height
	Total      int64             `json:"total"`            // effective power of all
	MayLapse   int64             `json:"mayLapse"`         // power that may lapse in this window before the set is frozen
	Held       int64             `json:"held,omitempty"`   // power whose lapse is held back since verifiers are, or were, down
	Quorum     *time.Time        `json:"quorum,omitempty"` // when a quorum of verifiers was at work last, as far as bundles show
	Rules      string            `json:"rules"`
	Validators []ValidatorStatus `json:"validators"`
	Members    []MemberStatus    `json:"members"`
	Nodes      []NodeStatus      `json:"nodes"`
	Retired    []RetiredStatus   `json:"retired,omitempty"`
}

// ValidatorStatus is a consensus key that has power or that the application
// wants to have some.
type ValidatorStatus struct {
	Key       string `json:"key"`
	Node      string `json:"node,omitempty"`
	Desired   int64  `json:"desired"`
	Effective int64  `json:"effective"`
	Held      bool   `json:"held,omitempty"` // its admission ended, its lapse is held back
	Reason    string `json:"reason"`         // why it has what it has
}

// MemberStatus is the power of a member's validators together. Who has no seat
// yet answers for itself, under its key.
type MemberStatus struct {
	Member   string `json:"member"`
	Power    int64  `json:"power"`
	PerMille int64  `json:"perMille"`              // of all power
	Cap      uint64 `json:"capPerMille,omitempty"` // of all power that it may have; 0 if caps do not bind
}

// NodeStatus is a node's seat.
type NodeStatus struct {
	Node     string           `json:"node"`
	Role     string           `json:"role"`
	Host     string           `json:"host"`
	Key      string           `json:"key,omitempty"`
	Policy   string           `json:"policy"`
	Ends     time.Time        `json:"ends"`
	Stands   bool             `json:"stands"`
	Held     bool             `json:"held,omitempty"`   // it ended, and the lapse is held back
	Lapses   *time.Time       `json:"lapses,omitempty"` // until when, if verifiers are back
	Extended bool             `json:"extended,omitempty"`
	Bundle   admission.Digest `json:"bundle"`
	Accepted uint64           `json:"accepted"`
	Peers    []string         `json:"peers,omitempty"`
}

// RetiredStatus is a verifier key or policy that is out of service, or will be.
type RetiredStatus struct {
	What string    `json:"what"`
	Ends time.Time `json:"ends"`
}

// Status returns the state for people. Reasons are for reading, not for programs.
func (s *State) Status(schedule *Schedule) Status {
	rules := schedule.At(max(s.height, 1))
	out := Status{Height: s.height, Time: s.time, Frozen: s.frozen, Rules: s.rules, Quorum: orNil(s.quorum)}
	for _, key := range slices.Sorted(maps.Keys(s.validators)) {
		v := s.validators[key]
		held := v.Effective > 0 && !s.mayVote(key, rules) && s.keeps(key, rules)
		out.Total += v.Effective
		if held {
			out.Held += v.Effective
		}
		out.Validators = append(out.Validators, ValidatorStatus{key, s.keys[key], v.Desired, v.Effective, held, s.reason(key, v, rules)})
	}
	out.Members, out.MayLapse = s.membersStatus(rules, out.Total), s.mayLapse(out.Held)
	for _, node := range slices.Sorted(maps.Keys(s.seats)) {
		seat := s.seats[node]
		out.Nodes = append(out.Nodes, NodeStatus{
			Node: node, Role: seat.Role, Host: seat.Host, Key: seat.Key, Policy: seat.Policy.String(), Ends: s.end(seat),
			Stands: s.stands(node, rules), Held: s.held(node, rules), Lapses: s.lapses(node, rules), Extended: seat.Extended, Bundle: seat.Bundle, Accepted: seat.Accepted, Peers: s.peersOf(node),
		})
	}
	for _, what := range slices.Sorted(maps.Keys(s.retired)) {
		out.Retired = append(out.Retired, RetiredStatus{what, s.retired[what]})
	}
	return out
}

func (s *State) membersStatus(rules Rules, total int64) []MemberStatus {
	held := map[string]int64{}
	for key, v := range s.validators {
		if v.Effective > 0 {
			held[s.member(key)] += v.Effective
		}
	}
	limit := uint64(0)
	if members := uint64(len(rules.Consortium.Members)); members >= rules.CapFrom {
		share := rules.share(members, uint64(len(held)))
		limit = share.part * perMille / share.whole
	}
	var out []MemberStatus
	for _, m := range slices.Sorted(maps.Keys(held)) {
		out = append(out, MemberStatus{m, held[m], int64(mulDiv(uint64(held[m]), perMille, uint64(total))), limit})
	}
	return out
}

// mayLapse is the guard's allowance that is left. Who is held has used it up.
func (s *State) mayLapse(held int64) int64 {
	now, gone := int64(0), int64(0)
	for _, p := range s.Effective() {
		now += p.Power
	}
	for _, m := range s.removals {
		gone += m.power
	}
	return max(0, (now+gone-1)/3-gone-held)
}

func (s *State) peersOf(node string) []string {
	var out []string
	for id, n := range s.peers {
		if n == node {
			out = append(out, id)
		}
	}
	return slices.Sorted(slices.Values(out))
}

func (s *State) reason(key string, v Validator, rules Rules) string {
	standing := s.mayVote(key, rules)
	switch {
	case v.Desired == 0:
		return "the application wants it to leave"
	case standing && v.Effective == v.Desired:
		return "admitted until " + s.until(key, rules)
	case standing && v.Effective < v.Desired && s.frozen == 0:
		return "limited by the cap of " + s.member(key)
	case s.frozen != 0:
		return cmp.Or(s.lapse(key, standing, rules), "admitted") + "; the set is frozen since height " + num(s.frozen)
	}
	return s.lapse(key, standing, rules)
}

func (s *State) until(key string, rules Rules) string {
	if node, ok := s.keys[key]; ok && s.stands(node, rules) {
		return formatTime(s.end(s.seats[node]))
	}
	return "height " + num(rules.UnattestedUntil) + ", unattested"
}

func (s *State) lapse(key string, standing bool, rules Rules) string {
	node, ok := s.keys[key]
	switch {
	case standing:
		return ""
	case !ok:
		return "no admission"
	case !s.singular(key, s.seats[node].Opinions):
		return "signed twice at " + formatTime(s.doubled[key])
	case s.seats[node].Role != RoleValidator:
		return "admitted as " + s.seats[node].Role
	case s.held(node, rules):
		return s.waits(node, rules)
	case !s.time.Before(s.end(s.seats[node])):
		return "admission ended at " + formatTime(s.end(s.seats[node]))
	}
	return "barred by its verifiers"
}

// waits says why a seat that has ended is held.
func (s *State) waits(node string, rules Rules) string {
	out := "held: its admission ended at " + formatTime(s.seats[node].NotAfter)
	if end := s.lapses(node, rules); end != nil {
		return out + "; verifiers are back, it must renew until " + formatTime(*end)
	}
	return out + "; no quorum of verifiers seen since " + formatTime(s.quorum)
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Peer reports whether a peer of the ledger's network belongs to a node whose
// admission stands, or that keeps its vote without one: nobody can use a vote
// without links. While founders are unattested, everyone may connect.
func (s *State) Peer(id string, schedule *Schedule) bool {
	rules := schedule.At(max(s.height, 1))
	node, ok := s.peers[id]
	votes := ok && s.validators[s.seats[node].Key].Effective > 0
	return votes || ok && (s.stands(node, rules) || s.held(node, rules)) || rules.UnattestedUntil > 0 && s.height <= rules.UnattestedUntil
}
