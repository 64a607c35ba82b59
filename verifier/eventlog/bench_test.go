package eventlog

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

// manyEvents is a genuine log brought to n events by further GRUB commands.
func manyEvents(t testing.TB, n int) []byte {
	b := genuine(t)
	at := b.find(t, inPCR(8, EvIPL))
	for i := len(b.events); i < n; i++ {
		b.insert(at, grub("grub_cmd: ", fmt.Sprintf("set variable%03d=a value of common length", i)))
	}
	return b.bytes()
}

// bareExtends is the least work that a replay can be: n hashes of 64 bytes.
func bareExtends(n int) [32]byte {
	var joined [64]byte
	for range n {
		*(*[32]byte)(joined[:32]) = sha256.Sum256(joined[:])
	}
	return [32]byte(joined[:32])
}

const benchEvents = 150

// Parse and replay of 150 events, beside 150 bare extends in the same run.
func BenchmarkParseReplay(b *testing.B) {
	raw := manyEvents(b, benchEvents)
	b.ReportAllocs()
	for b.Loop() {
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			b.Fatal(err)
		}
		l.Replay()
	}
	ours := float64(b.Elapsed()) / float64(b.N)
	start := time.Now()
	const rounds = 5000
	for range rounds {
		bareExtends(benchEvents)
	}
	b.ReportMetric(ours/(float64(time.Since(start))/rounds), "x-bare")
}

func BenchmarkFacts(b *testing.B) {
	l := parsed(b, manyEvents(b, benchEvents))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Facts(nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Parse and replay allocate the same number of times for 50 and 5,000 events.
func TestAllocations(t *testing.T) {
	count := func(raw []byte) float64 {
		return testing.AllocsPerRun(20, func() {
			l, err := Parse(raw, SHA256, DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			l.Replay()
		})
	}
	few, many := count(manyEvents(t, 50)), count(manyEvents(t, 5000))
	if few != many || few > 4 {
		t.Errorf("%v allocations for 50 events, %v for 5000", few, many)
	}
}
