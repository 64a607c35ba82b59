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

func words(w ...string) string { return strings.Join(w, " ") }

// Entries returns the whole state, ascending by key. Two states are the same
// exactly if their entries are.
func (s *State) Entries() []Entry {
	out := []Entry{
		{"block", words(num(s.height), formatTime(s.time))}, {"frozen", num(s.frozen)}, {"rules", s.rules}, {"beacons", s.beacons()},
	}
	for key, v := range s.validators {
		out = append(out, Entry{"validator/" + key, words(signed(v.Desired), signed(v.Effective), strconv.FormatBool(v.Founder))})
	}
	for node, seat := range s.seats {
		out = append(out, Entry{"seat/" + node, seat.text()})
	}
	for id, h := range s.hosts {
		out = append(out, Entry{"host/" + id, words(h.Node, orNone(h.Key), num(h.Last))})
	}
	for id, node := range s.peers {
		out = append(out, Entry{"peer/" + id, node})
	}
	for what, end := range s.retired {
		out = append(out, Entry{"retired/" + what, formatTime(end)})
	}
	for name, b := range s.barred {
		out = append(out, Entry{"barred/" + name, b.text()})
	}
	for digest, end := range s.commands {
		out = append(out, Entry{"command/" + digest.String(), formatTime(end)})
	}
	for member, n := range s.numbers {
		out = append(out, Entry{"number/" + member, num(n)})
	}
	for key, at := range s.doubled {
		out = append(out, Entry{"doubled/" + key, formatTime(at)})
	}
	if !s.quorum.IsZero() {
		out = append(out, Entry{"quorum", formatTime(s.quorum)})
	}
	for node, at := range s.seen {
		out = append(out, Entry{"seen/" + node, formatTime(at)})
	}
	for key, m := range s.removals {
		out = append(out, Entry{"removed/" + key, words(num(m.height), signed(m.power))})
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func signed(n int64) string { return strconv.FormatInt(n, 10) }

func (s *State) beacons() string {
	out := make([]string, len(s.blocks))
	for i, b := range s.blocks {
		out[i] = num(b.Height) + "=" + b.Hash.String()
	}
	return orNone(strings.Join(out, " "))
}

func (s Seat) text() string {
	out := []string{
		s.Host, s.Role, orNone(s.Key), s.Policy.Name, s.Policy.Digest.String(), s.Epoch.String(),
		formatTime(s.NotBefore), formatTime(s.NotAfter), s.Bundle.String(), num(s.Accepted), strconv.FormatBool(s.Extended),
	}
	for _, o := range s.Opinions {
		out = append(out, o.Verifier, num(o.Serial), formatTime(o.From), o.Evidence.String())
	}
	return strings.Join(out, " ")
}

func (b bars) text() string {
	out := []string{num(b.number)}
	for _, node := range slices.Sorted(maps.Keys(b.since)) {
		out = append(out, node, formatTime(b.since[node]))
	}
	return strings.Join(out, " ")
}

// Marshal returns the one text of the state. ParseState reads it.
func (s *State) Marshal() []byte {
	var buf bytes.Buffer
	buf.WriteString(s.header() + "\n")
	for _, e := range s.Entries() {
		buf.WriteString(e.Key + " " + e.Value + "\n")
	}
	return buf.Bytes()
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
	if again := s.Marshal(); !bytes.Equal(again, b) || len(s.keys) > len(s.seats) {
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
