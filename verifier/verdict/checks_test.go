package verdict_test

import (
	"regexp"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// Every check has one name and says everything that its documentation promises.
func TestChecksAreComplete(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*$`)
	all := verdict.Checks()
	if len(all) == 0 {
		t.Fatal("no checks")
	}
	seen := map[verdict.CheckID]bool{}
	for _, c := range all {
		if seen[c.ID] {
			t.Errorf("%s is registered twice", c.ID)
		}
		seen[c.ID] = true
		if !name.MatchString(string(c.ID)) {
			t.Errorf("%q is no name for a check", c.ID)
		}
		for field, text := range map[string]string{
			"title": c.Title, "protects": c.Protects, "got": c.Got, "want": c.Want, "remedy": c.Remedy,
		} {
			if text == "" {
				t.Errorf("%s has no %s", c.ID, field)
			}
		}
		if found, ok := verdict.Lookup(c.ID); !ok || found != c {
			t.Errorf("%s is looked up as %+v", c.ID, found)
		}
	}
}
