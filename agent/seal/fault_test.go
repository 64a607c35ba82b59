package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent/device"
)

var errLine = errors.New("the line is cut")

// faulty fails one command, by its number: it is lost, or the TPM refuses it.
type faulty struct {
	transport.TPM
	at     int
	refuse bool
	seen   int
	failed tpm2.TPMCC // which command it was
}

func (f *faulty) Send(command []byte) ([]byte, error) {
	f.seen++
	if f.seen-1 != f.at {
		return f.TPM.Send(command)
	}
	f.failed = tpm2.TPMCC(binary.BigEndian.Uint32(command[6:]))
	if f.refuse {
		return []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0x01, 0x01}, nil // TPM_RC_FAILURE
	}
	return nil, errLine
}

// TestEveryCommandMayFail has each command of each operation fail. The operation
// must then fail too, and give out nothing.
func TestEveryCommandMayFail(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		for name, operation := range map[string]func(h *host, tpm transport.TPM) (any, error){
			"create": func(h *host, tpm transport.TPM) (any, error) {
				k, _, err := Create(t.Context(), device.Wrap(tpm), h.terms(), "")
				return k, err
			},
			"once": func(h *host, tpm transport.TPM) (any, error) {
				k, a := h.create(h.terms()), h.approve()
				return k.Unseal(t.Context(), device.Wrap(tpm), []Approval{a}, nil)
			},
			"granted": func(h *host, tpm transport.TPM) (any, error) {
				k, a := h.create(h.strict()), h.approve()
				return k.Unseal(t.Context(), device.Wrap(tpm), []Approval{a}, h.sign(time.Minute))
			},
			"count": func(h *host, tpm transport.TPM) (any, error) {
				n, err := Count(t.Context(), device.Wrap(tpm))
				if n == 0 {
					return nil, err
				}
				return n, err
			},
		} {
			t.Run(fmt.Sprint(name, " refuse ", refuse), func(t *testing.T) { everyCommand(t, refuse, operation) })
		}
	}
}

func everyCommand(t *testing.T, refuse bool, operation func(*host, transport.TPM) (any, error)) {
	h := newHost(t)
	for at := 0; ; at++ {
		f := &faulty{TPM: h.tpm, at: at, refuse: refuse}
		out, err := operation(h, f)
		if f.failed == 0 { // one more than there are
			if err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			if at < 3 {
				t.Fatalf("%d commands", at)
			}
			return
		}
		if err == nil && f.failed != tpm2.TPMCCFlushContext {
			t.Errorf("command %d (%#x) failed and nobody noticed", at, uint32(f.failed))
		}
		if s, ok := out.(*Secret); ok && s != nil && err != nil {
			t.Errorf("command %d (%#x) failed, and the key is out", at, uint32(f.failed))
		}
		h.reboot()
	}
}
