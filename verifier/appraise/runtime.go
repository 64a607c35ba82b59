package appraise

import (
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// judgeRuntime judges the IMA entries that the evidence brings, and repeats what
// was found in earlier ones. An entry that was refused stays refused until the
// host reboots or the policy changes.
func judgeRuntime(r *report, set *policy.Set, ev *evidence.Verified, next *History, now time.Time) {
	p := set.Policy().Runtime
	if p == nil {
		return
	}
	segment := ev.IMA()
	c := r.begin(verdict.RuntimeIMAMissing, p.Mode)
	if p.Required && segment.End.Entries == 0 {
		c.find("IMA list", "no entry", "the kernel's list")
	}
	c.end()
	c = r.begin(verdict.RuntimeIMAGap, p.Mode)
	if gap := segment.Start.Entries > next.Judged; gap {
		c.find(place(segment.Start.Entries), fmt.Sprintf("entries from %d on", segment.Start.Entries), fmt.Sprintf("entries from %d on", next.Judged))
	} else {
		j := &runtime{report: newReport(0, 0), set: set, mode: p.Mode, now: now}
		j.entries(segment, next)
	}
	c.end()
	repeatRuntime(r, p.Mode, next)
}

// repeatRuntime reports everything found in this epoch, and the checks that found
// nothing as passed.
func repeatRuntime(r *report, mode policy.Mode, next *History) {
	r.findings = append(r.findings, next.Runtime...)
	for _, id := range []verdict.CheckID{verdict.RuntimeIMAUnlisted, verdict.RuntimeIMAViolation, verdict.RuntimeKexec} {
		if !r.ran(id) {
			r.passed = append(r.passed, id)
		}
	}
	if next.Refused > maxRepeats {
		c := r.begin(verdict.RuntimeIMAUnlisted, mode)
		c.add(c.finding("in all", fmt.Sprintf("%d entries refused, the first %d shown", next.Refused, maxRepeats), "none"))
	}
}

func place(index uint64) string { return fmt.Sprintf("entry %d", index) }

// runtime is the appraisal of one segment of the IMA list.
type runtime struct {
	*report
	set     *policy.Set
	mode    policy.Mode
	now     time.Time
	refused uint64 // entries found wanting
}

// entries judges the segment's entries that were not judged before.
func (j *runtime) entries(segment *ima.Segment, next *History) {
	if segment.End.Entries <= next.Judged {
		return
	}
	j.refused = next.Refused
	j.findings = slices.Clone(next.Runtime)
	for e := range segment.Except(next.Judged, j.set.GoodFiles) {
		j.entry(&e)
	}
	next.Judged, next.Refused, next.Runtime = segment.End.Entries, j.refused, slices.Clip(j.findings)
}

// entry judges one entry that is not simply a listed file of a good manifest.
func (j *runtime) entry(e *ima.Entry) {
	switch e.Kind {
	case ima.KindBootAggregate: // compared with the quoted PCRs when the list was verified
	case ima.KindFile:
		j.lookUp(e, j.set.FindFile)
	case ima.KindBuffer:
		j.lookUp(e, j.set.FindBuffer)
	case ima.KindViolation:
		j.refuse(verdict.RuntimeIMAViolation, e, string(e.Path), "no violation")
	case ima.KindKexec:
		j.refuse(verdict.RuntimeKexec, e, string(e.Path)+" "+string(e.Buffer), "no kexec")
	default:
		j.refuse(verdict.RuntimeIMAUnlisted, e, "an entry of an unknown kind", "kinds that the policy can judge")
	}
}

func (j *runtime) lookUp(e *ima.Entry, find func(path, digest []byte) (policy.Standing, bool)) {
	standing, listed := find(e.Path, e.Digest)
	switch {
	case !listed || e.DigestAlg != "sha256":
		j.refuse(verdict.RuntimeIMAUnlisted, e, string(e.Path)+" "+e.DigestText(), j.wanted(e))
	case standing.Status == policy.Good:
	case standing.At(j.now) == policy.Revoked:
		j.revoked(e, standing)
	default:
		c := j.begin(verdict.RuntimeIMAUnlisted, j.mode)
		c.standing(standing, place(e.Index), string(e.Path)+" "+e.DigestText(), j.now)
	}
}

// wanted says what the manifests accept at the entry's path.
func (j *runtime) wanted(e *ima.Entry) string {
	if digests := j.set.FileDigests(e.Path, 3); len(digests) > 0 {
		return "at this path " + list(digests)
	}
	return "a path that a manifest lists"
}

func (j *runtime) refuse(id verdict.CheckID, e *ima.Entry, got, want string) {
	if j.refused++; j.refused <= maxRepeats {
		c := j.begin(id, j.mode)
		c.find(place(e.Index), got, want)
	}
}

func (j *runtime) revoked(e *ima.Entry, s policy.Standing) {
	if j.refused++; j.refused <= maxRepeats {
		c := j.begin(verdict.RuntimeIMAUnlisted, j.mode)
		c.standing(s, place(e.Index), string(e.Path)+" "+e.DigestText(), j.now)
	}
}
