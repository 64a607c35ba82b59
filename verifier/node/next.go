package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// ReleasesNeeded is how many distinct operators lift a quarantine.
const ReleasesNeeded = 2

// New returns the record of a freshly enrolled node. Approvals names operators
// who approved beforehand (a pre-approving invitation); required is how many
// approvals the enrolment takes. A TPM that a retired node had before takes at
// least two, so that retiring and enrolling again cannot wash a history away:
// predecessor is that node's id, or empty.
func New(id Identity, approvals []string, required int, predecessor string, now time.Time) (Record, error) {
	if predecessor != "" {
		required = max(required, 2)
	}
	now = stamp(now)
	r := Record{
		Identity: id, Approvals: slices.Clone(approvals), Required: required, Predecessor: predecessor,
		Enrolled: now, Changed: now,
	}
	r.Reason = r.waiting()
	return r, r.Validate()
}

// Next returns the record after the event. It never changes its argument. The
// error is a *verdict.Refusal when the event may not happen in this state; the
// record is then unchanged.
//
//	event         pending      admitted   late       suspended        quarantined   retired
//	Approved      counted      refused    refused    refused          refused       refused
//	Passed        admitted¹    admitted   admitted   admitted²        unchanged     refused
//	Refused       pending³     suspended  suspended  suspended        unchanged     refused
//	Tick          unchanged    late⁴      unchanged  unchanged        unchanged     unchanged
//	Issued        refused      recorded   refused    refused          refused       refused
//	Suspended…    suspended    suspended  suspended  suspended        refused       refused
//	Resumed       refused      refused    refused    pending          pending⁵      refused
//	Retired…      retired      retired    retired    retired          retired       refused
//	CloneSign     quarantined  (every state)                                        refused
//
// ¹ if approved. ² if its evidence was refused in an earlier boot epoch and no
// operator suspended it. ³ if it was never admitted; suspended if it was. ⁴ once
// the last proof is no longer fresh. ⁵ when a second operator asks.
//
// Passed, and Refused if authentic, quarantine any node whose boot epoch or
// clock went back: one TPM cannot do that, a copy can.
func Next(rec Record, event Event, now time.Time) (Record, error) {
	if rec.State == Retired {
		if _, ok := event.(Tick); ok {
			return rec, nil
		}
		return rec, refuse(verdict.NodeRetired, rec, rec.Reason)
	}
	next := rec.clone()
	if err := next.apply(event, stamp(now)); err != nil {
		return rec, err
	}
	if next.State != rec.State {
		next.Changed = stamp(now)
	}
	return next, nil
}

func (r *Record) apply(event Event, now time.Time) error {
	switch e := event.(type) {
	case Passed:
		return r.passed(e, now)
	case Refused:
		return r.refused(e, now)
	case Tick:
		r.tick(now)
		return nil
	case Issued:
		return r.issued(e, now)
	case Approved:
		return r.approved(e)
	case SuspendedByOperator:
		return r.suspended(e)
	case Resumed:
		return r.resumed(e)
	case RetiredByOperator:
		return r.retired(e)
	case CloneSign:
		r.quarantine(e.Reason)
		return nil
	}
	return refuse(verdict.NodeTransition, *r, fmt.Sprintf("unknown event %T", event))
}

func (r *Record) passed(e Passed, now time.Time) error {
	if e.LateAfter <= 0 || e.Evidence.IsZero() && r.Evidence.IsZero() {
		return refuse(verdict.NodeTransition, *r, "a pass without evidence or without a time for which it counts")
	}
	if sign := r.cloneSign(e.Proof); sign != "" {
		r.record(e.Proof, now)
		r.quarantine(sign)
		return nil
	}
	r.record(e.Proof, now)
	r.LastPass, r.FreshUntil = now, stamp(now.Add(e.LateAfter))
	switch r.State {
	case Quarantined:
		return nil
	case Suspended:
		if r.LatchedBy != "" || e.Epoch.Compare(r.LatchEpoch) <= 0 {
			return nil
		}
		r.release()
	}
	r.admitIfApproved(now)
	return nil
}

// admitIfApproved is the only place that assigns Admitted.
func (r *Record) admitIfApproved(now time.Time) {
	if !r.Approved() {
		r.State, r.Reason = Pending, r.waiting()
		return
	}
	r.State, r.Reason, r.Accepted = Admitted, "", r.Evidence
	if r.FirstAdmitted.IsZero() {
		r.FirstAdmitted = now
	}
}

func (r *Record) refused(e Refused, now time.Time) error {
	if !e.Authentic {
		e.Epoch, e.Clock = r.Epoch, r.Clock
	} else if sign := r.cloneSign(e.Proof); sign != "" {
		r.record(e.Proof, now)
		r.quarantine(sign)
		return nil
	}
	r.recordVerdict(e.Proof)
	if e.Authentic {
		r.recordTPM(e.Proof, now)
	}
	reason := firstReason(e.Findings)
	switch {
	case r.State == Quarantined:
		return nil
	case r.State == Pending && r.FirstAdmitted.IsZero():
		r.Reason = reason
		return nil
	case r.State != Suspended || r.LatchedBy == "":
		r.State, r.Reason = Suspended, reason
	}
	if e.Epoch.Compare(r.LatchEpoch) > 0 {
		r.LatchEpoch = e.Epoch
	}
	return nil
}

func (r *Record) tick(now time.Time) {
	if r.State == Admitted && Status(*r, now) == Late {
		r.State, r.Reason = Late, "no fresh evidence since "+r.LastPass.Format(time.RFC3339)
	}
}

func (r *Record) issued(e Issued, now time.Time) error {
	if err := Admissible(*r, now); err != nil {
		return err
	}
	if e.Serial <= r.Serial || !e.NotAfter.After(now) {
		return refuse(verdict.NodeTransition, *r, fmt.Sprintf("admission %d until %s after admission %d", e.Serial, e.NotAfter.UTC().Format(time.RFC3339), r.Serial))
	}
	r.Serial, r.NotAfter, r.AdmissionIndex = e.Serial, stamp(e.NotAfter), e.Index
	return nil
}

func (r *Record) approved(e Approved) error {
	if e.By == "" || slices.Contains(r.Approvals, e.By) {
		return refuse(verdict.NodeOperator, *r, "approval by "+cmp.Or(e.By, "nobody")+", already counted: "+list(r.Approvals))
	}
	if r.State != Pending || r.Approved() {
		return refuse(verdict.NodeTransition, *r, "approval of a node that waits for none")
	}
	r.Approvals = append(r.Approvals, e.By)
	r.Reason = r.waiting()
	return nil
}

func (r *Record) suspended(e SuspendedByOperator) error {
	if err := r.operator(e.By, e.Reason); err != nil {
		return err
	}
	if r.State == Quarantined {
		return refuse(verdict.NodeQuarantined, *r, "suspension by "+e.By)
	}
	if r.State != Suspended {
		r.LatchEpoch = r.Epoch
	}
	r.State, r.LatchedBy, r.Reason = Suspended, e.By, by(e.By, e.Reason)
	return nil
}

func (r *Record) resumed(e Resumed) error {
	if err := r.operator(e.By, e.Reason); err != nil {
		return err
	}
	switch r.State {
	case Suspended:
		r.release()
	case Quarantined:
		if slices.Contains(r.Releases, e.By) {
			return refuse(verdict.NodeOperator, *r, "a second release by "+e.By)
		}
		r.Releases = append(r.Releases, e.By)
		if len(r.Releases) < ReleasesNeeded {
			return nil
		}
		r.release()
		r.Epoch, r.Clock = verdict.Epoch{}, Clock{}
	default:
		return refuse(verdict.NodeTransition, *r, "resuming a node that is neither suspended nor quarantined")
	}
	r.State, r.Reason = Pending, "resumed, waits for passing evidence; "+by(e.By, e.Reason)
	return nil
}

func (r *Record) retired(e RetiredByOperator) error {
	if err := r.operator(e.By, e.Reason); err != nil {
		return err
	}
	r.State, r.Reason = Retired, by(e.By, e.Reason)
	return nil
}

// quarantine starts the doubt anew: releases given before it do not count.
func (r *Record) quarantine(reason string) {
	r.State, r.Reason, r.Releases = Quarantined, verdict.Quote(cmp.Or(reason, "two hosts may have this identity")), nil
}

func (r *Record) release() {
	r.LatchEpoch, r.LatchedBy, r.Releases = verdict.Epoch{}, "", nil
}

func (r *Record) operator(by, reason string) error {
	if by == "" || reason == "" {
		return refuse(verdict.NodeOperator, *r, "an operator's act without name or without reason")
	}
	return nil
}
