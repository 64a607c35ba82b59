package ima_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/ima"
)

// BenchmarkReplay compares the replay of a list and one map lookup per entry with
// the bare hashing that no implementation can avoid.
func BenchmarkReplay(b *testing.B) {
	l := newList()
	known := map[[32]byte]string{}
	for i := range 10_000 {
		name := fmt.Sprintf("/usr/lib/x86_64-linux-gnu/lib%d.so", i)
		l.file(name)
		known[sha256.Sum256([]byte(name))] = name
	}
	s := mustReplay(b, l)
	var data [][]byte
	for e := range s.Entries() {
		data = append(data, e.Data)
	}
	var bare, ours, judged time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		hashOnly(data)
		bare += time.Since(start)
		start = time.Now()
		s := mustReplay(b, l)
		ours += time.Since(start)
		for e := range s.Entries() {
			if path, ok := known[[32]byte(e.Digest)]; ok != (e.Index > 0) || ok && path != string(e.Path) {
				b.Fatal("lookup failed")
			}
		}
		judged += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(bare), "replay/bare")
	b.ReportMetric(float64(judged)/float64(bare), "replay+lookup/bare")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N*len(data)), "ns/entry")
}

func mustReplay(b *testing.B, l *list) *ima.Segment {
	s, err := l.replay()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func hashOnly(data [][]byte) (pcr [32]byte) {
	var both [64]byte
	for _, d := range data {
		digest := sha256.Sum256(d)
		copy(both[:], pcr[:])
		copy(both[32:], digest[:])
		pcr = sha256.Sum256(both[:])
	}
	return pcr
}

// BenchmarkEntries is what a policy pays for walking verified entries.
func BenchmarkEntries(b *testing.B) {
	l := newList()
	for i := range 10_000 {
		l.file(fmt.Sprintf("/usr/lib/x86_64-linux-gnu/lib%d.so", i))
	}
	s := mustReplay(b, l)
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		for e := range s.Entries() {
			total += len(e.Path)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(uint64(b.N)*s.Len()), "ns/entry")
}
