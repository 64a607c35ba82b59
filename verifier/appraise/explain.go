package appraise

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// Account tells a person how a verdict came about, layer by layer.
type Account struct {
	Verdict verdict.Verdict `json:"verdict"`
	Layers  []Layer         `json:"layers"`
}

// Layer is one layer of the policy.
type Layer struct {
	Name  string `json:"name"`  // "secureBoot", as in the policy
	Mode  string `json:"mode"`  // "enforce", "warn", or "not judged" if the policy leaves it out
	Lines []Line `json:"lines"` // one per check
}

// Line is one check: what the policy required, what the evidence showed.
type Line struct {
	Check    verdict.CheckID   `json:"check"`
	Required string            `json:"required"`
	Found    string            `json:"found"`
	Result   string            `json:"result"` // "pass", "warn" or "deny"
	Findings []verdict.Finding `json:"findings,omitempty"`
}

// Explain appraises and accounts for every check that ran.
func Explain(set *policy.Set, ev *evidence.Verified, prev History, now time.Time) Account {
	v := Appraise(set, ev, prev, now)
	a := Account{Verdict: v}
	if set == nil || ev == nil {
		return a
	}
	p := set.Policy()
	e := &explainer{set: set, p: p, ev: ev, facts: ev.Facts(), prev: prev, verdict: v}
	a.Layers = []Layer{
		e.layer("timing", true, policy.Enforce, "timing."),
		e.layer("tpm", true, p.TPM.Mode, "tpm."),
		e.layer("firmware", p.Firmware != nil, e.firmwareMode(), "firmware."),
		e.layer("secureBoot", true, p.SecureBoot.Mode, "secureboot."),
		e.layer("boot", true, p.Boot.Mode, "boot."),
		e.layer("rules", len(p.Rules) > 0, policy.Enforce, "rule."),
		e.layer("runtime", p.Runtime != nil, e.runtimeMode(), "runtime."),
		e.layer("manifests", true, policy.Enforce, "policy."),
	}
	return a
}

type explainer struct {
	set     *policy.Set
	p       *policy.Policy
	ev      *evidence.Verified
	facts   *eventlog.Facts
	prev    History
	verdict verdict.Verdict
}

func (e *explainer) firmwareMode() policy.Mode {
	if e.p.Firmware == nil {
		return policy.Enforce
	}
	return e.p.Firmware.Mode
}

func (e *explainer) runtimeMode() policy.Mode {
	if e.p.Runtime == nil {
		return policy.Enforce
	}
	return e.p.Runtime.Mode
}

// layer gathers the checks whose identifiers have the prefix, in the order they ran.
func (e *explainer) layer(name string, judged bool, mode policy.Mode, prefix string) Layer {
	l := Layer{Name: name, Mode: mode.String(), Lines: []Line{}}
	if !judged {
		l.Mode = "not judged"
	}
	var ids []verdict.CheckID
	add := func(id verdict.CheckID) {
		if strings.HasPrefix(string(id), prefix) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range append(Required(e.set), e.verdict.Passed...) {
		add(id)
	}
	for _, f := range e.verdict.Findings {
		add(f.Check)
	}
	for _, id := range ids {
		l.Lines = append(l.Lines, e.line(id))
	}
	return l
}

func (e *explainer) line(id verdict.CheckID) Line {
	l := Line{Check: id, Result: "pass", Required: e.required(id), Found: e.found(id)}
	for _, f := range e.verdict.Findings {
		if f.Check != id {
			continue
		}
		l.Findings = append(l.Findings, f)
		if f.Severity == verdict.Deny {
			l.Result = "deny"
		} else if l.Result == "pass" {
			l.Result = "warn"
		}
	}
	return l
}

// required says what the policy asks for, in words; the check's own text where
// the policy has nothing to add.
func (e *explainer) required(id verdict.CheckID) string {
	switch id {
	case verdict.TPMClass:
		return list(e.p.TPM.Classes)
	case verdict.TPMFirmware, verdict.TPMVendor:
		var all []string
		for _, vendor := range keys(e.p.TPM.MinFirmware) {
			all = append(all, vendor+" "+e.p.TPM.MinFirmware[vendor]+" or later")
		}
		return list(all)
	case verdict.BootProfile:
		return list(e.p.Boot.Profiles)
	case verdict.BootCommandLine:
		return strings.Join(e.p.Boot.CommandLine, "\n")
	case verdict.RuleDenied:
		return fmt.Sprintf("%d rule(s) not to apply", len(e.p.Rules))
	}
	if use := checkUses[id]; e.set.Uses(use) {
		return fmt.Sprintf("each of %d listed by %s", len(e.set.Listed(use)), list(e.set.ManifestsOf(use)))
	}
	if id == verdict.RuntimeIMAUnlisted && e.p.Runtime != nil {
		return "every file listed by " + list(e.p.Runtime.Manifests)
	}
	c, _ := verdict.Lookup(id)
	return c.Want
}

// checkUses says which part of the policy each check looks things up in.
var checkUses = map[verdict.CheckID]policy.Use{
	verdict.FirmwareBlob: policy.UseFirmware, verdict.SecureBootPK: policy.UsePK, verdict.SecureBootKEK: policy.UseKEK,
	verdict.SecureBootDB: policy.UseDB, verdict.SecureBootDBX: policy.UseDBX, verdict.SecureBootAuthority: policy.UseAuthorities,
	verdict.SecureBootMOK: policy.UseMOK, verdict.BootImage: policy.UseImages, verdict.BootKernel: policy.UseKernel,
	verdict.BootInitrd: policy.UseInitrd, verdict.BootLoaderCommand: policy.UseLoaderCommands,
	verdict.BootLoaderFile: policy.UseLoaderFiles, verdict.BootOther: policy.UseOther,
}

// Missing is a reference value that a finding asked for in vain.
type Missing struct {
	Check     verdict.CheckID
	Kind      policy.Kind // of the entry that would list it
	Found     string      // as the finding has it: a digest, or a path and a digest
	Manifests []string    // of the policy, in any of which it would count
}

// Wanting lists what the manifests of a policy would have to hold for its findings
// not to be: each finding about a value that no manifest lists.
func Wanting(set *policy.Set, findings []verdict.Finding) []Missing {
	if set == nil {
		return nil
	}
	var all []Missing
	for _, f := range findings {
		kind, manifests := references(set, f.Check)
		if kind != "" && len(manifests) > 0 {
			all = append(all, Missing{f.Check, kind, f.Got, manifests})
		}
	}
	return all
}

// references says which kind of entry a check looks up, and in which manifests.
func references(set *policy.Set, check verdict.CheckID) (policy.Kind, []string) {
	if check == verdict.RuntimeIMAUnlisted {
		if runtime := set.Policy().Runtime; runtime != nil {
			return policy.KindFile, runtime.Manifests
		}
		return "", nil
	}
	use, ok := checkUses[check]
	if !ok {
		return "", nil
	}
	return use.Kind(), set.ManifestsOf(use)
}

// found says what the evidence shows, in words.
func (e *explainer) found(id verdict.CheckID) string {
	f := e.facts
	switch id {
	case verdict.TPMClass:
		return e.prev.TPM.Class
	case verdict.TPMVendor:
		return e.prev.TPM.Vendor
	case verdict.TPMFirmware, verdict.TPMRollback:
		return policy.FirmwareVersion(e.ev.Firmware()).String()
	case verdict.SecureBootOff:
		return map[bool]string{true: "on", false: "off or not measured"}[f.SecureBoot.Known && f.SecureBoot.Enabled]
	case verdict.BootProfile:
		return string(f.Profile)
	case verdict.BootCommandLine:
		lines := each(f.CommandLines, lineText)
		slices.Sort(lines)
		return strings.Join(slices.Compact(lines), "\n")
	case verdict.RuntimeIMAUnlisted:
		return fmt.Sprintf("%d entries verified", e.ev.IMA().End.Entries)
	}
	if items := e.items(id); items != nil {
		return fmt.Sprintf("%d measured", count(items, f))
	}
	return ""
}

func (e *explainer) items(id verdict.CheckID) items {
	for _, l := range lists {
		if l.check == id {
			return l.items
		}
	}
	return map[verdict.CheckID]items{
		verdict.FirmwareBlob: firmwareItems, verdict.BootImage: imageItems, verdict.BootKernel: kernelItems,
		verdict.BootInitrd: initrdItems, verdict.BootLoaderCommand: commandItems, verdict.BootLoaderFile: loaderItems, verdict.BootOther: otherItems,
	}[id]
}

func count(all items, f *eventlog.Facts) (n int) {
	all(f, func(item) { n++ })
	return n
}
