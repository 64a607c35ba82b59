package enroll

import (
	"crypto"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

var bothTemplates = map[Class]Template{Discrete: ECCP256, Firmware: RSA2048}

// vendor is a simulated vendor and a trust bundle with its root.
type vendor struct {
	*vendorca.CA
	trust *Trust
}

func newVendor(t testing.TB, o vendorca.Options, root Root) vendor {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = now
	}
	if o.Seed == "" {
		o.Seed = "enroll"
	}
	ca, err := vendorca.New(o)
	if err != nil {
		t.Fatal(err)
	}
	root.Certificate = ca.Root
	trust, err := NewTrust([]Root{root}, bothTemplates, false)
	if err != nil {
		t.Fatal(err)
	}
	return vendor{ca, trust}
}

func production(t testing.TB) vendor {
	t.Helper()
	return newVendor(t, vendorca.Options{}, Root{Class: Discrete})
}

func (v vendor) issue(t testing.TB, public crypto.PublicKey, shape vendorca.Shape) []byte {
	t.Helper()
	der, err := v.Issue(public, vendorca.DefaultDevice, shape)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (v vendor) verify(der []byte) (*EK, error) {
	return v.trust.VerifyEK(der, [][]byte{v.Intermediate}, now)
}

func mustEK(t testing.TB, v vendor, key *papertpm.Key) *EK {
	t.Helper()
	ek, err := v.verify(v.issue(t, key.Signer.Public(), vendorca.Plain))
	if err != nil {
		t.Fatalf("the twin without defect: %v", err)
	}
	return ek
}

// wantRefusal asserts that err is the refusal of one of the checks, and that
// the check tells people what to do.
func wantRefusal(t testing.TB, err error, checks ...verdict.CheckID) {
	t.Helper()
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal by %v", err, checks)
	}
	if r.Remedy == "" || r.Message == "" {
		t.Errorf("%s has no message or remedy", r.Check)
	}
	for _, c := range checks {
		if r.Check == c {
			return
		}
	}
	t.Fatalf("refused by %s (%v), want %v", r.Check, err, checks)
}

// enrolment is one complete and good enrolment.
type enrolment struct {
	tpm         *papertpm.Node
	ak          *AK
	node        *NodeKey
	want        binding.Certification
	creation    papertpm.CreationData
	attest, sig []byte // AK creation
	nAttest     []byte // node key certification
	nSig        []byte
}

func certification(t testing.TB, tpm *papertpm.Node) binding.Certification {
	t.Helper()
	return binding.Certification{
		Ledger:   binding.Ledger{Consortium: "example-net", ChainID: "example-1", Genesis: [32]byte{1}},
		Verifier: "org-a.verifier.example-net", Node: "org-a/validator-1",
		AKName: tpm.AK.Name(), NodeKey: tpm.NodeKey.SPKIDigest(), ConsensusKey: tpm.ConsensusKey(),
		Nonce: [32]byte{7}, Exporter: [32]byte{8},
	}
}

func extra(t testing.TB, c binding.Certification, p binding.Purpose) []byte {
	t.Helper()
	q, err := c.QualifyingData(p)
	if err != nil {
		t.Fatal(err)
	}
	return q[:]
}

func sign(t testing.TB, tpm *papertpm.Node, a papertpm.Attest) (attest, signature []byte) {
	t.Helper()
	attest, signature, err := tpm.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return attest, signature
}

func newEnrolment(t testing.TB, seed string) *enrolment {
	t.Helper()
	e := &enrolment{tpm: papertpm.NewNode(seed)}
	e.want = certification(t, e.tpm)
	var err error
	if e.ak, err = CheckAK(e.tpm.AK.Bytes()); err != nil {
		t.Fatal(err)
	}
	if e.node, err = CheckNodeKey(e.tpm.NodeKey.Bytes()); err != nil {
		t.Fatal(err)
	}
	e.creation = e.tpm.AKCreation()
	e.attest, e.sig = sign(t, e.tpm, e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation)))
	e.nAttest, e.nSig = sign(t, e.tpm, e.tpm.Certify(e.tpm.NodeKey, extra(t, e.want, binding.PurposeNodeKey)))
	return e
}

func (e *enrolment) checkCreation() error {
	return CheckCreation(e.ak, e.want, e.creation.Bytes(), e.attest, e.sig)
}

func (e *enrolment) checkCertify() error {
	return CheckCertify(e.ak, e.node, e.want, e.nAttest, e.nSig)
}

func credential(t testing.TB, ek *EK, ak *AK) (secret, blob, encrypted []byte) {
	t.Helper()
	secret = make([]byte, SecretSize)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	blob, encrypted, err := MakeCredential(rand.Reader, ek, ak, secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret, blob, encrypted
}
