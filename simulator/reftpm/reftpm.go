// Package reftpm runs the TPM reference implementation inside the process. It
// starts in milliseconds and can be seeded, but there is one per process, it
// needs cgo, and it has no power cycle: a restart would forget the seed.
package reftpm

import (
	"fmt"
	"sync"

	"github.com/google/go-tpm-tools/simulator"
	"github.com/google/go-tpm/tpmutil"
)

// TPM is the process's reference TPM. It is safe for concurrent use.
type TPM struct {
	mu  sync.Mutex
	sim *simulator.Simulator
}

// Open manufactures the TPM and starts it. Equal seeds give TPMs with equal
// keys. A second Open waits until the first TPM is closed.
func Open(seed int64) (*TPM, error) {
	sim, err := simulator.GetWithFixedSeedInsecure(seed)
	if err != nil {
		return nil, fmt.Errorf("reftpm: %w", err)
	}
	return &TPM{sim: sim}, nil
}

// Send runs one command.
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tpmutil.RunCommandRaw(t.sim, command)
}

// Close switches the TPM off and forgets it.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sim.Close()
}
