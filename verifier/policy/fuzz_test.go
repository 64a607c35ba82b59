package policy

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/quorate/quorate/simulator/weigh"
)

// policySeeds are good policies and every bad one of the tables.
func policySeeds(t testing.TB) [][]byte {
	seeds := [][]byte{[]byte(minimal), full(t), []byte(rule(t, "boot.images.exists(i, i.pcr == 2)"))}
	for _, row := range refusals {
		seeds = append(seeds, []byte(edit(t, minimal, row.old, row.replacement)))
	}
	if len(seeds) < 30 {
		t.Fatalf("only %d seeds", len(seeds))
	}
	return seeds
}

func FuzzParse(f *testing.F) {
	for _, seed := range policySeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		weigh.Bounded(t, len(text), func() { _, _ = Parse(text) })
		p, err := Parse(text)
		if err != nil {
			wellRefused(t, err)
			return
		}
		printed := p.Print()
		again, err := Parse(printed)
		if err != nil {
			t.Fatalf("canonical text does not load: %v\n%s", err, printed)
		}
		if !reflect.DeepEqual(p, again) || !bytes.Equal(printed, again.Print()) {
			t.Fatalf("printed and read again differs:\n%s\n%s", printed, again.Print())
		}
		p.Lint()
	})
}

func FuzzParseManifest(f *testing.F) {
	seeds := []string{string(printed(f, 3)), manifestText, edit(f, manifestText, "status: good", "status: outdated\nsince: 2026-01-01T00:00:00Z"), "manifest: x", "entries: [{}]"}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		weigh.Bounded(t, len(text), func() { _, _ = ParseManifest(text) })
		m, err := ParseManifest(text)
		if canonical, ok := canonicalManifest(text); ok {
			d := &decoder{}
			if tree := d.manifest(text); len(d.problems) > 0 || !reflect.DeepEqual(tree, canonical) {
				t.Fatalf("read as %+v, and as YAML %+v: %v", canonical, tree, d.problems)
			}
		}
		if err != nil {
			wellRefused(t, err)
			return
		}
		again, err := ParseManifest(m.Print())
		if err != nil {
			t.Fatalf("canonical text does not load: %v\n%s", err, m.Print())
		}
		if !reflect.DeepEqual(m, again) || !bytes.Equal(m.Print(), again.Print()) {
			t.Fatalf("printed and read again differs:\n%s\n%s", m.Print(), again.Print())
		}
	})
}

// wellRefused insists that a refusal says something, in printable text of bounded size.
func wellRefused(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || len(e.Problems) == 0 || len(e.Problems) > maxProblems {
		t.Fatalf("%v is no bounded *Error", err)
	}
	if text := err.Error(); !utf8.ValidString(text) || len(text) > maxProblems*2048 {
		t.Fatalf("the refusal has %d bytes, valid %v", len(text), utf8.ValidString(text))
	}
}
