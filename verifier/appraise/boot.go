package appraise

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// boot is one full appraisal of a boot.
type boot struct {
	*report
	set   *policy.Set
	p     *policy.Policy
	facts *eventlog.Facts
	now   time.Time
}

// bootReport returns what the boot shows: from the history if the same log was
// judged under the same policy in this epoch, else by judging it now.
func bootReport(set *policy.Set, ev *evidence.Verified, next *History, now time.Time) *report {
	if len(next.Passed)+len(next.Boot) > 0 {
		return &report{passed: next.Passed, findings: next.Boot}
	}
	b := &boot{newReport(32, 0), set, set.Policy(), ev.Facts(), now}
	b.firmware()
	b.secureBoot()
	b.chain()
	b.loaded()
	b.pcrs(ev)
	b.rules(ev, next.TPM)
	next.Passed, next.Boot = slices.Clip(b.passed), slices.Clip(b.findings)
	return b.report
}

// item is one measured thing to look up, and what people call it.
type item struct {
	eventlog.Measurement
	name string
}

func (i item) where() string {
	place := fmt.Sprintf("event %d, PCR %d", i.Event, i.PCR)
	if i.name != "" {
		place += " (" + i.name + ")"
	}
	return place
}

// listed runs a check that every item is in a manifest of the use.
func (b *boot) listed(id verdict.CheckID, mode policy.Mode, use policy.Use, all items) {
	c := b.begin(id, mode)
	b.look(&c, use, all)
	c.end()
}

// look looks all items up and returns how many there are.
func (b *boot) look(c *check, use policy.Use, all items) (n int) {
	listed := b.set.Listed(use)
	wanted := "" // said once: a hostile log has thousands of events, a manifest too
	all(b.facts, func(i item) {
		n++
		standing, found := listed[string(i.Digest)]
		switch {
		case !found:
			if wanted == "" {
				wanted = b.accepted(use)
			}
			c.find(i.where(), i.Digest.String(), wanted)
		case standing.Status != policy.Good:
			c.standing(standing, i.where(), i.Digest.String(), b.now)
		}
	})
	return n
}

// accepted says what a use accepts, in words short enough for one line.
func (b *boot) accepted(use policy.Use) string {
	const shown = 3
	some := b.set.Accepts(use, shown+1)
	switch {
	case len(some) == 0:
		return "none: the policy accepts nothing here"
	case len(some) > shown:
		return "one of " + list(some[:shown]) + " …"
	}
	return "one of " + list(some)
}

func (b *boot) firmware() {
	if b.p.Firmware == nil {
		return
	}
	c := b.begin(verdict.FirmwareBlob, b.p.Firmware.Mode)
	if b.look(&c, policy.UseFirmware, firmwareItems) == 0 {
		c.find("boot log", "no firmware measured", b.accepted(policy.UseFirmware))
	}
	c.end()
}

// chain judges the shape of the boot.
func (b *boot) chain() {
	c := b.begin(verdict.BootProfile, b.p.Boot.Mode)
	if !slices.Contains(b.p.Boot.Profiles, string(b.facts.Profile)) {
		c.find("boot log", string(b.facts.Profile), list(b.p.Boot.Profiles))
	}
	c.end()
	c = b.begin(verdict.BootIncomplete, b.p.Boot.Mode)
	if !b.facts.ExitBootServices {
		c.find("boot log", "no ExitBootServices", "ExitBootServices measured")
	}
	c.end()
}

// loaded judges everything that the boot loaded, whatever the log calls it.
func (b *boot) loaded() {
	mode, p := b.p.Boot.Mode, &b.p.Boot
	b.present(verdict.BootImage, policy.UseImages, imageItems, "no image measured")
	b.present(verdict.BootKernel, policy.UseKernel, kernelItems, "no kernel measured")
	if p.Initrd != nil {
		b.present(verdict.BootInitrd, policy.UseInitrd, initrdItems, "no initial RAM disk measured")
	} else {
		b.listed(verdict.BootInitrd, mode, policy.UseInitrd, initrdItems)
	}
	b.commandLine()
	if p.LoaderCommands != nil {
		b.listed(verdict.BootLoaderCommand, mode, policy.UseLoaderCommands, commandItems)
	}
	if judgesLoaderFiles(p) {
		b.listed(verdict.BootLoaderFile, mode, policy.UseLoaderFiles, loaderItems)
	}
	b.listed(verdict.BootOther, mode, policy.UseOther, otherItems)
}

// judgesLoaderFiles reports whether the policy accepts a chain with GRUB. Which of
// GRUB's files is the kernel is only claimed, so all of them are looked up, and a
// policy that lists none accepts none beside kernel and RAM disk.
func judgesLoaderFiles(b *policy.Boot) bool {
	return b.LoaderFiles != nil || slices.Contains(b.Profiles, string(eventlog.ProfileShimGrub)) || slices.Contains(b.Profiles, string(eventlog.ProfileGrub))
}

// present is listed for things of which a boot must show at least one.
func (b *boot) present(id verdict.CheckID, use policy.Use, all items, none string) {
	c := b.begin(id, b.p.Boot.Mode)
	if b.look(&c, use, all) == 0 {
		c.find("boot log", none, b.accepted(use))
	}
	c.end()
}

func (b *boot) commandLine() {
	c := b.begin(verdict.BootCommandLine, b.p.Boot.Mode)
	if len(b.facts.CommandLines) == 0 {
		c.find("boot log", "no kernel command line measured", nearest("", b.p.Boot.CommandLine))
	}
	for _, l := range b.facts.CommandLines {
		if slices.ContainsFunc(b.p.Boot.CommandLine, l.Matches) {
			continue
		}
		if c.found++; c.found <= maxRepeats { // what is nearest takes long to find
			c.add(c.finding(item{l.Measurement, "kernel command line"}.where(), lineText(l), nearest(l.Text, b.p.Boot.CommandLine)))
		}
	}
	c.end()
}

// lineText is the command line, or its digest where the log does not give the text.
func lineText(l eventlog.CommandLine) string {
	if l.TextFrom == eventlog.Measured {
		return l.Text
	}
	return "text unknown, " + l.Digest.String()
}

// nearest returns the allowed command line that differs in the fewest arguments,
// the first in order among equals.
func nearest(text string, allowed []string) string {
	best, least := "", -1
	for _, a := range allowed {
		if d := distance(text, a); least < 0 || d < least {
			best, least = a, d
		}
	}
	return best
}

// distance counts the arguments that only one of two command lines has.
func distance(a, b string) int {
	count := map[string]int{}
	for arg := range strings.FieldsSeq(a) {
		count[arg]++
	}
	for arg := range strings.FieldsSeq(b) {
		count[arg]--
	}
	total := 0
	for _, n := range count {
		total += max(n, -n)
	}
	return total
}

func (b *boot) pcrs(ev *evidence.Verified) {
	if len(b.p.Boot.PCRs) == 0 {
		return
	}
	c := b.begin(verdict.BootPCR, b.p.Boot.Mode)
	for _, number := range slices.Sorted(maps.Keys(b.p.Boot.PCRs)) {
		accepted := b.p.Boot.PCRs[number]
		value, quoted := ev.PCR(number)
		got := fmt.Sprintf("sha256:%x", value)
		if !quoted {
			got = "not quoted"
		}
		if !slices.Contains(accepted, got) {
			c.find(fmt.Sprintf("PCR %d", number), got, list(accepted))
		}
	}
	c.end()
}

func (b *boot) rules(ev *evidence.Verified, tpm TPM) {
	rules := b.set.Rules()
	if len(rules) == 0 {
		return
	}
	facts := ruleFacts(b.facts, tpm, ev.Firmware(), b.set.Reads)
	found := 0
	for i := range rules {
		r := &rules[i]
		deny, err := r.Denies(facts)
		if !deny && err == nil {
			continue
		}
		found++
		c := b.begin(verdict.RuleDenied, r.Mode)
		got := r.Deny
		if err != nil {
			got = fmt.Sprintf("%s: %v", r.Deny, err)
		}
		f := c.finding("rule "+r.ID, got, "the expression to be false")
		f.Message, f.Remedy = verdict.Quote(r.Message), verdict.Quote(r.Remedy)
		c.add(f)
	}
	if found == 0 {
		c := b.begin(verdict.RuleDenied, policy.Enforce)
		c.end()
	}
}
