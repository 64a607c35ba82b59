package ima_test

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/ima"
)

// Replaying a list costs memory in proportion to it, and far less: whatever its
// entries are, however many, and whatever sizes they announce.
func TestFrugal(t *testing.T) {
	grown := func(add func(l *list, i int)) func(n int) []byte {
		return func(n int) []byte {
			l := newList()
			for i := range n {
				add(l, i)
			}
			return l.raw
		}
	}
	for name, shape := range map[string]func(n int) []byte{
		"files":           grown(func(l *list, i int) { l.file(fmt.Sprint("/f", i)) }),
		"one file":        grown(func(l *list, _ int) { l.file("/f") }),
		"violations":      grown(func(l *list, _ int) { l.violation("ima-ng", digest("sha256", make([]byte, 20)), path("/v")) }),
		"signatures":      grown(func(l *list, _ int) { l.add("ima-sig", content("s"), path("/s"), signatureV2(64)) }),
		"buffers":         grown(func(l *list, _ int) { l.add("ima-buf", content("b"), path("b"), []byte("b")) }),
		"one long path":   func(n int) []byte { return newList().file("/" + strings.Repeat("x", n)).raw },
		"one long buffer": func(n int) []byte { return newList().add("ima-buf", content("b"), path("b"), make([]byte, n)).raw },
		"a huge entry": func(n int) []byte {
			return append(newList().raw, append(make([]byte, 24), bytes.Repeat([]byte{0xff}, n)...)...)
		},
		"zeros": func(n int) []byte { return make([]byte, n) },
	} {
		t.Run(name, func(t *testing.T) {
			weigh.Linear(t, 4<<20, shape, func(raw []byte) {
				quoted := ima.Quoted{PCR10: [32]byte{1}, BootAggregate: ima.BootAggregate(bootPCRs)} // never reached
				_, _ = ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits)
				if list, err := ima.Read(raw, ima.DefaultLimits); err == nil {
					_ = list.PCR10(crypto.SHA256)
				}
			})
		})
	}
}
