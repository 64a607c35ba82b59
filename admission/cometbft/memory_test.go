package cometbft

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/quorate/quorate/admission"
)

// A memory holds what it was given last, and no more than its bound.
func TestMemoryIsBounded(t *testing.T) {
	var m memory
	key := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	for i := range remembered + 10 {
		m.put(key(i), &admission.Admission{})
		m.put(key(i), &admission.Admission{})
	}
	m.put(key(-1), nil)
	if len(m.known) != remembered || len(m.order) != remembered {
		t.Errorf("holds %d and %d, bound %d", len(m.known), len(m.order), remembered)
	}
	known := m.all([][]byte{fmt.Append(nil, 9), fmt.Append(nil, 10), fmt.Append(nil, remembered+9), fmt.Append(nil, -1)})
	for i, want := range []bool{false, true, true, false} {
		if (known[i] != nil) != want {
			t.Errorf("%d: known %t", i, known[i] != nil)
		}
	}
}
