package power

import (
	"maps"
	"math"
	"math/bits"
	"slices"
)

// limit is R10: it lowers the powers of members that would hold more than their
// cap of what all hold afterwards. It is asked anew in every block, so it binds
// who joins as well as who stays when others leave.
func (r *run) limit(target map[string]int64) {
	members := uint64(len(r.rules.Consortium.Members))
	if members < r.rules.CapFrom {
		return
	}
	keys := map[string][]string{}
	held := map[string]uint64{}
	for _, key := range slices.Sorted(maps.Keys(target)) {
		m := r.member(key)
		keys[m] = append(keys[m], key)
		held[m] = min(held[m]+uint64(target[key]), math.MaxInt64)
	}
	most := capOf(slices.Sorted(maps.Values(held)), r.rules.share(members, uint64(len(held))))
	for m, total := range held {
		if total > most {
			scale(target, keys[m], total, most)
		}
	}
}

// ratio is a part of a whole.
type ratio struct{ part, whole uint64 }

// share is the part that a member may hold: the least of the cap and so many
// equal shares of the consortium; but never less than an equal share of those
// who have power, since less cannot be reached.
func (r Rules) share(members, present uint64) ratio {
	least := ratio{r.CapPerMille, perMille}
	if r.FairShares*perMille < r.CapPerMille*members {
		least = ratio{r.FairShares, members}
	}
	if least.part*present < least.whole {
		return ratio{1, present}
	}
	return least
}

// capOf returns the largest amount that is at most its share of the sum of what
// everyone holds when nobody holds more than it. held ascends.
func capOf(held []uint64, share ratio) uint64 {
	rest := uint64(0)
	for _, h := range held {
		rest = min(rest+h, math.MaxInt64)
	}
	most := uint64(math.MaxInt64)
	for capped := uint64(0); capped < uint64(len(held)); capped++ {
		largest := held[uint64(len(held))-1-capped]
		if most = mulDiv(rest, share.part, share.whole-share.part*capped); largest <= most {
			return most
		}
		rest -= min(rest, largest)
		most = largest
	}
	return most
}

// scale divides most among the keys, in proportion to what they would have had.
func scale(target map[string]int64, keys []string, total, most uint64) {
	before, given := uint64(0), uint64(0)
	for _, key := range keys {
		before = min(before+uint64(target[key]), total)
		upTo := mulDiv(before, most, total)
		target[key] = int64(upTo - given)
		given = upTo
		if target[key] == 0 {
			delete(target, key)
		}
	}
}

// mulDiv is a*b/c without overflow, or the largest power.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if c == 0 || hi >= c {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, c)
	return min(q, math.MaxInt64)
}
