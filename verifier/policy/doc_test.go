package policy

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManualHasEveryKey compares the keys that the decoder offers with the manual.
func TestManualHasEveryKey(t *testing.T) {
	d := &decoder{offered: map[string]bool{}}
	if d.policy(full(t)); len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	if d.manifest([]byte(manifestText)); len(d.problems) > 0 {
		t.Fatal(d.problems)
	}
	if len(d.offered) < 60 {
		t.Fatalf("only %d keys: %v", len(d.offered), d.offered)
	}
	text := manual(t)
	index := regexp.MustCompile(`\[\d+\]`)
	for _, key := range slices.Sorted(maps.Keys(d.offered)) {
		if key = index.ReplaceAllString(key, ""); !strings.Contains(text, "`"+key+"`") {
			t.Errorf("the manual does not have `%s`", key)
		}
	}
	for _, word := range slices.Concat(kinds, Profiles, Classes) {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("the manual does not have `%s`", word)
		}
	}
}

// TestManualHasEveryFact compares the fields of the facts with the manual.
func TestManualHasEveryFact(t *testing.T) {
	text := manual(t)
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			if name := f.Tag.Get("cel"); name != "" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("the manual does not have the fact `%s` of %s", name, of.Name())
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Facts]())
}

// TestManualExamplesParse loads every YAML example of the manual.
func TestManualExamplesParse(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(manual(t), -1)
	if len(blocks) < 3 {
		t.Fatalf("only %d examples", len(blocks))
	}
	for _, b := range blocks {
		var err error
		if strings.HasPrefix(b[1], "manifest:") {
			_, err = ParseManifest([]byte(b[1]))
		} else {
			_, err = Parse([]byte(b[1]))
		}
		if err != nil {
			t.Errorf("%v\n%s", err, b[1])
		}
	}
}
