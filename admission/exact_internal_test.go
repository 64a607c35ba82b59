package admission

import (
	"crypto/ed25519"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"filippo.io/torchwood"
	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// got is the refusal's value, or the error's text.
func got(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Got
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestPlain(t *testing.T) {
	long := strings.Repeat("a", maxText)
	for s, want := range map[string]string{
		"": "", "a b": "a b", "ä": "ä", "a\nb": `a\nb`, "\xff": `\xff`, "\u200b": `\u200b`, "a�": `a\ufffd`, "\"\n": `\"\n`,
		long: long, long + "a": long[:maxText-3] + "…", long[1:] + "\n": long[1:], long[2:] + "\n": long[2:] + `\`, long[3:] + "\n": long[3:] + `\n`,
	} {
		if got := plain(s); got != want {
			t.Errorf("%.20q of %d bytes: %.20q of %d bytes", s, len(s), got, len(got))
		}
	}
	for _, c := range []rune{'ä', '根', '😀'} { // cut within a character
		for shift := range 4 {
			s := plain(strings.Repeat("a", shift) + strings.Repeat(string(c), maxText))
			if len(s) > maxText || !utf8.ValidString(s) {
				t.Errorf("%q: %d bytes", c, len(s))
			}
		}
	}
}

func TestChecksAreSorted(t *testing.T) {
	if !slices.IsSortedFunc(Checks(), func(a, b Check) int { return strings.Compare(string(a.ID), string(b.ID)) }) || len(Checks()) != len(checks) {
		t.Error("not sorted, or not all")
	}
}

func TestWholeSecond(t *testing.T) {
	for text, want := range map[string]bool{
		"1969-12-31T23:59:59Z": false, "1970-01-01T00:00:00Z": true, "1970-01-01T00:00:00.5Z": false, "1970-01-01T00:00:01Z": true,
		"9999-12-31T23:59:59Z": true, "9999-12-31T23:59:59-01:00": false,
	} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if wholeSecond(at) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
}

func TestCutPart(t *testing.T) {
	for b, want := range map[string]string{
		"part 3\nabcd": "abc", "part 4\nabcd": "abcd", "part 1\nabcd": "a",
		"part 5\nabcd": "", "part 0\nabcd": "", "part -1\nabcd": "", "part 03\nabcd": "", "part +3\nabcd": "", "part 3": "", "3\nabcd": "", "part x\nabcd": "", "part \nabcd": "",
		"trap 3\nabcd": "", "part 9\n0123456789": "",
	} {
		part, rest, err := cutPart([]byte(b), "part ", 8)
		if want == "" {
			line, _, _ := strings.Cut(b, "\n")
			if err == nil || part != nil || rest != nil || got(err) != line {
				t.Errorf("%q: %q, %v", b, part, err)
			}
			continue
		}
		if err != nil || string(part) != want || string(part)+string(rest) != b[len("part n\n"):] || cap(part) != len(part) {
			t.Errorf("%q: %q, %q, %v", b, part, rest, err)
		}
	}
	if part, _, err := cutPart([]byte("part 8\n01234567"), "part ", 8); err != nil || len(part) != 8 {
		t.Errorf("at the limit: %v", err)
	}
	for _, n := range []int{79, 80, 81} {
		_, _, err := cutPart([]byte(strings.Repeat("x", n)), "part ", 8)
		if len(got(err)) != min(n, 80) {
			t.Errorf("%d bytes are shown as %d", n, len(got(err)))
		}
	}
}

// proofOf makes a proof with so many hashes, of index and signatures as given.
func proofOf(index int64, hashes int) []byte {
	checkpoint := []byte("origin\n1\nAAAA\n\n— name AAAA\n")
	return torchwood.FormatProof(index, make(tlog.RecordProof, hashes), checkpoint)
}

func TestParseProof(t *testing.T) {
	for _, index := range []int64{0, 1, 1<<62 + 1, 1<<63 - 1} {
		for _, n := range []int{0, 1, maxPath} {
			p, err := parseProof(proofOf(index, n))
			if err != nil || p.index != index || len(p.path) != n || !strings.HasPrefix(string(p.checkpoint), "origin") {
				t.Errorf("%d, %d hashes: %v", index, n, err)
			}
		}
	}
	text := string(proofOf(7, 1))
	for bad, want := range map[string]string{
		string(proofOf(1, maxPath+1)): "64 hashes",
		"":                            "",
		"x":                           "x",
		proofHeader + "\n\nx":         proofHeader,
		proofHeader + "\nindex 7":     proofHeader,
		strings.Replace(text, "index 7", "index -7", 1):                  "index -7",
		strings.Replace(text, "index 7", "index 9223372036854775808", 1): "index 9223372036854775808",
		strings.Replace(text, "index 7", "index -1", 1):                  "index -1",
		strings.Replace(text, "index 7", "7", 1):                         "7",
		strings.Replace(text, "index 7", "index", 1):                     "index",
		strings.Replace(text, "index 7", "index 07", 1):                  "text that is not its own canonical form",
		strings.Replace(text, "AAAA", "AAA!", 1):                         text[len(proofHeader)+9:][:3] + "!" + text[len(proofHeader)+13:][:40],
		strings.Replace(text, "— name", "- name", 1):                     "a checkpoint with malformed signatures",
		strings.TrimSuffix(text, "\n"):                                   "a checkpoint with malformed signatures",
		strings.Replace(text, "tlog-proof", "tlog-prove", 1):             strings.Replace(proofHeader, "tlog-proof", "tlog-prove", 1),
	} {
		if _, err := parseProof([]byte(bad)); err == nil || got(err) != want {
			t.Errorf("%q: %q, want %q", bad, got(err), want)
		}
	}
	for size, want := range map[int]string{maxProof: "", maxProof + 1: "16385 bytes"} {
		if _, err := parseProof([]byte(strings.Repeat("\n", size))); err == nil || got(err) != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestSignatureLines(t *testing.T) {
	for line, want := range map[string]bool{
		"— a AAAA": true, "— a AAA=": true, "— a ": true, "— a AAA": false, "— a AAB=": false, "— a A\nAAA": false, "— aAAAA": false, "a AAAA": false, "- a AAAA": false, "": false, "— a ****": false,
	} {
		if name, ok := signatureName(line); ok != want || ok && name != "a" {
			t.Errorf("%q: %q, %v", line, name, ok)
		}
	}
	for checkpoint, want := range map[string]bool{
		"\n\n— a AAAA\n": true, "x\n\n— a AAAA\n": true, "x\n\n— a AAAA\n— b AAAA\n": true,
		"— a AAAA\n": false, "": false, "x\n\n— a AAAA": false, "x\n\n— a AAAA\nx\n": false, "x\n\n\n": false,
	} {
		if canonicalSignatures([]byte(checkpoint)) != want {
			t.Errorf("%q: %v", checkpoint, !want)
		}
	}
	for msg, want := range map[string]string{
		"text\n\n— a AAAA\n": "text\n", "\n\n— a AAAA\n": "\n", "a\n\nb\n\n— a AAAA\n": "a\n\nb\n",
		"text\n— a AAAA\n": "", "text\n\n— a AAAA": "", "text\n\n— a AAAA\n— b AAAA\n": "", "text\n\n\n— a AAAA\n": "text\n\n", "text\n\n": "", "text\n\nx\n": "",
	} {
		text, name, err := splitNote([]byte(msg))
		if string(text) != want || (err == nil) != (want != "") || err == nil && name != "a" || err != nil && name != "" {
			t.Errorf("%q: %q by %q, %v", msg, text, name, err)
		}
	}
}

func TestPlainScalars(t *testing.T) {
	for _, row := range []struct {
		tag, value string
		want       bool
	}{
		{"!!int", "0", true}, {"!!int", "10", true}, {"!!int", "-10", true}, {"!!int", "9223372036854775807", true}, {"!!int", "9223372036854775808", false},
		{"!!int", "0x2", false}, {"!!int", "010", false}, {"!!int", "+1", false}, {"!!int", "1_0", false}, {"!!int", "--1", false}, {"!!int", "1a", false},
		{"!!bool", "true", true}, {"!!bool", "false", true}, {"!!bool", "True", false}, {"!!bool", "yes", false},
		{"!!float", "1.5", false}, {"!!float", "1", false}, {"!!null", "~", true},
		{"!!str", "text", true}, {"!!str", "yes", false}, {"!!str", "N", false}, {"!!str", "Off", false}, {"!!str", "on", false}, {"!!str", "none", true},
	} {
		if got := plainScalar(&yaml.Node{Tag: row.tag, Value: row.value}); got != row.want {
			t.Errorf("%s %s: %v", row.tag, row.value, got)
		}
	}
	for _, row := range []struct {
		node yaml.Node
		want int
	}{
		{yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float"}, 1}, {yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Style: yaml.DoubleQuotedStyle}, 0},
		{yaml.Node{Kind: yaml.MappingNode, Tag: "!!float"}, 0}, {yaml.Node{Kind: yaml.AliasNode}, 1}, {yaml.Node{Kind: yaml.MappingNode, Anchor: "a"}, 1},
		{yaml.Node{Kind: yaml.ScalarNode, Tag: "!!merge"}, 1}, {yaml.Node{Kind: yaml.ScalarNode, Tag: "!x", Style: yaml.TaggedStyle}, 1},
	} {
		if got := indirect(&row.node, nil); len(got) != row.want {
			t.Errorf("%+v: %q", row.node, got)
		}
	}
}

func TestYAMLErrors(t *testing.T) {
	for want, err := range map[string]error{
		"a|b": &yaml.TypeError{Errors: []string{"a", "b"}}, "the file is empty": io.EOF, "other": errors.New("other"),
	} {
		var problems *ConsortiumError
		if got := yamlError(err); !errors.As(got, &problems) || strings.Join(problems.Problems, "|") != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// verifierKey is a good key with the name.
func verifierKey(t *testing.T, name string) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The library reads several texts for one key; here there is one.
func TestKeysInOneForm(t *testing.T) {
	good := ""
	for good == strings.ToUpper(good) || good[5:13] == strings.ToUpper(good[5:13]) { // the hash has a letter
		good = verifierKey(t, "name")
	}
	if name, public, err := splitKey(good, keyEd25519); err != nil || name != "name" || len(public) != ed25519.PublicKeySize {
		t.Errorf("%s: %v", good, err)
	}
	long := strings.Repeat("n", 253)
	if _, _, err := splitKey(verifierKey(t, long), keyEd25519); err != nil {
		t.Errorf("a name of 253 bytes: %v", err)
	}
	for name, bad := range map[string]string{
		"a hash in capitals": good[:5] + strings.ToUpper(good[5:13]) + good[13:], "a line break": good[:20] + "\n" + good[20:],
		"a name of 254 bytes": verifierKey(t, long+"n"), "an unprintable name": verifierKey(t, "n\x01"),
	} {
		if _, _, err := splitKey(bad, keyEd25519); err == nil || !strings.HasSuffix(err.Error(), "is not in canonical form") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every further use of a key is held against the first.
func TestKeyUsedAgain(t *testing.T) {
	key := verifierKey(t, "name")
	k := &checker{keys: map[string]string{}}
	for _, where := range []string{"a", "b", "c"} {
		k.key(where, key, keyEd25519, "name")
	}
	if want := []string{"b: the same key as a", "c: the same key as a"}; !slices.Equal(k.problems, want) {
		t.Errorf("%q", k.problems)
	}
}

// A consortium that nobody parsed may hold anything; it is not made ready.
func TestPrepareRefuses(t *testing.T) {
	for want, c := range map[string]*Consortium{
		"admission: witness key: ":   {Witnesses: Witnesses{Keys: []string{"x"}}},
		"admission: admission key: ": {Verifiers: []Verifier{{AdmissionKey: "x"}}},
		"admission: log key: ":       {Verifiers: []Verifier{{AdmissionKey: verifierKey(t, "name"), LogKey: "x"}}},
		"admission: operator key: ":  {Members: []Member{{Operators: []Operator{{Key: "x"}}}}},
	} {
		if err := c.prepare(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAtKeepsOtherErrors(t *testing.T) {
	other := errors.New("other")
	if err := at(1, other); err != other {
		t.Error(err)
	}
	for where, want := range map[string]string{"": "admission 2", "line 3": "admission 2, line 3"} {
		var r *Refusal
		if err := at(1, &Refusal{Where: where}); !errors.As(err, &r) || r.Where != want {
			t.Errorf("%+v", r)
		}
	}
}
