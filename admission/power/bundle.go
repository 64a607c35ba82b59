package power

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
)

// maxSeats bounds the nodes that a state knows.
const maxSeats = 4096

// bundle seats a node, after these checks:
//
//   - the bundle passes Consortium.VerifyNamed, now: nobody gains by it but whom
//     it names;
//   - the role is one that a ledger grants;
//   - neither its policy nor one of its verifiers is retired (R6, R7);
//   - no verifier bars the node since, beyond those that a bundle can do without;
//   - it is younger than any proof that its key signed twice;
//   - its beacons are recent blocks of this chain;
//   - host, node and consensus key are bound to each other or free (R5);
//   - it is newer than what the node's seat rests on;
//   - while the set is frozen, it renews a member of the set (R3).
func (r *run) bundle(tx []byte) error {
	a, err := r.rules.Consortium.Named(tx, r.known, r.time)
	if err != nil {
		return err
	}
	r.known = a
	seat := seatOf(a, tx, r.rules.Consortium)
	seat.Accepted = r.height
	for _, check := range []error{
		r.checkRole(seat), r.checkRetired(seat), r.checkBarred(a.Node(), seat), r.checkDoubled(seat), r.checkBeacons(a),
		r.checkHost(a.Node(), seat), r.checkNode(a.Node(), seat), r.checkNewer(a.Node(), seat), r.checkFrozen(seat), r.checkRoom(a.Node()),
	} {
		if check != nil {
			return check
		}
	}
	r.seat(a.Node(), seat)
	return nil
}

func seatOf(a *admission.Admission, tx []byte, c *admission.Consortium) Seat {
	s := Seat{
		Host: a.Host(), Role: a.Role(), Key: a.ConsensusKey(), NotBefore: a.NotBefore(), NotAfter: a.NotAfter(), Bundle: digestOf(tx),
	}
	for _, st := range a.Statements() {
		key, _ := c.AdmissionKey(st.Verifier)
		s.Policy, s.Epoch = st.Policy, st.Epoch
		s.Opinions = append(s.Opinions, Opinion{Verifier: keyID(key), Serial: st.Serial, From: st.NotBefore, Evidence: st.Evidence})
	}
	slices.SortFunc(s.Opinions, func(a, b Opinion) int { return strings.Compare(a.Verifier, b.Verifier) })
	return s
}

// keyID names a key, not only its holder: "<name>+<hash>".
func keyID(key note.Verifier) string { return fmt.Sprintf("%s+%08x", key.Name(), key.KeyHash()) }

func keyName(id string) string {
	name, _, _ := strings.Cut(id, "+")
	return name
}

func (r *run) checkRole(s Seat) error {
	if s.Role == RoleValidator && s.Key != "" || s.Role == RoleObserver && s.Key == "" {
		return nil
	}
	return refuse(OtherRole, "role", s.Role+", consensus key "+orNone(s.Key), "a validator with a consensus key, or an observer without")
}

func (r *run) checkRetired(s Seat) error {
	for _, o := range s.Opinions {
		if end, ok := r.retired[o.Verifier]; ok && !r.time.Before(end) {
			return refuse(Retired, "verifier", o.Verifier+" until "+formatTime(end), "verifiers in service")
		}
	}
	if end, ok := r.retired[s.Policy.Digest.String()]; ok && !r.time.Before(end) {
		return refuse(Retired, "policy", s.Policy.String()+" until "+formatTime(end), "a policy in force")
	}
	return nil
}

func (r *run) checkBarred(node string, s Seat) error {
	if r.isBarred(node, s.Opinions, r.rules) {
		return refuse(Barred, "node", node, "a node that its verifiers' rosters admit")
	}
	return nil
}

func (r *run) checkDoubled(s Seat) error {
	if r.singular(s.Key, s.Opinions) {
		return nil
	}
	return refuse(Doubled, "consensus-key", "admitted at "+formatTime(s.NotBefore), "after "+formatTime(r.doubled[s.Key]))
}

// checkBeacons judges freshness by the chain itself: each admission rests on
// evidence that is younger than a block which this chain knows.
func (r *run) checkBeacons(a *admission.Admission) error {
	if r.rules.BeaconAge == 0 {
		return nil
	}
	for _, s := range a.Statements() {
		if !slices.Contains(r.blocks, s.Beacon) {
			return refuse(StaleBeacon, "beacon of "+s.Verifier, s.Beacon.String(), "one of the latest "+num(r.rules.BeaconAge)+" blocks")
		}
	}
	return nil
}

// checkHost is R5 from the host's side: one consensus key and node at a time.
func (r *run) checkHost(node string, s Seat) error {
	h, bound := r.hosts[s.Host]
	switch {
	case !bound || h.Node == node && h.Key == s.Key:
		return nil
	case r.inUse(s.Host, h):
		return refuse(HostBound, "host", s.Host+" serves "+h.Node+" "+orNone(h.Key), "a host without another key or node")
	case r.height <= h.Last+r.rules.CoolDown:
		return refuse(HostCooling, "host", "in use for "+h.Node+" until height "+num(h.Last), "free at height "+num(h.Last+r.rules.CoolDown+1))
	}
	return nil
}

// checkNode is R5 from the node's and the key's side: a node or key moves to
// another host only once the old one has let go of it.
func (r *run) checkNode(node string, s Seat) error {
	for _, other := range []string{node, r.keys[s.Key]} {
		old, ok := r.seats[other]
		if !ok || other == node && old.Host == s.Host && old.Key == s.Key {
			continue
		}
		if h, ok := r.hosts[old.Host]; ok && r.inUse(old.Host, h) {
			return refuse(NodeBound, "node", other+" on host "+old.Host, "a node and a key that no other host serves")
		}
	}
	return nil
}

// checkNewer refuses to go back: an old bundle must not displace a newer one.
func (r *run) checkNewer(node string, s Seat) error {
	old := r.seats[node]
	if old.Bundle == s.Bundle {
		return refuse(Known, "bundle", s.Bundle.String(), "a bundle that is not in use yet")
	}
	for _, o := range s.Opinions {
		for _, before := range old.Opinions {
			if o.Verifier == before.Verifier && o.Serial < before.Serial {
				return refuse(Older, "serial of "+o.Verifier, num(o.Serial), "at least "+num(before.Serial))
			}
		}
	}
	return nil
}

func (r *run) checkFrozen(s Seat) error {
	if r.frozen == 0 || s.Key == "" || r.validators[s.Key].Effective > 0 {
		return nil
	}
	return refuse(Frozen, "", "a new member, while the set is frozen since height "+num(r.frozen), "a renewal")
}

func (r *run) checkRoom(node string) error {
	if _, known := r.seats[node]; !known && len(r.seats) >= maxSeats {
		return refuse(TooMany, "", "another node", num(maxSeats)+" nodes")
	}
	return nil
}

// seat takes the node in, and its old host and key out of use.
func (r *run) seat(node string, s Seat) {
	r.vacate(node)
	if other := r.keys[s.Key]; other != "" {
		r.vacate(other)
	}
	r.seats[node] = s
	r.hosts[s.Host] = Host{Node: node, Key: s.Key, Last: r.height}
	if s.Key != "" {
		r.keys[s.Key] = node
	}
	r.look(s)
	r.mark()
	r.event("admitted", [2]string{"node", node}, [2]string{"key", orNone(s.Key)}, [2]string{"host", s.Host},
		[2]string{"not_after", formatTime(s.NotAfter)}, [2]string{"bundle", s.Bundle.String()})
}
