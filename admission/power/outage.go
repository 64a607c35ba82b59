package power

import (
	"slices"
	"time"
)

// R11. An admission that ends unrenewed says that its host could not prove itself
// or that nobody was there to look. The ledger tells them apart by what it carries:
// an accepted bundle, of whoever, with statements of as many verifiers as it takes
// shows that they were at work when they made the last of them. If they were within
// the last part of a seat's life, the seat could have been renewed, and lapses when
// it ends. If none shows, the seat waits for the first such bundle, and for
// OutageGrace after it: others renew in the same minutes, and who comes first must
// not put the rest out.
//
// What only time ends waits; suspensions by roster, retirements, releases and double
// votes act at once, as ever. There is no bound on waiting, as there is none on a
// frozen set: at the bound everyone would go whom the outage kept from renewing.

// lastParts is into how many parts a seat's life is divided, of which the last one
// counts. Verifiers renew when half of a life is left. With four, a node has a
// quarter of its life to fetch a renewal, and others' renewals of the next quarter
// show that it could have: a set that renews in step shows it a quarter of a life
// after the end at the latest, any other one before the end.
const lastParts = 4

// lastPart is when the last part of the seat's life begins. The life is that of the
// statement which ends first.
func (s Seat) lastPart() time.Time {
	began := s.NotAfter
	for _, o := range s.Opinions {
		if o.From.Before(began) {
			began = o.From
		}
	}
	return s.NotAfter.Add(-s.NotAfter.Sub(began) / lastParts)
}

// stated returns the latest time since which verifiers of k distinct members made
// statements of the seat, or the zero time if they are fewer.
func (s Seat) stated(rules Rules) time.Time {
	members := map[string]bool{}
	for _, o := range slices.SortedFunc(slices.Values(s.Opinions), func(a, b Opinion) int { return b.From.Compare(a.From) }) {
		if v, ok := rules.Consortium.Verifier(keyName(o.Verifier)); ok {
			members[v.Member] = true
		}
		if len(members) >= rules.Consortium.Threshold {
			return o.From
		}
	}
	return time.Time{}
}

// look learns from a seat when a quorum of verifiers was at work. Statements may
// be dated a little ahead; nobody works in the future.
func (r *run) look(s Seat) {
	at := s.stated(r.rules)
	if at.After(r.time) {
		at = r.time
	}
	if r.rules.OutageGrace > 0 && at.After(r.quorum) {
		r.quorum = at
	}
}

// mark notes for which seats the ledger now knows that they could have been renewed.
func (r *run) mark() {
	for node, seat := range r.seats {
		if _, known := r.seen[node]; !known && r.quorum.After(seat.lastPart()) {
			r.seen[node] = r.time
		}
	}
}

// lookAgain learns anew from all seats, by new rules: those may begin with R11, end
// it, or ask for another quorum.
func (r *run) lookAgain() {
	r.quorum = time.Time{}
	clear(r.seen)
	for _, seat := range r.seats {
		r.look(seat)
	}
	r.mark()
}

// held reports whether a seat has ended by time alone and waits, since verifiers
// are, or were until lately, too few to renew it.
func (s *State) held(node string, rules Rules) bool {
	seat, ok := s.seats[node]
	if !ok || rules.OutageGrace == 0 || s.time.Before(seat.NotAfter) {
		return false
	}
	end := s.lapses(node, rules)
	seat.NotAfter = s.time.Add(time.Second) // what else might end it?
	return (end == nil || s.time.Before(*end)) && s.time.Before(s.end(seat)) &&
		!s.isBarred(node, seat.Opinions, rules) && s.singular(seat.Key, seat.Opinions)
}

// lapses returns when a seat that has ended lapses, or nil while no quorum of
// verifiers was seen.
func (s *State) lapses(node string, rules Rules) *time.Time {
	seen, ok := s.seen[node]
	if !ok || s.time.Before(s.seats[node].NotAfter) {
		return nil
	}
	end := seen.Add(rules.OutageGrace)
	return &end
}

// keeps reports whether a key's validator is held.
func (s *State) keeps(key string, rules Rules) bool {
	node, ok := s.keys[key]
	return ok && s.seats[node].Role == RoleValidator && s.held(node, rules)
}

// announce tells whose lapse is held back from this block on.
func (r *run) announce() {
	var held []string
	for key, node := range r.keys {
		if r.seats[node].NotAfter.After(r.before) && r.keeps(key, r.rules) {
			held = append(held, key)
		}
	}
	slices.Sort(held)
	for _, key := range held {
		r.event("outage", [2]string{"node", r.keys[key]}, [2]string{"key", key}, [2]string{"quorum", formatTime(r.quorum)})
	}
}
