package policy

import (
	"reflect"
	"strings"
	"testing"
)

// What the short way reads is what Print writes and what YAML reads, whatever is
// done to the text.
func TestShortWayReadsPrintedTextOnly(t *testing.T) {
	m := everything(t, "m", Good)
	m.Entries = append(m.Entries, Entry{Kind: KindFile, Path: "/z\"\\\n\x7f", Digest: digest(1)}, Entry{Kind: KindImage, Digest: digest(2), Comment: "a \"comment\""}, Entry{Kind: KindMOK, Digest: digest(3), Comment: "plain"})
	parsed, err := ParseManifest(m.Print())
	if err != nil {
		t.Fatal(err)
	}
	good := string(parsed.Print())
	if _, ok := canonicalManifest([]byte(good)); !ok {
		t.Fatal("the printed text goes the long way")
	}
	check := func(name, text string) {
		short, ok := canonicalManifest([]byte(text))
		if !ok {
			return
		}
		d := &decoder{}
		if long := d.manifest([]byte(text)); len(d.problems) > 0 || !reflect.DeepEqual(short, long) {
			t.Errorf("%s: read as %+v, by YAML as %+v, %v", name, short, long, d.problems)
		}
	}
	for i := range good {
		check("cut", good[:i])
		check("gone", good[:i]+good[i+1:])
		for _, change := range []byte{1, 2, 0x20} {
			bad := []byte(good)
			bad[i] ^= change
			check("changed", string(bad))
		}
	}
	lines := strings.SplitAfter(good, "\n")
	for i := range lines {
		check("line gone", strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), ""))
		check("line twice", strings.Join(lines[:i+1], "")+strings.Join(lines[i:], ""))
	}
	check("without the last line's end", strings.TrimSuffix(good, "\n"))
}

func TestEntryLines(t *testing.T) {
	d := digest(1)
	for line, want := range map[string]Entry{
		`  - {kind: image, digest: "` + d + `"}`:                                          {Kind: KindImage, Digest: d},
		`  - {kind: image, digest: "` + d + `", comment: "c"}`:                            {Kind: KindImage, Digest: d, Comment: "c"},
		`  - {kind: file, path: "/x", digest: "` + d + `"}`:                               {Kind: KindFile, Path: "/x", Digest: d},
		`  - {kind: buffer, path: "\"\\\u007f", digest: "` + d + `"}`:                     {Kind: KindBuffer, Path: "\"\\\x7f", Digest: d},
		`  - {kind: image, digest: "sha384:` + strings.Repeat("ab", 48) + `"}`:            {Kind: KindImage, Digest: "sha384:" + strings.Repeat("ab", 48)},
		`image, digest: "` + d + `"}`:                                                     {},
		`  - {kind: image`:                                                                {},
		`  - {kind: image, `:                                                              {},
		`  - {kind: images, digest: "` + d + `"}`:                                         {},
		`  - {kind: image, digest: "` + d + `"} `:                                         {},
		`  - {kind: image, digest: "` + d:                                                 {},
		`  - {kind: image, digest: "` + d + `"`:                                           {},
		`  - {kind: image, digest: "` + d[:70] + `"}`:                                     {},
		`  - {kind: image, path: "/x", digest: "` + d + `"}`:                              {},
		`  - {kind: image, digest: "` + d + `", comment: ""}`:                             {},
		`  - {kind: image, digest: "` + d + `", comment: "c"`:                             {},
		`  - {kind: image, digest: "` + d + `", comment: "c"}}`:                           {},
		`  - {kind: image, digest: "` + d + `", path: "c"}`:                               {},
		`  - {kind: file, path: "", digest: "` + d + `"}`:                                 {},
		`  - {kind: file, digest: "` + d + `"}`:                                           {},
		`  - {kind: file, path: "/x`:                                                      {},
		`  - {kind: file, path: "/x\`:                                                     {},
		`  - {kind: file, path: "/x\"`:                                                    {},
		`  - {kind: file, path: "\x", digest: "` + d + `"}`:                               {},
		`  - {kind: file, path: "\u0061", digest: "` + d + `"}`:                           {},
		`  - {kind: file, path: "\u0000", digest: "` + d + `"}`:                           {},
		`  - {kind: file, path: "/x", digest: "sha384:` + strings.Repeat("ab", 48) + `"}`: {},
	} {
		e, ok := canonicalEntry(line)
		if ok != (want.Kind != "") || ok && e != want {
			t.Errorf("%s: %+v, %v", line, e, ok)
		}
	}
	for s, want := range map[string]bool{"": true, "a b~": true, "\x1f": false, "\x20": true, "\x7e": true, "\x7f": false, "\x80": false, `"`: false, `\`: false, "a\n": false} {
		if plain(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	for text, want := range map[string]int{"": 0, "x": 0, "x\n": 0} {
		if entries, ok := canonicalEntries(text); ok || len(entries) != want {
			t.Errorf("%q: %v", text, entries)
		}
	}
	one, two := `  - {kind: image, digest: "`+digest(1)+"\"}\n", `  - {kind: image, digest: "`+digest(2)+"\"}\n"
	for text, want := range map[string]bool{one: true, one + two: true, two + one: false, one + one: false, one + two[:len(two)-1]: false} {
		if _, ok := canonicalEntries(text); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
	for text, tail := range map[string]string{
		"": "", "a\nentries:\n  - {kind: x\n": "", "a\nentries:\n  - {kind: x\nrest\n": "rest\n", "a\nentries:\n  - {kind: x": "", "entries:\n  - {kind: x\nrest\n": "", "\xff\nentries:\n  - {kind: x\nrest\n": "", "\nentries:\n  - {kind: x\nrest\n": "rest\n",
	} {
		if head, got := splitEntries([]byte(text)); got != tail || string(head)+got != text {
			t.Errorf("%q: %q and %q", text, head, got)
		}
	}
}
