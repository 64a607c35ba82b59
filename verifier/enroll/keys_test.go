package enroll

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestEnrolment(t *testing.T) {
	e := newEnrolment(t, "good")
	if !bytes.Equal(e.ak.Name(), e.tpm.AK.Name()) || e.node.Digest() != e.tpm.NodeKey.SPKIDigest() || !bytes.Equal(e.ak.Public(), e.tpm.AK.Bytes()) {
		t.Error("name, digest or public area differ from the TPM's")
	}
	if !e.ak.Key().Equal(e.tpm.AK.Signer.Public()) {
		t.Error("another key")
	}
	if err := e.checkCreation(); err != nil {
		t.Error(err)
	}
	if err := e.checkCertify(); err != nil {
		t.Error(err)
	}
	signature, err := e.tpm.Consensus.Sign(nil, extra(t, e.want, binding.PurposeConsensusKey), &ed25519Options)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckConsensusKey(e.want, signature); err != nil {
		t.Error(err)
	}
}

func TestA036_AKInAnotherTPM(t *testing.T) {
	v, a, b := production(t), papertpm.NewNode("tpm a"), papertpm.NewNode("tpm b")
	ek := mustEK(t, v, a.EK)
	akOfA, err := CheckAK(a.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	secret, blob, encrypted := credential(t, ek, akOfA)
	if got, err := a.Activate(blob, encrypted); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("twin: %v", err)
	}
	akOfB, err := CheckAK(b.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, blob, encrypted = credential(t, ek, akOfB)
	for name, tpm := range map[string]*papertpm.Node{"EK's TPM": a, "AK's TPM": b} {
		if _, err := tpm.Activate(blob, encrypted); err == nil {
			t.Errorf("the %s activated a credential for the other", name)
		}
	}
}

func TestActivationWithRSA(t *testing.T) {
	v := newVendor(t, vendorOptions, Root{Class: Firmware})
	node := papertpm.NewNode("rsa")
	var err error
	if node.EK, err = papertpm.RSAEK(); err != nil {
		t.Fatal(err)
	}
	ak, err := CheckAK(node.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	secret, blob, encrypted := credential(t, mustEK(t, v, node.EK), ak)
	if got, err := node.Activate(blob, encrypted); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("got %x, %v", got, err)
	}
}

// The credential goes to the key inside the certificate; the public area that
// was sent has no say.
func TestA037_EKsNotCompared(t *testing.T) {
	v, a, b := production(t), papertpm.NewNode("tpm a"), papertpm.NewNode("tpm b")
	ek := mustEK(t, v, a.EK)
	if err := ek.CheckPublic(a.EK.Bytes()); err != nil {
		t.Fatalf("twin: %v", err)
	}
	wantRefusal(t, ek.CheckPublic(b.EK.Bytes()), verdict.EnrollEKPublic)
}

// There is no way to give a name: it is computed. So a software key, whatever
// name it claims, cannot be activated as another key.
func TestA038_NameIsRecomputed(t *testing.T) {
	v, a := production(t), papertpm.NewNode("tpm a")
	software := papertpm.ECCKey(elliptic.P256(), "software", papertpm.AKAttributes())
	ak, err := CheckAK(software.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(ak.Name(), a.AK.Name()) {
		t.Fatal("two keys of one name")
	}
	_, blob, encrypted := credential(t, mustEK(t, v, a.EK), ak)
	if _, err := a.Activate(blob, encrypted); err == nil {
		t.Fatal("the TPM activated a credential for a key it does not hold")
	}
}

func TestA039_AKAttributes(t *testing.T) {
	if _, err := CheckAK(papertpm.NewNode("x").AK.Bytes()); err != nil {
		t.Fatalf("twin: %v", err)
	}
	for name, spoil := range map[string]func(*tpm2.TPMAObject){
		"not fixedTPM":            func(a *tpm2.TPMAObject) { a.FixedTPM = false },
		"not fixedParent":         func(a *tpm2.TPMAObject) { a.FixedParent = false },
		"not sensitiveDataOrigin": func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false },
		"not restricted":          func(a *tpm2.TPMAObject) { a.Restricted = false },
		"not sign":                func(a *tpm2.TPMAObject) { a.SignEncrypt = false },
		"decrypt":                 func(a *tpm2.TPMAObject) { a.Decrypt = true },
		"adminWithPolicy":         func(a *tpm2.TPMAObject) { a.AdminWithPolicy = true },
		"encryptedDuplication":    func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true },
		"stClear":                 func(a *tpm2.TPMAObject) { a.STClear = true },
	} {
		attributes := papertpm.AKAttributes()
		spoil(&attributes)
		if _, err := CheckAK(papertpm.ECCKey(elliptic.P256(), "x", attributes).Bytes()); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantRefusal(t, err, verdict.EnrollAK)
		}
	}
	rsaAK, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	p384 := papertpm.ECCKey(elliptic.P384(), "x", papertpm.AKAttributes())
	sha1 := papertpm.ECCKey(elliptic.P256(), "x", papertpm.AKAttributes())
	sha1.Public.NameAlg = tpm2.TPMAlgSHA1
	policy := papertpm.ECCKey(elliptic.P256(), "x", papertpm.AKAttributes())
	policy.Public.AuthPolicy.Buffer = make([]byte, 32)
	for _, public := range [][]byte{rsaAK.Bytes(), p384.Bytes(), sha1.Bytes(), policy.Bytes(), nil, append(papertpm.NewNode("x").AK.Bytes(), 0)} {
		_, err := CheckAK(public)
		wantRefusal(t, err, verdict.EnrollAK)
	}
	_, err = CheckNodeKey(papertpm.NewNode("x").AK.Bytes()) // restricted: no TLS with it
	wantRefusal(t, err, verdict.EnrollNodeKey)
}

func TestA008_PointOffTheCurve(t *testing.T) {
	public := papertpm.NewNode("x").AK.Bytes()
	if _, err := CheckAK(public); err != nil {
		t.Fatalf("twin: %v", err)
	}
	public[len(public)-1] ^= 1
	_, err := CheckAK(public)
	wantRefusal(t, err, verdict.EnrollAK)
}

func TestA061_AKOfAnotherHierarchy(t *testing.T) {
	e := newEnrolment(t, "owner")
	if err := e.checkCreation(); err != nil {
		t.Fatalf("twin: %v", err)
	}
	owner := []byte{0x40, 0, 0, 1}
	e.creation.ParentName, e.creation.ParentQualified = owner, owner
	e.attest, e.sig = sign(t, e.tpm, e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation)))
	wantRefusal(t, e.checkCreation(), verdict.EnrollHierarchy)

	e = newEnrolment(t, "qualified")
	a := e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation))
	a.Signer = objectName(slices.Concat(owner, e.tpm.AK.Name()))
	e.attest, e.sig = sign(t, e.tpm, a)
	wantRefusal(t, e.checkCreation(), verdict.EnrollHierarchy)

	storage := papertpm.ECCEK("storage parent").Name() // a key under a key is no primary
	e.creation.ParentNameAlg, e.creation.ParentName = 0x0b, storage
	e.attest, e.sig = sign(t, e.tpm, e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation)))
	wantRefusal(t, e.checkCreation(), verdict.EnrollHierarchy)
}

func TestMakeCredentialArguments(t *testing.T) {
	v, a := production(t), papertpm.NewNode("tpm a")
	ek := mustEK(t, v, a.EK)
	ak, err := CheckAK(a.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{1}, SecretSize)
	for name, run := range map[string]func() error{
		"no EK":        func() error { _, _, err := MakeCredential(rand.Reader, &EK{}, ak, secret); return err },
		"no AK":        func() error { _, _, err := MakeCredential(rand.Reader, ek, &AK{}, secret); return err },
		"short secret": func() error { _, _, err := MakeCredential(rand.Reader, ek, ak, secret[1:]); return err },
		"zero secret":  func() error { _, _, err := MakeCredential(rand.Reader, ek, ak, make([]byte, SecretSize)); return err },
	} {
		if run() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzCheckAK(f *testing.F) {
	n := papertpm.NewNode("fuzz")
	for _, public := range [][]byte{n.AK.Bytes(), n.NodeKey.Bytes(), n.EK.Bytes()} {
		f.Add(public)
	}
	f.Fuzz(func(t *testing.T, public []byte) {
		weigh.Bounded(t, len(public), func() { _, _ = CheckAK(public) })
		ak, err := CheckAK(public)
		if err == nil && !bytes.Equal(ak.Public(), public) {
			t.Fatal("other bytes kept than were checked")
		}
		if node, err := CheckNodeKey(public); err == nil && (ak != nil || !bytes.Equal(node.Public(), public)) {
			t.Fatal("one key passes as both")
		}
	})
}

func BenchmarkMakeCredential(b *testing.B) {
	v, a := production(b), papertpm.NewNode("bench")
	ek := mustEK(b, v, a.EK)
	ak, err := CheckAK(a.AK.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		credential(b, ek, ak)
	}
}
