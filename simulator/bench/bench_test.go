package bench

import "testing"

// BenchmarkLog is parse, replay, facts and policy of a log of 150 events.
func BenchmarkLog(b *testing.B) {
	op, err := logAppraisal(150)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := op.ours(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIMA is the replay and the appraisal of a list of 10,000 entries.
func BenchmarkIMA(b *testing.B) {
	d, err := imaDuel(10_000, 1.5)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.ours(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*imaEntries), "ns/entry")
}

// BenchmarkFull is a first appraisal with a log of 100 KB.
func BenchmarkFull(b *testing.B) {
	d, err := fullDuel(true)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.ours(); err != nil {
			b.Fatal(err)
		}
	}
}
