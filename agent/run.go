package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/key"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// Bounds of the pause between two attempts. Each pause is drawn from the upper
// half of a range that doubles, so that agents do not return all at once.
const (
	firstPause = 500 * time.Millisecond
	lastPause  = time.Minute
)

// Run holds a session with every verifier that this host joined, until ctx ends
// or the host cannot be the node it was: then it returns why. Everything else,
// a verifier that is down or refuses, a TPM that restarts, it outlasts.
func (a *Agent) Run(ctx context.Context) error {
	st, err := openState(a.cfg.StateDir)
	if err != nil {
		return err
	}
	defer st.Close()
	id, err := st.identity()
	if err != nil {
		return err
	}
	b := newBoard(st, a.log, id.Node)
	b.update(func(s *Status) { s.Problem = "" })
	r, err := a.prepare(ctx, st, b, id)
	if err != nil {
		b.update(func(s *Status) { s.Problem = err.Error() })
		return err
	}
	defer r.close()
	return r.run(ctx)
}

// runner is one run of the agent.
type runner struct {
	agent  *Agent
	id     identity
	keys   *key.Keys
	banks  []string
	cert   tls.Certificate
	quoter *quoter
	board  *board

	mu    sync.Mutex // guards what follows
	shelf *shelf
	said  map[string]string // what was last logged, by verifier
}

// prepare loads what needs the TPM. It waits for a TPM that is not ready yet,
// and gives up on one that is another.
func (a *Agent) prepare(ctx context.Context, st *state, b *board, id identity) (*runner, error) {
	r := &runner{agent: a, id: id, board: b, said: make(map[string]string)}
	wait := backOff{}
	for {
		err := r.load(ctx, st)
		if err == nil {
			return r, nil
		}
		if errors.Is(err, key.ErrOtherTPM) || errors.Is(err, key.ErrBank) || ctx.Err() != nil {
			return nil, err
		}
		a.log.Error("TPM is not ready", "error", err)
		b.update(func(s *Status) { s.Problem = err.Error() })
		if err := wait.pause(ctx); err != nil {
			return nil, err
		}
	}
}

func (r *runner) load(ctx context.Context, st *state) (err error) {
	a := r.agent
	if r.banks, err = a.banks(ctx); err != nil {
		return err
	}
	if r.keys, err = a.openKeys(ctx, r.id); err != nil {
		return err
	}
	r.cert, err = r.keys.Certificate(r.id.Node)
	if err == nil {
		r.shelf, err = newShelf(a, st, r.keys.NodeKeyDigest())
	}
	if err != nil {
		return errors.Join(err, r.keys.Close())
	}
	r.quoter = newQuoter(a, r.keys, r.id)
	bundle, err := r.shelf.compose(time.Now())
	if err != nil {
		a.log.Error("stored admissions make no bundle", "error", err)
	}
	r.board.update(func(s *Status) { s.Problem, s.Bundle = "", bundle })
	return nil
}

func (r *runner) close() {
	if err := r.keys.Close(); err != nil {
		r.agent.log.Warn("keys are left in the TPM", "error", err)
	}
}

// run starts the quoter and one session loop per verifier, and waits for all.
func (r *runner) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	group.Go(func() { r.quoter.run(ctx) })
	group.Go(func() { r.grants(ctx) })
	for _, v := range r.agent.consortium.Verifiers {
		enrolment := r.enrolment(v.Name)
		r.board.verifier(v.Name, func(s *VerifierStatus) {
			s.Enrolment, s.Admission = enrolment, r.shelf.standing(v.Name)
		})
		if enrolment == "not joined" {
			r.agent.log.Warn("not joined with a verifier of the consortium", "verifier", v.Name)
			continue
		}
		group.Go(func() { r.hold(ctx, v, stop) })
	}
	group.Wait()
	for _, v := range r.agent.consortium.Verifiers {
		r.board.verifier(v.Name, func(s *VerifierStatus) { s.Connected = false })
	}
	return context.Cause(ctx)
}

func (r *runner) enrolment(verifier string) string {
	for _, e := range r.id.Verifiers {
		if e.Name == verifier {
			return e.State
		}
	}
	return "not joined"
}

// hold keeps one verifier's session, opening it again whenever it ends. A
// session that lasted makes the next pause short again.
func (r *runner) hold(ctx context.Context, v admission.Verifier, stop context.CancelCauseFunc) {
	wait := backOff{}
	for {
		began := time.Now()
		err := r.session(v).run(ctx, &r.cert, r.banks)
		if ctx.Err() != nil {
			return
		}
		// A handshake that failed for want of the node key does not say so.
		if cause := r.keys.Check(ctx); errors.Is(cause, key.ErrOtherTPM) {
			stop(cause)
			return
		}
		r.agent.log.Warn("session ended", "verifier", v.Name, "error", err)
		r.board.verifier(v.Name, func(s *VerifierStatus) { s.Connected, s.Problem = false, err.Error() })
		if time.Since(began) > lastPause {
			wait = backOff{}
		}
		if err := wait.pause(ctx); err != nil {
			return
		}
	}
}

func (r *runner) session(v admission.Verifier) *session {
	return &session{
		verifier: v, node: r.id.Node, quoter: r.quoter, source: r.agent.source,
		opened: func() {
			r.agent.log.Info("session open", "verifier", v.Name)
			r.board.verifier(v.Name, func(s *VerifierStatus) { s.Connected, s.Problem = true, "" })
		},
		verdict: func(m *quoratev1.Verdict) { r.verdict(v, m) },
	}
}

// verdict records what a verifier decided, and keeps the admission in it.
func (r *runner) verdict(v admission.Verifier, m *quoratev1.Verdict) {
	now := time.Now().UTC().Truncate(time.Second)
	r.logVerdict(v.Name, m)
	issued, bundle, err := r.keep(v.Name, m, now)
	if err != nil {
		r.agent.log.Error("admission is not usable", "verifier", v.Name, "error", err)
	}
	r.board.verifier(v.Name, func(s *VerifierStatus) {
		s.Decision, s.State, s.Findings = printable(m.GetDecision()), printable(m.GetState()), findings(m.GetFindings())
		s.Decided, s.Problem = &now, ""
		if err != nil {
			s.Problem = err.Error()
		}
		if issued != nil {
			s.Admission = issued
		}
	})
	if bundle != nil {
		r.board.update(func(s *Status) { s.Bundle = bundle })
	}
}

func (r *runner) keep(verifier string, m *quoratev1.Verdict, now time.Time) (*AdmissionStatus, *BundleStatus, error) {
	if len(m.GetAdmission()) == 0 {
		return nil, nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	item := admission.Item{Admission: m.GetAdmission(), Proof: m.GetAdmissionProof()}
	issued, err := r.shelf.put(verifier, item, now)
	if err != nil {
		return nil, nil, err
	}
	bundle, err := r.shelf.compose(now)
	return issued, bundle, err
}

// logVerdict logs a verdict that differs from the verifier's last one, or that
// brings an admission. Verdicts come with every challenge; news does not.
func (r *runner) logVerdict(verifier string, m *quoratev1.Verdict) {
	said := fmt.Sprint(m.GetDecision(), m.GetState(), findings(m.GetFindings()))
	r.mu.Lock()
	known := r.said[verifier] == said
	r.said[verifier] = said
	r.mu.Unlock()
	if known && len(m.GetAdmission()) == 0 {
		return
	}
	log := r.agent.log.With("verifier", verifier, "decision", printable(m.GetDecision()), "state", printable(m.GetState()))
	log.Info("verdict", "admission", len(m.GetAdmission()) > 0)
	for _, f := range findings(m.GetFindings()) {
		log.Warn("finding", "check", f.Check, "severity", f.Severity, "where", f.Where,
			"got", f.Got, "want", f.Want, "remedy", f.Remedy)
	}
}

// backOff is the jittered exponential pause between attempts.
type backOff struct{ next time.Duration }

func (b *backOff) draw() time.Duration {
	limit := max(b.next, firstPause)
	b.next = min(2*limit, lastPause)
	return limit/2 + rand.N(limit/2)
}

// pause waits for the next attempt, or returns why there is none.
func (b *backOff) pause(ctx context.Context) error {
	t := time.NewTimer(b.draw())
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
