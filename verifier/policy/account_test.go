package policy

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/account"
	"go.yaml.in/yaml/v3"
)

// damage is one change of a node.
type damage struct {
	name   string
	change func(n *yaml.Node)
}

func scalar(value, tag string, style yaml.Style) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: tag, Style: style}
}

func becomes(m *yaml.Node) func(*yaml.Node) { return func(n *yaml.Node) { *n = *m } }

// damages are changes for a node of the kind.
func damages(n *yaml.Node) []damage {
	all := []damage{
		{"null", becomes(scalar("", "!!null", 0))},
		{"anchored", func(n *yaml.Node) { n.Anchor = "a" }},
		{"tagged", func(n *yaml.Node) {
			n.Style |= yaml.TaggedStyle
			if n.Tag == "" {
				n.Tag = "!x"
			}
		}},
		{"a list", becomes(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{scalar("x", "!!str", 0)}})},
		{"a mapping", becomes(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("a", "!!str", 0), scalar("b", "!!str", 0)}})},
	}
	switch n.Kind {
	case yaml.ScalarNode:
		for _, value := range []string{"", "x", "7", "true", "a\nb", "\u007f", strings.Repeat("é", 41), "a b", "-"} {
			all = append(all, damage{fmt.Sprintf("%.20q", value), becomes(scalar(value, "!!str", yaml.DoubleQuotedStyle))})
		}
		all = append(all, damage{"number 7", becomes(scalar("7", "!!int", 0))}, damage{"true", becomes(scalar("true", "!!bool", 0))}, damage{"false", becomes(scalar("false", "!!bool", 0))})
	case yaml.SequenceNode:
		all = append(all, damage{"empty", func(n *yaml.Node) { n.Content = nil }},
			damage{"first item twice", func(n *yaml.Node) { n.Content = append(slices.Clone(n.Content), n.Content[0]) }},
			damage{"text", becomes(scalar("x", "!!str", 0))})
	case yaml.MappingNode:
		all = append(all, damage{"empty", func(n *yaml.Node) { n.Content = nil }},
			damage{"empty and anchored", func(n *yaml.Node) { n.Content, n.Anchor = nil, "a" }},
			damage{"unknown key", func(n *yaml.Node) {
				n.Content = append(slices.Clone(n.Content), scalar("zz"+strings.Repeat("z", 100), "!!str", 0), scalar("x", "!!str", 0))
			}},
			damage{"text", becomes(scalar("x", "!!str", 0))},
			damage{"a list for key", func(n *yaml.Node) {
				n.Content = append([]*yaml.Node{{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{scalar("x", "!!str", 0)}}}, n.Content[1:]...)
			}},
			damage{"key anchored", func(n *yaml.Node) {
				key := *n.Content[0]
				key.Anchor = "k"
				n.Content = append([]*yaml.Node{&key}, n.Content[1:]...)
			}})
		for i := 0; i < len(n.Content); i += 2 {
			all = append(all, damage{n.Content[i].Value + " gone", func(n *yaml.Node) { n.Content = slices.Concat(n.Content[:i], n.Content[i+2:]) }},
				damage{n.Content[i].Value + " twice", func(n *yaml.Node) { n.Content = slices.Concat(n.Content, n.Content[i:i+2]) }})
		}
	}
	return all
}

// walk calls with every damage to every node below one.
func walk(t *testing.T, root, n *yaml.Node, path string, with func(name, text string)) {
	for _, d := range damages(n) {
		was := *n
		d.change(n)
		text, err := yaml.Marshal(root)
		*n = was
		if err != nil {
			t.Fatalf("%s %s: %v", path, d.name, err)
		}
		with(path+" "+d.name, string(text))
	}
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			walk(t, root, child, fmt.Sprintf("%s[%d]", path, i), with)
		case i%2 == 1:
			walk(t, root, child, join(path, n.Content[i-1].Value), with)
		}
	}
}

// tell says how a text is read: its problems, or what differs when it is printed.
func tell(out io.Writer, name, text, good string, parse func([]byte) (interface{ Print() []byte }, error)) {
	printed, err := parse([]byte(text))
	if err != nil {
		e := err.(*Error)
		for i, p := range e.Problems {
			if i == 0 {
				fmt.Fprintf(out, "%s: ", name)
			} else {
				fmt.Fprint(out, "    ")
			}
			fmt.Fprintf(out, "%s\n", p)
		}
		return
	}
	fmt.Fprintf(out, "%s: read", name)
	lines := strings.Split(good, "\n")
	for _, line := range strings.Split(string(printed.Print()), "\n") {
		if !slices.Contains(lines, line) {
			fmt.Fprintf(out, " %.80q", line)
		}
	}
	fmt.Fprintln(out)
}

func parsePolicy(text []byte) (interface{ Print() []byte }, error) { return Parse(text) }

func parseManifest(text []byte) (interface{ Print() []byte }, error) { return ParseManifest(text) }

// replacements are put in place of a part of the full policy.
var replacements = []struct {
	old    string
	values []string
}{
	{"version: 3", []string{"version: 0", "version: 1", "version: 2147483647", "version: 2147483648", "version: 99999999999999999999", "version: +3", "version: 03", "version: -3"}},
	{"name: validators", []string{
		"name: a", "name: -a", "name: a-", "name: .a", "name: a.", "name: a.b-c", "name: a_b", "name: A", "name: '0'", "name: '9'", "name: 9a", "name: '`'", "name: '{'", "name: '/'", "name: ':'", "name: ''",
		"name: az09", "name: " + strings.Repeat("a", 64), "name: " + strings.Repeat("a", 65), "name: '" + strings.Repeat("é", 40) + "'", "name: '" + strings.Repeat("é", 40) + "x'",
		"name: 'true'", "name: 'false'", "name: 'null'", "name: 'yes'", "name: 'no'", "name: 'on'", "name: 'off'", "name: 'y'", "name: 'n'", "name: z",
	}},
	{"{STM: 1.769, IFX: 7.85}", []string{
		"{A: 1.2}", "{Z: 1.2}", "{a: 1.2}", "{z: 1.2}", "{'0': 1.2}", "{'9': 1.2}", "{'@': 1.2}", "{'[': 1.2}", "{'`': 1.2}", "{'{': 1.2}", "{'/': 1.2}", "{':': 1.2}", "{'': 1.2}", "{ABCDEFGH: 1.2}", "{ABCDEFGHI: 1.2}",
		"{A: 1}", "{A: 1.2.3.4}", "{A: 1.2.3.4.5}", "{A: 65535.65535}", "{A: 65536.0}", "{A: 01.0}", "{A: 0.0}", "{A: null}", "{A: 1.2, A: 1.3}", "{A: 1.2.0.5}", "{A: '1.2.0'}", "{&k A: x}", "{A-: 1.2}", "{-A: 1.2}", "{A-: x}",
	}},
	{`"root=/dev/vda2 ro ima_policy=tcb lockdown=integrity"`, []string{
		`"` + strings.Repeat("a", 4096) + `"`, `"` + strings.Repeat("a", 4097) + `"`, `"a\tb"`, `"a\x7fb"`, `"a\u007eb"`, `" "`, `"a\ufffdb"`, `"<&>"`, `7`, "\"\\x1f\"", "\"\\x80\"",
		`"\x7e\x7f\x80\x9f\xa0\ufefe\ufeff\uff00\ufffe\uffff\U0001F600"`,
	}},
	{`14: ["sha256:1414141414141414141414141414141414141414141414141414141414141414"]`, []string{
		"0: ['" + digest(1) + "']", "9: ['" + digest(1) + "']", "10: ['" + digest(1) + "']", "11: ['" + digest(1) + "']", "15: ['" + digest(1) + "']", "-1: ['" + digest(1) + "']", "01: ['" + digest(1) + "']", "x: ['" + digest(1) + "']",
		"99999999999999999999: ['" + digest(1) + "']", "4: []", "4: ['sha384:" + strings.Repeat("ab", 48) + "']", "4: ['sha512:" + strings.Repeat("ab", 64) + "']", "4: ['sha384:" + strings.Repeat("ab", 47) + "']", "4: ['sha512:" + strings.Repeat("ab", 63) + "']",
		"4: ['sha384:" + strings.Repeat("ab", 49) + "']", "4: ['sha512:" + strings.Repeat("ab", 65) + "']", "4: ['sha384:" + strings.Repeat("0", 95) + "']", "4: ['md5:" + strings.Repeat("ab", 16) + "']", "4: ['" + strings.Repeat("ab", 32) + "']", "4: [':']", "4: ['sha256:" + strings.Repeat("g", 64) + "']", "4: ['sha256:" + strings.Repeat("AB", 32) + "']", "4: ['" + digest(1) + "', '" + digest(0) + "']",
		"4: ['sha1:']", "4: [':" + strings.Repeat("ab", 32) + "']",
	}},
	{"challengeEvery: 30s, lateAfter: 90s, admissionFor: 24h", []string{
		"challengeEvery: 0s, lateAfter: 90s, admissionFor: 24h", "challengeEvery: 1s, lateAfter: 2s, admissionFor: 2s", "challengeEvery: 1s, lateAfter: 1s, admissionFor: 1s", "challengeEvery: 1h, lateAfter: 24h, admissionFor: 30d",
		"challengeEvery: 3601s, lateAfter: 90s, admissionFor: 24h", "challengeEvery: 30s, lateAfter: 86401s, admissionFor: 30d", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 2592001s", "challengeEvery: 30s, lateAfter: 30s, admissionFor: 24h",
		"challengeEvery: 30s, lateAfter: 31s, admissionFor: 31s", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 89s", "challengeEvery: x, lateAfter: 90s, admissionFor: 24h", "challengeEvery: x, lateAfter: y, admissionFor: z",
		"challengeEvery: 30s, lateAfter: x, admissionFor: 24h", "challengeEvery: 30s, lateAfter: 90s, admissionFor: x", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 1d", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 2d",
		"challengeEvery: 60s, lateAfter: 120s, admissionFor: 3600s", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 1000000s", "challengeEvery: 30s, lateAfter: 90s, admissionFor: 1000001s", "challengeEvery: null, lateAfter: 90s, admissionFor: 24h",
	}},
	{"mode: enforce\n  classes", []string{"mode: warn\n  classes"}}, {"mode: enforce\n  required", []string{"mode: warn\n  required"}}, {"required: true\n  pk", []string{"required: false\n  pk"}},
	{"mode: enforce\n  profile", []string{"mode: warn\n  profile"}}, {"mode: enforce\n    required", []string{"mode: warn\n    required", "required"}}, {"required: true\n    manifests", []string{"required: false\n    manifests", "manifests"}},
	{"profile: [shim-grub, uki]", []string{"profile: uki", "profile: [uki, uki]", "profile: [uki, shim-grub, efi-stub, grub, systemd-boot]", "profile: x"}},
	{"roles: [validator, sentry]", []string{"roles: [&a x, *a]", "roles: &a []", "roles: [b, a]", "roles: [a, a, b, a]"}},
}

// manifestValues are put in place of a part of the manifest.
var manifestValues = []struct {
	old    string
	values []string
}{
	{"status: good", []string{
		"status: good\nsince: 2026-01-01T00:00:00Z", "status: outdated", "status: outdated\nsince: 2026-01-01T00:00:00Z", "status: revoked\nsince: 1970-01-01T00:00:00Z", "status: revoked\nsince: 1969-12-31T23:59:59Z", "status: revoked\nsince: 1971-01-01T00:00:00Z",
		"status: revoked\nsince: 2026-01-01T00:00:00.5Z", "status: revoked\nsince: 2026-01-01T00:00:00+01:00", "status: revoked\nsince: 2026-01-01t00:00:00z", "status: revoked\nsince: null", "status: revoked\nsince: 2026-02-30T00:00:00Z",
	}},
	{"publisher: example", []string{`publisher: ""`, `publisher: " "`, `publisher: "` + strings.Repeat("a", 1024) + `"`, `publisher: "` + strings.Repeat("a", 1025) + `"`, `publisher: "a\nb"`, `publisher: "\x1f"`, `publisher: "\x7e"`, `publisher: "\x7f"`, `publisher: "\x80"`, `publisher: "\ufffd"`, `publisher: "\x20a"`, `publisher: null`, `publisher: "\x1e"`}},
	{"path: /usr/bin/true", []string{
		`path: ""`, `path: "` + strings.Repeat("a", 4096) + `"`, `path: "` + strings.Repeat("a", 4097) + `"`, `path: "a\0b"`, `path: "a\x01b"`, `path: "a\ufffdb"`, `path: 7`, `path: "\xff"`,
	}},
	{"kind: file", []string{"kind: buffer", "kind: event", "kind: mok", "kind: authority"}},
	{`"sha256:0000000000000000000000000000000000000000000000000000000000000003"`, []string{"'sha384:" + strings.Repeat("ab", 48) + "'", "7"}},
	{`digest: "sha256:0000000000000000000000000000000000000000000000000000000000000002"`, []string{"digest: 'sha384:" + strings.Repeat("ab", 48) + "', comment: 'a comment'", "digest: '" + digest(0) + "'"}},
	{"  - {kind: kernel", []string{
		"  - {kind: image, digest: '" + digest(0) + "'}\n  - {kind: image, digest: '" + digest(0) + "'}\n  - {kind: kernel", "  - {kind: file, path: /usr/bin/true, digest: '" + digest(2) + "'}\n  - {kind: kernel",
		"  - {kind: file, path: /usr/bin/false, digest: '" + digest(2) + "'}\n  - {kind: kernel", "  - {kind: buffer, path: /usr/bin/true, digest: '" + digest(2) + "'}\n  - {kind: kernel",
	}},
	{"name: boot", []string{"name: 'no'", "name: 7", "name: A"}},
}

// TestAccount holds how every damage to a policy and a manifest is read against
// an account that was read by a person.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	whole := string(full(t))
	ruleless := whole[:strings.Index(whole, "rules:")] + whole[strings.Index(whole, "timing:"):]
	for _, row := range []struct {
		name, text string
		below      string // only this part is damaged
		parse      func([]byte) (interface{ Print() []byte }, error)
	}{
		{"policy", ruleless, "", parsePolicy}, {"rules", whole, "rules", parsePolicy}, {"manifest", manifestText, "", parseManifest},
	} {
		printed, err := row.parse([]byte(row.text))
		if err != nil {
			t.Fatal(err)
		}
		good := string(printed.Print())
		fmt.Fprintf(&out, "%s\n", good)
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(row.text), &root); err != nil {
			t.Fatal(err)
		}
		node := root.Content[0]
		for i := 0; i < len(node.Content) && row.below != ""; i += 2 {
			if node.Content[i].Value == row.below {
				node = node.Content[i+1]
			}
		}
		walk(t, &root, node, row.below, func(name, text string) { tell(&out, row.name+" "+name, text, good, row.parse) })
	}
	p, err := Parse([]byte(ruleless))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range replacements {
		for _, value := range row.values {
			tell(&out, fmt.Sprintf("policy, %.60q", value), edit(t, ruleless, row.old, value), string(p.Print()), parsePolicy)
		}
	}
	m, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range manifestValues {
		for _, value := range row.values {
			tell(&out, fmt.Sprintf("manifest, %.60q", value), edit(t, manifestText, row.old, value), string(m.Print()), parseManifest)
		}
	}
	for _, text := range []string{"", "# nothing\n", "\xff", "{", "a: b\n---\nc: d\n", "- 1\n", "x", "a: *b\n", "? [a]\n: b\n", "\x01"} {
		tell(&out, fmt.Sprintf("text %q", text), text, "", parsePolicy)
		tell(&out, fmt.Sprintf("text %q for a manifest", text), text, "", parseManifest)
	}
	for _, name := range slices.Sorted(keysOf(refusals)) {
		tell(&out, "minimal, "+name, edit(t, minimal, refusals[name].old, refusals[name].replacement), "", parsePolicy)
	}
	account.Hold(t, "testdata/account.txt", out.Bytes())
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
