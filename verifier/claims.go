package verifier

import (
	"context"
	"sync"
)

// claims are the names that enrolments under way are about to take. Enrolments of
// different hosts are recorded side by side and share the journal's batches. Two
// that want the same id, TPM, key or token take turns, so that the second one sees
// what the first has recorded.
type claims struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the name is free again
}

func newClaims() *claims { return &claims{held: make(map[string]chan struct{})} }

// take waits until all names are free, and takes all of them at once: two that
// wait for each other cannot happen. release frees them.
func (c *claims) take(ctx context.Context, names ...string) (release func(), err error) {
	for {
		busy, release := c.try(names)
		if release != nil {
			return release, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *claims) try(names []string) (busy <-chan struct{}, release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if held, ok := c.held[name]; ok {
			return held, nil
		}
	}
	free := make(chan struct{})
	for _, name := range names {
		c.held[name] = free
	}
	return nil, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, name := range names {
			delete(c.held, name)
		}
		close(free)
	}
}
