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
)

func canonicalText(t testing.TB) string {
	t.Helper()
	m, err := ParseManifest([]byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Print())
}

// byYAML reads a manifest as a tree, whatever its form.
func byYAML(t testing.TB, text []byte) *Manifest {
	t.Helper()
	d := &decoder{}
	m := d.manifest(text)
	if len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	return m
}

func TestBothReadersOfManifestsAgree(t *testing.T) {
	plain := canonicalText(t)
	for name, text := range map[string]string{
		"good":       plain,
		"outdated":   edit(t, plain, "status: good\n", "status: outdated\nsince: 2026-01-01T00:00:00Z\n"),
		"revoked":    edit(t, plain, "status: good\n", "status: revoked\nsince: 2026-01-01T00:00:00Z\n"),
		"name":       edit(t, plain, "name: boot", `name: "12"`),
		"longer":     edit(t, plain, digest(1), "sha384:"+strings.Repeat("1", 96)),
		"buffer":     edit(t, plain, `{kind: file, path: "/usr/bin/true"`, `{kind: buffer, path: "key"`),
		"a } inside": edit(t, plain, "/usr/bin/true", "/usr/bin/{kind: x}, digest"),
	} {
		m, err := ParseManifest([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fast := canonicalManifest(m.Print())
		if fast == nil || !reflect.DeepEqual(fast, byYAML(t, m.Print())) {
			t.Errorf("%s: the readers differ about\n%s", name, m.Print())
		}
	}
}

// TestOtherFormsAreForYAML are texts that the reader of lines must not judge:
// most are refused by the other reader, and some are good.
func TestOtherFormsAreForYAML(t *testing.T) {
	plain := canonicalText(t)
	if canonicalManifest([]byte(plain)) == nil {
		t.Fatal("the twin is not read")
	}
	last := plain[strings.LastIndex(strings.TrimSuffix(plain, "\n"), "\n")+1:]
	for name, text := range map[string]string{
		"not canonical":       manifestText,
		"empty":               "",
		"no entries":          plain[:strings.Index(plain, "  - {")],
		"no end of line":      strings.TrimSuffix(plain, "\n"),
		"an entry twice":      plain + last,
		"out of order":        plain[:len(plain)-len(last)] + strings.Replace(last, "kind: loader-file", "kind: authority", 1),
		"a blank line":        plain + "\n",
		"a second document":   plain + "---\n",
		"a comment":           plain + "# x\n",
		"a space":             edit(t, plain, "{kind: file,", "{kind:  file,"),
		"unknown kind":        edit(t, plain, "{kind: kernel,", "{kind: kernels,"),
		"a path it needs":     edit(t, plain, `path: "/usr/bin/true", `, ""),
		"a path it has not":   edit(t, plain, "{kind: kernel, ", `{kind: kernel, path: "/x", `),
		"upper case":          edit(t, plain, digest(2), strings.ToUpper(digest(2))),
		"short digest":        edit(t, plain, digest(2), digest(2)[:70]),
		"zero digest":         edit(t, plain, digest(2), digest(-1)),
		"a file's sha384":     edit(t, plain, digest(2), "sha384:"+strings.Repeat("1", 96)),
		"a path with NUL":     edit(t, plain, "/usr/bin/true", "/usr/bin/\x00"),
		"a path not in UTF-8": edit(t, plain, "/usr/bin/true", "/usr/bin/\xff"),
		"an escape":           edit(t, plain, "/usr/bin/true", `/usr/bin/\"`),
		"a long path":         edit(t, plain, "/usr/bin/true", "/"+strings.Repeat("x", 4096)),
		"an empty comment":    edit(t, plain, `comment: "shim"`, `comment: ""`),
		"a blank comment":     edit(t, plain, `comment: "shim"`, `comment: " "`),
		"more in an entry":    edit(t, plain, `comment: "shim"`, `comment: "shim", x: "y"`),
		"unknown header":      edit(t, plain, "status: good\n", "status: good\nx: y\n"),
		"header twice":        edit(t, plain, "status: good\n", "status: good\nstatus: good\n"),
		"good since":          edit(t, plain, "status: good\n", "status: good\nsince: 2026-01-01T00:00:00Z\n"),
		"revoked, no since":   edit(t, plain, "status: good\n", "status: revoked\n"),
		"order of the header": edit(t, edit(t, plain, "status: good\n", ""), "name: boot\n", "status: good\nname: boot\n"),
	} {
		if m := canonicalManifest([]byte(text)); m != nil {
			t.Errorf("%s: read as %+v", name, m)
		}
	}
}

// distribution is the manifest of n files, as a large distribution has them.
func distribution(n int) *Manifest {
	m := &Manifest{Name: "boot", Publisher: "example", Package: "distribution", Version: "12", Entries: make([]Entry, 0, n+3)}
	for i, kind := range []Kind{KindImage, KindKernel, KindLoaderFile} {
		m.Entries = append(m.Entries, Entry{Kind: kind, Digest: digest(i)})
	}
	for i := range n {
		sum := sha256.Sum256([]byte(file(i)))
		m.Entries = append(m.Entries, Entry{Kind: KindFile, Path: file(i), Digest: fmt.Sprintf("sha256:%x", sum)})
	}
	slices.SortFunc(m.Entries, Entry.compare)
	return m
}

// TestReadingAManifestAllocatesLittle holds that a canonical manifest costs at
// most 8 times its size.
func TestReadingAManifestAllocatesLittle(t *testing.T) {
	text := distribution(50_000).Print()
	if got := allocated(func() { _, _ = ParseManifest(text) }); got > 8*len(text)+1<<20 {
		t.Errorf("%d bytes for %d", got, len(text))
	}
}

func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// TestTwoMillionFiles loads one manifest of two million files, finds them, and
// holds what stays in memory.
func TestTwoMillionFiles(t *testing.T) {
	const n = 2_000_000
	text := distribution(n).Print()
	if len(text) > MaxManifest {
		t.Fatalf("%d bytes", len(text))
	}
	before := live()
	set := load(t, text)
	if size := (live() - before) >> 20; size > 200 {
		t.Errorf("%d MiB", size)
	} else {
		t.Logf("a manifest of %d MiB takes %d MiB", len(text)>>20, size)
	}
	for i := 0; i < n; i += 997 {
		sum := sha256.Sum256([]byte(file(i)))
		if s, found := set.FindFile([]byte(file(i)), sum[:]); !found || s.At(time.Now()) != Good {
			t.Fatalf("%s is not found", file(i))
		}
		if _, found := set.FindFile([]byte(file(i+1)), sum[:]); found {
			t.Fatalf("the digest of %s is found at another path", file(i))
		}
	}
	runtime.KeepAlive(text)
}

func load(t *testing.T, manifest []byte) *Set {
	t.Helper()
	m, err := ParseManifest(manifest)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse([]byte(minimal + "runtime: {ima: {manifests: [boot], unknown: deny}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewSet(p, []*Manifest{m})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func live() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func BenchmarkParseManifest(b *testing.B) {
	text := distribution(100_000).Print()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if m, err := ParseManifest(text); err != nil || len(m.Entries) < 100_000 {
			b.Fatal(err)
		}
	}
}
