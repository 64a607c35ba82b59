package appraise

import (
	"fmt"
	"maps"
	"slices"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/policy"
)

// Lists say what may be measured, not what has to be. Most boot chains measure
// the kernel, its initial RAM disk and its command line more than once, by
// different programs; a boot that lacks one of these was started in another way
// than the samples, though whatever it shows is listed. So a learned policy has a
// rule for each register in which every sample showed the thing.

// stage is one kind of thing that chains measure in several registers.
type stage struct {
	id, list, name string // of the rule, of the fact, for people
	pcrs           func(*eventlog.Facts) []int
}

var stages = []stage{
	{"kernel", "kernels", "kernel", func(f *eventlog.Facts) []int {
		return each(f.Kernels, func(k eventlog.Kernel) int { return k.PCR })
	}},
	{"initrd", "initrds", "initial RAM disk", func(f *eventlog.Facts) []int {
		return each(f.Initrds, func(i eventlog.Initrd) int { return i.PCR })
	}},
	{"command-line", "commandLines", "kernel command line", func(f *eventlog.Facts) []int {
		return each(f.CommandLines, func(l eventlog.CommandLine) int { return l.PCR })
	}},
}

// stages counts in how many samples each register showed each thing.
func (l *learner) stages(f *eventlog.Facts) {
	l.samples++
	for i, s := range stages {
		for _, pcr := range slices.Compact(slices.Sorted(slices.Values(s.pcrs(f)))) {
			if l.shown[i] == nil {
				l.shown[i] = map[int]int{}
			}
			l.shown[i][pcr]++
		}
	}
}

// require writes the rules. Things that were only ever measured in one register
// need none: a kernel, and whatever the policy lists, must be there anyway.
func (l *learner) require() {
	for i, s := range stages {
		if len(l.shown[i]) < 2 {
			continue
		}
		for _, pcr := range slices.Sorted(maps.Keys(l.shown[i])) {
			if l.shown[i][pcr] < l.samples {
				continue
			}
			l.policy.Rules = append(l.policy.Rules, policy.Rule{
				ID:      fmt.Sprintf("%s-in-pcr-%d", s.id, pcr),
				Deny:    fmt.Sprintf("!boot.%s.exists(x, x.pcr == %d)", s.list, pcr),
				Message: fmt.Sprintf("the log shows no %s in PCR %d, where every boot that this policy was learned from has one", s.name, pcr),
				Remedy:  "boot the usual entry of the boot menu; if the boot loader was changed, learn the policy anew",
			})
		}
	}
}
