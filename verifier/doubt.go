package verifier

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/quorate/quorate/verifier/journal"
)

// doubt remembers that an enrolment was refused although its entry may still
// appear in the journal, or is there and not in the store. Enrolling the same node or TPM again before that is
// settled would put two enrolments of it into the journal, and a history that
// cannot have happened stops every later start.
type doubt struct {
	mu      sync.Mutex
	open    bool // an entry may appear, or lacks its effect
	settled bool // a later entry was published, so it has appeared or never will
}

// raise notes the outcome of an enrolment's entry.
func (d *doubt) raise(err error) {
	unpublished := errors.Is(err, journal.ErrUnpublished)
	if !unpublished && !errors.Is(err, errBehind) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = !unpublished && (d.settled || !d.open)
	d.open = true
}

// appended notes that an entry was published. The journal keeps its order, so an
// entry in doubt is before it or nowhere.
func (d *doubt) appended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = true
}

// resolve brings enrolments that were in doubt into the store and into memory.
// ErrUnavailable while that cannot be done. The caller holds the names that it is
// about to take, so that what brings doubt upon them has done so before.
func (s *Service) resolve(ctx context.Context) error {
	s.resolving.Lock()
	defer s.resolving.Unlock()
	s.doubt.mu.Lock()
	open, settled := s.doubt.open, s.doubt.settled
	s.doubt.mu.Unlock()
	if !open {
		return nil
	}
	if !settled {
		return fmt.Errorf("%w: it is not known yet whether an earlier enrolment was recorded", ErrUnavailable)
	}
	s.recording.Lock()
	_, err := s.projector.CatchUp(ctx, s.journal.Reader)
	s.recording.Unlock()
	if err == nil {
		err = s.adopt(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.doubt.mu.Lock()
	defer s.doubt.mu.Unlock()
	s.doubt.open = false
	return nil
}

// adopt takes nodes of the store into memory that are not there yet.
func (s *Service) adopt(ctx context.Context) error {
	listing, err := s.store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, rec := range listing.Records {
		if _, err := s.nodes.get(rec.ID); err == nil {
			continue
		}
		if err := s.justified(ctx, rec); err != nil {
			continue // the start raised the alarm
		}
		l, err := newLive(rec, position{})
		if err != nil {
			return err
		}
		s.nodes.addNew(l)
	}
	return nil
}
