// Package verdict holds what an appraisal concludes: a decision, and every
// finding that led to it. The zero Decision denies, so a verdict that nobody
// finished is a refusal.
//
// The package is pure: it knows no clock, no network and no storage.
package verdict

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Decision is the outcome of one appraisal. The zero value denies; there is no
// third value, because a relying party can only admit or not admit.
type Decision uint8

const (
	// Denied is the zero value: the node is not admitted.
	Denied Decision = iota
	// Admitted means that every check the policy requires ran and passed.
	Admitted
)

// String returns "denied" or "admitted".
func (d Decision) String() string {
	if d == Admitted {
		return "admitted"
	}
	return "denied"
}

// MarshalText makes decisions readable in JSON.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (d *Decision) UnmarshalText(text []byte) error {
	switch string(text) {
	case "denied":
		*d = Denied
	case "admitted":
		*d = Admitted
	default:
		return fmt.Errorf("verdict: unknown decision %q", text)
	}
	return nil
}

// Severity says what a finding does to the decision.
type Severity uint8

const (
	// Deny is the zero value: the finding refuses the node.
	Deny Severity = iota
	// Warn is a finding of a policy layer whose mode is "warn": it is shown and
	// recorded, and refuses nothing.
	Warn
)

// String returns "deny" or "warn".
func (s Severity) String() string {
	if s == Warn {
		return "warn"
	}
	return "deny"
}

// MarshalText makes severities readable in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (s *Severity) UnmarshalText(text []byte) error {
	switch string(text) {
	case "deny":
		*s = Deny
	case "warn":
		*s = Warn
	default:
		return fmt.Errorf("verdict: unknown severity %q", text)
	}
	return nil
}

// Finding is one thing that an appraisal found to differ from what the policy
// or the specification wants.
//
// Got and Where may quote bytes of a hostile host. They hold printable text
// only (use Quote), and at most MaxText bytes each.
type Finding struct {
	Check    CheckID  `json:"check"`             // stable name of the check, see Checks
	Severity Severity `json:"severity"`          // deny unless the layer only warns
	Where    string   `json:"where,omitempty"`   // the place: "event 41, PCR 8", "entry 118"
	Got      string   `json:"got,omitempty"`     // what was found
	Want     string   `json:"want,omitempty"`    // what was expected
	Message  string   `json:"message,omitempty"` // one sentence, when the check's title does not say it
	Remedy   string   `json:"remedy,omitempty"`  // what a person does about it
}

// String prints the finding on one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Check))
	for _, part := range []struct{ label, text string }{
		{": ", f.Message}, {" at ", f.Where}, {": got ", f.Got}, {", want ", f.Want},
	} {
		if part.text != "" {
			b.WriteString(part.label + part.text)
		}
	}
	return b.String()
}

// Verdict is the complete result of one appraisal. Two verifiers given the same
// evidence, policy, history and time produce the same Verdict.
type Verdict struct {
	Decision Decision  `json:"decision"`
	Policy   string    `json:"policy"`   // name and digest of the policy, "validators sha256:…"
	At       time.Time `json:"at"`       // the time the appraisal was told
	Passed   []CheckID `json:"passed"`   // checks that ran and found nothing, in order
	Findings []Finding `json:"findings"` // every finding, in the order of the checks
}

// Denies reports whether any finding refuses the node.
func (v Verdict) Denies() bool {
	for _, f := range v.Findings {
		if f.Severity == Deny {
			return true
		}
	}
	return false
}

// Refusal is a single refusing finding as an error. Parsers and verification
// steps that stop at the first failure return it; errors.As finds it again.
type Refusal struct{ Finding }

// Error prints the finding on one line.
func (r *Refusal) Error() string { return r.Finding.String() }

// Refuse returns a Refusal of the named check. The remedy is the one registered
// with the check. Got and where are made printable and bounded.
func Refuse(check CheckID, where, got, want string) *Refusal {
	c, _ := Lookup(check)
	return &Refusal{Finding{
		Check: check, Where: Quote(where), Got: Quote(got), Want: Quote(want), Message: c.Title, Remedy: c.Remedy,
	}}
}

// MaxText bounds each text of a finding, in bytes.
const MaxText = 4096

// Quote returns s with every byte that is not printable ASCII or part of valid
// printable UTF-8 escaped, cut to MaxText bytes between two characters. It never
// changes plain text, and what it returns is always valid UTF-8: other bytes would
// not survive a record's JSON, and nobody could read the record again.
func Quote(s string) string {
	s = clip(s)
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !printable(r) }) {
		return s
	}
	quoted := strconv.Quote(s)
	return clip(quoted[1 : len(quoted)-1])
}

// clip cuts a text to MaxText bytes, before a character and not within it.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	cut := MaxText - len("…")
	for back := 1; back < utf8.UTFMax && !utf8.RuneStart(s[cut]); back++ {
		cut--
	}
	return s[:cut] + "…"
}
