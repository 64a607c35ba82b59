package bench

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A duel runs two operations by turns, in blocks of blockTime, and compares each
// block with its neighbour. The median of the quotients is what a machine that
// is busy with other things does not change.
const (
	blockTime = 4 * time.Millisecond
	blocks    = 61
)

// cpu returns the CPU time of this process, the collector's included. Waiting
// for a busy machine does not count.
func cpu() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) != nil {
		return 0 // no quotient passes its gate
	}
	return time.Duration(t.Nano())
}

type duel struct {
	operation, against string
	gate               float64
	ours, bare         func() error
	each               int // parts of one operation that the figures are for: entries, say; 0 counts as 1
}

// run measures the duel.
func (d duel) run() (Row, error) {
	r := Row{Operation: d.operation, Against: d.against, Gate: d.gate, Unit: "µs"}
	mine, err := calibrate(d.ours)
	if err != nil {
		return r, fmt.Errorf("%s: %w", d.operation, err)
	}
	theirs, err := calibrate(d.bare)
	if err != nil {
		return r, fmt.Errorf("%s: %w", d.against, err)
	}
	runtime.GC()
	var ours, bare, ratios []float64
	for range blocks {
		b, err := timed(d.bare, theirs)
		if err != nil {
			return r, err
		}
		o, err := timed(d.ours, mine)
		if err != nil {
			return r, err
		}
		ours, bare, ratios = append(ours, o), append(bare, b), append(ratios, o/b)
	}
	each := float64(max(d.each, 1))
	r.Ours, r.Bare, r.Ratio = median(ours)/each/1e3, median(bare)/each/1e3, median(ratios)
	allocs, err := allocations(d.ours)
	r.Allocs = &allocs
	return r, err
}

// calibrate returns how often an operation runs in one block.
func calibrate(op func() error) (int, error) {
	for n := 1; ; n *= 2 {
		nanoseconds, err := timed(op, n)
		if err != nil {
			return 0, err
		}
		if total := nanoseconds * float64(n); total >= float64(blockTime)/2 || n > 1<<20 {
			return max(1, int(float64(n)*float64(blockTime)/total)), nil
		}
	}
}

// timed returns the nanoseconds of CPU time that one of n runs takes.
func timed(op func() error, n int) (float64, error) {
	start := cpu()
	for range n {
		if err := op(); err != nil {
			return 0, err
		}
	}
	return float64(cpu()-start) / float64(n), nil
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// allocations returns how many objects one operation allocates.
func allocations(op func() error) (float64, error) {
	const runs = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if err := op(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / runs), nil
}
