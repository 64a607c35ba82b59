package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/cmd/internal/program"
)

// bench is a consortium of three members whose operators' keys are files.
func bench(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	w := newWorld(t)
	c := *w.Consortium
	c.Members = nil
	for _, m := range w.Members {
		secret, public, err := note.GenerateKey(rand.Reader, m.Name+"/admin")
		if err != nil {
			t.Fatal(err)
		}
		c.Members = append(c.Members, admission.Member{Name: m.Name, Operators: []admission.Operator{{Key: public, Role: admission.RoleAdmin}}})
		if err := os.WriteFile(filepath.Join(dir, m.Name+".key"), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "consortium.yaml"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Two operators sign one command, one after the other.
func TestCommandIsSignedByTwo(t *testing.T) {
	dir := bench(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	by := func(member string) []string {
		return []string{"--consortium", path("consortium.yaml"), "--key", path(member + ".key")}
	}
	write := append([]string{"command", "--out", path("extend.command"), "extend", "example-1"}, by("org-a")...)
	if code, out, errs := quorateGate(write...); code != program.Good || !strings.Contains(out, "signed by org-a/admin\n") {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	if code, _, _ := quorateGate(write...); code != program.Usage {
		t.Errorf("overwrites the file: exit %d", code)
	}
	code, out, errs := quorateGate(append([]string{"command", "sign", "--json", path("extend.command")}, by("org-b")...)...)
	if code != program.Good || !strings.Contains(out, `"org-b/admin"`) || !strings.Contains(out, `"org-a/admin"`) {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	raw, err := os.ReadFile(path("extend.command"))
	if err != nil || strings.Count(string(raw), "\n— ") != 2 {
		t.Errorf("%s (%v)", raw, err)
	}
	if err := os.WriteFile(path("forged.command"), []byte(strings.Replace(string(raw), "example-1", "example-2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"forged":         {append([]string{"command", "sign", path("forged.command")}, by("org-c")...), program.Refused},
		"no file":        {append([]string{"command", "sign", path("missing")}, by("org-c")...), program.Unknown},
		"no key":         {[]string{"command", "--consortium", path("consortium.yaml"), "--key", path("missing"), "--out", path("x"), "extend", "example-1"}, program.Usage},
		"unknown action": {append([]string{"command", "--out", path("x"), "destroy", "example-1"}, by("org-a")...), program.Usage},
		"bad subject":    {append([]string{"command", "--out", path("x"), "release", "example-1"}, by("org-a")...), program.Usage},
		"no out":         {append([]string{"command", "extend", "example-1"}, by("org-a")...), program.Usage},
	} {
		if code, _, errs := quorateGate(c.args...); code != c.want || !strings.Contains(errs, "quorate-gate: ") {
			t.Errorf("%s: exit %d, want %d: %s", name, code, c.want, errs)
		}
	}
}
