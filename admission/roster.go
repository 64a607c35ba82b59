package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Limits of rosters.
const (
	MaxRoster  = 64 << 20 // bytes of a signed roster
	maxListed  = 200_000  // nodes in each of the two lists
	maxReasons = 256      // bytes of a reason
)

const rosterHeader = "quorate/roster/v1"

// State is why a node is barred.
type State string

// The states in which a node is known and not admitted.
const (
	StateLate        State = "late"        // no fresh evidence in time; says nothing about integrity
	StateSuspended   State = "suspended"   // its evidence was refused, or an operator stopped it
	StateRetired     State = "retired"     // taken out of service
	StateQuarantined State = "quarantined" // doubt about its identity
)

// Listed is a node whose admission stands.
type Listed struct {
	Node         string
	Role         string
	Serial       uint64    // of the standing admission
	NotAfter     time.Time // of the standing admission
	Host         string    // host id
	NodeKey      Digest
	ConsensusKey string // or empty
}

// Barred is a node whose admissions no longer count, whatever they say.
type Barred struct {
	Node   string
	State  State
	Since  time.Time
	Check  string // the check that decided, "runtime.ima-unlisted"
	Reason string // one printable line of at most 256 bytes; Sign makes it so
}

// Roster is one verifier's current list of nodes. A later roster has a higher
// number.
type Roster struct {
	Consortium string
	Test       bool
	Ledger     Ledger
	Verifier   string
	Number     uint64    // from 1
	Issued     time.Time // UTC, whole seconds
	Admitted   []Listed  // ascending by node id
	Barred     []Barred  // ascending by node id; no node is in both lists
}

// Marshal returns the roster's text. It refuses a roster that ParseRoster would
// refuse.
func (r Roster) Marshal() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	w := newText(rosterHeader)
	w.buf.Grow(320*len(r.Admitted) + 160*len(r.Barred))
	w.field("consortium", r.Consortium)
	w.test(r.Test)
	w.field("ledger", r.Ledger.ID+" "+r.Ledger.Genesis.String())
	w.field("verifier", r.Verifier)
	w.field("number", strconv.FormatUint(r.Number, 10))
	w.field("issued", formatTime(r.Issued))
	w.field("admitted", strconv.Itoa(len(r.Admitted)))
	for _, n := range r.Admitted {
		w.line(strings.Join([]string{n.Node, n.Role, strconv.FormatUint(n.Serial, 10), formatTime(n.NotAfter),
			n.Host, n.NodeKey.String(), orNone(n.ConsensusKey)}, " "))
	}
	w.field("barred", strconv.Itoa(len(r.Barred)))
	for _, n := range r.Barred {
		w.line(strings.Join([]string{n.Node, string(n.State), formatTime(n.Since), n.Check, n.Reason}, " "))
	}
	return w.bytes(), nil
}

// ParseRoster reads a roster's text, without signature. It accepts exactly the
// bytes that Marshal makes.
func ParseRoster(text []byte) (Roster, error) {
	if len(text) > MaxRoster {
		return Roster{}, refuse(Malformed, "", strconv.Itoa(len(text))+" bytes", "at most "+strconv.Itoa(MaxRoster))
	}
	p := readText(rosterHeader, text)
	r := Roster{
		Consortium: p.field("consortium"),
		Test:       p.test(),
		Ledger:     p.ledger("ledger"),
		Verifier:   p.field("verifier"),
		Number:     p.number("number"),
		Issued:     p.time("issued"),
	}
	r.Admitted = readList(p, "admitted", p.listed)
	r.Barred = readList(p, "barred", p.barred)
	if err := p.end(); err != nil {
		return Roster{}, err
	}
	again, err := r.Marshal()
	if err != nil {
		return Roster{}, err
	}
	if string(again) != string(text) {
		return Roster{}, refuse(Malformed, "", "text that is not its own canonical form", "canonical text")
	}
	return r, nil
}

// readList reads a list up to its end or the first line that is wrong.
func readList[E any](p *textReader, name string, read func() E) []E {
	n := p.count(name)
	if n == 0 {
		return nil
	}
	list := make([]E, 0, min(n, len(p.rest)/leastLine))
	for len(list) < n && p.err == nil {
		list = append(list, read())
	}
	return list
}

// leastLine is the length of the shortest line of a list, in bytes.
const leastLine = len("a/b late 2026-01-01T00:00:00Z c d\n")

// count reads the length of a list that still has to follow, so it can be no
// more than the lines that are left.
func (r *textReader) count(name string) int {
	n := r.number(name)
	if left := strings.Count(r.rest, "\n"); r.err == nil && (n > maxListed || n > uint64(left)) {
		r.fail(strconv.FormatUint(n, 10), "the number of lines that follow")
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *textReader) words(n int) []string {
	if r.err != nil {
		return make([]string, n)
	}
	line := r.next()
	words := strings.SplitN(line, " ", n)
	if len(words) != n {
		r.fail(line, strconv.Itoa(n)+" words")
		return make([]string, n)
	}
	return words
}

func (r *textReader) listed() Listed {
	w := r.words(7)
	return Listed{Node: w[0], Role: w[1], Serial: r.parseNumber(w[2], 64), NotAfter: r.parseTime(w[3]),
		Host: w[4], NodeKey: r.parseDigest(w[5]), ConsensusKey: noneEmpty(w[6])}
}

func (r *textReader) barred() Barred {
	w := r.words(5)
	return Barred{Node: w[0], State: State(w[1]), Since: r.parseTime(w[2]), Check: w[3], Reason: w[4]}
}

func (r Roster) validate() error {
	for _, f := range []struct {
		ok         bool
		name, text string
	}{
		{ValidLabel(r.Consortium), "consortium", r.Consortium},
		{ValidToken(r.Ledger.ID) && !r.Ledger.Genesis.IsZero(), "ledger", r.Ledger.ID},
		{ValidVerifierName(r.Verifier), "verifier", r.Verifier},
		{r.Number > 0, "number", "0"},
		{wholeSecond(r.Issued), "issued", r.Issued.String()},
		{len(r.Admitted) <= maxListed, "admitted", strconv.Itoa(len(r.Admitted))},
		{len(r.Barred) <= maxListed, "barred", strconv.Itoa(len(r.Barred))},
	} {
		if !f.ok {
			return refuse(Malformed, f.name, f.text, "")
		}
	}
	return r.validateLists()
}

// validateLists checks every line, that both lists ascend, that no node is in
// both, and that no TPM or node key serves two admitted nodes. Two hosts may
// share a consensus key, of which the ledger lets one be used at a time.
func (r Roster) validateLists() error {
	hosts, keys := make(map[string]bool, len(r.Admitted)), make(map[Digest]bool, len(r.Admitted))
	for i, n := range r.Admitted {
		if i > 0 && r.Admitted[i-1].Node >= n.Node {
			return refuse(Malformed, "admitted", n.Node, "ascending node ids")
		}
		if !n.valid() {
			return refuse(Malformed, "admitted", fmt.Sprintf("%+v", n), "a valid line")
		}
		if hosts[n.Host] || keys[n.NodeKey] {
			return refuse(Malformed, "admitted", n.Node+" with host or node key of another node", "a host and a node key of its own for each node")
		}
		hosts[n.Host], keys[n.NodeKey] = true, true
	}
	for i, n := range r.Barred {
		if i > 0 && r.Barred[i-1].Node >= n.Node {
			return refuse(Malformed, "barred", n.Node, "ascending node ids")
		}
		if !n.valid() {
			return refuse(Malformed, "barred", fmt.Sprintf("%+v", n), "a valid line")
		}
		if _, both := r.admitted(n.Node); both {
			return refuse(Malformed, "barred", n.Node, "a node that is not admitted too")
		}
	}
	return nil
}

func (n Listed) valid() bool {
	if n.ConsensusKey != "" {
		if _, err := ParseConsensusKey(n.ConsensusKey); err != nil {
			return false
		}
	}
	return ValidNodeID(n.Node) && ValidLabel(n.Role) && n.Serial > 0 && wholeSecond(n.NotAfter) &&
		ValidHostID(n.Host) && !n.NodeKey.IsZero()
}

func (n Barred) valid() bool {
	known := n.State == StateLate || n.State == StateSuspended || n.State == StateRetired || n.State == StateQuarantined
	return known && ValidNodeID(n.Node) && wholeSecond(n.Since) && ValidToken(n.Check) &&
		n.Reason == cleanReason(n.Reason) // never empty
}

// cleanReason makes any text a valid reason, so that foreign text in a verdict
// can never keep a suspension from being published.
func cleanReason(s string) string {
	s = plain(strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " "))
	for len(s) > maxReasons {
		s = strings.TrimSpace(strings.ToValidUTF8(s[:maxReasons], ""))
	}
	if s == "" {
		return "no reason was given"
	}
	return s
}

// Sign sorts the lists, makes the reasons printable, and returns the roster as
// a signed note. The signer must have the name of the roster's verifier.
func (r Roster) Sign(signer note.Signer) ([]byte, error) {
	r.Admitted, r.Barred = slices.Clone(r.Admitted), slices.Clone(r.Barred)
	slices.SortFunc(r.Admitted, func(a, b Listed) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(r.Barred, func(a, b Barred) int { return cmp.Compare(a.Node, b.Node) })
	for i := range r.Barred {
		r.Barred[i].Reason = cleanReason(r.Barred[i].Reason)
	}
	text, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	if signer.Name() != r.Verifier {
		return nil, fmt.Errorf("admission: key %q cannot sign for verifier %q", signer.Name(), r.Verifier)
	}
	return signText(text, signer)
}

func (r Roster) admitted(node string) (Listed, bool) {
	i, ok := slices.BinarySearchFunc(r.Admitted, node, func(n Listed, id string) int { return cmp.Compare(n.Node, id) })
	if !ok {
		return Listed{}, false
	}
	return r.Admitted[i], true
}

func (r Roster) barred(node string) (Barred, bool) {
	i, ok := slices.BinarySearchFunc(r.Barred, node, func(n Barred, id string) int { return cmp.Compare(n.Node, id) })
	if !ok {
		return Barred{}, false
	}
	return r.Barred[i], true
}
