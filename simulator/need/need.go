// Package need is for tests that need programs which Go does not bring along. On
// a developer's machine such a test is skipped, and the skip says which Debian
// package is missing; in continuous integration (environment CI) it fails,
// because a test that never runs shows nothing.
package need

import (
	"os"
	"os/exec"
)

// T is what this package needs of a *testing.T, so that programs which share code
// with tests do not link package testing.
type T interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// Program skips or fails the test unless the program is installed.
func Program(t T, program, debianPackage string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		Missing(t, program+" is not installed; run: sudo apt-get install "+debianPackage)
	}
}

// Missing skips the test for the reason given, or fails it where CI is set.
func Missing(t T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("CI is set, so nothing may be missing: " + reason)
		return
	}
	t.Skip("SKIPPED, NOT TESTED: " + reason)
}
