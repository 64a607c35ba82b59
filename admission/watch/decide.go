package watch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// Actions of changes.
const (
	Add    = "add"
	Remove = "remove"
)

// Change is one thing for the ledger to do.
type Change struct {
	Number uint64 `json:"number"` // ascending without gaps, from 1
	Action string `json:"action"` // add or remove
	Node   string `json:"node"`
	Peer   string `json:"peer"`   // how the ledger's network knows the node
	Reason string `json:"reason"` // for people
}

// Rules are what decisions rest on. Every field is required.
type Rules struct {
	Consortium *admission.Consortium
	Role       string                                   // of the nodes that count
	MaxAge     time.Duration                            // oldest roster that is fresh
	Window     time.Duration                            // in which only so many nodes may leave
	Peer       func(node string) (_ string, known bool) // a node that is not known is left out
}

// State is what the ledger was told. Its zero value is that it was told nothing.
type State struct {
	Peers    map[string]Told `json:"peers"`    // by node id
	Left     []time.Time     `json:"left"`     // when nodes were removed, within the window
	Frozen   bool            `json:"frozen"`   // more would leave than may
	Outbox   []Change        `json:"outbox"`   // not delivered yet, in order
	Numbered uint64          `json:"numbered"` // changes so far
}

// Told is what the ledger was told of a node.
type Told struct {
	Peer  string    `json:"peer"`
	Until time.Time `json:"until"` // end of its admission, as far as rosters have said
}

// view is what one verifier says now.
type view struct {
	member string
	fresh  bool
	roster admission.Roster
}

// opinion is what all verifiers together say about one node.
type opinion struct {
	listed  map[string]bool // members whose fresh rosters list it
	stale   map[string]bool // members whose rosters list it, whatever their age, while the admission lasts
	barred  map[string]bool // members whose rosters bar it, whatever their age
	late    map[string]bool // members whose rosters miss its evidence, which says nothing about integrity
	until   time.Time       // latest end of an admission
	because string          // the first bar's reason
}

// Decide returns the state after comparing what the ledger was told with what the
// verifiers' rosters say now: newer changes are behind the older ones in its
// outbox. Rosters have at most one element for each verifier. The second result
// says what a person has to know, or nothing.
func (s State) Decide(rules Rules, rosters []*admission.VerifiedRoster, now time.Time) (State, string) {
	s.Peers, s.Outbox = maps.Clone(s.Peers), slices.Clone(s.Outbox)
	if s.Peers == nil {
		s.Peers = map[string]Told{}
	}
	s.Left = slices.DeleteFunc(slices.Clone(s.Left), func(t time.Time) bool { return !now.Before(t.Add(rules.Window)) })
	opinions := rules.opinions(rosters, now)
	leaving := s.leaving(rules, opinions, rules.silent(rosters), now)
	if most := s.most(); len(leaving) > most {
		s.Frozen = true
		return s, fmt.Sprintf("%d of %d nodes would have to leave, %d may within %v: nothing changes until the verifiers admit more of them again, or a person decides; first %s", len(leaving), len(s.Peers), most, rules.Window, leaving[0].text())
	}
	s.Frozen = false
	for _, l := range leaving {
		s.put(Remove, l.node, s.Peers[l.node].Peer, l.reason)
		delete(s.Peers, l.node)
		s.Left = append(s.Left, now)
	}
	s.join(rules, opinions)
	return s, ""
}

// most is how many nodes may leave now: a third less one of those at the start of
// the window, as a ledger's fault tolerance has it, but always one.
func (s State) most() int {
	start := len(s.Peers) + len(s.Left)
	return max(1, (start-1)/3) - len(s.Left)
}

type leave struct{ node, reason string }

func (l leave) text() string { return l.node + ": " + l.reason }

// leaving are the nodes of the set that do not stand any more, ascending. What
// silent members would say counts for a node, and so do members that find it late,
// while its admission lasts.
func (s State) leaving(rules Rules, opinions map[string]*opinion, silent int, now time.Time) (all []leave) {
	for _, node := range slices.Sorted(maps.Keys(s.Peers)) {
		o := opinions[node]
		if o == nil {
			o = &opinion{}
		}
		may := len(o.stale) + silent
		if now.Before(s.Peers[node].Until) {
			may += len(o.late)
		}
		switch {
		case rules.bars(o):
			all = append(all, leave{node, o.because})
		case may < rules.Consortium.Threshold:
			all = append(all, leave{node, "too few members' verifiers admit it"})
		}
	}
	return all
}

// silent is how many members have a verifier that was not heard of since the start.
func (r Rules) silent(rosters []*admission.VerifiedRoster) int {
	members := map[string]bool{}
	for _, v := range r.Consortium.Verifiers {
		if !slices.ContainsFunc(rosters, func(r *admission.VerifiedRoster) bool { return r != nil && r.Verifier() == v.Name }) {
			members[v.Member] = true
		}
	}
	return len(members)
}

// bars reports whether so many members bar the node that the others could not
// admit it.
func (r Rules) bars(o *opinion) bool {
	members := map[string]bool{}
	for _, v := range r.Consortium.Verifiers {
		members[v.Member] = true
	}
	return len(o.barred) > 0 && len(members)-len(o.barred) < r.Consortium.Threshold
}

// join adds who stands and is not there, and moves who has another peer name.
func (s *State) join(rules Rules, opinions map[string]*opinion) {
	for _, node := range slices.Sorted(maps.Keys(opinions)) {
		o := opinions[node]
		peer, known := rules.Peer(node)
		if !known || rules.bars(o) || len(o.listed) < rules.Consortium.Threshold {
			continue
		}
		told, there := s.Peers[node]
		s.Peers[node] = Told{peer, o.until}
		if there && told.Peer == peer {
			continue
		}
		if there {
			s.put(Remove, node, told.Peer, "it has another peer name")
		}
		s.put(Add, node, peer, fmt.Sprintf("admitted by %d members", len(o.listed)))
	}
}

func (s *State) put(action, node, peer, reason string) {
	s.Numbered++
	s.Outbox = append(s.Outbox, Change{s.Numbered, action, node, peer, reason})
}

// opinions gathers what the rosters say about every node that they name.
func (r Rules) opinions(rosters []*admission.VerifiedRoster, now time.Time) map[string]*opinion {
	all := map[string]*opinion{}
	about := func(node string) *opinion {
		if all[node] == nil {
			all[node] = &opinion{listed: map[string]bool{}, stale: map[string]bool{}, barred: map[string]bool{}, late: map[string]bool{}}
		}
		return all[node]
	}
	for _, v := range r.views(rosters, now) {
		for _, n := range v.roster.Admitted {
			if n.Role != r.Role || !now.Before(n.NotAfter) {
				continue
			}
			o := about(n.Node)
			o.stale[v.member] = true
			if n.NotAfter.After(o.until) {
				o.until = n.NotAfter
			}
			if v.fresh {
				o.listed[v.member] = true
			}
		}
		for _, b := range v.roster.Barred {
			o := about(b.Node)
			if b.State == admission.StateLate {
				o.late[v.member] = true
				continue
			}
			o.barred[v.member] = true
			o.because = cmp.Or(o.because, string(b.State)+": "+cmp.Or(b.Reason, b.Check))
		}
	}
	return all
}

// views are the rosters of verifiers that the consortium has, in its order.
func (r Rules) views(rosters []*admission.VerifiedRoster, now time.Time) (all []view) {
	for _, v := range r.Consortium.Verifiers {
		for _, roster := range rosters {
			if roster != nil && roster.Verifier() == v.Name {
				all = append(all, view{v.Member, now.Sub(roster.Issued()) <= r.MaxAge, roster.Roster()})
			}
		}
	}
	return all
}
