package bootlog

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/measure"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/enroll"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/ima"
)

// The agent takes a simulated host for a real one: its keys and certificate pass
// enrolment, and its quote vouches for the files that it reads.
func TestAgentOnHost(t *testing.T) {
	swtpm.Require(t)
	now := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	vendor, err := vendorca.New(vendorca.Options{Seed: "host", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(t.Context(), t.TempDir(), swtpm.Options{Vendor: vendor})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Boot(Debian()); err != nil {
		t.Fatal(err)
	}
	if err := h.Exec("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent"))); err != nil {
		t.Fatal(err)
	}
	dev, err := device.Open(t.Context(), h.Device())
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	keys, err := key.Open(t.Context(), dev, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	enrolAgent(t, keys, vendor, now)
	attestAgent(t, keys, h)
}

func enrolAgent(t *testing.T, keys *key.Keys, vendor *vendorca.CA, now time.Time) {
	t.Helper()
	roots := []enroll.Root{{Class: enroll.Virtual, Test: true, Certificate: vendor.Root}}
	trust, err := enroll.NewTrust(roots, map[enroll.Class]enroll.Template{enroll.Virtual: enroll.ECCP256}, true)
	if err != nil {
		t.Fatal(err)
	}
	held, err := keys.OpenEK(t.Context(), key.ECCP256)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ek, err := trust.VerifyEK(held.Certificate, held.Intermediates, now)
	if err != nil {
		t.Fatal(err)
	}
	ak, err := enroll.CheckAK(keys.AKPublic())
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{9}, 32)
	blob, encrypted, err := enroll.MakeCredential(rand.Reader, ek, ak, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := held.Activate(t.Context(), blob, encrypted)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("activation gave %x, %v", got, err)
	}
	want := binding.Certification{Verifier: "v", Node: "org/n", AKName: keys.AKName(), NodeKey: keys.NodeKeyDigest(), Nonce: [32]byte{1}}
	qualifying, err := want.QualifyingData(binding.PurposeAKCreation)
	if err != nil {
		t.Fatal(err)
	}
	c, err := keys.CertifyCreation(t.Context(), qualifying)
	if err != nil {
		t.Fatal(err)
	}
	if err := enroll.CheckCreation(ak, want, c.CreationData, c.Attest, c.Signature); err != nil {
		t.Error(err)
	}
}

func attestAgent(t *testing.T, keys *key.Keys, h *Host) {
	t.Helper()
	pcrs := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
	quote, err := keys.Quote(t.Context(), tpm2.TPMAlgSHA256, pcrs, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	source := measure.Source{FS: os.DirFS("/"), BootLog: measure.Relative(h.BootLogPath()), IMAList: measure.Relative(h.IMAPath())}
	raw, err := source.ReadBootLog()
	if err != nil {
		t.Fatal(err)
	}
	log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Verify([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, quote.PCRs); err != nil {
		t.Error(err)
	}
	list, err := os.ReadFile(h.IMAPath())
	if err != nil {
		t.Fatal(err)
	}
	var first [10][32]byte
	for i := range first {
		first[i] = [32]byte(quote.PCRs[i])
	}
	quoted := ima.Quoted{PCR10: [32]byte(quote.PCRs[10]), BootAggregate: ima.BootAggregate(first)}
	segment, err := ima.Replay(ima.State{}, list, quoted, ima.DefaultLimits)
	if err != nil || segment.Len() != 2 {
		t.Errorf("IMA list: %v", err)
	}
}
