package watch

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/quorate/quorate/admission"
)

// Ledger is told of changes. Tell returns nil only once the ledger has taken the
// change; it may be told of the same change again, after a crash.
type Ledger interface {
	Tell(context.Context, Change) error
}

// Watcher brings a ledger up to the rosters and keeps it there.
type Watcher struct {
	Rules
	Ledger  Ledger
	Outbox  *Outbox
	Rosters <-chan *admission.VerifiedRoster // new rosters of any verifier
	Log     func(event string, args ...any)
	Now     func() time.Time
}

// Pauses between attempts to tell the ledger, and between looks at the clock.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 30 * time.Second
	lookEvery  = 5 * time.Second
)

// Run goes on until the context ends, or the state cannot be kept any more.
func (w *Watcher) Run(ctx context.Context) error {
	state, err := w.Outbox.Load()
	if err != nil {
		return err
	}
	latest := map[string]*admission.VerifiedRoster{}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	pause, retry := firstPause, time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-w.Rosters:
			latest[r.Verifier()] = r
			state, err = w.decide(state, latest)
		case <-look.C: // admissions end without a roster
			state, err = w.decide(state, latest)
		case <-retry.C:
		}
		if err != nil {
			return err
		}
		var told bool
		if state, told, err = w.deliver(ctx, state); err != nil {
			return err
		}
		if pause = min(2*pause, lastPause); told {
			pause = firstPause
		}
		if len(state.Outbox) > 0 {
			retry.Reset(pause)
		}
	}
}

// decide compares, and keeps what follows from it before anybody hears of it.
func (w *Watcher) decide(s State, latest map[string]*admission.VerifiedRoster) (State, error) {
	var rosters []*admission.VerifiedRoster
	for _, r := range latest {
		rosters = append(rosters, r)
	}
	next, alarm := s.Decide(w.Rules, rosters, w.Now())
	if alarm != "" && !s.Frozen {
		w.Log("frozen", "why", alarm)
	}
	if s.Frozen && !next.Frozen {
		w.Log("thawed")
	}
	if next.Numbered == s.Numbered && next.Frozen == s.Frozen && maps.Equal(next.Peers, s.Peers) {
		return s, nil
	}
	if err := w.Outbox.Save(next); err != nil {
		return s, fmt.Errorf("keep what the ledger has to be told: %w", err)
	}
	return next, nil
}

// deliver tells the ledger what is in the outbox, in order, until that is empty or
// the ledger does not take a change. Each is forgotten only after it was taken.
func (w *Watcher) deliver(ctx context.Context, s State) (_ State, all bool, err error) {
	for len(s.Outbox) > 0 {
		c := s.Outbox[0]
		if err := w.Ledger.Tell(ctx, c); err != nil {
			if ctx.Err() == nil {
				w.Log("not delivered", "number", c.Number, "action", c.Action, "node", c.Node, "error", err)
			}
			return s, false, nil
		}
		w.Log("delivered", "number", c.Number, "action", c.Action, "node", c.Node, "peer", c.Peer, "reason", c.Reason)
		s.Outbox = s.Outbox[1:]
		if err := w.Outbox.Save(s); err != nil {
			return s, false, fmt.Errorf("note that the ledger was told: %w", err)
		}
	}
	return s, true, nil
}
