package enroll

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

var (
	ed25519Options = ed25519.Options{Hash: crypto.Hash(0)}
	vendorOptions  = vendorca.Options{}
)

func TestA001_CertificationWithoutMagic(t *testing.T) {
	e := newEnrolment(t, "magic")
	a := e.tpm.Certify(e.tpm.NodeKey, extra(t, e.want, binding.PurposeNodeKey))
	a.Magic = 0xff544348
	e.nAttest, e.nSig = sign(t, e.tpm, a)
	wantRefusal(t, e.checkCertify(), verdict.EnrollType)
}

func TestA002_OtherTypeOfStructure(t *testing.T) {
	e := newEnrolment(t, "type")
	if err := e.checkCertify(); err != nil {
		t.Fatalf("twin: %v", err)
	}
	data := extra(t, e.want, binding.PurposeNodeKey)
	for _, a := range []papertpm.Attest{e.tpm.Quote(data, 0, 1), e.tpm.Time(data), e.tpm.CertifyCreation(e.creation, data)} {
		e.nAttest, e.nSig = sign(t, e.tpm, a)
		wantRefusal(t, e.checkCertify(), verdict.EnrollType)
	}
	data = extra(t, e.want, binding.PurposeAKCreation)
	for _, a := range []papertpm.Attest{e.tpm.Quote(data, 0, 1), e.tpm.Time(data), e.tpm.Certify(e.tpm.AK, data)} {
		e.attest, e.sig = sign(t, e.tpm, a)
		wantRefusal(t, e.checkCreation(), verdict.EnrollType)
	}
}

func TestA003_AnyFlippedByteIsRefused(t *testing.T) {
	e := newEnrolment(t, "flip")
	for _, field := range []*[]byte{&e.attest, &e.sig} {
		good := *field
		for i := range good {
			*field = slices.Clone(good)
			(*field)[i] ^= 1
			if e.checkCreation() == nil {
				t.Fatalf("byte %d flipped and accepted", i)
			}
		}
		*field = good
	}
	if err := e.checkCreation(); err != nil {
		t.Fatalf("twin: %v", err)
	}
}

func TestA004_OtherScheme(t *testing.T) {
	e := newEnrolment(t, "scheme")
	for _, hash := range []tpm2.TPMAlgID{tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA384} {
		s, err := e.tpm.AK.SignWith(e.attest, tpm2.TPMAlgECDSA, hash)
		if err != nil {
			t.Fatal(err)
		}
		e.sig = s.Bytes()
		wantRefusal(t, e.checkCreation(), verdict.EnrollSignature)
	}
}

func TestA006_TrailingBytes(t *testing.T) {
	e := newEnrolment(t, "trailing")
	good := slices.Clone(e.sig)
	e.sig = append(slices.Clone(good), 0)
	wantRefusal(t, e.checkCreation(), verdict.EnrollSignature)
	e.sig = good
	if err := e.checkCreation(); err != nil {
		t.Fatalf("twin: %v", err)
	}

	a := e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation))
	a.Trailing = []byte{0}
	e.attest, e.sig = sign(t, e.tpm, a)
	wantRefusal(t, e.checkCreation(), verdict.EnrollMalformed)

	e.creation.Trailing = []byte{0}
	e.attest, e.sig = sign(t, e.tpm, e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation)))
	wantRefusal(t, e.checkCreation(), verdict.EnrollMalformed)
}

// Every field of the enrolment is in the qualifying data of all three proofs,
// and none of them passes for another.
func TestA016_CertificationOfAnotherEnrolment(t *testing.T) {
	e := newEnrolment(t, "binding")
	signature := ed25519.Sign(e.tpm.Consensus, extra(t, e.want, binding.PurposeConsensusKey))
	if err := CheckConsensusKey(e.want, signature); err != nil {
		t.Fatalf("twin: %v", err)
	}
	good := e.want
	for name, change := range map[string]func(*binding.Certification){
		"nonce":      func(c *binding.Certification) { c.Nonce[0]++ },
		"exporter":   func(c *binding.Certification) { c.Exporter[0]++ },
		"node":       func(c *binding.Certification) { c.Node = "org-a/validator-2" },
		"verifier":   func(c *binding.Certification) { c.Verifier = "org-b.verifier.example-net" },
		"ledger":     func(c *binding.Certification) { c.Ledger.ChainID = "example-2" },
		"genesis":    func(c *binding.Certification) { c.Ledger.Genesis[0]++ },
		"consortium": func(c *binding.Certification) { c.Ledger.Consortium = "other-net" },
		"node key":   func(c *binding.Certification) { c.NodeKey[0]++ },
		"no nonce":   func(c *binding.Certification) { c.Nonce = [32]byte{} },
	} {
		e.want = good
		change(&e.want)
		for _, err := range []error{e.checkCreation(), e.checkCertify()} {
			if err == nil {
				t.Fatalf("%s: accepted", name)
			}
			wantRefusal(t, err, verdict.EnrollBinding)
		}
		wantRefusal(t, CheckConsensusKey(e.want, signature), verdict.EnrollConsensusKey)
	}
	e.want = good
	e.nAttest, e.nSig = sign(t, e.tpm, e.tpm.Certify(e.tpm.NodeKey, extra(t, e.want, binding.PurposeAKCreation)))
	wantRefusal(t, e.checkCertify(), verdict.EnrollBinding)
}

func TestA065_NodeKeyNotOfThisTPM(t *testing.T) {
	e, other := newEnrolment(t, "mine"), newEnrolment(t, "theirs")
	if err := e.checkCertify(); err != nil {
		t.Fatalf("twin: %v", err)
	}
	data := extra(t, e.want, binding.PurposeNodeKey)

	attest, sig := sign(t, other.tpm, other.tpm.Certify(e.tpm.NodeKey, data)) // certified by another AK
	wantRefusal(t, CheckCertify(e.ak, e.node, e.want, attest, sig), verdict.EnrollSignature)

	attest, sig = sign(t, e.tpm, e.tpm.Certify(e.tpm.AK, data)) // about another key of this TPM
	wantRefusal(t, CheckCertify(e.ak, e.node, e.want, attest, sig), verdict.EnrollSubject)
	wantRefusal(t, CheckCertify(e.ak, other.node, e.want, e.nAttest, e.nSig), verdict.EnrollSubject)

	for name, spoil := range map[string]func(*tpm2.TPMAObject){
		"software":   func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false },
		"migratable": func(a *tpm2.TPMAObject) { a.FixedTPM, a.FixedParent = false, false },
		"restricted": func(a *tpm2.TPMAObject) { a.Restricted = true },
	} {
		attributes := papertpm.NodeKeyAttributes()
		spoil(&attributes)
		_, err := CheckNodeKey(papertpm.ECCKey(elliptic.P256(), name, attributes).Bytes())
		wantRefusal(t, err, verdict.EnrollNodeKey)
	}

	a := e.tpm.Certify(e.tpm.NodeKey, data) // a key of the TPM's owner hierarchy
	a.Body = papertpm.CertifyBody(e.tpm.NodeKey.Name(), objectName(slices.Concat([]byte{0x40, 0, 0, 1}, e.tpm.NodeKey.Name())))
	attest, sig = sign(t, e.tpm, a)
	wantRefusal(t, CheckCertify(e.ak, e.node, e.want, attest, sig), verdict.EnrollHierarchy)
}

func TestCreationOfAnotherKey(t *testing.T) {
	e := newEnrolment(t, "subject")
	data := extra(t, e.want, binding.PurposeAKCreation)
	a := e.tpm.CertifyCreation(e.creation, data)
	a.Body = papertpm.CreationBody(e.tpm.NodeKey.Name(), objectName(e.creation.Bytes())[2:])
	attest, sig := sign(t, e.tpm, a)
	wantRefusal(t, CheckCreation(e.ak, e.want, e.creation.Bytes(), attest, sig), verdict.EnrollSubject)

	changed := e.creation
	changed.Locality = 4
	wantRefusal(t, CheckCreation(e.ak, e.want, changed.Bytes(), e.attest, e.sig), verdict.EnrollSubject)
}

func TestNothingToCheckWith(t *testing.T) {
	e := newEnrolment(t, "nil")
	wantRefusal(t, CheckCreation(nil, e.want, e.creation.Bytes(), e.attest, e.sig), verdict.EnrollAK)
	wantRefusal(t, CheckCreation(&AK{}, e.want, e.creation.Bytes(), e.attest, e.sig), verdict.EnrollAK)
	wantRefusal(t, CheckCertify(e.ak, nil, e.want, e.nAttest, e.nSig), verdict.EnrollNodeKey)
	wantRefusal(t, CheckCreation(e.ak, e.want, e.creation.Bytes(), nil, nil), verdict.EnrollSignature)
	wantRefusal(t, CheckCreation(e.ak, e.want, e.creation.Bytes(), make([]byte, maxStructure+1), e.sig), verdict.EnrollMalformed)
}

func TestConsensusKey(t *testing.T) {
	e := newEnrolment(t, "consensus")
	none := e.want
	none.ConsensusKey = ""
	if err := CheckConsensusKey(none, nil); err != nil {
		t.Errorf("without a consensus key: %v", err)
	}
	wantRefusal(t, CheckConsensusKey(none, []byte{1}), verdict.EnrollConsensusKey)
	wantRefusal(t, CheckConsensusKey(e.want, nil), verdict.EnrollConsensusKey)
	for _, key := range []string{"ed25519:", "ed25519:AAAA", "rsa:" + e.want.ConsensusKey[8:], e.want.ConsensusKey + "\n"} {
		bad := e.want
		bad.ConsensusKey = key
		wantRefusal(t, CheckConsensusKey(bad, make([]byte, 64)), verdict.EnrollConsensusKey)
	}
}

// FuzzCertification re-signs what the fuzzer makes, so that the parser behind
// the signature check is reached.
func FuzzCertification(f *testing.F) {
	e := newEnrolment(f, "fuzz")
	f.Add(e.attest, e.creation.Bytes())
	f.Add(e.nAttest, []byte(nil))
	for _, a := range []papertpm.Attest{e.tpm.Quote(nil, 0), e.tpm.Time(nil)} {
		f.Add(a.Bytes(), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, attest, creation []byte) {
		s, err := e.tpm.AK.Sign(attest)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckCreation(e.ak, e.want, creation, attest, s.Bytes()); err != nil {
			wantRefusal(t, err, enrollCheckIDs()...)
		}
		if err := CheckCertify(e.ak, e.node, e.want, attest, s.Bytes()); err != nil {
			wantRefusal(t, err, enrollCheckIDs()...)
		}
		_ = checkParent(creation)
	})
}
