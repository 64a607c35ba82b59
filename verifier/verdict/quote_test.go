package verdict_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quorate/quorate/verifier/verdict"
)

// A host chooses the texts that findings quote. None may make a finding longer
// than promised, or one that its own JSON does not give back.
func TestQuotedTextSurvivesJSON(t *testing.T) {
	for _, row := range []struct{ name, text string }{
		{"plain", "root=/dev/vda2 ro"},
		{"long plain", strings.Repeat("a", 2*verdict.MaxText)},
		{"cut within a character", "a\x01" + strings.Repeat("é", verdict.MaxText)},
		{"long, of wide characters", strings.Repeat("é", verdict.MaxText)},
		{"no text", strings.Repeat("\xbf", 2*verdict.MaxText)},
		{"control characters", strings.Repeat("\n", verdict.MaxText)},
		{"line separators", "a\u2028b\u0085c"},
		{"a replacement character", "a\ufffdb"},
		{"a replacement character beside a control character", "1r\x11M\ufffd"},
	} {
		got := verdict.Quote(row.text)
		if len(got) > verdict.MaxText || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%s: %d bytes, valid %v", row.name, len(got), utf8.ValidString(got))
		}
		if again := verdict.Quote(got); again != got {
			t.Errorf("%s: quoted again it differs", row.name)
		}
		var back string
		if b, err := json.Marshal(got); err != nil || json.Unmarshal(b, &back) != nil || back != got {
			t.Errorf("%s: JSON gives another text", row.name)
		}
	}
	if got := verdict.Quote("root=/dev/vda2 ro"); got != "root=/dev/vda2 ro" {
		t.Errorf("plain text became %q", got)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a\x01" + strings.Repeat("é", verdict.MaxText))
	f.Add("1r\x11M\ufffd")
	f.Fuzz(func(t *testing.T, s string) {
		got := verdict.Quote(s)
		if len(got) > verdict.MaxText || !utf8.ValidString(got) || verdict.Quote(got) != got {
			t.Fatalf("%q became %q", s, got)
		}
	})
}
