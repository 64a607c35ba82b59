package appraise

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
)

// bare returns the time of one ecdsa.VerifyASN1, the operation that gates are
// ratios to.
func bare(b *testing.B) func() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("quote"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("bad signature")
		}
	}
}

// ratio runs the operation and the bare one in turn, and reports their quotient.
func ratio(b *testing.B, gate float64, op func()) {
	base := bare(b)
	for range 50 {
		op()
		base()
	}
	var spent, unit time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		op()
		middle := time.Now()
		base()
		spent, unit = spent+middle.Sub(start), unit+time.Since(middle)
	}
	b.ReportMetric(float64(spent)/float64(unit), "ratio")
	b.ReportMetric(gate, "gate")
}

// BenchmarkSteadyState is quote, known boot log and no new IMA entry, appraised.
func BenchmarkSteadyState(b *testing.B) {
	set := debianSet(b)
	h := start(b, bootlog.Debian())
	_, history := Next(set, h.verified(), History{TPM: chip}, noon)
	raw, want := h.evidence()
	raw.BootLog = nil
	ratio(b, 1.5, func() {
		v, err := evidence.Verify(raw, want)
		if err != nil {
			b.Fatal(err)
		}
		verdict, _ := Next(set, v, history, noon)
		if verdict.Denies() {
			b.Fatal(verdict.Findings)
		}
	})
}

// BenchmarkFull is a first appraisal of a log of 150 events and 100 KB.
func BenchmarkFull(b *testing.B) {
	big := bootlog.Debian()
	big.DB = nil
	for i := range 45 {
		big.DB = append(big.DB, bootlog.CertificateLists(bootlog.Certificate(fmt.Sprintf("certificate %d %0800d", i, i)))...)
	}
	for i := range 110 {
		big.GrubCommands = append(big.GrubCommands, fmt.Sprintf("set variable_%d=value", i))
	}
	h := start(b, big)
	p, manifests := learned(b, h)
	p.Rules = []policy.Rule{{ID: "no-option-roms", Deny: "boot.images.exists(i, i.pcr == 2)", Message: "m", Remedy: "r"}}
	set := compile(b, p, manifests)
	h.known, h.ima.Entries = nil, 0
	h.ima.Bytes = 0
	raw, want := h.evidence()
	b.Logf("boot log of %d events, %d bytes", len(h.log.Events), len(raw.BootLog))
	ratio(b, 4, func() {
		v, err := evidence.Verify(raw, want)
		if err != nil {
			b.Fatal(err)
		}
		verdict, _ := Next(set, v, History{TPM: chip}, noon)
		if verdict.Denies() {
			b.Fatal(verdict.Findings)
		}
	})
}

// BenchmarkNext is the appraisal alone, after Verify.
func BenchmarkNext(b *testing.B) {
	set := debianSet(b)
	h := start(b, bootlog.Debian())
	ev := h.whole()
	_, history := Next(set, ev, History{TPM: chip}, noon)
	b.Run("full", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Next(set, ev, History{TPM: chip}, noon)
		}
	})
	b.Run("steady", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Next(set, ev, history, noon)
		}
	})
}
