package need

import (
	"strings"
	"testing"
)

// told notes what a test was told instead of ending it.
type told struct{ skip, fatal string }

func (*told) Helper()          {}
func (r *told) Skip(a ...any)  { r.skip = a[0].(string) }
func (r *told) Fatal(a ...any) { r.fatal = a[0].(string) }

func TestMissingProgram(t *testing.T) {
	for _, ci := range []string{"", "true"} {
		t.Setenv("CI", ci)
		r := &told{}
		Program(r, "no-such-program", "no-such-package")
		if (r.skip != "") == (ci != "") || (r.fatal != "") != (ci != "") {
			t.Errorf("CI=%q: skip %q, fatal %q", ci, r.skip, r.fatal)
		}
		if !strings.Contains(r.skip+r.fatal, "apt-get install no-such-package") {
			t.Errorf("CI=%q: %q does not say what to install", ci, r.skip+r.fatal)
		}
	}
}

func TestInstalledProgram(t *testing.T) {
	t.Setenv("CI", "true")
	r := &told{}
	if Program(r, "sh", "dash"); r.skip+r.fatal != "" {
		t.Error(r.skip + r.fatal)
	}
}
