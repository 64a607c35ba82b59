// Package weigh counts the bytes that a function allocates, for tests that hold
// parsers of foreign bytes to a bound: what a hostile host sends must not cost a
// verifier more memory than it costs the host to send.
package weigh

import (
	"math"
	"runtime"
)

// Factor and Slack bound what a parser may allocate: Factor bytes for each byte of
// its input, and Slack beside.
const (
	Factor = 8
	Slack  = 1 << 20
)

// T is what this package needs of a *testing.T or *testing.F.
type T interface {
	Helper()
	Errorf(format string, args ...any)
}

// tries is how often a function runs. Other goroutines allocate too, so the least
// of several counts is the function's own.
const tries = 3

// Bytes returns how many bytes f allocates.
func Bytes(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range tries {
		least = min(least, once(f))
	}
	return least
}

func once(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Bounded fails the test if f, which parses size bytes, allocates more than Factor
// times as many and Slack. It runs f once if that settles it.
func Bounded(t T, size int, f func()) {
	t.Helper()
	most := uint64(Factor*size + Slack)
	if once(f) <= most {
		return
	}
	if got := Bytes(f); got > most {
		t.Errorf("parsing %d bytes allocates %d, more than %d", size, got, most)
	}
}

// Linear fails the test if parse allocates more than Factor times and Slack for an
// input of make(n), for n from 1 doubling while the input is shorter than most
// bytes; and if twice the input costs clearly more than twice the memory.
func Linear(t T, most int, make func(n int) []byte, parse func([]byte)) {
	t.Helper()
	last, size := uint64(0), 0
	for n := 1; ; n *= 2 {
		input := make(n)
		if len(input) > most {
			return
		}
		Bounded(t, len(input), func() { parse(input) })
		got := Bytes(func() { parse(input) })
		if size > 0 && got > Slack/16 && float64(got) > 1.6*float64(last)*float64(len(input))/float64(size) {
			t.Errorf("%d bytes cost %d, and %d bytes cost %d: more than in proportion", size, last, len(input), got)
		}
		last, size = got, len(input)
	}
}
