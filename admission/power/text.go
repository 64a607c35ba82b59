package power

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
)

// Headers of states. A state that R11 has touched says so: programs that do not
// know that rule must not take it up.
const (
	stateHeader       = "quorate/power/v1"
	stateHeaderOutage = "quorate/power/v2"
)

// Entry is one fact of a state: a leaf under the application hash.
type Entry struct {
	Key   string // without spaces, "seat/org-a/validator-1"
	Value string // one line
}

func digestOf(b []byte) admission.Digest { return sha256.Sum256(b) }

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

func orNone(s string) string { return cmp.Or(s, "none") }

// Entries returns the whole state, ascending by key. Two states are the same
// exactly if their entries are.
func (s *State) Entries() []Entry {
	_, entries := s.Print()
	return entries
}

// Marshal returns the one text of the state. ParseState reads it.
func (s *State) Marshal() []byte {
	text, _ := s.Print()
	return []byte(text)
}

// Print returns what Marshal and Entries return, for the price of one of them: a
// gate wants both of every block.
func (s *State) Print() (string, []Entry) {
	p := &printer{buf: make([]byte, 0, 4096+1024*len(s.seats)), lines: make([]line, 0, 16+4*len(s.seats))}
	s.printBlock(p)
	s.printSeats(p)
	s.printOthers(p)
	return p.sorted(s.header())
}

func (s *State) printBlock(p *printer) {
	p.entry("block", "").num(s.height).time(s.time).end()
	p.entry("frozen", "").num(s.frozen).end()
	p.entry("rules", "").word(s.rules).end()
	p.entry("beacons", "").beacons(s.blocks).end()
	if !s.quorum.IsZero() {
		p.entry("quorum", "").time(s.quorum).end()
	}
}

func (s *State) printSeats(p *printer) {
	for key, v := range s.validators {
		p.entry("validator/", key).signed(v.Desired).signed(v.Effective).bool(v.Founder).end()
	}
	for node, seat := range s.seats {
		p.entry("seat/", node).seat(seat).end()
	}
	for id, h := range s.hosts {
		p.entry("host/", id).word(h.Node).word(orNone(h.Key)).num(h.Last).end()
	}
	for node, at := range s.seen {
		p.entry("seen/", node).time(at).end()
	}
}

func (s *State) printOthers(p *printer) {
	for id, node := range s.peers {
		p.entry("peer/", id).word(node).end()
	}
	for what, end := range s.retired {
		p.entry("retired/", what).time(end).end()
	}
	for name, b := range s.barred {
		p.entry("barred/", name).bars(b).end()
	}
	for digest, end := range s.commands {
		p.entry("command/", digest.String()).time(end).end()
	}
	for member, n := range s.numbers {
		p.entry("number/", member).num(n).end()
	}
	for key, at := range s.doubled {
		p.entry("doubled/", key).time(at).end()
	}
	for key, m := range s.removals {
		p.entry("removed/", key).num(m.height).signed(m.power).end()
	}
}

// printer writes entries into one buffer, in any order, and remembers where each
// is. States have hundreds of entries and are printed in every block.
type printer struct {
	buf   []byte
	lines []line
}

// line is the place of one entry: its key, a space, its value and a newline.
type line struct{ key, value, end int }

func (p *printer) entry(kind, name string) *printer {
	at := len(p.buf)
	p.buf = append(append(p.buf, kind...), name...)
	p.lines = append(p.lines, line{key: at, value: len(p.buf) + 1})
	return p
}

// end ends the entry.
func (p *printer) end() {
	p.buf = append(p.buf, '\n')
	p.lines[len(p.lines)-1].end = len(p.buf)
}

// space begins the next word.
func (p *printer) space() []byte { return append(p.buf, ' ') }

func (p *printer) word(s string) *printer {
	p.buf = append(p.space(), s...)
	return p
}

func (p *printer) num(n uint64) *printer {
	p.buf = strconv.AppendUint(p.space(), n, 10)
	return p
}

func (p *printer) signed(n int64) *printer {
	p.buf = strconv.AppendInt(p.space(), n, 10)
	return p
}

func (p *printer) bool(b bool) *printer {
	p.buf = strconv.AppendBool(p.space(), b)
	return p
}

func (p *printer) time(t time.Time) *printer {
	p.buf = t.UTC().AppendFormat(p.space(), timeLayout)
	return p
}

func (p *printer) digest(d admission.Digest) *printer {
	p.buf = d.Append(p.space())
	return p
}

func (p *printer) beacons(blocks []admission.Beacon) *printer {
	if len(blocks) == 0 {
		return p.word("none")
	}
	for _, b := range blocks {
		p.num(b.Height)
		p.buf = b.Hash.Append(append(p.buf, '='))
	}
	return p
}

func (p *printer) seat(s Seat) *printer {
	p.word(s.Host).word(s.Role).word(orNone(s.Key)).word(s.Policy.Name).digest(s.Policy.Digest).word(s.Epoch.String())
	p.time(s.NotBefore).time(s.NotAfter).digest(s.Bundle).num(s.Accepted).bool(s.Extended)
	for _, o := range s.Opinions {
		p.word(o.Verifier).num(o.Serial).time(o.From).digest(o.Evidence)
	}
	return p
}

func (p *printer) bars(b bars) *printer {
	p.num(b.number)
	for _, node := range slices.Sorted(maps.Keys(b.since)) {
		p.word(node).time(b.since[node])
	}
	return p
}

// sorted returns the text of all entries under a header, ascending by key, and the
// entries as parts of it.
func (p *printer) sorted(header string) (string, []Entry) {
	key := func(l line) []byte { return p.buf[l.key : l.value-1] }
	slices.SortFunc(p.lines, func(a, b line) int { return bytes.Compare(key(a), key(b)) })
	var out strings.Builder
	out.Grow(len(header) + 1 + len(p.buf))
	out.WriteString(header + "\n")
	entries := make([]Entry, len(p.lines))
	for i, l := range p.lines {
		at := out.Len()
		out.Write(p.buf[l.key:l.end])
		text := out.String()[at:] // the builder grows no more: this stays a part of it
		entries[i] = Entry{text[:l.value-1-l.key], text[l.value-l.key : l.end-1-l.key]}
	}
	return out.String(), entries
}

func (s *State) header() string {
	if s.quorum.IsZero() && len(s.seen) == 0 {
		return stateHeader
	}
	return stateHeaderOutage
}

// ParseState reads a state. It accepts exactly what Marshal makes.
func ParseState(b []byte) (*State, error) {
	s := newState()
	lines := strings.SplitAfter(string(b), "\n")
	if h := strings.TrimSuffix(lines[0], "\n"); h != stateHeader && h != stateHeaderOutage {
		return nil, refuse(BadState, "line 1", h, stateHeader+" or "+stateHeaderOutage)
	}
	for i, line := range lines[1:] {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if i == len(lines)-2 && line == "" {
			break
		}
		if !ok || !s.set(key, value) {
			return nil, refuse(BadState, "line "+strconv.Itoa(i+2), line, "an entry")
		}
	}
	for node, seat := range s.seats {
		if seat.Key != "" {
			s.keys[seat.Key] = node
		}
	}
	if again, _ := s.Print(); again != string(b) || len(s.keys) > len(s.seats) {
		return nil, refuse(BadState, "", "text that is not its own canonical form", "canonical text")
	}
	return s, nil
}

// set takes one entry. It reports whether the entry has the form of its kind;
// that it is in canonical form shows when the state is printed again.
func (s *State) set(key, value string) bool {
	kind, name, _ := strings.Cut(key, "/")
	w := &wordReader{rest: strings.Split(value, " ")}
	switch kind {
	case "block":
		s.height, s.time = w.num(), w.time()
	case "frozen":
		s.frozen = w.num()
	case "rules":
		s.rules = value
		return true
	case "beacons":
		s.blocks = w.beacons()
	case "validator":
		s.validators[name] = Validator{Desired: w.signed(), Effective: w.signed(), Founder: w.bool()}
		w.bad = w.bad || !validKey(name)
	case "seat":
		s.seats[name] = w.seat()
	case "host":
		s.hosts[name] = Host{Node: w.next(), Key: w.orNone(), Last: w.num()}
	case "peer":
		s.peers[name] = w.next()
	case "retired":
		s.retired[name] = w.time()
	case "number":
		s.numbers[name] = w.num()
	case "doubled":
		s.doubled[name] = w.time()
	case "barred":
		s.barred[name] = w.bars()
	case "command":
		s.commands[w.digestOf(name)] = w.time()
	case "quorum":
		s.quorum = w.time()
	case "seen":
		s.seen[name] = w.time()
	case "removed":
		s.removals[name] = removal{w.num(), w.signed()}
	default:
		return false
	}
	return !w.bad && len(w.rest) == 0
}

// wordReader reads values back. After a fault its values are zero.
type wordReader struct {
	rest []string
	bad  bool
}

func (w *wordReader) next() string {
	if w.bad || len(w.rest) == 0 {
		w.bad = true
		return ""
	}
	word := w.rest[0]
	w.rest = w.rest[1:]
	return word
}

func (w *wordReader) orNone() string {
	if word := w.next(); word != "none" {
		return word
	}
	return ""
}

func (w *wordReader) num() uint64 { return w.numOf(w.next()) }

func (w *wordReader) numOf(word string) uint64 {
	n, err := strconv.ParseUint(word, 10, 64)
	w.bad = w.bad || err != nil
	return n
}

func parseNum(word string) uint64 {
	n, _ := strconv.ParseUint(word, 10, 64)
	return n
}

func (w *wordReader) signed() int64 {
	n, err := strconv.ParseInt(w.next(), 10, 64)
	w.bad = w.bad || err != nil || n < 0
	return n
}

func (w *wordReader) bool() bool {
	word := w.next()
	w.bad = w.bad || word != "true" && word != "false"
	return word == "true"
}

func (w *wordReader) time() time.Time {
	t, err := time.Parse(timeLayout, w.next())
	w.bad = w.bad || err != nil
	return t
}

func (w *wordReader) digest() admission.Digest { return w.digestOf(w.next()) }

func (w *wordReader) digestOf(word string) admission.Digest {
	d, err := admission.ParseDigest(word)
	w.bad = w.bad || err != nil
	return d
}

func (w *wordReader) epoch() admission.Epoch {
	reset, restart, _ := strings.Cut(w.next(), "/")
	a, errA := strconv.ParseUint(reset, 10, 32)
	b, errB := strconv.ParseUint(restart, 10, 32)
	w.bad = w.bad || errA != nil || errB != nil
	return admission.Epoch{Reset: uint32(a), Restart: uint32(b)}
}

func (w *wordReader) seat() Seat {
	s := Seat{
		Host: w.next(), Role: w.next(), Key: w.orNone(), Policy: admission.PolicyRef{Name: w.next(), Digest: w.digest()}, Epoch: w.epoch(),
		NotBefore: w.time(), NotAfter: w.time(), Bundle: w.digest(), Accepted: w.num(), Extended: w.bool(),
	}
	for !w.bad && len(w.rest) > 0 && len(s.Opinions) < admission.MaxItems {
		s.Opinions = append(s.Opinions, Opinion{Verifier: w.next(), Serial: w.num(), From: w.time(), Evidence: w.digest()})
	}
	return s
}

func (w *wordReader) bars() bars {
	b := bars{number: w.num(), since: map[string]time.Time{}}
	for !w.bad && len(w.rest) > 0 {
		node := w.next()
		b.since[node] = w.time()
	}
	return b
}

func (w *wordReader) beacons() []admission.Beacon {
	if len(w.rest) == 1 && w.rest[0] == "none" {
		w.rest = nil
	}
	var out []admission.Beacon
	for !w.bad && len(w.rest) > 0 {
		height, hash, _ := strings.Cut(w.next(), "=")
		out = append(out, admission.Beacon{Height: w.numOf(height), Hash: w.digestOf(hash)})
	}
	return out
}

// validKey reports whether a text is a consensus key: a type and base64.
func validKey(s string) bool {
	kind, text, ok := strings.Cut(s, ":")
	raw, err := base64.StdEncoding.DecodeString(text)
	return ok && admission.ValidLabel(kind) && err == nil && len(raw) > 0 && base64.StdEncoding.EncodeToString(raw) == text
}
