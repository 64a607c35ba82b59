package rpc

import (
	"sync"
	"time"
)

// maxBuckets bounds the table of sources. When it is full, sources whose bucket
// is full again are forgotten; if none is, new sources wait.
const maxBuckets = 65536

// buckets is a token bucket per source address: capacity tokens, refilled over
// the period.
type buckets struct {
	capacity float64
	period   time.Duration

	mu     sync.Mutex
	states map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBuckets(capacity int, period time.Duration) *buckets {
	return &buckets{capacity: float64(capacity), period: period, states: make(map[string]bucket)}
}

// take uses one token of the source's bucket, if there is one.
func (b *buckets) take(source string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	state, known := b.states[source]
	if !known {
		if len(b.states) >= maxBuckets && !b.forget(now) {
			return false
		}
		state = bucket{tokens: b.capacity, at: now}
	}
	state = b.refilled(state, now)
	if state.tokens < 1 {
		b.states[source] = state
		return false
	}
	state.tokens--
	b.states[source] = state
	return true
}

func (b *buckets) refilled(s bucket, now time.Time) bucket {
	gained := float64(now.Sub(s.at)) / float64(b.period) * b.capacity
	return bucket{tokens: min(b.capacity, s.tokens+max(gained, 0)), at: now}
}

// forget drops full buckets and reports whether there is room now.
func (b *buckets) forget(now time.Time) bool {
	for source, s := range b.states {
		if b.refilled(s, now).tokens >= b.capacity {
			delete(b.states, source)
		}
	}
	return len(b.states) < maxBuckets
}
