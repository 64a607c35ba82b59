package swtpm

import "github.com/quorate/quorate/simulator/need"

// Require skips the test, loudly, where swtpm is not installed. On continuous
// integration, where CI is set, its absence is a failure: nothing is skipped there.
func Require(t need.T) {
	t.Helper()
	need.Program(t, "swtpm", "swtpm")
}
