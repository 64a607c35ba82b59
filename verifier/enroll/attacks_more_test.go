package enroll

import (
	"crypto/elliptic"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/verdict"
)

// Two genuine TPMs: one has the certified EK and the attestation key, the other
// the key that the node speaks with.
func TestA064_KeysOfTwoTPMs(t *testing.T) {
	a, b := newEnrolment(t, "tpm a"), newEnrolment(t, "tpm b")
	if err := a.checkCertify(); err != nil {
		t.Fatalf("twin: %v", err)
	}
	mixed := a.want
	mixed.NodeKey = b.node.Digest()
	data := extra(t, mixed, binding.PurposeNodeKey)
	attest, signature := sign(t, b.tpm, b.tpm.Certify(b.tpm.NodeKey, data)) // honestly, by its own TPM
	wantRefusal(t, CheckCertify(a.ak, b.node, mixed, attest, signature), verdict.EnrollSignature)
	attest, signature = sign(t, a.tpm, a.tpm.Certify(a.tpm.NodeKey, data)) // by the other, about its own key
	wantRefusal(t, CheckCertify(a.ak, b.node, mixed, attest, signature), verdict.EnrollSubject)

	v := production(t)
	ek := mustEK(t, v, a.tpm.EK)
	for name, ak := range map[string]*AK{"of this TPM": a.ak, "of the other": b.ak} {
		_, blob, encrypted := credential(t, ek, ak)
		if _, err := a.tpm.Activate(blob, encrypted); (err == nil) != (ak == a.ak) {
			t.Errorf("attestation key %s: %v", name, err)
		}
	}
}

// A node key that could be carried off is no node key, whoever vouches for it.
func TestA161_KeyThatCanLeave(t *testing.T) {
	if _, err := CheckNodeKey(papertpm.NewNode("x").NodeKey.Bytes()); err != nil {
		t.Fatalf("twin: %v", err)
	}
	for name, loosen := range map[string]func(*tpm2.TPMAObject){
		"another TPM may take it":    func(a *tpm2.TPMAObject) { a.FixedTPM = false },
		"another parent may take it": func(a *tpm2.TPMAObject) { a.FixedTPM, a.FixedParent = false, false },
		"made in software":           func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false },
		"wrapped for a journey":      func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true },
	} {
		attributes := papertpm.NodeKeyAttributes()
		loosen(&attributes)
		_, err := CheckNodeKey(papertpm.ECCKey(elliptic.P256(), "x", attributes).Bytes())
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantRefusal(t, err, verdict.EnrollNodeKey)
	}
}
