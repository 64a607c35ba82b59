package policy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// minimal is the least policy that loads.
const minimal = `policy: quorate/v1
name: validators
version: 1
roles: [validator]
tpm: {classes: [discrete]}
secureBoot: {required: true}
boot:
  profile: shim-grub
  loaderFiles: {manifests: [boot]}
  images: {manifests: [boot]}
  kernel: {manifests: [boot]}
  commandLine: {allow: ["root=/dev/vda2 ro"]}
timing: {challengeEvery: 30s, lateAfter: 90s, admissionFor: 24h}
`

// digest returns a valid digest that differs by n.
func digest(n int) string { return fmt.Sprintf("sha256:%064x", n+1) }

const manifestText = `manifest: quorate/v1
name: boot
publisher: example
package: debian
version: "12.5"
status: good
entries:
  - {kind: image, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000001", comment: shim}
  - {kind: kernel, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000002"}
  - {kind: loader-file, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000005"}
  - {kind: file, path: /usr/bin/true, digest: "sha256:0000000000000000000000000000000000000000000000000000000000000003"}
`

func full(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// edit replaces old by replacement once, and insists that it was there.
func edit(t testing.TB, text, old, replacement string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the text", old)
	}
	return strings.Replace(text, old, replacement, 1)
}

func TestParsePrintsCanonically(t *testing.T) {
	for name, text := range map[string][]byte{"minimal": []byte(minimal), "full": full(t)} {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(p.Print())
			if err != nil {
				t.Fatalf("canonical text does not load: %v\n%s", err, p.Print())
			}
			if !reflect.DeepEqual(p, again) || !bytes.Equal(p.Print(), again.Print()) {
				t.Errorf("printed and read again differs:\n%s\n%s", p.Print(), again.Print())
			}
			if p.Digest() != again.Digest() {
				t.Error("digests differ")
			}
		})
	}
}

func TestDigestIgnoresSpelling(t *testing.T) {
	a, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse([]byte("# comment\n" + edit(t, minimal, "roles: [validator]", "roles:\n  - \"validator\"")))
	if err != nil {
		t.Fatal(err)
	}
	if a.Digest() != b.Digest() {
		t.Error("the same policy in another spelling has another digest")
	}
}

// refusals are edits of the minimal policy, each refused for the given reason.
// The minimal policy itself, which loads, is the admitted twin of all of them.
var refusals = map[string]struct{ old, replacement, want string }{
	"unknown version":     {"policy: quorate/v1", "policy: quorate/v2", "line 1: policy:"},
	"unknown key":         {"version: 1", "version: 1\nlayers: 2", `line 4: unknown key "layers"`},
	"unknown nested key":  {"{required: true}", "{required: true, mod: warn}", `secureBoot: unknown key "mod"`},
	"repeated key":        {"version: 1", "version: 1\nversion: 1", "version: appears twice"},
	"version zero":        {"version: 1", "version: 0", "whole number from 1"},
	"version as text":     {"version: 1", "version: 01", "whole number from 1"},
	"no version":          {"version: 1\n", "", "version: is missing"},
	"no roles":            {"roles: [validator]", "roles: []", "at least one item"},
	"no tpm":              {"tpm: {classes: [discrete]}\n", "", "tpm: is missing"},
	"no classes":          {"{classes: [discrete]}", "{classes: []}", "at least one item"},
	"unknown class":       {"[discrete]", "[discreet]", "must be one of discrete, firmware, virtual"},
	"class twice":         {"[discrete]", "[discrete, discrete]", "appears twice"},
	"bad least firmware":  {"[discrete]}", "[discrete], minFirmware: {STM: new}}", "not a firmware version"},
	"bad vendor":          {"[discrete]}", "[discrete], minFirmware: {st-m: 1.2}}", "not a TPM vendor"},
	"no secure boot":      {"secureBoot: {required: true}\n", "", "secureBoot: is missing"},
	"required not said":   {"{required: true}", "{mode: enforce}", "secureBoot.required: is missing"},
	"unknown mode":        {"{required: true}", "{required: true, mode: off}", "must be one of enforce, warn"},
	"no manifests":        {"images: {manifests: [boot]}", "images: {manifests: []}", "boot.images.manifests: must be a list"},
	"empty images":        {"images: {manifests: [boot]}", "images: {}", "boot.images.manifests: is missing"},
	"unknown profile":     {"shim-grub", "shim", "must be one of"},
	"no command line":     {`allow: ["root=/dev/vda2 ro"]`, `allow: []`, "at least one item"},
	"PCR 10":              {"  profile", "  pcrs: {10: [\"" + digest(1) + "\"]}\n  profile", "not a PCR that a policy can match"},
	"PCR 16":              {"  profile", "  pcrs: {16: [\"" + digest(1) + "\"]}\n  profile", "not a PCR that a policy can match"},
	"PCR 23":              {"  profile", "  pcrs: {23: [\"" + digest(1) + "\"]}\n  profile", "not a PCR that a policy can match"},
	"PCR 24":              {"  profile", "  pcrs: {24: [\"" + digest(1) + "\"]}\n  profile", "not a PCR that a policy can match"},
	"PCR of zeros":        {"  profile", "  pcrs: {4: [\"sha256:" + strings.Repeat("0", 64) + "\"]}\n  profile", "is not a digest"},
	"no timing":           {"timing: {challengeEvery: 30s, lateAfter: 90s, admissionFor: 24h}\n", "", "timing: is missing"},
	"late too early":      {"lateAfter: 90s", "lateAfter: 30s", "longer than challengeEvery"},
	"admission too short": {"admissionFor: 24h", "admissionFor: 60s", "not be shorter than lateAfter"},
	"admission too long":  {"admissionFor: 24h", "admissionFor: 31d", "must be from"},
	"not a duration":      {"challengeEvery: 30s", "challengeEvery: 0.5m", "not a duration"},
	"empty rules":         {"timing:", "rules: []\ntiming:", "at least one item"},
	"two documents":       {"timing:", "---\ntiming:", "more than one document"},
	"anchor":              {"roles: [validator]", "roles: &a [validator]", "anchors, aliases and tags"},
	"tag":                 {"version: 1", "version: !!int 1", "anchors, aliases and tags"},
	"merge":               {"version: 1", "version: 1\n<<: {a: 1}", "unknown key"},
	"null layer":          {"tpm: {classes: [discrete]}", "tpm:", "must be a mapping"},
	"only warning": {"tpm: {classes: [discrete]}\nsecureBoot: {required: true}\nboot:\n",
		"tpm: {classes: [discrete], mode: warn}\nsecureBoot: {required: true}\nboot:\n  mode: warn\n", "would admit any host"},
	"unknown not denied": {"timing:", "runtime: {ima: {manifests: [boot], unknown: allow}}\ntiming:", "must be one of deny"},
	"no ima manifests":   {"timing:", "runtime: {ima: {manifests: [], unknown: deny}}\ntiming:", "at least one item"},
}

func TestParseRefuses(t *testing.T) {
	if _, err := Parse([]byte(minimal)); err != nil {
		t.Fatalf("the admitted twin is refused: %v", err)
	}
	for name, row := range refusals {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(edit(t, minimal, row.old, row.replacement)))
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("got %v, want an *Error", err)
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a problem with %q", err, row.want)
			}
		})
	}
}

func TestA098_EmptyPolicy(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "{}", "[]", "null", "policy: quorate/v1", "policy: quorate/v1\ntpm: {}\nboot: {}\n", "\x00", "a: b: c"} {
		if p, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q loads as %+v", text, p)
		}
	}
	if _, err := Parse([]byte(minimal)); err != nil {
		t.Errorf("the admitted twin is refused: %v", err)
	}
}

func TestParseReportsEverything(t *testing.T) {
	text := edit(t, edit(t, minimal, "version: 1", "version: x"), "[discrete]", "[discreet]")
	var e *Error
	if _, err := Parse([]byte(text)); !errors.As(err, &e) {
		t.Fatal("not refused")
	}
	if len(e.Problems) != 2 || e.Problems[0].Line != 3 || e.Problems[1].Line != 5 {
		t.Errorf("got %v, want problems in lines 3 and 5", e.Problems)
	}
}

// rule puts one expression into the minimal policy.
func rule(t testing.TB, deny string) string {
	return edit(t, minimal, "timing:", "rules:\n  - {id: r, deny: "+quoted(deny)+", message: m, remedy: r}\ntiming:")
}

func TestA100_NoPatternsInRules(t *testing.T) {
	if _, err := Parse([]byte(rule(t, `boot.commandLines.exists(l, l.text.matches('debug'))`))); err == nil || !strings.Contains(err.Error(), "patterns are not allowed") {
		t.Errorf("a pattern loads: %v", err)
	}
	if _, err := Parse([]byte(rule(t, `boot.commandLines.exists(l, l.text == 'debug')`))); err != nil {
		t.Errorf("the admitted twin is refused: %v", err)
	}
}

func TestA101_RulesMatchTheFacts(t *testing.T) {
	for deny, want := range map[string]string{
		`boot.imagez.exists(i, i.pcr == 2)`:           "undefined field",
		`boot.images.exists(i, i.pathClaimed == 'x')`: "undefined field",
		`has(boot.images[0].path)`:                    "undefined field",
		`host.name == 'x'`:                            "undeclared reference",
		`dyn(boot).nothing == 1`:                      "dyn is not allowed",
		`boot.images.size()`:                          "must give true or false",
		`boot.images.exists(i, i.pcr == '2')`:         "no matching overload",
		`false`:                                       "looks at no fact",
		`1 == 2`:                                      "looks at no fact",
		``:                                            "",
		`boot.images.exists(`:                         "column",
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200):                                                        "",
		`boot.images.exists(a, boot.images.exists(b, boot.images.exists(c, a.digest == b.digest && b.digest == c.digest)))`: "nest fewer loops",
	} {
		if _, err := Parse([]byte(rule(t, deny))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", deny, err, want)
		}
	}
	for _, deny := range []string{
		`boot.images.exists(i, i.pcr == 2)`,
		`tpm.vendor == 'IFX' && tpm.firmware == '7.85'`,
		`!secureBoot.deployed && firmware.blobs.size() > 0`,
		`boot.commandLines.exists(l, l.text.contains('debug'))`,
	} {
		if _, err := Parse([]byte(rule(t, deny))); err != nil {
			t.Errorf("%q is refused: %v", deny, err)
		}
	}
}

func TestRulesDecide(t *testing.T) {
	p, err := Parse([]byte(rule(t, `boot.images.exists(i, i.pcr == 2) || boot.images[7].pcr == 2 || tpm.class == 'virtual'`)))
	if err != nil {
		t.Fatal(err)
	}
	set := mustSet(t, string(p.Print()), manifestText)
	r := &set.Rules()[0]
	eight := make([]Measured, 8)
	clean := &Facts{TPM: TPMFacts{Class: "discrete"}, Boot: BootFacts{Images: eight}}
	if deny, err := r.Denies(clean); deny || err != nil {
		t.Errorf("clean facts: %v, %v", deny, err)
	}
	if deny, err := r.Denies(&Facts{Boot: BootFacts{Images: []Measured{{PCR: 2}}}}); !deny || err != nil {
		t.Errorf("an option ROM: %v, %v", deny, err)
	}
	if deny, err := r.Denies(&Facts{}); !deny || err == nil {
		t.Errorf("a rule that cannot be evaluated: %v, %v; want a refusal and an error", deny, err)
	}
}

func mustSet(t testing.TB, policyText string, manifestTexts ...string) *Set {
	t.Helper()
	set, err := newSet(policyText, manifestTexts...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newSet(policyText string, manifestTexts ...string) (*Set, error) {
	p, err := Parse([]byte(policyText))
	if err != nil {
		return nil, err
	}
	var manifests []*Manifest
	for _, text := range manifestTexts {
		m, err := ParseManifest([]byte(text))
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, m)
	}
	return NewSet(p, manifests)
}

func TestManifestRefuses(t *testing.T) {
	m, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatalf("the admitted twin is refused: %v", err)
	}
	again, err := ParseManifest(m.Print())
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Fatalf("printed and read again differs: %v\n%s", err, m.Print())
	}
	for name, row := range map[string]struct{ old, replacement, want string }{
		"unknown version":  {"quorate/v1", "quorate/v9", "must be one of"},
		"unknown status":   {"status: good", "status: fine", "must be one of good, outdated, revoked"},
		"no status":        {"status: good\n", "", "status: is missing"},
		"good with a date": {"status: good", "status: good\nsince: 2026-01-01T00:00:00Z", "only for a status"},
		"no date":          {"status: good", "status: revoked", "since: is missing"},
		"bad date":         {"status: good", "status: revoked\nsince: 2026-01-01", "is not a time"},
		"number as text":   {`"12.5"`, `12.5`, "write it in quotes"},
		"image with path":  {"comment: shim", "path: /x", "only the kinds file and buffer"},
		"file, no path":    {"path: /usr/bin/true, ", "", "is missing or too long"},
		"unknown kind":     {"kind: kernel", "kind: kernal", "must be one of"},
		"upper-case":       {"000000002", "00000000A", "is not a digest"},
		"zeros":            {"0002\"", "0000\"", "is not a digest"},
		"short":            {"0002\"", "2\"", "is not a digest"},
		"sha1":             {"sha256:0000000000000000000000000000000000000000000000000000000000000002", "sha1:0000000000000000000000000000000000000002", "is not a digest"},
		"entry twice":      {"  - {kind: image", "  - {kind: kernel, digest: \"" + digest(1) + "\"}\n  - {kind: image", "appears twice"},
		"no entries":       {manifestText[strings.Index(manifestText, "entries:"):], "entries: []\n", "at least one item"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseManifest([]byte(edit(t, manifestText, row.old, row.replacement)))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestSetWantsExactlyItsManifests(t *testing.T) {
	other := strings.Replace(manifestText, "name: boot", "name: other", 1)
	noKernel := strings.Replace(manifestText, "kind: kernel", "kind: initrd", 1)
	mustSet(t, minimal, manifestText)
	for name, row := range map[string]struct {
		manifests []string
		want      string
	}{
		"missing":     {nil, "not given"},
		"twice":       {[]string{manifestText, manifestText}, "given twice"},
		"unreferred":  {[]string{manifestText, other}, "does not refer"},
		"wrong kinds": {[]string{noKernel}, "no manifest of boot has an entry of kind kernel"},
	} {
		if _, err := newSet(minimal, row.manifests...); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}

func TestNewSetChecksAgain(t *testing.T) {
	p, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	p.TPM.Classes = nil
	if _, err := NewSet(p, []*Manifest{m}); err == nil {
		t.Error("a policy changed after parsing is compiled unchecked")
	}
	if _, err := NewSet(&Policy{}, nil); err == nil {
		t.Error("the zero policy compiles")
	}
}

func TestKindsDoNotMix(t *testing.T) {
	set := mustSet(t, minimal, manifestText)
	if _, found := set.Listed(UseImages)[string(digestBytes(1))]; !found {
		t.Error("a listed image is not found")
	}
	if _, found := set.Listed(UseImages)[string(digestBytes(2))]; found {
		t.Error("a kernel's digest passes as an image")
	}
	if _, found := set.Listed(UseInitrd)[string(digestBytes(1))]; found {
		t.Error("a use that the policy does not have accepts something")
	}
}

func TestStandingOverTime(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		standing      Standing
		before, after Status
	}{
		"good":     {Standing{Status: Good}, Good, Good},
		"outdated": {Standing{Status: Outdated, Since: at}, Good, Outdated},
		"revoked":  {Standing{Status: Revoked, Since: at}, Outdated, Revoked},
	} {
		if got := row.standing.At(at.Add(-time.Second)); got != row.before {
			t.Errorf("%s before: %v, want %v", name, got, row.before)
		}
		if got := row.standing.At(at); got != row.after {
			t.Errorf("%s from then on: %v, want %v", name, got, row.after)
		}
	}
}

func TestRevokedWinsOverGood(t *testing.T) {
	text := edit(t, edit(t, minimal, "kernel: {manifests: [boot]}", "kernel: {manifests: [boot, old]}"),
		"timing:", "runtime: {ima: {manifests: [boot, old], unknown: deny}}\ntiming:")
	old := edit(t, edit(t, manifestText, "name: boot", "name: old"), "status: good", "status: revoked\nsince: 2026-01-01T00:00:00Z")
	set := mustSet(t, text, manifestText, old)
	if s, found := set.Listed(UseKernel)[string(digestBytes(2))]; !found || s.Status != Revoked {
		t.Errorf("kernel: %+v, %v; want revoked", s, found)
	}
	if s, found := set.FindFile([]byte("/usr/bin/true"), digestBytes(3)); !found || s.Status != Revoked {
		t.Errorf("file: %+v, %v; want revoked", s, found)
	}
	if s, _ := set.Listed(UseImages)[string(digestBytes(1))]; s.Status != Good {
		t.Errorf("image: %+v; the revoking manifest is not referred to there", s)
	}
	if set.Stage(time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC)) != 0 || set.Stage(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) != 1 {
		t.Error("the stage does not follow the date")
	}
}

func digestBytes(n byte) []byte { return append(make([]byte, 31), n) }

func TestA126_PathAndDigestTogether(t *testing.T) {
	text := edit(t, minimal, "timing:", "runtime: {ima: {manifests: [boot], unknown: deny}}\ntiming:")
	set := mustSet(t, text, manifestText)
	for name, row := range map[string]struct {
		path   string
		digest []byte
		want   bool
	}{
		"listed":          {"/usr/bin/true", digestBytes(3), true},
		"other path":      {"/tmp/x", digestBytes(3), false},
		"other digest":    {"/usr/bin/true", digestBytes(4), false},
		"longer path":     {"/usr/bin/true.evil", digestBytes(3), false},
		"shorter path":    {"/usr/bin/tru", digestBytes(3), false},
		"other directory": {"/usr/sbin/true", digestBytes(3), false},
		"short digest":    {"/usr/bin/true", digestBytes(3)[:31], false},
		"image's digest":  {"", digestBytes(1), false},
	} {
		if _, found := set.FindFile([]byte(row.path), row.digest); found != row.want {
			t.Errorf("%s: %v, want %v", name, found, row.want)
		}
	}
	if _, found := set.FindBuffer([]byte("/usr/bin/true"), digestBytes(3)); found {
		t.Error("a file passes as a buffer")
	}
	if got := set.FileDigests([]byte("/usr/bin/true"), 3); len(got) != 1 || got[0] != digest(2) {
		t.Errorf("digests at the path: %v", got)
	}
}

func TestA128_InterpretersAreNamed(t *testing.T) {
	text := edit(t, minimal, "timing:", "runtime: {ima: {manifests: [boot], unknown: deny}}\ntiming:")
	clean := mustSet(t, text, manifestText)
	with := mustSet(t, text, manifestText+"  - {kind: file, path: /usr/bin/python3.11, digest: \""+digest(9)+"\"}\n")
	if lints(clean, "interpreter") || !lints(with, "/usr/bin/python3.11") {
		t.Errorf("clean: %v\nwith python: %v", clean.Lint(), with.Lint())
	}
}

func lints(s *Set, text string) bool {
	for _, p := range s.Lint() {
		if strings.Contains(p.String(), text) {
			return true
		}
	}
	return false
}

func TestLintNamesWarnLayersAndLongAdmissions(t *testing.T) {
	text := edit(t, edit(t, minimal, "{required: true}", "{required: true, mode: warn}"), "admissionFor: 24h", "admissionFor: 7d")
	set := mustSet(t, edit(t, text, "vda2 ro", "vda2 ro init=/bin/sh"), manifestText)
	for _, want := range []string{"secureBoot.mode", "timing.admissionFor", "init=/bin/sh", "firmware: no layer", "runtime: no layer"} {
		if !lints(set, want) {
			t.Errorf("nothing about %q in %v", want, set.Lint())
		}
	}
}

func TestFirmwareVersions(t *testing.T) {
	for text, want := range map[string]uint64{"7.85": 0x0007_0055_0000_0000, "1.769": 0x0001_0301_0000_0000, "1.2.3.4": 0x0001_0002_0003_0004} {
		v, err := ParseFirmwareVersion(text)
		if err != nil || uint64(v) != want || v.String() != text {
			t.Errorf("%s: %#x %q %v, want %#x", text, uint64(v), v, err, want)
		}
	}
	for _, text := range []string{"", "7", "7.085", "7.-1", "7.65536", "1.2.3.4.5", "a.b", "1e3", "7."} {
		if v, err := ParseFirmwareVersion(text); err == nil {
			t.Errorf("%q reads as %v", text, v)
		}
	}
	if v := FirmwareVersion(1); v.String() != "0.0.0.1" {
		t.Errorf("got %v", v)
	}
}

func TestDurations(t *testing.T) {
	for _, text := range []string{"1s", "90s", "5m", "24h", "7d", "36h"} {
		if d, err := parseDuration(text); err != nil || formatDuration(d) != text {
			t.Errorf("%s: %v, %v, printed %s", text, d, err, formatDuration(d))
		}
	}
	for _, text := range []string{"", "0s", "-1s", "1.5h", "01s", "1h30m", "s", "99999999d", "1ms"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("%q reads as %v", text, d)
		}
	}
}

// What the canonical text cannot say again would be a manifest that loads once and
// then never more: its printed form is what is signed, stored and handed on.
func TestCanonicalTextEscapesWhatYAMLRefuses(t *testing.T) {
	for _, escape := range []string{`\x7f`, `\x80`, `\x9f`, `\x85`, `\ufeff`, `\ufffe`, `\u2028`, `\U0001F600`} {
		text := edit(t, manifestText, "path: /usr/bin/true", `path: "/usr/bin/a`+escape+`b"`)
		m, err := ParseManifest([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", escape, err)
		}
		again, err := ParseManifest(m.Print())
		if err != nil {
			t.Errorf("%s: the canonical text does not load: %v", escape, err)
		} else if !reflect.DeepEqual(m, again) {
			t.Errorf("%s: %+v was read again as %+v", escape, m, again)
		}
	}
}
