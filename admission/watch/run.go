package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/admission/watch/allowlist"
)

// Ledger is told of changes. Tell returns nil only once the ledger has taken the
// change. It may be told of the same change again, and is told of one at a time.
type Ledger interface {
	Tell(context.Context, allowlist.Change) error
}

// Event is something that people want to know.
type Event struct {
	Event    string            `json:"event"` // roster, verifier, changed, delivered, undelivered, frozen, thawed
	Alarm    bool              `json:"alarm"` // a person should look
	Verifier string            `json:"verifier,omitempty"`
	Number   uint64            `json:"number,omitempty"` // of the roster
	Change   *allowlist.Change `json:"change,omitempty"`
	Why      string            `json:"why,omitempty"`
}

// Config is what a watcher needs. Everything is required.
type Config struct {
	Rules     allowlist.Rules
	Followers []*roster.Client // one for each verifier that can be asked
	Ledger    Ledger
	Outbox    *Outbox
	Report    func(Event) // called by one goroutine at a time; must not wait
	Now       func() time.Time
}

// Pauses.
const (
	firstPause = 250 * time.Millisecond // before a change is tried again
	lastPause  = 30 * time.Second
	lookEvery  = 5 * time.Second // admissions and rosters end without an event
)

// news is what one follower yields.
type news struct {
	verifier string
	roster   *admission.VerifiedRoster
	err      error
}

// watcher is a running watch.
type watcher struct {
	Config
	state  allowlist.State
	latest map[string]*admission.VerifiedRoster // by verifier
	due    <-chan time.Time                     // when the next change is told; nil if that is not set
	pause  time.Duration                        // before that
}

// Run brings the ledger up to the rosters and keeps it there until the context
// ends. It returns an error only if the state cannot be read or kept: going on
// could then lose a change.
func Run(ctx context.Context, c Config) error {
	if c.Ledger == nil || c.Outbox == nil || c.Report == nil || c.Now == nil || len(c.Followers) == 0 {
		return errors.New("watch: every field of Config is required")
	}
	if err := c.Rules.Check(); err != nil {
		return err
	}
	w := &watcher{Config: c, latest: map[string]*admission.VerifiedRoster{}}
	var err error
	if w.state, err = c.Outbox.Load(); err != nil {
		return err
	}
	return w.run(ctx)
}

func (w *watcher) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	arriving, wait := w.follow(ctx)
	defer wait()
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		if len(w.state.Outbox) > 0 && w.due == nil {
			w.due = time.After(w.pause)
		}
		if err := w.step(ctx, arriving, look.C); err != nil {
			return err
		}
	}
	return nil
}

// step waits for one thing and does it. At most one change is told in a step, so
// that a ledger that does not answer never keeps rosters waiting for long.
func (w *watcher) step(ctx context.Context, arriving <-chan news, look <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return nil
	case n := <-arriving:
		return w.hear(n)
	case <-look:
		return w.decide()
	case <-w.due:
		w.due = nil
		return w.deliver(ctx)
	}
}

// follow starts a goroutine for each verifier; wait returns when all have ended.
func (w *watcher) follow(ctx context.Context) (arriving <-chan news, wait func()) {
	all := make(chan news)
	var group sync.WaitGroup
	for _, client := range w.Followers {
		group.Go(func() {
			for r, err := range client.Watch(ctx) {
				select {
				case all <- news{client.Verifier(), r, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return all, group.Wait
}

// hear takes in a roster, or says that there is none. A roster that did not verify
// is worth an alarm; a broken connection is not.
func (w *watcher) hear(n news) error {
	if n.err != nil {
		var refusal *admission.Refusal
		w.Report(Event{Event: "verifier", Alarm: errors.As(n.err, &refusal), Verifier: n.verifier, Why: n.err.Error()})
		return nil
	}
	w.latest[n.verifier] = n.roster
	w.Report(Event{Event: "roster", Verifier: n.verifier, Number: n.roster.Number()})
	return w.decide()
}

// decide compares, and keeps what follows before anybody hears of it.
func (w *watcher) decide() error {
	rosters := slices.Collect(maps.Values(w.latest))
	next := w.state.Decide(w.Rules, rosters, w.Now())
	if next.Equal(w.state) {
		return nil
	}
	if err := w.Outbox.Save(next); err != nil {
		return fmt.Errorf("watch: keep what the ledger has to be told: %w", err)
	}
	w.announce(next)
	w.state = next
	return nil
}

// announce reports what is new in the next state.
func (w *watcher) announce(next allowlist.State) {
	switch {
	case next.Frozen != "" && next.Frozen != w.state.Frozen:
		w.Report(Event{Event: "frozen", Alarm: true, Why: next.Frozen})
	case next.Frozen == "" && w.state.Frozen != "":
		w.Report(Event{Event: "thawed"})
	}
	for _, c := range next.Outbox[len(w.state.Outbox):] {
		w.Report(Event{Event: "changed", Change: &c})
	}
}

// deliver tells the ledger of the first change in the outbox, and forgets that
// once it was taken.
func (w *watcher) deliver(ctx context.Context) error {
	c := w.state.Outbox[0]
	if err := w.Ledger.Tell(ctx, c); err != nil {
		w.pause = min(max(2*w.pause, firstPause), lastPause)
		if ctx.Err() == nil {
			w.Report(Event{Event: "undelivered", Alarm: true, Change: &c, Why: err.Error()})
		}
		return nil
	}
	w.pause = 0
	next := w.state.Delivered()
	if err := w.Outbox.Save(next); err != nil {
		return fmt.Errorf("watch: note that the ledger was told: %w", err)
	}
	w.state = next
	w.Report(Event{Event: "delivered", Change: &c})
	return nil
}
