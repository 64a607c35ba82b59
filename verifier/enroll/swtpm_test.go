package enroll_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/enroll"
	"github.com/quorate/quorate/verifier/verdict"
)

// host is a software TPM with the agent's keys in it.
type host struct {
	keys *key.Keys
	ca   *vendorca.CA
}

func newHost(t *testing.T, ca *vendorca.CA, withRSA bool) *host {
	t.Helper()
	swtpm.Require(t)
	tpm, err := swtpm.New(context.Background(), t.TempDir(), swtpm.Options{Vendor: ca, RSA: withRSA})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	keys, err := key.Open(t.Context(), device.Wrap(tpm), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	return &host{keys, ca}
}

func (h *host) openEK(t *testing.T, template enroll.Template) *key.EK {
	t.Helper()
	ek, err := h.keys.OpenEK(t.Context(), key.Template(template))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ek.Close() })
	return ek
}

// check verifies the certificate of a TPM and that its EK is the certified one.
func (h *host) check(t *testing.T, ek *key.EK, template enroll.Template) *enroll.EK {
	t.Helper()
	roots := []enroll.Root{{Class: enroll.Virtual, Test: true, Certificate: h.ca.Root}}
	trust, err := enroll.NewTrust(roots, map[enroll.Class]enroll.Template{enroll.Virtual: template}, true)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := trust.VerifyEK(ek.Certificate, ek.Intermediates, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := verified.CheckPublic(ek.Public); err != nil {
		t.Fatal(err)
	}
	if verified.HostID != ek.HostID {
		t.Errorf("host id %s, the agent says %s", verified.HostID, ek.HostID)
	}
	return verified
}

func (h *host) ak(t *testing.T) *enroll.AK {
	t.Helper()
	ak, err := enroll.CheckAK(h.keys.AKPublic())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ak.Name(), h.keys.AKName()) {
		t.Fatalf("name %x, the TPM says %x", ak.Name(), h.keys.AKName())
	}
	return ak
}

func newVendorCA(t *testing.T) *vendorca.CA {
	t.Helper()
	ca, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// activate makes a credential for an EK and an AK and lets a TPM answer it.
func activate(t *testing.T, ek *enroll.EK, ak *enroll.AK, in *key.EK) error {
	t.Helper()
	secret := make([]byte, enroll.SecretSize)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	blob, encrypted, err := enroll.MakeCredential(rand.Reader, ek, ak, secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := in.Activate(t.Context(), blob, encrypted)
	if err == nil && !bytes.Equal(got, secret) {
		t.Error("activated another secret")
	}
	return err
}

// A whole enrolment with the structures that a TPM really makes.
func TestEnrolmentOfARealTPM(t *testing.T) {
	h := newHost(t, newVendorCA(t), true)
	ak := h.ak(t)
	for _, template := range []enroll.Template{enroll.ECCP256, enroll.RSA2048} {
		ek := h.openEK(t, template)
		if err := activate(t, h.check(t, ek, template), ak, ek); err != nil {
			t.Errorf("%s: %v", template, err)
		}
		if err := ek.Close(); err != nil {
			t.Error(err)
		}
	}

	node, err := enroll.CheckNodeKey(h.keys.NodeKeyPublic())
	if err != nil {
		t.Fatal(err)
	}
	want := binding.Certification{
		Ledger:   binding.Ledger{Consortium: "example-net", ChainID: "example-1", Genesis: [32]byte{1}},
		Verifier: "org-a.verifier.example-net", Node: "org-a/validator-1",
		AKName: ak.Name(), NodeKey: node.Digest(), Nonce: [32]byte{7}, Exporter: [32]byte{8},
	}
	creation, err := h.keys.CertifyCreation(t.Context(), qualifying(t, want, binding.PurposeAKCreation))
	if err != nil {
		t.Fatal(err)
	}
	if err := enroll.CheckCreation(ak, want, creation.CreationData, creation.Attest, creation.Signature); err != nil {
		t.Error(err)
	}
	certified, err := h.keys.CertifyNodeKey(t.Context(), qualifying(t, want, binding.PurposeNodeKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := enroll.CheckCertify(ak, node, want, certified.Attest, certified.Signature); err != nil {
		t.Error(err)
	}
	err = enroll.CheckCreation(ak, want, creation.CreationData, certified.Attest, certified.Signature)
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) || refusal.Check != verdict.EnrollType {
		t.Errorf("node key certification as AK creation: %v", err)
	}
}

func qualifying(t *testing.T, c binding.Certification, p binding.Purpose) [32]byte {
	t.Helper()
	q, err := c.QualifyingData(p)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestA036_AKInAnotherRealTPM(t *testing.T) {
	ca := newVendorCA(t)
	a, b := newHost(t, ca, false), newHost(t, ca, false)
	ekA, ekB := a.openEK(t, enroll.ECCP256), b.openEK(t, enroll.ECCP256)
	verified := a.check(t, ekA, enroll.ECCP256)
	if err := activate(t, verified, a.ak(t), ekA); err != nil {
		t.Fatalf("twin: %v", err)
	}
	if err := activate(t, verified, b.ak(t), ekB); err == nil {
		t.Error("the AK's TPM activated a credential for another EK")
	}
	if err := activate(t, verified, b.ak(t), ekA); err == nil {
		t.Error("the EK's TPM activated a credential for an AK it does not hold")
	}
}
