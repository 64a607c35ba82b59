package appraise

import (
	"slices"
	"time"

	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// maxBackstep is how far two verifiers' clocks may differ.
const maxBackstep = time.Minute

// Appraise judges verified evidence. It reports, in order: the verifier's clock;
// the TPM; the machine's firmware; Secure Boot; everything the boot loaded; the
// policy's rules; what ran since. Checks of a layer that the policy leaves out do
// not run, and no check stops another.
//
// Admitted means that every check of Required ran, and that no layer which
// enforces found anything.
func Appraise(set *policy.Set, ev *evidence.Verified, prev History, now time.Time) verdict.Verdict {
	v, _ := Next(set, ev, prev, now)
	return v
}

// Next is Appraise, and also returns the history for the next appraisal.
//
// What was found in the boot is reused while the policy set, the statuses in
// force, the boot epoch, the boot log and the TPM's firmware stay the same; what was found in the IMA
// list is repeated as long, since what has run cannot be undone.
func Next(set *policy.Set, ev *evidence.Verified, prev History, now time.Time) (verdict.Verdict, History) {
	now = now.UTC()
	if set == nil || ev == nil {
		return verdict.Verdict{At: now, Findings: []verdict.Finding{refusal(verdict.PolicyNone, "", "no policy", "an approved policy")}}, prev
	}
	next := prev.resume(set, ev, now)
	if next.Firmware != ev.Firmware() {
		next.Boot, next.Passed = nil, nil // rules look at the TPM's firmware
	}
	r := newReport(40, len(next.Boot)+len(next.Runtime))
	judgeTiming(r, prev, now)
	judgeTPM(r, set, ev, prev)
	r.append(bootReport(set, ev, &next, now))
	judgeRuntime(r, set, ev, &next, now)
	next.At, next.Firmware = now, max(prev.Firmware, ev.Firmware())
	if next.Firmware != ev.Firmware() {
		next.Boot, next.Passed = nil, nil
	}
	return r.verdict(set, now), next
}

// resume returns the history with everything dropped that a change has voided.
func (h History) resume(set *policy.Set, ev *evidence.Verified, now time.Time) History {
	if h.holds(set, ev.Epoch(), now) && h.BootLog == ev.BootLogDigest() {
		return h
	}
	h = h.Bare()
	h.Set, h.Stage, h.Epoch, h.BootLog = set.Digest(), set.Stage(now), ev.Epoch(), ev.BootLogDigest()
	return h
}

func (h History) holds(set *policy.Set, epoch verdict.Epoch, now time.Time) bool {
	return h.Set == set.Digest() && h.Stage == set.Stage(now) && h.Epoch == epoch
}

// From returns the index of the first IMA entry that the next evidence has to
// carry, so that none goes unjudged: 0 after a change of policy or a reboot.
func (h History) From(set *policy.Set, epoch verdict.Epoch, now time.Time) uint64 {
	if !h.holds(set, epoch, now) {
		return 0
	}
	return h.Judged
}

// Required returns the checks that must have run before the set admits a node.
// It is derived from the policy alone, never from what happened to run.
func Required(set *policy.Set) []verdict.CheckID {
	p := set.Policy()
	all := append(make([]verdict.CheckID, 0, 40), verdict.TimingClock, verdict.TPMClass, verdict.TPMRollback)
	add := func(wanted bool, ids ...verdict.CheckID) {
		if wanted {
			all = append(all, ids...)
		}
	}
	add(len(p.TPM.MinFirmware) > 0, verdict.TPMVendor, verdict.TPMFirmware)
	add(p.Firmware != nil, verdict.FirmwareBlob)
	add(p.SecureBoot.Required, verdict.SecureBootOff, verdict.SecureBootMode)
	add(true, verdict.SecureBootWeakened)
	for _, l := range lists {
		add(set.Uses(l.use), l.check)
	}
	add(true, verdict.BootProfile, verdict.BootIncomplete, verdict.BootImage, verdict.BootKernel,
		verdict.BootInitrd, verdict.BootCommandLine, verdict.BootOther)
	add(p.Boot.LoaderCommands != nil, verdict.BootLoaderCommand)
	add(judgesLoaderFiles(&p.Boot), verdict.BootLoaderFile)
	add(len(p.Boot.PCRs) > 0, verdict.BootPCR)
	add(len(p.Rules) > 0, verdict.RuleDenied)
	add(p.Runtime != nil, verdict.RuntimeIMAMissing, verdict.RuntimeIMAGap, verdict.RuntimeIMAUnlisted,
		verdict.RuntimeIMAViolation, verdict.RuntimeKexec)
	return all
}

func judgeTiming(r *report, prev History, now time.Time) {
	c := r.begin(verdict.TimingClock, policy.Enforce)
	if now.Before(prev.At.Add(-maxBackstep)) {
		c.find("clock", now.Format(time.RFC3339), "not before "+prev.At.Format(time.RFC3339))
	}
	c.end()
}

func judgeTPM(r *report, set *policy.Set, ev *evidence.Verified, prev History) {
	t := set.Policy().TPM
	c := r.begin(verdict.TPMClass, t.Mode)
	if !slices.Contains(t.Classes, prev.TPM.Class) {
		c.find("enrolment", prev.TPM.Class, list(t.Classes))
	}
	c.end()
	version := policy.FirmwareVersion(ev.Firmware())
	if len(t.MinFirmware) > 0 {
		judgeFirmwareVersion(r, t, prev.TPM.Vendor, version)
	}
	c = r.begin(verdict.TPMRollback, t.Mode)
	if ev.Firmware() < prev.Firmware {
		c.find("quote", version.String(), policy.FirmwareVersion(prev.Firmware).String()+" or later")
	}
	c.end()
}

func judgeFirmwareVersion(r *report, t policy.TPM, vendor string, version policy.FirmwareVersion) {
	text, listed := t.MinFirmware[vendor]
	c := r.begin(verdict.TPMVendor, t.Mode)
	if !listed {
		c.find("enrolment", vendor, list(keys(t.MinFirmware)))
	}
	c.end()
	c = r.begin(verdict.TPMFirmware, t.Mode)
	// A version that does not parse cannot come out of policy.Parse; if it did,
	// nothing would be new enough.
	least, err := policy.ParseFirmwareVersion(text)
	if listed && (err != nil || version < least) {
		c.find("quote", version.String(), text+" or later")
	}
	c.end()
}

// Retryable reports whether nothing is against the node but that evidence was
// asked for before the policy changed, so that the verifier should ask once more,
// for the whole IMA list, before it believes the verdict.
func Retryable(v verdict.Verdict) bool {
	gap := false
	for _, f := range v.Findings {
		if f.Severity == verdict.Deny && f.Check != verdict.RuntimeIMAGap {
			return false
		}
		gap = gap || f.Check == verdict.RuntimeIMAGap
	}
	return gap
}
