package power

import (
	"maps"
	"slices"
)

// settle decides the set of the next heights and returns what changes. It
// removes who lapsed, unless that would take more than the guard allows (R3):
// then nobody leaves or joins, and only less power is taken where the
// application wants less. Whose lapse is held back (R11) counts for the guard as
// if it had lapsed, and stays.
func (r *run) settle() []Power {
	lapsed, frozen := r.lapsed()
	r.freeze(frozen)
	r.announce()
	target := r.reduced()
	if !frozen {
		target = r.allowed()
	}
	total := sum(slices.Collect(maps.Values(target)))
	if total == 0 || total > MaxTotalPower { // R4; consensus would stop in either case
		r.event("held", [2]string{"total", num(uint64(total))})
		return nil
	}
	if !frozen {
		for key, p := range lapsed {
			r.removals[key] = removal{r.height, p}
		}
	}
	return r.tell(target)
}

// lapsed returns the members of the set that the application still wants and that
// have to go since they no longer may vote, and whether so much of the power
// cannot prove itself that fewer than a quorum of the set at the start of the
// window can.
func (r *run) lapsed() (gone map[string]int64, frozen bool) {
	gone = map[string]int64{}
	standing, start, held := int64(0), int64(0), 0
	for key, v := range r.validators {
		switch {
		case v.Effective == 0 || v.Desired == 0:
			continue
		case r.mayVote(key, r.rules):
			standing += v.Effective
		case r.keeps(key, r.rules):
			held++
		default:
			gone[key] = v.Effective
		}
		start += v.Effective
	}
	for _, m := range r.removals {
		start += m.power
	}
	return gone, len(gone)+held > 0 && 3*standing <= 2*start
}

func (r *run) freeze(on bool) {
	switch {
	case on && r.frozen == 0:
		r.frozen = r.height
		r.event("frozen", [2]string{"height", num(r.height)})
	case !on && r.frozen != 0:
		r.event("thawed", [2]string{"since", num(r.frozen)})
		r.frozen = 0
	}
}

// allowed is R1: what the application asks for, for those who may vote, within
// the caps. Whose lapse is held back keeps what it has, and gets no more (R11).
func (r *run) allowed() map[string]int64 {
	target := map[string]int64{}
	for key, v := range r.validators {
		switch {
		case v.Desired == 0:
		case r.mayVote(key, r.rules):
			target[key] = v.Desired
		case v.Effective > 0 && r.keeps(key, r.rules):
			target[key] = min(v.Effective, v.Desired)
		}
	}
	r.limit(target)
	return target
}

// reduced is the set as it is, less what the application takes away itself.
func (r *run) reduced() map[string]int64 {
	target := map[string]int64{}
	for key, v := range r.validators {
		if p := min(v.Effective, v.Desired); p > 0 {
			target[key] = p
		}
	}
	return target
}

// tell records the new set and returns the differences, ascending by key. It
// never names a key that neither was nor will be in the set (R4).
func (r *run) tell(target map[string]int64) []Power {
	var updates []Power
	for _, key := range slices.Sorted(maps.Keys(r.validators)) {
		v := r.validators[key]
		if v.Effective != target[key] {
			updates = append(updates, Power{key, target[key]})
			r.event("power", [2]string{"key", key}, [2]string{"from", num(uint64(v.Effective))}, [2]string{"to", num(uint64(target[key]))})
			if v.Effective == 0 { // it is back: its lapse is no loss any more
				delete(r.removals, key)
			}
			v.Effective = target[key]
			r.validators[key] = v
		}
		r.prune(key, v)
	}
	r.touch()
	return updates
}

// prune forgets a key that nobody wants and that has no power.
func (r *run) prune(key string, v Validator) {
	if v.Desired == 0 && v.Effective == 0 {
		delete(r.validators, key)
	}
}

// touch notes which bindings of hosts are in use, and forgets those that have
// cooled down (R5).
func (r *run) touch() {
	for _, id := range slices.Sorted(maps.Keys(r.hosts)) {
		if h := r.hosts[id]; r.inUse(id, h) {
			h.Last = r.height
			r.hosts[id] = h
		} else if h.Last+r.rules.CoolDown < r.height {
			r.forget(id, h)
		}
	}
}

// inUse reports whether a host's seat stands or is held, or its key has power.
func (r *run) inUse(id string, h Host) bool {
	own := r.seats[h.Node].Host == id
	return own && (r.stands(h.Node, r.rules) || r.held(h.Node, r.rules)) || h.Key != "" && (own || r.keys[h.Key] == "") && r.validators[h.Key].Effective > 0
}

func (r *run) forget(id string, h Host) {
	delete(r.hosts, id)
	if seat, ok := r.seats[h.Node]; ok && seat.Host == id {
		r.vacate(h.Node)
	}
}

// vacate removes a node's seat.
func (r *run) vacate(node string) {
	delete(r.keys, r.seats[node].Key)
	delete(r.seats, node)
	delete(r.seen, node)
}

// sum adds powers and stops at the largest number.
func sum(powers []int64) int64 {
	total := int64(0)
	for _, p := range powers {
		if total+p < total {
			return 1<<63 - 1
		}
		total += p
	}
	return total
}
