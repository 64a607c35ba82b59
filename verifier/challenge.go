package verifier

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quorate/quorate/proto/binding"
)

// book holds the open challenges, one per node. A challenge is answered once:
// take removes it before anything of the answer is looked at, so of a hundred
// copies of one answer one is judged.
//
// Safe for concurrent use.
type book struct {
	mu     sync.Mutex
	open   map[string]openChallenge // by node id
	life   time.Duration
	random io.Reader
}

type openChallenge struct {
	challenge binding.Challenge
	expires   time.Time
}

func newBook(life time.Duration) *book {
	return &book{open: make(map[string]openChallenge), life: life, random: rand.Reader}
}

// issue fills in a fresh nonce and opens the challenge. An earlier open
// challenge of the node is void.
func (b *book) issue(node string, c binding.Challenge, now time.Time) (binding.Challenge, error) {
	if _, err := io.ReadFull(b.random, c.Nonce[:]); err != nil {
		return binding.Challenge{}, fmt.Errorf("make a nonce: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[node] = openChallenge{challenge: c, expires: now.Add(b.life)}
	return c, nil
}

// take removes the node's open challenge if its nonce is among the answered
// ones, and reports whether it was there and had not expired.
func (b *book) take(node string, answered []binding.Challenge, now time.Time) (binding.Challenge, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.open[node]
	if !ok {
		return binding.Challenge{}, false
	}
	for _, c := range answered {
		if subtle.ConstantTimeCompare(c.Nonce[:], o.challenge.Nonce[:]) == 1 {
			delete(b.open, node)
			return o.challenge, !now.After(o.expires)
		}
	}
	return binding.Challenge{}, false
}

// forget voids the node's open challenge, when its session ends.
func (b *book) forget(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, node)
}
