package admission

import (
	"bytes"
	"slices"
	"strconv"
	"time"
)

// RosterWant is what the relying party wants of a roster.
type RosterWant struct {
	Verifier string          // whose roster it must be; required
	MaxAge   time.Duration   // oldest roster that still counts; required, positive
	Last     *VerifiedRoster // the last roster seen of this verifier; nil if none was
}

// VerifiedRoster is a roster whose signature and age were checked. Only
// Consortium.VerifyRoster makes one.
type VerifiedRoster struct {
	roster Roster
	text   []byte
	note   []byte
}

// Roster returns a copy of the list.
func (v *VerifiedRoster) Roster() Roster {
	r := v.roster
	r.Admitted, r.Barred = slices.Clone(r.Admitted), slices.Clone(r.Barred)
	return r
}

// Note returns the signed bytes, for whoever has to check them again: a gate.
func (v *VerifiedRoster) Note() []byte { return slices.Clone(v.note) }

// Number returns the roster's number.
func (v *VerifiedRoster) Number() uint64 { return v.roster.Number }

// Issued returns when the verifier made the roster.
func (v *VerifiedRoster) Issued() time.Time { return v.roster.Issued }

// Verifier returns the name of the verifier that made the roster.
func (v *VerifiedRoster) Verifier() string { return v.roster.Verifier }

// VerifyRoster checks a signed roster, in this order:
//
//   - the wanted verifier's admission key signed it;
//   - it is for this consortium and ledger, and says "test" exactly if the
//     consortium is a test network;
//   - it was issued at most MaxSkew after now, and at most want.MaxAge before;
//   - it does not go back behind want.Last: neither number nor time is lower,
//     and the same number means the same text.
func (c *Consortium) VerifyRoster(msg []byte, want RosterWant, now time.Time) (*VerifiedRoster, error) {
	if c == nil || c.keys == nil || want.MaxAge <= 0 {
		return nil, refuse(Unpinned, "", "", "a Consortium from ParseConsortium, and a maximum age")
	}
	if len(msg) > MaxRoster {
		return nil, refuse(Malformed, "", strconv.Itoa(len(msg))+" bytes", "at most "+strconv.Itoa(MaxRoster))
	}
	key, ok := c.AdmissionKey(want.Verifier)
	if !ok {
		return nil, refuse(UnknownVerifier, "", want.Verifier, "a verifier of "+c.Name)
	}
	text, err := openNote(msg, key)
	if err != nil {
		return nil, err
	}
	r, err := ParseRoster(text)
	if err != nil {
		return nil, err
	}
	if r.Verifier != want.Verifier {
		return nil, refuse(BadSignature, "verifier", r.Verifier, want.Verifier)
	}
	if err := c.checkNetwork(r.Consortium, r.Test, r.Ledger); err != nil {
		return nil, err
	}
	v := &VerifiedRoster{roster: r, text: text, note: slices.Clone(msg)}
	if err := v.checkTime(want, now); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *VerifiedRoster) checkTime(want RosterWant, now time.Time) error {
	issued := v.roster.Issued
	if now.Add(MaxSkew).Before(issued) {
		return refuse(NotYet, "issued", formatTime(issued), "at most "+MaxSkew.String()+" after "+formatTime(now))
	}
	if now.Sub(issued) > want.MaxAge {
		return refuse(RosterStale, "issued", formatTime(issued), "at most "+want.MaxAge.String()+" before "+formatTime(now))
	}
	last := want.Last
	if last == nil {
		return nil
	}
	if last.roster.Verifier != v.roster.Verifier {
		return refuse(RosterRollback, "verifier", v.roster.Verifier, last.roster.Verifier)
	}
	if v.roster.Number < last.roster.Number || issued.Before(last.roster.Issued) {
		return refuse(RosterRollback, "", "number "+strconv.FormatUint(v.roster.Number, 10)+" of "+formatTime(issued),
			"number "+strconv.FormatUint(last.roster.Number, 10)+" of "+formatTime(last.roster.Issued)+", or later")
	}
	if v.roster.Number == last.roster.Number && !bytes.Equal(v.text, last.text) {
		return refuse(RosterFork, "", "another text", "the text seen before as number "+strconv.FormatUint(v.roster.Number, 10))
	}
	return nil
}

// barredChecks names the check by which a state refuses.
var barredChecks = map[State]CheckID{
	StateLate: NodeLate, StateSuspended: NodeSuspended, StateRetired: NodeRetired, StateQuarantined: NodeQuarantined,
}

// CheckAgainstRoster refuses an admission that no longer stands: its node is
// barred, is not on the roster at all, or has other keys by now. A bundle tells
// what was true when it was made; the roster tells whether it still is.
func CheckAgainstRoster(a *Admission, roster *VerifiedRoster) error {
	if a == nil || len(a.statements) == 0 || roster == nil {
		return refuse(Unpinned, "", "", "a verified admission and a verified roster")
	}
	s := a.first()
	if s.Consortium != roster.roster.Consortium || s.Ledger != roster.roster.Ledger {
		return refuse(OtherLedger, "roster", roster.roster.Consortium+" "+roster.roster.Ledger.ID, s.Consortium+" "+s.Ledger.ID)
	}
	if n, ok := roster.roster.barred(s.Node); ok {
		return refuse(barredChecks[n.State], s.Node, n.Check+": "+n.Reason, "a node whose admission stands, since "+formatTime(n.Since))
	}
	n, ok := roster.roster.admitted(s.Node)
	if !ok {
		return refuse(NotListed, s.Node, "not on roster "+strconv.FormatUint(roster.roster.Number, 10), "admitted")
	}
	if n.Host != s.Host || n.NodeKey != s.NodeKey || n.ConsensusKey != s.ConsensusKey || n.Role != s.Role {
		return refuse(Superseded, s.Node, "host "+s.Host+" node-key "+s.NodeKey.String(), "host "+n.Host+" node-key "+n.NodeKey.String())
	}
	return nil
}
