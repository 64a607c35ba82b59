package policy

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/weigh"
)

// listed is a manifest of n files, some of whose names need escapes, and one entry
// of every other kind.
func listed(n int) *Manifest {
	m := &Manifest{Name: "large", Publisher: "org-a", Package: "everything", Version: "1", Status: Good}
	for i := range n {
		path := fmt.Sprintf("/usr/lib/x86_64-linux-gnu/module-%d.so", i)
		if i%1000 == 7 {
			path += "\" \\ \t \u2028 ü"
		}
		m.Entries = append(m.Entries, Entry{Kind: KindFile, Path: path, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(path)))})
	}
	for _, k := range kinds {
		e := Entry{Kind: Kind(k), Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(k))), Comment: "the \"only\" one"}
		if e.Kind.hasPath() {
			e.Path = "name"
		}
		m.Entries = append(m.Entries, e)
	}
	slices.SortFunc(m.Entries, Entry.compare)
	return m
}

func printed(t testing.TB, n int) []byte {
	t.Helper()
	return listed(n).Print()
}

// What Print wrote is read without YAML and gives the same manifest.
func TestCanonicalManifest(t *testing.T) {
	want := listed(5000)
	text := want.Print()
	got, ok := canonicalManifest(text)
	if !ok || !reflect.DeepEqual(got, want) {
		t.Fatalf("canonical: %v", ok)
	}
	if got, err := ParseManifest(text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v", err)
	}
	revoked := *want
	revoked.Status, revoked.Since = Revoked, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if got, ok := canonicalManifest(revoked.Print()); !ok || !reflect.DeepEqual(got, &revoked) {
		t.Error("a revoked manifest is not read")
	}
}

// Whatever is not exactly what Print writes is left to YAML, which says the same as
// before: accepted if it is only written otherwise, refused if it is wrong.
func TestNotCanonical(t *testing.T) {
	good := string(printed(t, 3))
	lines := strings.SplitAfter(good, "\n")
	last := lines[len(lines)-2]
	before := lines[len(lines)-3]
	digest := "sha256:" + strings.Repeat("0a", 32)
	for name, c := range map[string]struct {
		text string
		ok   bool // for YAML
	}{
		"a comment":         {strings.Replace(good, last, "  # why\n"+last, 1), true},
		"another order":     {strings.Replace(good, before+last, last+before, 1), true},
		"single quotes":     {strings.Replace(good, "path: \"name\"", "path: 'name'", 1), true},
		"a needless escape": {strings.Replace(good, "path: \"name\"", `path: "n\u0061me"`, 1), true},
		"more spaces":       {strings.Replace(good, "  - {kind: pk, ", "  - {kind: pk,  ", 1), true},
		"no last newline":   {strings.TrimSuffix(good, "\n"), true},
		"an entry twice":    {good + last, false},
		"an unknown kind":   {good + "  - {kind: zebra, digest: \"" + digest + "\"}\n", false},
		"no path":           {good + "  - {kind: file, digest: \"" + digest + "\"}\n", false},
		"a path too many":   {good + "  - {kind: pk, path: \"x\", digest: \"" + digest + "\"}\n", false},
		"a short digest":    {good + "  - {kind: pk, digest: \"" + digest[:60] + "\"}\n", false},
		"another hash":      {good + "  - {kind: file, path: \"/z\", digest: \"sha384:" + strings.Repeat("0a", 48) + "\"}\n", false},
		"a key too many":    {good + "  - {kind: pk, digest: \"" + digest + "\", more: \"x\"}\n", false},
		"an empty comment":  {good + "  - {kind: pk, digest: \"" + digest + "\", comment: \"\"}\n", false},
		"a bad head":        {strings.Replace(good, "name: large", "name: LARGE", 1), false},
		"another document":  {good + "---\n", false},
	} {
		if c.text == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, ok := canonicalManifest([]byte(c.text)); ok {
			t.Errorf("%s is read as canonical", name)
		}
		if _, err := ParseManifest([]byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Reading costs memory in proportion to the text, whatever is in it.
func TestFrugal(t *testing.T) {
	repeat := func(s string) func(n int) []byte {
		return func(n int) []byte { return []byte(strings.Repeat(s, n)) }
	}
	shapes := map[string]func(n int) []byte{
		"a flow of values": func(n int) []byte { return []byte("[" + strings.Repeat("a,", n) + "]") },
		"empty mappings":   func(n int) []byte { return []byte("roles: [" + strings.Repeat("{},", n) + "]") },
		"a list":           func(n int) []byte { return []byte("entries:\n" + strings.Repeat("- a\n", n)) },
		"keys":             func(n int) []byte { return []byte(strings.Repeat("k: v\n", n)) },
		"nested flows":     repeat("["),
		"nested lists":     repeat("- "),
		"nested keys":      repeat("? "),
		"lists of lists":   repeat(strings.Repeat("- ", 60) + "\n"),
		"flows of flows": func(n int) []byte {
			return []byte("a: [" + strings.Repeat(strings.Repeat("[", 60)+strings.Repeat("]", 60)+",", n) + "]")
		},
		"comments":           repeat("#\n"),
		"text of many lines": func(n int) []byte { return []byte("name: \"" + strings.Repeat("\n", n) + "\"") },
		"anchors":            repeat("- &a b\n"),
		"documents":          repeat("---\n"),
		"entries":            func(n int) []byte { return printed(t, 10*n) },
		"a wrong entry":      func(n int) []byte { return append(printed(t, 10*n), "  - {kind: zebra}\n"...) },
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			weigh.Linear(t, MaxPolicy, shape, func(b []byte) { _, _ = Parse(b) })
			weigh.Linear(t, 2<<20, shape, func(b []byte) { _, _ = ParseManifest(b) })
		})
	}
}

// Two million files: each manifest is read once, at a few times its size, and the
// compiled set stays under 200 MB.
func TestTwoMillionFilesOfManifests(t *testing.T) {
	const parts, each = 5, 400_000
	p, err := Parse([]byte(edit(t, minimal, "timing:",
		"runtime:\n  ima: {required: true, manifests: [part-0, part-1, part-2, part-3, part-4], unknown: deny}\ntiming:")))
	if err != nil {
		t.Fatal(err)
	}
	boot, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	manifests := []*Manifest{boot}
	for part := range parts {
		m := &Manifest{Name: fmt.Sprintf("part-%d", part), Publisher: "org-a", Package: "all", Version: "1"}
		for i := range each {
			path := fmt.Sprintf("/usr/lib/%d/%06d", part, i)
			m.Entries = append(m.Entries, Entry{Kind: KindFile, Path: path, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(path)))})
		}
		text := m.Print()
		if len(text) > MaxManifest {
			t.Fatalf("%d bytes", len(text))
		}
		weigh.Bounded(t, len(text), func() { m, err = ParseManifest(text) })
		if err != nil {
			t.Fatal(err)
		}
		manifests = append(manifests, m)
	}
	set, err := NewSet(p, manifests)
	if err != nil {
		t.Fatal(err)
	}
	clear(manifests)
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	t.Logf("%d MiB in all", after.HeapAlloc>>20)
	if after.HeapAlloc > 200<<20 {
		t.Errorf("%d MiB", after.HeapAlloc>>20)
	}
	path := "/usr/lib/4/399999"
	digest := sha256.Sum256([]byte(path))
	if _, ok := set.FindFile([]byte(path), digest[:]); !ok {
		t.Error("the last file is not found")
	}
}
