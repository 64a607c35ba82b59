package verifier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// quotedPCRs are what every challenge asks for: the boot's PCRs, the IMA list's,
// and those of systemd and shim. 16 and up can be reset by software.
var quotedPCRs = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

// quotedBank is the bank that every challenge asks for.
const quotedBank = "sha256"

// fallbackInterval is how often nodes are challenged whose role has no policy.
const fallbackInterval = 30 * time.Second

// minPace is the least time from one challenge to the first one of another
// session, so that a host gains nothing by connecting again and again.
const minPace = time.Second

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// maxRetries is how many answers in a row may be wrong for their timing before
// they count as refused.
const maxRetries = 3

// Session is one node's connection. Its methods are called by one goroutine,
// except that any goroutine may end it.
type Session struct {
	service   *Service
	live      *live
	exporter  [32]byte
	hello     Hello
	due       time.Time
	asked     imaState      // where the open challenge asked to continue the IMA list
	wake      chan struct{} // challenge at once
	ended     chan struct{} // closed by end
	reason    error         // why it ended; read after ended is closed
	delivered bool          // the standing admission went out on this session
}

// OpenSession begins a node's session on a connection whose TLS key and exporter
// are given. An older session of the node ends.
func (s *Service) OpenSession(_ context.Context, hello Hello, key, exporter [32]byte) (*Session, error) {
	l, err := s.nodes.withKey(key)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.rec.ID != hello.Node:
		return nil, verdict.Refuse(verdict.SessionIdentity, "hello", hello.Node, l.rec.ID)
	case l.rec.State == node.Retired:
		return nil, node.Admissible(l.rec, s.now())
	case !slices.Contains(hello.Banks, quotedBank):
		return nil, verdict.Refuse(verdict.SessionBank, "hello", fmt.Sprint(hello.Banks), quotedBank)
	}
	if l.session != nil {
		l.session.end(ErrSuperseded)
	}
	x := &Session{
		service: s, live: l, exporter: exporter, hello: hello, due: later(s.now(), l.paced),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	l.session = x
	s.recall(l)
	s.log.Info("session", "node", l.rec.ID, "agent", hello.Version)
	return x, nil
}

// end ends the session. The caller holds the node's mutex.
func (x *Session) end(reason error) {
	select {
	case <-x.ended:
	default:
		x.reason = reason
		close(x.ended)
	}
}

// Ended is closed when the verifier ends the session; Reason says why then.
func (x *Session) Ended() <-chan struct{} { return x.ended }

// Reason returns why the session ended. Call it after Ended is closed.
func (x *Session) Reason() error { return x.reason }

// Close ends the session and voids its open challenge.
func (x *Session) Close() {
	x.live.mu.Lock()
	defer x.live.mu.Unlock()
	x.end(context.Canceled)
	if x.live.session == x {
		x.live.session = nil
		x.service.book.forget(x.live.rec.ID)
	}
}

// hurry makes the next challenge due at once.
func (x *Session) hurry() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Next waits until the node is due and opens a challenge for it.
func (x *Session) Next(ctx context.Context) (Challenge, error) {
	timer := time.NewTimer(x.due.Sub(x.service.now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Challenge{}, ctx.Err()
	case <-x.ended:
		return Challenge{}, x.reason
	case <-x.wake:
	case <-timer.C:
	}
	return x.challenge()
}

func (x *Session) challenge() (Challenge, error) {
	s, l := x.service, x.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != x {
		return Challenge{}, ErrSuperseded
	}
	set := s.policies.forRole(l.rec.Role)
	if set != nil && l.pos.History.From(set, l.pos.Clock.Epoch, s.now()) == 0 {
		l.pos.IMA, l.pos.Segments = imaState{}, nil // judge the whole list under the new policy
	}
	open, err := s.book.issue(l.rec.ID, binding.Challenge{
		Verifier: s.self.Name, Exporter: x.exporter, Beacon: s.beacon.Latest(s.now()),
	}, s.now())
	if err != nil {
		return Challenge{}, err
	}
	x.asked = l.pos.IMA
	l.paced = s.now().Add(minPace)
	known := l.known != nil && l.known.Digest() == x.hello.BootLog
	return Challenge{
		Challenge: open, Bank: quotedBank, PCRs: quotedPCRs, WantBootLog: !known, IMAOffset: l.pos.IMA.Bytes,
		AnswerWithin: s.config.Limits.AnswerWithin,
	}, nil
}

// schedule sets when the next challenge is due: the policy's interval, spread by
// a tenth so that a fleet does not answer in step.
func (x *Session) schedule(set *policy.Set) {
	interval := fallbackInterval
	if set != nil {
		interval = set.Policy().Timing.ChallengeEvery
	}
	spread := 0.95 + rand.Float64()/10
	x.due = x.service.now().Add(time.Duration(float64(interval) * spread))
}

// Judge has one answer judged and records what follows from it. The nonce is
// spent before anything else is looked at. next returns the parts of the IMA
// list that are announced as more bytes.
func (x *Session) Judge(ctx context.Context, raw evidence.Raw, more uint64, next func() ([]byte, error)) (Outcome, error) {
	s, l := x.service, x.live
	own, open := s.book.take(x.hello.Node, raw.Challenges, s.now())
	if !open {
		return x.stale(), nil
	}
	release, err := x.receive(ctx, &raw, more, next)
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != x {
		return Outcome{}, ErrSuperseded
	}
	return x.judge(ctx, raw, own)
}

// receive appends the rest of a long IMA list. Long lists are taken a few at a
// time, so that memory stays bounded however many hosts boot at once.
func (x *Session) receive(ctx context.Context, raw *evidence.Raw, more uint64, next func() ([]byte, error)) (func(), error) {
	limit := x.service.config.Limits.IMABytes
	if total := uint64(len(raw.IMA)) + more; total > limit || more > limit {
		return nil, verdict.Refuse(verdict.SessionSize, "evidence", fmt.Sprintf("an IMA list of %d bytes", total), fmt.Sprintf("at most %d", limit))
	}
	if more == 0 {
		return func() {}, nil
	}
	select {
	case x.service.bulk <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := func() { <-x.service.bulk }
	whole := slices.Grow(slices.Clone(raw.IMA), int(more))
	for more > 0 {
		chunk, err := next()
		if err == nil && uint64(len(chunk)) > more {
			err = verdict.Refuse(verdict.SessionSize, "evidence", "more IMA bytes than announced", "the announced number")
		}
		if err != nil {
			release()
			return nil, err
		}
		whole = append(whole, chunk...)
		more -= uint64(len(chunk))
	}
	raw.IMA = whole
	return release, nil
}

func (x *Session) judge(ctx context.Context, raw evidence.Raw, own binding.Challenge) (Outcome, error) {
	s, l := x.service, x.live
	if l.pos.IMA != x.asked {
		return x.again(), nil
	}
	set := s.policies.forRole(l.rec.Role)
	want := evidence.Expected{
		Ledger: s.ledger(), Verifier: s.self.Name, Node: l.rec.ID, AK: l.ak, NodeKey: l.rec.NodeKey,
		ConsensusKey: l.rec.ConsensusKey, Challenge: own, Bank: eventlog.SHA256, PCRs: quotedPCRs,
		KnownLog: l.known, Contents: s.contents.Load(), IMA: l.pos.ima(), Previous: l.pos.Clock,
	}
	verified, err := evidence.Verify(raw, want)
	if err != nil {
		return x.refuse(ctx, raw, want, set, err)
	}
	result, history := appraise.Next(set, verified, l.pos.History, s.stamp())
	if appraise.Retryable(result) && l.retries < maxRetries {
		return x.retry(raw, verdict.Refuse(verdict.RuntimeIMAGap, "IMA list", "a part, asked for before the policy changed", "the whole list")), nil
	}
	l.retries = 0
	x.schedule(set)
	return x.settle(ctx, judgement{raw: raw, want: want, verified: verified, set: set, result: result, before: l.pos.History, after: history})
}

// refuse handles evidence that is not authentic. What may be an accident of
// timing is asked for once more, whole, before it counts.
func (x *Session) refuse(ctx context.Context, raw evidence.Raw, want evidence.Expected, set *policy.Set, err error) (Outcome, error) {
	l := x.live
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		return Outcome{}, err
	}
	if refusal.Check == verdict.QuoteSize {
		return Outcome{}, refusal // such bytes are not worth a record
	}
	if evidence.Retryable(err) && l.retries < maxRetries {
		return x.retry(raw, refusal), nil
	}
	raw = withoutLogs(raw, want, refusal)
	l.retries = 0
	l.forgetLogs()
	x.schedule(set)
	result := verdict.Verdict{At: x.service.stamp(), Findings: []verdict.Finding{refusal.Finding}}
	if set != nil {
		result.Policy = set.String()
	}
	return x.settle(ctx, judgement{raw: raw, want: want, set: set, result: result, before: l.pos.History, after: l.pos.History})
}

// withoutLogs leaves the logs out of evidence that is refused for another reason,
// so that nobody fills the archive with bytes that no signature covers. The
// refusal is the same when it is made again from what is kept.
func withoutLogs(raw evidence.Raw, want evidence.Expected, refusal *verdict.Refusal) evidence.Raw {
	bare := raw
	bare.BootLog, bare.IMA = nil, nil
	var same *verdict.Refusal
	if _, err := evidence.Verify(bare, want); errors.As(err, &same) && same.Finding == refusal.Finding {
		return bare
	}
	return raw
}

// retry asks once more, for all logs. The caller holds the node's mutex.
func (x *Session) retry(raw evidence.Raw, refusal *verdict.Refusal) Outcome {
	x.live.retries++
	x.live.forgetLogs()
	x.hello.BootLog = raw.BootLogDigest
	x.due = x.service.now().Add(100 * time.Millisecond)
	return x.transient(refusal)
}

// stale is the outcome of an answer to no open challenge: too late, or a copy.
func (x *Session) stale() Outcome {
	x.live.mu.Lock()
	defer x.live.mu.Unlock()
	x.due = x.service.now().Add(time.Second)
	return x.transient(verdict.Refuse(verdict.QuoteNonce, "evidence", "no open challenge of this verifier",
		"the nonce of its last challenge, within "+x.service.config.Limits.AnswerWithin.String()))
}

// again is the outcome of an honest answer to a question that has become the
// wrong one: an operator resumed the node meanwhile, and all is judged again. The
// caller holds the node's mutex.
func (x *Session) again() Outcome {
	x.due = x.service.now()
	return x.transient(verdict.Refuse(verdict.QuoteInMotion, "evidence", "the IMA list from a place that no longer counts", "the whole list"))
}

// transient is an outcome that changes nothing. The caller holds the node's mutex.
func (x *Session) transient(refusal *verdict.Refusal) Outcome {
	return Outcome{State: x.live.rec.State.String(), Findings: []verdict.Finding{refusal.Finding}, Retryable: true}
}

// advance remembers how far the node's logs are verified.
func (l *live) advance(v *evidence.Verified, h appraise.History, now time.Time) {
	end := v.IMA().End
	l.known = v.KnownLog()
	l.pos.Clock, l.pos.History, l.pos.Seen = v.Clock(), h, now
	l.pos.BootLog = v.BootLogDigest()
	l.pos.IMA = imaState{Entries: end.Entries, Bytes: end.Bytes, PCR10: end.PCR10}
	l.moved = true
}
