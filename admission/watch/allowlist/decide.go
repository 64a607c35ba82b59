package allowlist

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// Rules are what decisions rest on. Every field is required.
type Rules struct {
	Consortium *admission.Consortium
	Role       string        // of the nodes that count, "validator"
	MaxAge     time.Duration // oldest roster that is fresh
	Window     time.Duration // in which at most a ledger's fault tolerance may leave
	Peers      Peers         // how the ledger's network knows the nodes
}

// Check refuses rules under which nothing could be decided.
func (r Rules) Check() error {
	if r.Consortium == nil || r.Consortium.Digest().IsZero() || !admission.ValidLabel(r.Role) || r.MaxAge <= 0 || r.Window <= 0 || len(r.Peers) == 0 {
		return errors.New("allowlist: a parsed consortium, a role, an age, a window and peers are required")
	}
	return nil
}

// Decide returns the state that follows from the latest roster of each verifier,
// in this order:
//
//   - nodes whose line a person changed or removed in the peers' file leave by that
//     address, and no limit binds people;
//   - nodes that members bar leave, if the window has room for all of them;
//   - nodes that members do not list any more leave, if there is room still;
//   - nodes that enough members list join, unless somebody could not leave.
//
// Removals come before additions, so that an address can pass from one node to
// another.
func (s State) Decide(rules Rules, rosters []*admission.VerifiedRoster, now time.Time) State {
	s = s.clone()
	maps.DeleteFunc(s.Left, func(_ string, left time.Time) bool { return !now.Before(left.Add(rules.Window)) })
	s.follow(rules.Peers)
	stances := rules.stances(rosters, now)
	s.Frozen = s.evict(rules, stances, now)
	if s.Frozen == "" {
		s.admit(rules, stances)
	}
	return s
}

// follow does what a person wrote into the peers' file.
func (s *State) follow(peers Peers) {
	moved := map[string]string{}
	for _, node := range slices.Sorted(maps.Keys(s.Peers)) {
		switch peer, known := peers[node]; {
		case !known:
			s.remove(node, "it is not in the peers' file any more")
		case peer != s.Peers[node]:
			s.remove(node, "it has another address in the peers' file")
			moved[node] = peer
		}
	}
	for _, node := range slices.Sorted(maps.Keys(moved)) {
		s.add(node, moved[node], "its new address in the peers' file")
	}
}

// leaver is a node that the rosters do not admit any more.
type leaver struct{ node, reason string }

// evict removes who may not stay, as far as the window has room: those that are
// barred before the others. It returns why somebody had to be kept, or nothing.
func (s *State) evict(rules Rules, all map[string]stance, now time.Time) (frozen string) {
	var barred, lapsed []leaver
	for _, node := range slices.Sorted(maps.Keys(s.Peers)) {
		switch st := all[node]; {
		case !st.excludes(rules.Consortium.Threshold, rules.members()):
		case st.bars > 0:
			barred = append(barred, leaver{node, st.because})
		default:
			lapsed = append(lapsed, leaver{node, "verifiers of too few members list it"})
		}
	}
	for _, class := range [][]leaver{barred, lapsed} {
		if room := s.room(); len(class) > room {
			frozen = cmp.Or(frozen, fmt.Sprintf("%d nodes would have to leave and %d more may within %v; the first is %s: %s",
				len(class), room, rules.Window, class[0].node, class[0].reason))
			continue
		}
		for _, l := range class {
			s.remove(l.node, l.reason)
			s.Left[l.node] = now.UTC()
		}
	}
	return frozen
}

// room is how many nodes may leave now: less than a third of those that were there
// at the start of the window, without those that left since.
func (s *State) room() int {
	start := len(s.Peers) + len(s.Left)
	return max(0, (start-1)/3-len(s.Left))
}

// admit adds every node that enough members list.
func (s *State) admit(rules Rules, all map[string]stance) {
	for _, node := range slices.Sorted(maps.Keys(rules.Peers)) {
		if _, there := s.Peers[node]; there {
			continue
		}
		if st := all[node]; st.admits >= rules.Consortium.Threshold {
			s.add(node, rules.Peers[node], fmt.Sprintf("verifiers of %d members list it", st.admits))
			delete(s.Left, node)
		}
	}
}
