package allowlist

import (
	"time"

	"github.com/quorate/quorate/admission"
)

// stance is what the consortium's members say of one node. Who does not admit,
// bar or deny it is silent.
type stance struct {
	admits  int    // members that list it with one and the same identity
	bars    int    // members that suspended, retired or quarantined it
	denies  int    // members whose fresh rosters do not list it, or list another identity
	because string // the first bar's state and reason
}

// excludes reports whether the node could not be admitted even if every silent
// member admitted it. Silence alone never excludes.
func (s stance) excludes(threshold, members int) bool { return members-s.bars-s.denies < threshold }

// identity is what verifiers must agree on; the same as for a bundle.
type identity struct {
	host, consensusKey string
	nodeKey            admission.Digest
}

// vote is what one member says of one node.
type vote struct {
	rank    int // of the votes of one member's verifiers, the highest counts
	id      identity
	because string
}

// The ranks of votes. That a verifier bars outweighs that another one of the same
// member does not know.
const (
	denies = iota + 1
	silent
	admits
	bars
)

// members is how many members run verifiers.
func (r Rules) members() int { return len(r.verifiers()) }

// verifiers are the names of the verifiers of each member.
func (r Rules) verifiers() map[string][]string {
	all := map[string][]string{}
	for _, v := range r.Consortium.Verifiers {
		all[v.Member] = append(all[v.Member], v.Name)
	}
	return all
}

// stances gathers what members say of every node in the peers' file.
func (r Rules) stances(rosters []*admission.VerifiedRoster, now time.Time) map[string]stance {
	books := map[string]book{}
	for _, roster := range rosters {
		if roster != nil {
			books[roster.Verifier()] = r.read(roster, now)
		}
	}
	all := map[string]stance{}
	for node := range r.Peers {
		all[node] = r.stance(node, books)
	}
	return all
}

// stance counts the members' votes. Of those that admit, the largest group with
// one identity counts, and the others deny that identity.
func (r Rules) stance(node string, books map[string]book) (s stance) {
	groups := map[identity]int{}
	admitting := 0
	for _, v := range r.Consortium.Verifiers { // in the file's order, so that the reason is always the same
		if b, ok := books[v.Name]; ok && s.because == "" {
			s.because = b.barred[node]
		}
	}
	for _, names := range r.verifiers() {
		switch v := strongest(node, names, books); v.rank {
		case admits:
			admitting++
			groups[v.id]++
			s.admits = max(s.admits, groups[v.id])
		case bars:
			s.bars++
		case denies:
			s.denies++
		}
	}
	s.denies += admitting - s.admits
	return s
}

// strongest is the vote of one member: two verifiers of one member are one opinion.
func strongest(node string, names []string, books map[string]book) (top vote) {
	for _, name := range names {
		v := vote{rank: silent}
		if b, ok := books[name]; ok {
			v = b.vote(node)
		}
		if v.rank > top.rank {
			top = v
		}
	}
	return top
}

// book is one roster, ready for look-ups.
type book struct {
	fresh    bool
	admitted map[string]identity
	barred   map[string]string
}

// vote: a bar holds until a newer roster lifts it, however old it is. All else that
// an old roster says may have changed, so it is silent.
func (b book) vote(node string) vote {
	if because, ok := b.barred[node]; ok {
		return vote{rank: bars, because: because}
	}
	if !b.fresh {
		return vote{rank: silent}
	}
	if id, ok := b.admitted[node]; ok {
		return vote{rank: admits, id: id}
	}
	return vote{rank: denies}
}

// read takes what counts from a roster. A node that is late is only not listed:
// that says nothing about its integrity.
func (r Rules) read(v *admission.VerifiedRoster, now time.Time) book {
	roster := v.Roster()
	age := now.Sub(roster.Issued)
	b := book{age <= r.MaxAge && age >= -admission.MaxSkew, map[string]identity{}, map[string]string{}}
	for _, n := range roster.Admitted {
		if n.Role == r.Role && now.Before(n.NotAfter) {
			b.admitted[n.Node] = identity{n.Host, n.ConsensusKey, n.NodeKey}
		}
	}
	for _, n := range roster.Barred {
		if n.State != admission.StateLate {
			b.barred[n.Node] = string(n.State) + " by " + roster.Verifier + ": " + n.Check + ": " + n.Reason
		}
	}
	return b
}
