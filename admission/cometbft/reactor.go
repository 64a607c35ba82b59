package cometbft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cometbft/cometbft/p2p"

	"github.com/quorate/quorate/admission"
)

// ReactorName is the name under which a node takes the Evictor.
const ReactorName = "QUORATE"

// evictEvery is how often an Evictor looks at its peers.
const evictEvery = 500 * time.Millisecond

// Evictor is a reactor that closes the links of peers whose admission has ended:
// filter_peers alone asks only when a link is made. Give it to node.CustomReactors
// under ReactorName, in the process of a gate.
type Evictor struct {
	p2p.BaseReactor
	welcome func(id string) bool
}

// NewEvictor makes the reactor of a gate's node.
func NewEvictor(g *Gate) *Evictor {
	e := &Evictor{welcome: g.Welcome}
	e.BaseReactor = *p2p.NewBaseReactor(ReactorName, e)
	return e
}

// OnStart begins to look at the peers.
func (e *Evictor) OnStart() error {
	go e.watch()
	return nil
}

func (e *Evictor) watch() {
	tick := time.NewTicker(evictEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.Quit():
			return
		case <-tick.C:
			e.evict()
		}
	}
}

func (e *Evictor) evict() {
	for _, peer := range e.Switch.Peers().List() {
		if !e.welcome(string(peer.ID())) {
			e.Switch.StopPeerForError(peer, errors.New("no standing admission"))
		}
	}
}

// AwaitBundle waits until there is a bundle that stands, and returns it. A node
// that joins calls it before it starts or dials: a refused node that keeps
// dialling is a burden on everyone. read returns the bundle that the host's
// agent keeps, and may fail for as long as there is none.
func AwaitBundle(ctx context.Context, read func() ([]byte, error), c *admission.Consortium, want admission.Want) ([]byte, error) {
	tick := time.NewTicker(evictEvery)
	defer tick.Stop()
	for {
		b, err := read()
		if err == nil {
			_, err = c.VerifyBundle(b, want, time.Now())
		}
		if err == nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("gate: no bundle that stands: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
