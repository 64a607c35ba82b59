package admission

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// CheckID names one check of this package, for example "admission.expired".
// Identifiers are stable: metrics, documents and people's notes refer to them.
type CheckID string

// Check describes one check for people.
type Check struct {
	ID       CheckID
	Title    string // one sentence saying what was found wrong
	Protects string // the attack or accident that the check stops
	Got      string // what a refusal's Got holds
	Want     string // what a refusal's Want holds
	Remedy   string // what a person does about it
}

// Refusal is the error of every check in this package. Its texts are printable
// and at most maxText bytes each; errors.As finds it in a wrapped error.
type Refusal struct {
	Check   CheckID `json:"check"`             // stable name of the check, see Checks
	Where   string  `json:"where,omitempty"`   // the place: "admission 2", "line 4"
	Got     string  `json:"got,omitempty"`     // what was found
	Want    string  `json:"want,omitempty"`    // what was expected
	Message string  `json:"message,omitempty"` // one sentence
	Remedy  string  `json:"remedy,omitempty"`  // what a person does about it
}

// Error prints the refusal on one line.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(string(r.Check))
	for _, part := range []struct{ label, text string }{
		{": ", r.Message}, {" at ", r.Where}, {": got ", r.Got}, {", want ", r.Want},
	} {
		if part.text != "" {
			b.WriteString(part.label + part.text)
		}
	}
	return b.String()
}

// maxText bounds each text of a refusal, in bytes.
const maxText = 1024

// Checks returns every check of this package, sorted by identifier. Documents
// are generated from it.
func Checks() []Check {
	all := slices.Clone(checks)
	slices.SortFunc(all, func(a, b Check) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Lookup finds a check by identifier.
func Lookup(id CheckID) (Check, bool) {
	for _, c := range checks {
		if c.ID == id {
			return c, true
		}
	}
	return Check{}, false
}

// refuse makes a Refusal with the title and remedy registered for the check.
func refuse(id CheckID, where, got, want string) *Refusal {
	c, _ := Lookup(id)
	return c.Refuse(where, got, want)
}

// Refuse makes the check's refusal. Foreign text in where, got and want becomes
// printable and bounded.
func (c Check) Refuse(where, got, want string) *Refusal {
	return &Refusal{Check: c.ID, Where: plain(where), Got: plain(got), Want: plain(want), Message: c.Title, Remedy: c.Remedy}
}

// plain makes foreign text safe to show: printable, on one line, bounded.
func plain(s string) string {
	if len(s) > maxText {
		s = s[:maxText-len("…")] + "…"
	}
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			quoted := strconv.QuoteToASCII(s)
			return quoted[1:min(len(quoted)-1, maxText)]
		}
	}
	return s
}
