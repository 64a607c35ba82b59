package evidence_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// bareVerify is the one operation that no check of a quote can do without.
func bareVerify(b *testing.B, s *scene) func() {
	b.Helper()
	sig, err := s.node.AK.Sign(s.raw.Quote)
	if err != nil {
		b.Fatal(err)
	}
	var builder cryptobyte.Builder
	builder.AddASN1(asn1.SEQUENCE, func(c *cryptobyte.Builder) {
		c.AddASN1BigInt(new(big.Int).SetBytes(sig.R))
		c.AddASN1BigInt(new(big.Int).SetBytes(sig.S))
	})
	der := builder.BytesOrPanic()
	digest := sha256.Sum256(s.raw.Quote)
	public, ok := s.node.AK.Signer.Public().(*ecdsa.PublicKey)
	if !ok {
		b.Fatal("the key is not ECDSA")
	}
	return func() {
		if !ecdsa.VerifyASN1(public, digest[:], der) {
			b.Fatal("bare verification failed")
		}
	}
}

// BenchmarkSteadyState is a quote with a known boot log and nothing new in the IMA
// list, as a multiple of the bare signature check in the same run.
func BenchmarkSteadyState(b *testing.B) {
	s := newScene(b)
	s.remember(s.passes())
	s.answer()
	compare(b, s)
}

// BenchmarkFirst is the first evidence of a boot: log and list included.
func BenchmarkFirst(b *testing.B) { compare(b, newScene(b)) }

func compare(b *testing.B, s *scene) {
	bare := bareVerify(b, s)
	var theirs, ours time.Duration
	allocs := testing.AllocsPerRun(10, func() { s.passes() })
	for b.Loop() {
		start := time.Now()
		bare()
		theirs += time.Since(start)
		start = time.Now()
		s.passes()
		ours += time.Since(start)
	}
	b.ReportMetric(float64(ours)/float64(theirs), "verify/bare")
	b.ReportMetric(allocs, "allocs/verify")
}
