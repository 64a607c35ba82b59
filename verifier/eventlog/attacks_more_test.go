package eventlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// PCR 0 starts at zero, at locality 3, or at 4 behind what hardware measured
// before the TPM was started. Only the log that says so explains it.
func TestA031_StartOfPCR0(t *testing.T) {
	hardware := record{0, EvEFIHCRTMEvent, hash("measured by hardware"), []byte("HCRTM")}
	locality := func(l string) record { return quiet(0, "StartupLocality\x00"+l) }
	logs := map[string][]record{
		"0": nil, "3": {locality("\x03")}, "4": {locality("\x04"), hardware},
	}
	tpms := map[string][]byte{
		"0": make([]byte, 32), "3": append(make([]byte, 31), 3), "4": extended(append(make([]byte, 31), 4), hardware.digest),
		"4 without the event": append(make([]byte, 31), 4), "event without 4": extended(make([]byte, 32), hardware.digest),
		"dynamic": bytes.Repeat([]byte{0xff}, 32),
	}
	for claimed, first := range logs {
		for real, value := range tpms {
			t.Run(fmt.Sprintf("log of %s, TPM of %s", claimed, real), func(t *testing.T) {
				b := genuine(t)
				for _, e := range b.events {
					if e.pcr == 0 {
						value = extended(value, e.digest)
					}
				}
				b.insert(0, first...)
				l, err := Parse(b.bytes(), SHA256, DefaultLimits)
				if err != nil {
					t.Fatal(err)
				}
				pcrs, values := quoted(l.Replay())
				values[0] = value
				if err = l.Verify(pcrs, values); claimed != real {
					isRefusal(t, err, verdict.BootlogReplay)
				} else if err != nil {
					t.Errorf("the twin is refused: %v", err)
				}
			})
		}
	}
}

func extended(value, digest []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(value), digest...))
	return sum[:]
}
