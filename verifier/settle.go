package verifier

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// judgement is one piece of evidence with everything that went into its verdict.
type judgement struct {
	raw      evidence.Raw
	want     evidence.Expected
	verified *evidence.Verified // nil if the evidence is not authentic
	set      *policy.Set        // nil if the node's role has no policy
	result   verdict.Verdict
	before   appraise.History
	after    appraise.History
}

// event is what the judgement means for the node's life.
func (j judgement) event(digest node.Digest) node.Event {
	proof := node.Proof{Evidence: digest, Policy: j.result.Policy, Findings: j.result.Findings}
	if j.verified == nil {
		for _, f := range j.result.Findings {
			if f.Check == verdict.QuoteRollback || f.Check == verdict.QuoteResetWithoutBoot {
				return node.CloneSign{Reason: f.String()}
			}
		}
		return node.Refused{Proof: proof}
	}
	if sign := j.restarted(); sign != "" {
		return node.CloneSign{Reason: sign}
	}
	c := j.verified.Clock()
	proof.Epoch = c.Epoch
	proof.Clock = node.Clock{Milliseconds: c.Milliseconds, Safe: c.Safe, Firmware: c.Firmware}
	if j.result.Decision == verdict.Admitted && j.set != nil {
		return node.Passed{Proof: proof, LateAfter: j.set.Policy().Timing.LateAfter}
	}
	return node.Refused{Proof: proof, Authentic: true}
}

// restarted returns why the host's TPM cannot have been restarted in an orderly
// way, or "". A TPM Restart empties the PCRs and leaves resetCount as it is; on a
// host that has not rebooted somebody may have replayed a good boot into them.
func (j judgement) restarted() string {
	now, before := j.verified.Clock(), j.want.Previous
	if j.verified.Transition() != evidence.Restarted || now.BootID == "" || now.BootID != before.BootID {
		return ""
	}
	return fmt.Sprintf("the TPM was restarted (epoch %v after %v) without a boot of the host", now.Epoch, before.Epoch)
}

// maxClockLead is how much faster than the verifier's clock a TPM's clock may run
// before somebody is told: its owner can set it forward. Nothing else hangs on
// it, since no lifetime is taken from a TPM's clock.
const maxClockLead = 10 * time.Minute

// watchClock raises an alarm if the TPM was restarted, or its clock set forward.
func (s *Service) watchClock(l *live, v *evidence.Verified, now time.Time) {
	clock, before := v.Clock(), l.pos.Clock
	switch lead := clock.Milliseconds - before.Milliseconds; {
	case v.Transition() == evidence.Restarted:
		s.alarm(fmt.Sprintf("node %s: its TPM was restarted without a reset (epoch %v after %v); everything is judged anew", l.rec.ID, clock.Epoch, before.Epoch))
	case v.Transition() == evidence.SameEpoch && lead > uint64((now.Sub(l.pos.Seen)+maxClockLead).Milliseconds()):
		s.alarm(fmt.Sprintf("node %s: its TPM's clock was set forward by %v; admissions do not depend on it",
			l.rec.ID, time.Duration(min(lead, uint64(1<<50)))*time.Millisecond))
	}
}

// settle applies a judgement: it records what changed, issues an admission when
// one is due, and tells the agent. Evidence that changes nothing costs no write.
// The first good answer of a session brings the standing admission again: the
// agent may have lost it, or never got it because somebody crashed in between.
func (x *Session) settle(ctx context.Context, j judgement) (Outcome, error) {
	s, l := x.service, x.live
	now := s.now()
	next, err := s.foresee(l, j, now)
	if err != nil {
		return Outcome{}, err
	}
	segments, err := s.keepLogs(l, j)
	if err != nil {
		return Outcome{}, err
	}
	due := s.due(ctx, l, next, j.set, now)
	switch {
	case due || significant(l.rec, next):
		next, err = s.enter(ctx, l, j, now)
	case j.verified != nil && j.verified.IMA().Len() > 0 && next.State != node.Admitted:
		next.Evidence, err = s.keepEvidence(l, j) // what a policy may be learned from is kept current
	}
	if err != nil {
		return Outcome{}, err
	}
	if j.verified != nil {
		s.watchClock(l, j.verified, now)
		l.advance(j.verified, j.after, now)
		l.pos.Segments = segments
	}
	l.rec = next
	l.pos.LastPass, l.pos.FreshUntil = next.LastPass, next.FreshUntil
	out := Outcome{Decision: j.result.Decision, State: node.Status(next, now).String(), Findings: j.result.Findings}
	if j.result.Decision != verdict.Admitted || node.Admissible(l.rec, now) != nil {
		return out, nil
	}
	if due {
		if err := s.issue(ctx, l, j); err != nil {
			return Outcome{}, err
		}
		s.contents.Store(s.contents.Load().With(l.known.Log())) // two at once may lose one of them, which costs time only
	}
	if due || !x.delivered {
		standing, err := s.standing(ctx, l)
		if err != nil {
			return Outcome{}, err
		}
		out.Admission, out.Proof, x.delivered = standing.note, standing.proof, true
	}
	return out, nil
}

// foresee returns the record as the judgement would leave it. It names the last
// archived evidence, or this one if it is the node's first.
func (s *Service) foresee(l *live, j judgement, now time.Time) (node.Record, error) {
	digest := l.rec.Evidence
	if digest.IsZero() {
		var err error
		if digest, err = s.keepEvidence(l, j); err != nil {
			return node.Record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return node.Next(l.rec, j.event(digest), now)
}

// significant reports whether the journal should know of the step from one
// record to the next: another state, boot, policy, or kind of finding.
func significant(before, after node.Record) bool {
	return before.State != after.State || before.Epoch != after.Epoch || before.Policy != after.Policy ||
		!slices.Equal(checks(before.Findings), checks(after.Findings)) || before.Evidence.IsZero()
}

func checks(findings []verdict.Finding) []verdict.CheckID {
	var ids []verdict.CheckID
	for _, f := range findings {
		ids = append(ids, f.Check)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// enter archives the evidence and writes the verdict into the journal.
func (s *Service) enter(ctx context.Context, l *live, j judgement, now time.Time) (node.Record, error) {
	digest, err := s.keepEvidence(l, j)
	if err != nil {
		return node.Record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	event := j.event(digest)
	next, err := node.Next(l.rec, event, now)
	if err != nil {
		return node.Record{}, err
	}
	c := journal.Change{Kind: journal.TypeVerdict, At: s.stamp(), Decision: &j.result.Decision, Node: next}
	if sign, ok := event.(node.CloneSign); ok {
		c.Kind, c.Decision, c.Reason = journal.TypeQuarantine, nil, sign.Reason
	} else if next.State == node.Quarantined && l.rec.State != node.Quarantined {
		c.Kind, c.Decision, c.Reason = journal.TypeQuarantine, nil, next.Reason
	}
	before := l.rec.State
	if err := s.change(ctx, l, c); err != nil {
		return node.Record{}, err
	}
	s.log.Info("verdict", "node", l.rec.ID, "decision", j.result.Decision.String(), "from", before.String(), "to", l.rec.State.String(),
		"reason", l.rec.Reason, "entry", l.rec.JournalIndex)
	return l.rec, nil
}

// due reports whether the node should get a new admission: it is admissible, and
// has none that stands for this boot and policy with half of its time left.
func (s *Service) due(ctx context.Context, l *live, next node.Record, set *policy.Set, now time.Time) bool {
	if set == nil || node.Admissible(next, now) != nil {
		return false
	}
	if l.rec.State != node.Admitted && l.rec.State != node.Late || next.Serial == 0 {
		return true
	}
	standing, err := s.standing(ctx, l)
	if err != nil || standing.policy != set.Digest() || standing.epoch != next.Epoch.String() {
		return true
	}
	return next.NotAfter.Sub(now) < set.Policy().Timing.AdmissionFor/2
}

// standing returns the node's last admission, from the journal after a restart.
func (s *Service) standing(ctx context.Context, l *live) (*issued, error) {
	if l.standing != nil {
		return l.standing, nil
	}
	signed, err := s.journal.Entry(ctx, l.rec.AdmissionIndex)
	if err != nil {
		return nil, err
	}
	proof, err := s.journal.Proof(ctx, l.rec.AdmissionIndex)
	if err != nil {
		return nil, err
	}
	body, err := journal.Parse(signed)
	if err != nil {
		return nil, err
	}
	a, ok := body.(journal.Admission)
	if !ok || a.Statement.Node != l.rec.ID || a.Statement.Serial != l.rec.Serial {
		return nil, fmt.Errorf("journal entry %d is not admission %d of %s", l.rec.AdmissionIndex, l.rec.Serial, l.rec.ID)
	}
	l.standing = &issued{note: signed, proof: proof, policy: a.Statement.Policy.Digest, epoch: a.Statement.Epoch.String()}
	return l.standing, nil
}

// issue signs an admission, writes it into the journal, and only then keeps it
// for the node. The caller holds the node's mutex.
func (s *Service) issue(ctx context.Context, l *live, j judgement) error {
	ctx, cancel := unhurried(ctx)
	defer cancel()
	statement, err := s.statement(ctx, l.rec, j)
	if err != nil {
		return err
	}
	signed, err := statement.Sign(s.signer)
	if err != nil {
		return err
	}
	s.recording.RLock()
	defer s.recording.RUnlock()
	index, err := s.append(ctx, journal.Admission{Note: signed, Statement: statement})
	if err != nil {
		return err
	}
	proof, err := s.journal.Proof(ctx, index)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	next, err := node.Next(l.rec, node.Issued{Serial: statement.Serial, NotAfter: statement.NotAfter, Index: index}, s.now())
	if err != nil {
		return err
	}
	l.rec = next
	l.standing = &issued{note: signed, proof: proof, policy: statement.Policy.Digest, epoch: statement.Epoch.String()}
	s.save(ctx, l)
	s.rosters.changed()
	s.log.Info("admission", "node", l.rec.ID, "serial", statement.Serial, "notAfter", statement.NotAfter, "entry", index)
	return nil
}

func (s *Service) statement(ctx context.Context, rec node.Record, j judgement) (admission.Statement, error) {
	serial, err := s.store.NextSerial(ctx)
	if err != nil {
		return admission.Statement{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	now, set, block := s.stamp(), j.set, j.want.Challenge.Beacon
	return admission.Statement{
		Consortium: s.consortium.Name, Test: s.consortium.Test, Ledger: s.consortium.Ledger,
		Node: rec.ID, Host: rec.HostID, Role: rec.Role, ConsensusKey: rec.ConsensusKey, NodeKey: admission.Digest(rec.NodeKey),
		Policy:   admission.PolicyRef{Name: set.Name(), Digest: set.Digest()},
		Evidence: admission.Digest(rec.Evidence), Epoch: admission.Epoch(rec.Epoch),
		Beacon:    admission.Beacon{Height: block.Height, Hash: block.Hash},
		NotBefore: now, NotAfter: now.Add(min(set.Policy().Timing.AdmissionFor, admission.MaxValidity)),
		Verifier: s.self.Name, Serial: serial,
	}, nil
}
