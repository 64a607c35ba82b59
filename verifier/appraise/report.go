package appraise

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// maxRepeats bounds the findings of one check; the rest is counted.
const maxRepeats = 20

// report gathers what checks find. A check that ran is in passed or has findings.
type report struct {
	passed   []verdict.CheckID
	findings []verdict.Finding
}

func newReport(passed, findings int) *report {
	return &report{passed: make([]verdict.CheckID, 0, passed), findings: make([]verdict.Finding, 0, findings)}
}

func (r *report) append(other *report) {
	r.passed = append(r.passed, other.passed...)
	r.findings = append(r.findings, other.findings...)
}

// check is one running check.
type check struct {
	report *report
	id     verdict.CheckID
	mode   policy.Mode
	found  int
}

func (r *report) begin(id verdict.CheckID, mode policy.Mode) check {
	return check{report: r, id: id, mode: mode}
}

// end records the check as passed if it found nothing.
func (c *check) end() {
	if c.found == 0 {
		c.report.passed = append(c.report.passed, c.id)
	}
	if more := c.found - maxRepeats; more > 0 {
		c.add(c.finding("in all", fmt.Sprintf("%d more of these", more), ""))
	}
}

// find records one finding, of the severity that the layer's mode gives.
func (c *check) find(where, got, want string) {
	if c.found++; c.found <= maxRepeats {
		c.add(c.finding(where, got, want))
	}
}

func (c *check) add(f verdict.Finding) { c.report.findings = append(c.report.findings, f) }

func (c *check) finding(where, got, want string) verdict.Finding {
	f := refusal(c.id, where, got, want)
	if c.mode == policy.Warn {
		f.Severity = verdict.Warn
	}
	return f
}

// refusal returns a finding that denies, with the texts registered for its check.
func refusal(id verdict.CheckID, where, got, want string) verdict.Finding {
	return verdict.Refuse(id, where, got, want).Finding
}

// standing records what the status of a listed entry calls for.
func (c *check) standing(s policy.Standing, where, got string, now time.Time) {
	switch s.At(now) {
	case policy.Revoked:
		if c.found++; c.found <= maxRepeats {
			f := c.finding(where, got, "a digest that is not revoked")
			f.Message = fmt.Sprintf("manifest %s revoked it on %s", s.Manifest, s.Since.Format(time.DateOnly))
			c.add(f)
		}
	case policy.Outdated:
		f := refusal(verdict.PolicyOutdated, where, got, "an entry of a manifest that is good")
		f.Severity = verdict.Warn
		f.Message = fmt.Sprintf("manifest %s is outdated", s.Manifest)
		if s.Status == policy.Revoked {
			f.Message = fmt.Sprintf("manifest %s will be revoked on %s", s.Manifest, s.Since.Format(time.DateOnly))
		}
		c.warn(f)
	}
}

// warn records a warning of an outdated entry, once per manifest.
func (c *check) warn(f verdict.Finding) {
	for _, old := range c.report.findings {
		if old.Check == f.Check && old.Message == f.Message {
			return
		}
	}
	c.add(f)
}

// verdict concludes. This is the only place that admits.
func (r *report) verdict(set *policy.Set, now time.Time) verdict.Verdict {
	for _, id := range Required(set) {
		if !r.ran(id) {
			r.findings = append(r.findings, refusal(verdict.PolicySkipped, "appraisal", string(id), "every required check to run"))
		}
	}
	v := verdict.Verdict{Policy: set.String(), At: now, Passed: r.passed, Findings: r.findings}
	if !v.Denies() {
		v.Decision = verdict.Admitted
	}
	return v
}

func (r *report) ran(id verdict.CheckID) bool {
	return slices.Contains(r.passed, id) ||
		slices.ContainsFunc(r.findings, func(f verdict.Finding) bool { return f.Check == id })
}

func list(all []string) string { return strings.Join(all, ", ") }

func keys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
