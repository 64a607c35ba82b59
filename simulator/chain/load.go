package chain

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/simulator/site"
)

// Load sends transactions of the application to the nodes in turn.
type Load struct {
	network *Network
	stop    context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	stored []string // keys that some node has in a block; each is its own value
}

// The pace of a load, and how many transactions later it looks whether one is in
// a block. What only a mempool had may be lost with its node; a block may not.
const loadEvery, lookAfter = 100 * time.Millisecond, 10

// NewLoad makes a load for the network. It does nothing before Start.
func NewLoad(n *Network) *Load { return &Load{network: n, done: make(chan struct{})} }

// Start sends until Stop. A node that does not answer is passed over.
func (l *Load) Start(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	go func() {
		defer close(l.done)
		tick := time.NewTicker(loadEvery)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.send(ctx, i)
			}
		}
	}()
}

func (l *Load) send(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	node := l.network.Nodes[i%len(l.network.Nodes)]
	if err := node.Send(ctx, []byte(key(i)+"="+key(i))); err != nil || i < lookAfter {
		return
	}
	old := key(i - lookAfter)
	if value, err := node.Value(ctx, old); err != nil || value != old {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = append(l.stored, old)
}

func key(i int) string { return fmt.Sprintf("load-%d", i) }

// Stored is how many transactions were seen in blocks so far.
func (l *Load) Stored() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stored)
}

// Stop ends the load and returns the keys that were seen in blocks.
func (l *Load) Stop() []string {
	l.stop()
	<-l.done
	return l.stored
}

// Reach waits until every node has a block of that height.
func (n *Network) Reach(ctx context.Context, height int64) error {
	for _, node := range n.Nodes {
		if err := node.Reach(ctx, height); err != nil {
			return err
		}
	}
	return nil
}

// Reach waits until the node has a block of that height.
func (n *Node) Reach(ctx context.Context, height int64) error {
	var h int64
	var err error
	polled := site.Poll(ctx, func() bool {
		h, err = n.Height(ctx)
		return err == nil && h >= height
	})
	if polled != nil {
		return fmt.Errorf("%s is at height %d, not yet at %d: %w", n.Name, h, height, errors.Join(polled, err))
	}
	return nil
}

// Same waits until every node has all blocks and all of the keys, and checks
// that the application hash is the same on all nodes at every height up to the
// one that it returns.
func (n *Network) Same(ctx context.Context, keys []string) (height int64, err error) {
	top, err := n.top(ctx)
	if err != nil {
		return 0, err
	}
	if err := n.Reach(ctx, top+1); err != nil {
		return 0, err
	}
	if err := n.sameHashes(ctx, top+1); err != nil {
		return 0, err
	}
	return top + 1, n.sameValues(ctx, keys)
}

// top is the greatest height of any node that answers.
func (n *Network) top(ctx context.Context) (int64, error) {
	var top int64
	for _, node := range n.Nodes {
		if h, err := node.Height(ctx); err == nil {
			top = max(top, h)
		}
	}
	if top == 0 {
		return 0, errors.New("chain: no node answers")
	}
	return top, nil
}

func (n *Network) sameHashes(ctx context.Context, top int64) error {
	for height := int64(1); height <= top; height++ {
		first := ""
		for i, node := range n.Nodes {
			hash, err := node.AppHash(ctx, height)
			if err != nil {
				return err
			}
			if i == 0 {
				first = hash
			}
			if hash != first {
				return fmt.Errorf("application hash of height %d is %s at %s and %s at %s", height, first, n.Nodes[0].Name, hash, node.Name)
			}
		}
	}
	return nil
}

// sameValues waits until every node stores what one of them had in a block.
func (n *Network) sameValues(ctx context.Context, keys []string) error {
	for _, node := range n.Nodes {
		for _, key := range keys {
			var got string
			var err error
			if polled := site.Poll(ctx, func() bool { got, err = node.Value(ctx, key); return err == nil && got == key }); polled != nil {
				return fmt.Errorf("%s has %q under %s: %w", node.Name, got, key, errors.Join(polled, err))
			}
		}
	}
	return nil
}

// stillFor is how long nobody makes a block in a network that stands.
const stillFor = 4 * time.Second

// Still waits until no node makes blocks any more and returns the greatest height.
func (n *Network) Still(ctx context.Context) (int64, error) {
	var height int64
	since := time.Now()
	err := site.Poll(ctx, func() bool {
		top, err := n.top(ctx)
		if err != nil || top != height {
			height, since = top, time.Now()
		}
		return time.Since(since) > stillFor
	})
	if err != nil {
		return height, fmt.Errorf("blocks go on at height %d: %w", height, err)
	}
	return height, nil
}
