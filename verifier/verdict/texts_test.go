package verdict_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

func TestChecksAreSorted(t *testing.T) {
	if !slices.IsSortedFunc(verdict.Checks(), func(a, b verdict.Check) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
		t.Error("checks are not in the order of their names")
	}
	if c, ok := verdict.Lookup("no.such-check"); ok || c != (verdict.Check{}) {
		t.Errorf("an unknown check is %+v", c)
	}
}

// Decisions and severities have one text each; anything else is neither, and
// leaves the value as it was.
func TestDecisionAndSeverityText(t *testing.T) {
	type both struct {
		Decision verdict.Decision
		Severity verdict.Severity
	}
	for text, want := range map[string]both{
		`{"Decision":"denied","Severity":"deny"}`:   {},
		`{"Decision":"admitted","Severity":"warn"}`: {verdict.Admitted, verdict.Warn},
	} {
		got := both{1 - want.Decision, 1 - want.Severity}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := json.Marshal(want); err != nil || string(again) != text {
			t.Errorf("%s printed as %s, %v", text, again, err)
		}
	}
	for _, text := range []string{`{"Decision":"Admitted"}`, `{"Decision":""}`, `{"Severity":"none"}`, `{"Severity":""}`} {
		var got both
		if err := json.Unmarshal([]byte(text), &got); err == nil || got != (both{}) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if verdict.Decision(7).String() != "denied" || verdict.Severity(7).String() != "deny" {
		t.Error("an unknown value does not deny")
	}
}

func TestDenies(t *testing.T) {
	warn, deny := verdict.Finding{Severity: verdict.Warn}, verdict.Finding{}
	for _, row := range []struct {
		findings []verdict.Finding
		want     bool
	}{{nil, false}, {[]verdict.Finding{warn}, false}, {[]verdict.Finding{warn, deny}, true}, {[]verdict.Finding{deny}, true}} {
		if got := (verdict.Verdict{Decision: verdict.Admitted, Findings: row.findings}).Denies(); got != row.want {
			t.Errorf("%v denies: %v", row.findings, got)
		}
	}
}

func TestRefuse(t *testing.T) {
	r := verdict.Refuse(verdict.QuoteNonce, "quote\n", "a\x00", "b\x1b")
	c, _ := verdict.Lookup(verdict.QuoteNonce)
	want := verdict.Finding{Check: verdict.QuoteNonce, Where: `quote\n`, Got: `a\x00`, Want: `b\x1b`, Message: c.Title, Remedy: c.Remedy}
	if r.Finding != want {
		t.Errorf("%+v", r.Finding)
	}
	if text := "quote.nonce: " + c.Title + ` at quote\n: got a\x00, want b\x1b`; r.Error() != text {
		t.Errorf("%q", r.Error())
	}
	if got := (verdict.Finding{Check: "a.b", Got: "x"}).String(); got != "a.b: got x" {
		t.Errorf("%q", got)
	}
}

// Quote cuts exactly at the bound, between two characters, and says that it cut.
func TestQuoteCuts(t *testing.T) {
	const mark = "…"
	fits := strings.Repeat("a", verdict.MaxText)
	room := verdict.MaxText - len(mark)
	for _, row := range []struct{ name, text, want string }{
		{"at the bound", fits, fits},
		{"one more", fits + "a", fits[:room] + mark},
		{"no cut within two bytes", strings.Repeat("a", room-1) + strings.Repeat("é", 9), strings.Repeat("a", room-1) + mark},
		{"no cut within four bytes", strings.Repeat("a", room-3) + strings.Repeat("𐍈", 9), strings.Repeat("a", room-3) + mark},
		{"a cut right before a character", strings.Repeat("a", room) + strings.Repeat("é", 9), strings.Repeat("a", room) + mark},
		{"escaped", "é\n\"", `é\n\"`},
		{"escaped and cut", strings.Repeat("\n", verdict.MaxText), strings.Repeat(`\n`, room/2) + `\` + mark},
	} {
		if got := verdict.Quote(row.text); got != row.want {
			t.Errorf("%s: %d bytes ending in %q, want %d ending in %q", row.name, len(got), got[max(0, len(got)-9):], len(row.want), row.want[max(0, len(row.want)-9):])
		}
	}
}
