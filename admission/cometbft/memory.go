package cometbft

import (
	"crypto/sha256"
	"sync"

	"github.com/quorate/quorate/admission"
)

// remembered is how many bundles a gate remembers: some blocks full of them.
const remembered = 4 * 64

// memory keeps the admissions of bundles that the mempool's check has verified, so
// that proposing and executing them does not verify them again. The rules take from
// it only what they would find themselves: a gate that forgets is slower, and decides
// alike. Its zero value is empty.
type memory struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*admission.Admission // by digest of the bundle
	order [][sha256.Size]byte                        // oldest first
}

func (m *memory) get(key [sha256.Size]byte) *admission.Admission {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[key]
}

// put remembers an admission, and forgets the oldest for it.
func (m *memory) put(key [sha256.Size]byte, a *admission.Admission) {
	if a == nil { // a roster or a command
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[[sha256.Size]byte]*admission.Admission{}
	}
	if _, again := m.known[key]; !again {
		m.order = append(m.order, key)
	}
	m.known[key] = a
	for len(m.order) > remembered {
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
}

// all returns what is known of each transaction of a block.
func (m *memory) all(txs [][]byte) []*admission.Admission {
	if len(txs) == 0 {
		return nil
	}
	out := make([]*admission.Admission, len(txs))
	for i, tx := range txs {
		out[i] = m.get(sha256.Sum256(tx))
	}
	return out
}
