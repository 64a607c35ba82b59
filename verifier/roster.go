package verifier

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// rosterAge is how old a roster may be before it is signed again although
// nothing changed, so that relying parties can tell "no news" from "no contact".
const rosterAge = 30 * time.Second

// rosters holds the current roster and tells watchers of new ones.
type rosters struct {
	wake chan struct{} // something changed

	mu      sync.Mutex
	current SignedRoster
	listed  string // who is admitted and who is barred, of the current roster
	full    string // everything of the current roster but number and time
	issued  time.Time
	next    chan struct{} // closed when current changes
}

func newRosters() *rosters {
	return &rosters{wake: make(chan struct{}, 1), next: make(chan struct{})}
}

// changed asks for a new roster soon.
func (r *rosters) changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Roster returns the current signed roster.
func (s *Service) Roster(context.Context) (SignedRoster, error) {
	s.rosters.mu.Lock()
	defer s.rosters.mu.Unlock()
	if s.rosters.current.Number == 0 {
		return SignedRoster{}, store.ErrNotFound
	}
	return s.rosters.current, nil
}

// resumeRoster serves the last roster again after a restart, until there is a new
// one: what is signed stays available even if nothing can be recorded.
func (s *Service) resumeRoster(ctx context.Context) error {
	last, err := s.store.LastRoster(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.rosters.current = SignedRoster{Number: last.Number, Note: last.Note}
	}
	return err
}

// NextRoster waits for a roster with a higher number.
func (s *Service) NextRoster(ctx context.Context, after uint64) (SignedRoster, error) {
	for {
		s.rosters.mu.Lock()
		current, next := s.rosters.current, s.rosters.next
		s.rosters.mu.Unlock()
		if current.Number > after {
			return current, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return SignedRoster{}, ctx.Err()
		}
	}
}

// Admission returns a node's standing admission and its log proof.
func (s *Service) Admission(ctx context.Context, id string) (signed, proof []byte, err error) {
	l, err := s.nodes.get(id)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rec.Serial == 0 {
		return nil, nil, store.ErrNotFound
	}
	standing, err := s.standing(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	return standing.note, standing.proof, nil
}

// renewRoster signs a new roster if anything on it changed or it is old. A roster
// on which somebody joined or left goes through the journal first; a renewal of
// dates does not.
func (s *Service) renewRoster(ctx context.Context) error {
	now := s.stamp()
	r := s.compileRoster(now)
	listed, full, err := summary(r)
	if err != nil {
		return err
	}
	s.rosters.mu.Lock()
	old, oldListed, oldFull, issued := s.rosters.current, s.rosters.listed, s.rosters.full, s.rosters.issued
	s.rosters.mu.Unlock()
	if full == oldFull && now.Sub(issued) < rosterAge {
		return nil
	}
	if r.Number, err = s.rosterNumber(ctx, old.Number, now); err != nil {
		return err
	}
	signed, err := r.Sign(s.signer)
	if err != nil {
		return err
	}
	if err := s.recordRoster(ctx, store.Roster{Number: r.Number, Note: signed}, listed != oldListed, now); err != nil {
		return err
	}
	s.rosters.mu.Lock()
	defer s.rosters.mu.Unlock()
	s.rosters.current, s.rosters.listed, s.rosters.full, s.rosters.issued = SignedRoster{Number: r.Number, Note: signed}, listed, full, now
	close(s.rosters.next)
	s.rosters.next = make(chan struct{})
	return nil
}

func (s *Service) recordRoster(ctx context.Context, r store.Roster, logged bool, now time.Time) error {
	if !logged {
		return s.store.SaveRoster(ctx, r)
	}
	digest, err := s.archive.Put(r.Note)
	if err != nil {
		return err
	}
	return s.commit(ctx, journal.Roster{At: now, Number: r.Number, Digest: digest})
}

// rosterNumber returns a number above every earlier one. It is at least the time
// in seconds, so that numbers rise even after the database was lost.
func (s *Service) rosterNumber(ctx context.Context, current uint64, now time.Time) (uint64, error) {
	last, err := s.store.LastRoster(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	return max(current+1, last.Number+1, uint64(max(now.Unix(), 0))), nil
}

// summary returns who is on the roster, and everything on it, both without
// number and time.
func summary(r admission.Roster) (listed, full string, err error) {
	r.Number, r.Issued = 1, time.Unix(0, 0).UTC()
	text, err := r.Marshal()
	if err != nil {
		return "", "", err
	}
	var names strings.Builder
	for _, n := range r.Admitted {
		names.WriteString("+" + n.Node + "\n")
	}
	for _, n := range r.Barred {
		names.WriteString(string(n.State) + " " + n.Node + "\n")
	}
	return names.String(), string(text), nil
}

// compileRoster lists every node that was ever admitted, as it stands now.
func (s *Service) compileRoster(now time.Time) admission.Roster {
	r := admission.Roster{
		Consortium: s.consortium.Name, Test: s.consortium.Test, Ledger: s.consortium.Ledger, Verifier: s.self.Name, Issued: now,
	}
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		rec := l.rec
		l.mu.Unlock()
		if rec.Serial == 0 {
			continue
		}
		status := node.Status(rec, now)
		if status == node.Admitted && rec.NotAfter.After(now) {
			r.Admitted = append(r.Admitted, admission.Listed{
				Node: rec.ID, Role: rec.Role, Serial: rec.Serial, NotAfter: rec.NotAfter, Host: rec.HostID,
				NodeKey: admission.Digest(rec.NodeKey), ConsensusKey: rec.ConsensusKey,
			})
			continue
		}
		r.Barred = append(r.Barred, barred(rec, status))
	}
	slices.SortFunc(r.Admitted, func(a, b admission.Listed) int { return cmp.Compare(a.Node, b.Node) })
	slices.SortFunc(r.Barred, func(a, b admission.Barred) int { return cmp.Compare(a.Node, b.Node) })
	return r
}

func barred(rec node.Record, status node.State) admission.Barred {
	b := admission.Barred{Node: rec.ID, Since: rec.Changed, Reason: rec.Reason}
	switch status {
	case node.Suspended, node.Pending:
		// A resumed node is pending until it proves itself again; for a relying
		// party its old admission stays barred.
		b.State, b.Check = admission.StateSuspended, string(verdict.NodeSuspended)
		if id := firstDenial(rec.Findings); id != "" && rec.LatchedBy == "" {
			b.Check = id
		}
	case node.Retired:
		b.State, b.Check = admission.StateRetired, string(verdict.NodeRetired)
	case node.Quarantined:
		b.State, b.Check = admission.StateQuarantined, string(verdict.NodeQuarantined)
	default:
		b.State, b.Check, b.Since = admission.StateLate, string(verdict.NodeLate), rec.FreshUntil
		b.Reason = "no fresh evidence since " + rec.LastPass.Format(time.RFC3339)
	}
	b.Reason = strings.TrimPrefix(b.Reason, b.Check+": ")
	return b
}

func firstDenial(findings []verdict.Finding) string {
	for _, f := range findings {
		if f.Severity == verdict.Deny {
			return string(f.Check)
		}
	}
	return ""
}
