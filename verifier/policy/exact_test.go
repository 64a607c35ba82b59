package policy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/account"
)

// TestLintAccount holds every doubt about a policy, in words.
func TestLintAccount(t *testing.T) {
	var out bytes.Buffer
	say := func(name string, problems []Problem) {
		fmt.Fprintf(&out, "== %s\n", name)
		for _, p := range problems {
			fmt.Fprintf(&out, "%s\n", p)
		}
	}
	parsed, err := Parse(full(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		change func(*Policy)
	}{
		{"as it is", func(*Policy) {}},
		{"all warn", func(p *Policy) {
			p.TPM.Mode, p.Firmware.Mode, p.SecureBoot.Mode, p.Boot.Mode, p.Runtime.Mode = Warn, Warn, Warn, Warn, Warn
			p.Rules = append(p.Rules, Rule{ID: "second"}, Rule{ID: "third", Mode: Warn})
		}},
		{"none warns", func(p *Policy) { p.Firmware.Mode, p.Rules = Enforce, nil }},
		{"no firmware, no runtime", func(p *Policy) { p.Firmware, p.Runtime = nil, nil }},
		{"no list required", func(p *Policy) { p.Runtime.Required = false }},
		{"no Secure Boot", func(p *Policy) { p.SecureBoot = SecureBoot{} }},
		{"no dbx", func(p *Policy) { p.SecureBoot.DBX = nil }},
		{"no PK", func(p *Policy) { p.SecureBoot.PK = nil }},
		{"no loader commands, GRUB", func(p *Policy) { p.Boot.LoaderCommands, p.Boot.Profiles = nil, []string{"grub"} }},
		{"no loader commands, shim", func(p *Policy) { p.Boot.LoaderCommands, p.Boot.Profiles = nil, []string{"shim-grub"} }},
		{"no loader commands, no GRUB", func(p *Policy) { p.Boot.LoaderCommands, p.Boot.Profiles = nil, []string{"uki"} }},
		{"no PCRs", func(p *Policy) { p.Boot.PCRs = nil }},
		{"two PCRs", func(p *Policy) { p.Boot.PCRs = map[int][]string{4: {"x"}, 5: {"y"}} }},
		{"virtual", func(p *Policy) { p.TPM.Classes = []string{"discrete", "virtual"} }},
		{"long admissions", func(p *Policy) { p.Timing.AdmissionFor = 48*time.Hour + time.Second }},
		{"admissions of two days", func(p *Policy) { p.Timing.AdmissionFor = 48 * time.Hour }},
		{"rare challenges", func(p *Policy) { p.Timing.ChallengeEvery = 5*time.Minute + time.Second }},
		{"challenges every five minutes", func(p *Policy) { p.Timing.ChallengeEvery = 5 * time.Minute }},
		{"command lines", func(p *Policy) {
			p.Boot.CommandLine = nil
			for _, key := range []string{"rd.break", "rd.shell", "single", "emergency", "init", "rdinit", "systemd.debug-shell", "ima_appraise", "lockdown", "selinux", "apparmor", "module.sig_enforce", "quiet"} {
				for _, value := range []string{"", "=off", "=none", "=0", "=1"} {
					p.Boot.CommandLine = append(p.Boot.CommandLine, "ro "+key+value)
				}
			}
		}},
	} {
		p := *parsed
		firmware, runtime := *parsed.Firmware, *parsed.Runtime
		p.Firmware, p.Runtime = &firmware, &runtime
		p.Rules = slices.Clone(parsed.Rules)
		row.change(&p)
		say(row.name, p.Lint())
	}
	manifest := func(paths ...string) map[string]*Manifest {
		m := &Manifest{Name: "debian-12-base", Entries: []Entry{{Kind: KindBuffer, Path: "/bin/sh"}}}
		for _, path := range paths {
			m.Entries = append(m.Entries, Entry{Kind: KindFile, Path: path})
		}
		return map[string]*Manifest{m.Name: m}
	}
	say("no interpreter", lintManifests(parsed, manifest("/bin/true", "/bin/bashful")))
	say("a few interpreters", lintManifests(parsed, manifest("/bin/bash", "/usr/bin/python3.11", "perl5", "/bin/busybox")))
	five := []string{"/1/sh", "/2/sh", "/3/sh", "/4/sh", "/5/sh"}
	say("five interpreters", lintManifests(parsed, manifest(five...)))
	say("six interpreters", lintManifests(parsed, manifest(append(five, "/6/sh")...)))
	say("eight interpreters", lintManifests(parsed, manifest(append(five, "/6/sh", "/7/sh", "/8/sh")...)))
	for _, name := range interpreters {
		if interpreter("/x/"+name) != name || interpreter(name+"-1.2") != "" {
			t.Errorf("%s", name)
		}
	}
	account.Hold(t, "testdata/lint.txt", out.Bytes())
}

// ruled is the minimal policy with rules.
func ruled(rules ...string) string {
	var b strings.Builder
	b.WriteString(minimal + "rules:\n")
	for i, deny := range rules {
		fmt.Fprintf(&b, "  - {id: r%d, deny: %q, message: m, remedy: r}\n", i, deny)
	}
	return b.String()
}

// TestRulesAccount holds what is said of expressions.
func TestRulesAccount(t *testing.T) {
	var out bytes.Buffer
	for _, deny := range []string{
		"boot.profile == 'x'", "firmware.version == ''", "secureBoot.enabled", "tpm.class == ''", "true", "boot.nothing", "boot.profile", "boot.profile ==", "dyn(boot.profile) == 1", "boot.profile.matches('x')",
		"'x'.matches('x')", "dyn(1) == 2", "boot.images.exists(a, boot.images.exists(b, boot.images.exists(c, a == b && b == c)))", "boot.images.exists(a, boot.images.exists(b, a == b))",
		"a\nb", "nothing == boot", strings.Repeat("x", 300), strings.Repeat("!", 40) + "secureBoot.enabled",
		"boot.profile == '" + strings.Repeat("a", maxExpression-17-1) + "'", "boot.profile == '" + strings.Repeat("a", maxExpression-17) + "'",
	} {
		_, err := Parse([]byte(ruled(deny)))
		fmt.Fprintf(&out, "%.80q of %d bytes: %v\n", deny, len(deny), err)
	}
	for _, char := range []string{"\x00", "\x01"} {
		_, err := (&compiler{}).compile("boot.profile == '"+char+"'", nil)
		fmt.Fprintf(&out, "%q: %v\n", char, err)
	}
	for _, n := range []int{maxRules, maxRules + 1} {
		_, err := Parse([]byte(ruled(slices.Repeat([]string{"secureBoot.enabled"}, n)...)))
		fmt.Fprintf(&out, "%d rules: %v\n", n, err)
	}
	twice := strings.Replace(ruled("secureBoot.enabled", "secureBoot.enabled"), "r1", "r0", 1)
	_, err := Parse([]byte(twice))
	fmt.Fprintf(&out, "an id twice: %v\n", err)
	account.Hold(t, "testdata/rules.txt", out.Bytes())
}

// A rule sees all four variables, and what they hold.
func TestRulesSeeAllFacts(t *testing.T) {
	rules := []string{"tpm.vendor == 'V'", "firmware.version == 'F'", "secureBoot.enabled", "boot.sbat == 'S'"}
	set := mustSet(t, ruled(rules...), manifestText)
	f := &Facts{TPM: TPMFacts{Vendor: "V"}, Firmware: FirmwareFacts{Version: "F"}, SecureBoot: SecureBootFacts{Enabled: true}, Boot: BootFacts{SBAT: "S"}}
	for i := range set.Rules() {
		r := &set.Rules()[i]
		if deny, err := r.Denies(f); !deny || err != nil {
			t.Errorf("%s: %v, %v", r.Deny, deny, err)
		}
		if deny, err := r.Denies(&Facts{}); deny || err != nil {
			t.Errorf("%s of nothing: %v, %v", r.Deny, deny, err)
		}
	}
	if v, ok := (activation{f}).ResolveName("host"); ok || v != nil {
		t.Errorf("another variable: %v", v)
	}
	c := &compiler{}
	program, err := c.compile("boot.images[5].pcr == 1", reads{})
	if err != nil {
		t.Fatal(err)
	}
	if deny, err := (&CompiledRule{program: program}).Denies(f); !deny || err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("%v, %v", deny, err)
	}
	env := c.env
	if _, err := c.compile("secureBoot.enabled", nil); err != nil || c.env != env {
		t.Errorf("the facts are declared twice, %v", err)
	}
}

// What a field's name stands for is read, a variable as a whole is everything.
func TestReadsOfWholeVariables(t *testing.T) {
	for rule, want := range map[string]bool{"[tpm].exists(x, x.class == '')": true, "tpm.class == ''": false, "[firmware, firmware].size() == 2": true, "type(secureBoot) == type(tpm)": true} {
		r := reads{}
		if _, err := (&compiler{}).compile(rule, r); err != nil {
			t.Errorf("%s: %v", rule, err)
		} else if r.everything() != want {
			t.Errorf("%s reads everything: %v", rule, !want)
		}
	}
}

// everything is a manifest with an entry of each kind.
func everything(t *testing.T, name string, status Status) *Manifest {
	t.Helper()
	m := &Manifest{Name: name, Publisher: "p", Package: "k", Version: "1", Status: status}
	if status != Good {
		m.Since = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for i, kind := range kinds {
		e := Entry{Kind: Kind(kind), Digest: digest(100 + i)}
		if e.Kind.hasPath() {
			e.Path = "/" + kind
		}
		m.Entries = append(m.Entries, e)
	}
	parsed, err := ParseManifest(m.Print())
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Each use of a policy looks into its own manifests, for its own kind.
func TestEveryUse(t *testing.T) {
	p, err := Parse(full(t))
	if err != nil {
		t.Fatal(err)
	}
	var manifests []*Manifest
	for _, name := range p.Manifests() {
		manifests = append(manifests, everything(t, name, Good))
	}
	if want := []string{"debian-12-base", "debian-12-boot", "debian-12-kernel-old", "firmware-x", "keys"}; !slices.Equal(p.Manifests(), want) {
		t.Errorf("%v", p.Manifests())
	}
	s, err := NewSet(p, manifests)
	if err != nil {
		t.Fatal(err)
	}
	for use, kinds := range useKinds {
		if use == useIMA {
			continue
		}
		at := slices.Index(kindTexts(), string(kinds[0]))
		if got := s.Accepts(use, 9); !s.Uses(use) || len(got) != 1 || got[0] != digest(100+at) || len(s.Listed(use)) != 1 {
			t.Errorf("%s: %v", use, got)
		}
	}
	if s.Uses("x") || s.ManifestsOf("x") != nil {
		t.Error("a use that nobody has")
	}
	if got := s.ManifestsOf(UseKernel); !slices.Equal(got, []string{"debian-12-boot", "debian-12-kernel-old"}) {
		t.Errorf("%v", got)
	}
	if s.Name() != "validators" || s.Policy() == nil || s.Policy().Name != "validators" {
		t.Error("the policy")
	}
	file, buffer := sum(digest(100+slices.Index(kindTexts(), "file"))), sum(digest(100+slices.Index(kindTexts(), "buffer")))
	if st, found := s.FindFile([]byte("/file"), file[:]); !found || st.Manifest != "debian-12-base" {
		t.Errorf("%+v", st)
	}
	if st, found := s.FindBuffer([]byte("/buffer"), buffer[:]); !found || st.Manifest != "debian-12-base" {
		t.Errorf("%+v", st)
	}
	if _, found := s.FindBuffer([]byte("/file"), file[:]); found {
		t.Error("a file as a buffer")
	}
}

func kindTexts() []string { return kinds }

// A set is named after its policy and all its manifests, and so is its approval.
func TestSetIsNamed(t *testing.T) {
	p, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest() != sha256.Sum256(p.Print()) || m.Digest() != sha256.Sum256(m.Print()) {
		t.Error("digests are not those of the canonical texts")
	}
	s := mustSet(t, minimal, manifestText)
	want := sha256.Sum256(fmt.Appendf(nil, "quorate/policy-set/v1\npolicy validators sha256:%x\nmanifest boot sha256:%x\n", p.Digest(), m.Digest()))
	if s.Digest() != want || s.String() != fmt.Sprintf("validators sha256:%x", want) {
		t.Errorf("%s", s)
	}
	if got := s.ApprovalText("net"); got != fmt.Sprintf("quorate/policy-approval/v1\nconsortium: net\npolicy: validators sha256:%x\n", want) {
		t.Errorf("%q", got)
	}
}

func TestAccepts(t *testing.T) {
	more := manifestText + "  - {kind: image, digest: 'sha384:" + strings.Repeat("ab", 48) + "'}\n  - {kind: image, digest: '" + digest(50) + "'}\n"
	s := mustSet(t, minimal, more)
	all := []string{digest(0), digest(50), "sha384:" + strings.Repeat("ab", 48)}
	for max := range 5 {
		if got := s.Accepts(UseImages, max); !slices.Equal(got, all[:min(max, 3)]) {
			t.Errorf("%d: %v", max, got)
		}
	}
	if digestText("short") != "" {
		t.Error("a digest of no algorithm has a text")
	}
}

func TestWorse(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	order := []Standing{
		{"a", Revoked, day}, {"b", Revoked, day}, {"a", Revoked, day.Add(time.Hour)}, {"a", Outdated, day}, {"b", Outdated, day}, {"0", Outdated, day.Add(time.Hour)}, {"a", Good, time.Time{}}, {"b", Good, time.Time{}},
	}
	for i, s := range order {
		for j, other := range order {
			if s.worse(other) != (i < j) {
				t.Errorf("%v before %v: %v", s, other, s.worse(other))
			}
		}
	}
	if s := (Standing{Status: Good, Since: day}); s.At(day.Add(-time.Hour)) != Good || s.At(day) != Good {
		t.Error("good is not good")
	}
}

// Whoever revokes first wins, for values and for files, in whichever order the
// manifests are named.
func TestRevokedWinsInEveryOrder(t *testing.T) {
	for _, names := range [][3]string{{"a", "b", "c"}, {"a", "c", "b"}, {"b", "a", "c"}, {"b", "c", "a"}, {"c", "a", "b"}, {"c", "b", "a"}} {
		manifests := []*Manifest{everything(t, names[0], Good), everything(t, names[1], Outdated), everything(t, names[2], Revoked)}
		text := strings.NewReplacer("[boot]", "[a, b, c]").Replace(minimal) + "runtime: {ima: {manifests: [a, b, c], unknown: deny}}\n"
		p, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSet(p, manifests)
		if err != nil {
			t.Fatal(err)
		}
		image, file := sum(digest(100)), sum(digest(100+slices.Index(kindTexts(), "file")))
		if st := s.Listed(UseImages)[string(image[:])]; st.Status != Revoked || st.Manifest != names[2] {
			t.Errorf("%v: image %+v", names, st)
		}
		if st, found := s.FindFile([]byte("/file"), file[:]); !found || st.Status != Revoked || st.Manifest != names[2] {
			t.Errorf("%v: file %+v", names, st)
		}
		good := []bool{true}
		s.GoodFiles([][]byte{[]byte("/file")}, [][]byte{file[:]}, good)
		if good[0] {
			t.Errorf("%v: a revoked file is good", names)
		}
		if st := s.Stage(manifests[1].Since); st != 2 {
			t.Errorf("stage %d", st)
		}
		if len(s.Listed(useIMA)) != 0 {
			t.Errorf("files are kept twice: %d", len(s.Listed(useIMA)))
		}
	}
}

// GoodFiles answers for up to Batch files, and for none if it is asked wrongly.
func TestGoodFiles(t *testing.T) {
	text := edit(t, minimal, "timing:", "runtime: {ima: {manifests: [boot], unknown: deny}}\ntiming:")
	s := mustSet(t, text, manifestText)
	path, digest := []byte("/usr/bin/true"), digestBytes(3)
	for _, n := range []int{0, 1, 2, Batch, Batch + 1} {
		paths, digests := slices.Repeat([][]byte{path}, n), slices.Repeat([][]byte{digest}, n)
		good := make([]bool, n)
		s.GoodFiles(paths, digests, good)
		for i := range good {
			if good[i] != (n <= Batch) {
				t.Fatalf("%d files, number %d: %v", n, i, good[i])
			}
		}
		if n == 0 {
			continue
		}
		for name, ask := range map[string]func(good []bool){
			"fewer digests": func(good []bool) { s.GoodFiles(paths, digests[1:], good) }, "fewer paths": func(good []bool) { s.GoodFiles(paths[1:], digests, good) },
			"fewer answers": func(good []bool) { s.GoodFiles(paths, digests, good[1:]) },
		} {
			good := slices.Repeat([]bool{true}, n)
			if ask(good); slices.Contains(good[1:], true) {
				t.Errorf("%d, %s: %v", n, name, good)
			}
		}
	}
	mixed := make([]bool, 4)
	s.GoodFiles([][]byte{path, []byte("/tmp/x"), path, path[:3]}, [][]byte{digest, digest, digest[:31], digest}, mixed)
	if !slices.Equal(mixed, []bool{true, false, false, false}) {
		t.Errorf("%v", mixed)
	}
	for name, s := range map[string]*Set{"no runtime": mustSet(t, minimal, manifestText), "buffers only": mustSet(t, text, strings.Replace(manifestText, "kind: file", "kind: buffer", 1))} {
		good := []bool{true}
		if s.GoodFiles([][]byte{path}, [][]byte{digest}, good); good[0] {
			t.Errorf("%s: good", name)
		}
		if _, found := s.FindFile(path, digest); found || s.FileDigests(path, 3) != nil {
			t.Errorf("%s: found", name)
		}
	}
}

func TestRuntimeReads(t *testing.T) {
	m := everything(t, "m", Good)
	text := strings.NewReplacer("[boot]", "[m]").Replace(minimal) + "runtime: {ima: {manifests: [m], unknown: deny}}\n"
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	m.Entries = slices.DeleteFunc(m.Entries, func(e Entry) bool { return e.Kind.hasPath() })
	if _, err := NewSet(p, []*Manifest{m}); err == nil || !strings.Contains(err.Error(), "no manifest of m has an entry of kind file") {
		t.Errorf("%v", err)
	}
}

func TestValues(t *testing.T) {
	for version, want := range map[FirmwareVersion]string{0: "0.0", 1: "0.0.0.1", 1 << 16: "0.0.1", 1 << 32: "0.1", 1 << 48: "1.0", 0x0001_0002_0003_0004: "1.2.3.4", 0xffff_ffff_0000_0000: "65535.65535"} {
		if version.String() != want {
			t.Errorf("%#x: %s", uint64(version), version)
		}
		if v, err := ParseFirmwareVersion(want); err != nil || v != version {
			t.Errorf("%s: %#x, %v", want, uint64(v), err)
		}
	}
	for _, bad := range []string{"1", "1.2.3.4.5", "1.x", "1.65536", "1.01"} {
		if v, err := ParseFirmwareVersion(bad); err == nil || v != 0 {
			t.Errorf("%s: %v", bad, v)
		}
	}
	for d, want := range map[time.Duration]string{
		time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 24 * time.Hour: "24h", 48 * time.Hour: "2d", 90 * time.Second: "90s", time.Millisecond: "1ms", 36 * time.Hour: "36h",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	for text, want := range map[string]time.Duration{"1000000s": 1e6 * time.Second, "1000001s": 0, "0s": 0, "1s": time.Second, "xs": 0} {
		if d, err := parseDuration(text); d != want || (err == nil) != (want != 0) {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for s, want := range map[string]bool{
		digest(0): true, "sha256:" + strings.Repeat("0", 64): false, "sha384:" + strings.Repeat("a", 96): true, "sha512:" + strings.Repeat("a", 128): true, "sha256": false, "": false, strings.Repeat("a", 64): false,
		"sha1:" + strings.Repeat("a", 40): false, "x:": false, digest(0) + "0": false, "sha256:" + strings.Repeat("x", 64): false, "sha256:" + strings.Repeat("A", 64): false,
	} {
		if validDigest(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// Foreign text is cut between characters.
func TestBounded(t *testing.T) {
	long := strings.Repeat("a", 80)
	for s, want := range map[string]string{
		"": "", long: long, long + "b": long + "…", long[1:] + "é": long[1:] + "…", long[2:] + "é": long[2:] + "é", long[2:] + "éx": long[2:] + "é…", strings.Repeat("\x80", 90): "…",
	} {
		if got := bounded(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// Problems stand in the order of lines, at most a hundred, and say how many.
func TestProblemsAreBounded(t *testing.T) {
	for n, want := range map[int]int{99: 99, 100: 100, 101: 100, 150: 100} {
		d := &decoder{}
		for i := range n {
			d.add(n-i, "k", "t")
		}
		var e *Error
		if err := refuse("policy", d.problems); !errors.As(err, &e) || len(e.Problems) != want || !slices.IsSortedFunc(e.Problems, func(a, b Problem) int { return a.Line - b.Line }) {
			t.Errorf("%d: %d problems", n, len(e.Problems))
		}
		if len(d.problems) > maxProblems+1 {
			t.Errorf("%d are kept", len(d.problems))
		}
	}
	if err := refuse("policy", nil); err != nil {
		t.Error(err)
	}
}

func TestTextSizes(t *testing.T) {
	for size, want := range map[int]string{MaxPolicy: "the file is empty", MaxPolicy + 1: "the file has 1048577 bytes, more than 1048576"} {
		_, err := Parse(bytes.Repeat([]byte("#"), size))
		var e *Error
		if !errors.As(err, &e) || e.Problems[0].Text != want || e.Problems[0].Line != 0 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestWord(t *testing.T) {
	for s, want := range map[string]string{
		"a": "a", "b2": "b2", "2b": `"2b"`, "": `""`, "A": `"A"`, "true": `"true"`, "false": `"false"`, "null": `"null"`, "yes": `"yes"`, "no": `"no"`, "on": `"on"`, "off": `"off"`, "y": `"y"`, "n": `"n"`, "nn": "nn",
	} {
		if got := word(s); got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
	for s, want := range map[string]string{
		"<&>": `"<&>"`, "\x7e": `"~"`, "\x7f": `"\u007f"`, "\u0080": `"\u0080"`, "\u009f": `"\u009f"`, "\u00a0": "\"\u00a0\"", "\ufefe": "\"\ufefe\"", "\ufeff": `"\ufeff"`, "\uff00": "\"\uff00\"",
		"\ufffd": "\"\ufffd\"", "\ufffe": `"\ufffe"`, "\uffff": `"\uffff"`, "\U00010000": "\"\U00010000\"", "\x7fa\n": `"\u007fa\n"`,
	} {
		if got := quoted(s); got != want {
			t.Errorf("%q: %s", s, got)
		}
	}
}

// Tables find every pair, also if rows share a slot's tag, and name up to so many
// digests of a path.
func TestTableRows(t *testing.T) {
	entries := []fileEntry{{"", [32]byte{1}, 1}, {"/", [32]byte{2}, 2}, {"a", [32]byte{3}, 3}, {"/a", [32]byte{4}, 4}, {"/a/", [32]byte{5}, 5}, {"/a/b", [32]byte{6}, 6}, {"/b/a", [32]byte{7}, 7}, {"/a/b", [32]byte{8}, 8}, {"/a/b", [32]byte{9}, 9}}
	calls := 0
	t1 := newFileTable(len(entries), func(visit func(fileEntry)) {
		calls++
		for _, e := range entries {
			visit(e)
		}
	})
	if calls != 2 || len(t1.rows) != len(entries) || cap(t1.rows) != len(entries) || cap(t1.names) != len(t1.names) || len(t1.dirs) != 4 {
		t.Errorf("%d calls, %d rows of %d, %d of names of %d, %d directories", calls, len(t1.rows), cap(t1.rows), len(t1.names), cap(t1.names), len(t1.dirs))
	}
	for _, e := range entries {
		for _, other := range entries {
			want := uint16(0)
			for _, row := range entries {
				if row.path == e.path && row.digest == other.digest {
					want = row.standing
				}
			}
			if got := t1.lookup([]byte(e.path), other.digest[:]); got != want {
				t.Errorf("%q with %x: %d, want %d", e.path, other.digest[0], got, want)
			}
		}
		for i := range t1.rows {
			row := &t1.rows[i]
			if got := t1.at(row, []byte(e.path)); got != (entries[i].path == e.path) {
				t.Errorf("row %d at %q: %v", i, e.path, got)
			}
		}
	}
	for max := range 5 {
		if got := t1.digests([]byte("/a/b"), max); len(got) != max && (max > 0 && max < 4) || len(got) > 3 {
			t.Errorf("up to %d: %v", max, got)
		}
	}
	if got := t1.digests([]byte("/a/c"), 3); got != nil {
		t.Errorf("%v", got)
	}
	if got := newFileTable(0, nil).digests([]byte("/a"), 3); got != nil {
		t.Errorf("%v", got)
	}
}

// A path's search meets rows of other paths; they are told apart by the whole path.
func TestTableTells(t *testing.T) {
	t1 := table(2000)
	for i := range 2000 {
		if got := t1.digests([]byte(file(i)), 5); len(got) != 1 || got[0] != fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(file(i)))) {
			t.Fatalf("file %d: %v", i, got)
		}
	}
	for i := range 2000 { // the tag of each row forged: only time is lost
		slot, tag := t1.first([]byte(file(i)))
		if row := t1.candidate(slot, tag); row == nil || !t1.at(row, []byte(file(i))) {
			t.Fatalf("file %d has no candidate", i)
		}
		if row := t1.candidate(slot, tag+1); row != nil && t1.at(row, []byte(file(i))) {
			t.Fatalf("file %d is a candidate under another tag", i)
		}
	}
	for dir, want := range map[string][2]string{"": {"", ""}, "a": {"", "a"}, "/": {"/", ""}, "/a/b": {"/a/", "b"}} {
		if d, name := split(dir); d != want[0] || name != want[1] {
			t.Errorf("%q: %q, %q", dir, d, name)
		}
	}
}

func TestUsesAreDistinct(t *testing.T) {
	seen := map[Kind]Use{}
	for use, kinds := range useKinds {
		for _, kind := range kinds {
			if other, twice := seen[kind]; twice {
				t.Errorf("%s and %s both take %s", use, other, kind)
			}
			seen[kind] = use
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("used are %v", slices.Sorted(maps.Keys(seen)))
	}
}

// Rows that share a tag are told apart by path and digest, on every way in.
func TestTableTellsRowsOfOneTag(t *testing.T) {
	one, two := [32]byte{1}, [32]byte{2}
	t1 := newFileTable(4, func(visit func(fileEntry)) {
		for i, path := range []string{"/a/x", "/a/y", "/b/x", "/a/x"} {
			visit(fileEntry{path, [][32]byte{one, one, one, two}[i], uint16(i + 1)})
		}
	})
	for _, path := range []string{"/a/x", "/a/y", "/b/x", "/b/y"} {
		_, tag := t1.first([]byte(path))
		forged := *t1
		forged.slots = slices.Clone(t1.slots)
		for i := range forged.slots {
			if forged.slots[i].row != 0 {
				forged.slots[i].tag = tag
			}
		}
		for _, digest := range [][32]byte{one, two} {
			var want uint16
			for i, row := range []string{"/a/x", "/a/y", "/b/x", "/a/x"} {
				if row == path && digest == [][32]byte{one, one, one, two}[i] {
					want = uint16(i + 1)
				}
			}
			var found [Batch]uint16
			forged.lookupAll([][]byte{[]byte(path)}, [][]byte{digest[:]}, found[:])
			if got := forged.lookup([]byte(path), digest[:]); got != want || found[0] != want {
				t.Errorf("%s with %x: %d and %d, want %d", path, digest[0], got, found[0], want)
			}
		}
		if got, want := len(forged.digests([]byte(path), 9)), map[string]int{"/a/x": 2, "/a/y": 1, "/b/x": 1}[path]; got != want {
			t.Errorf("%s has %d digests", path, got)
		}
	}
}

// What is wrong with a whole text is about no line.
func TestProblemsOfWholeTexts(t *testing.T) {
	for _, text := range []string{"", "\xff", "a: 'b", "a: b\n---\nc: d\n"} {
		_, err := Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || e.Problems[0].Line != 0 {
			t.Errorf("%q: %+v", text, err)
		}
	}
}

// A structure of the facts' own type reads everything.
func TestReadsOfStructures(t *testing.T) {
	r := reads{}
	if _, err := (&compiler{}).compile("type(policy.BootFacts{}) == type(policy.TPMFacts{}) || tpm.class == ''", r); err != nil || !r.everything() {
		t.Errorf("%v, %v", r, err)
	}
}

// A use takes one kind of entry, or of several the first.
func TestKindOfUses(t *testing.T) {
	for use, kinds := range useKinds {
		if use.Kind() != kinds[0] {
			t.Errorf("%s: %s", use, use.Kind())
		}
	}
	if useIMA.Kind() != KindFile || Use("x").Kind() != "" {
		t.Error("files come first, and an unknown use takes nothing")
	}
}
