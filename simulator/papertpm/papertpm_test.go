package papertpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

func TestNodeIsDeterministic(t *testing.T) {
	a, b, c := NewNode("one"), NewNode("one"), NewNode("two")
	if !bytes.Equal(a.AK.Bytes(), b.AK.Bytes()) || a.EK.SPKIDigest() != b.EK.SPKIDigest() {
		t.Error("one seed gave two nodes")
	}
	if bytes.Equal(a.AK.Bytes(), c.AK.Bytes()) || a.EK.SPKIDigest() == c.EK.SPKIDigest() {
		t.Error("two seeds gave one node")
	}
}

func TestQuoteParsesAndVerifies(t *testing.T) {
	n := NewNode("quote")
	n.PCRs.Extend(4, sha256.Sum256([]byte("loader")))
	attest, signature, err := n.Sign(n.Quote([]byte("nonce"), 0, 4, 7))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := tpm2.Unmarshal[tpm2.TPMSAttest](attest)
	if err != nil {
		t.Fatal(err)
	}
	quote, err := parsed.Attested.Quote()
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(bytes.Join(n.PCRs.Values(0, 4, 7), nil))
	if !bytes.Equal(quote.PCRDigest.Buffer, want[:]) {
		t.Errorf("PCR digest is %x, want %x", quote.PCRDigest.Buffer, want)
	}
	if !bytes.Equal(tpm2.Marshal(parsed), attest) {
		t.Error("go-tpm encodes the quote differently")
	}
	verifyECDSA(t, n.AK, attest, signature)
}

func verifyECDSA(t *testing.T, key *Key, attest, signature []byte) {
	t.Helper()
	s, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := s.Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(attest)
	r, v := new(big.Int).SetBytes(rs.SignatureR.Buffer), new(big.Int).SetBytes(rs.SignatureS.Buffer)
	if !ecdsa.Verify(key.Signer.Public().(*ecdsa.PublicKey), digest[:], r, v) {
		t.Error("signature does not verify")
	}
}

func TestCertificationsParse(t *testing.T) {
	n := NewNode("certify")
	data := n.AKCreation()
	for name, a := range map[string]Attest{
		"certify":  n.Certify(n.NodeKey, []byte("x")),
		"creation": n.CertifyCreation(data, []byte("x")),
		"time":     n.Time([]byte("x")),
	} {
		parsed, err := tpm2.Unmarshal[tpm2.TPMSAttest](a.Bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(tpm2.Marshal(parsed), a.Bytes()) {
			t.Errorf("%s: go-tpm encodes the structure differently", name)
		}
	}
	if _, err := tpm2.Unmarshal[tpm2.TPMSCreationData](data.Bytes()); err != nil {
		t.Errorf("creation data: %v", err)
	}
}

func TestKeysParse(t *testing.T) {
	rsaKey, err := RSAKey(1024, AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*Key{
		"rsa-1024": rsaKey,
		"p224":     ECCKey(elliptic.P224(), "s", AKAttributes()),
		"p256":     ECCKey(elliptic.P256(), "s", NodeKeyAttributes()),
		"p384":     ECCKey(elliptic.P384(), "s", AKAttributes()),
		"p521":     ECCKey(elliptic.P521(), "s", AKAttributes()),
		"ek":       ECCEK("s"),
	} {
		public, err := tpm2.Unmarshal[tpm2.TPMTPublic](k.Bytes())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		id, err := tpm2.ObjectName(public)
		if err != nil || !bytes.Equal(id.Buffer, k.Name()) {
			t.Errorf("%s: name is %x, go-tpm says %x, %v", name, k.Name(), id, err)
		}
	}
}

func TestActivate(t *testing.T) {
	for _, kind := range []string{"ecc", "rsa"} {
		t.Run(kind, func(t *testing.T) {
			n, other := NewNode("a"), NewNode("b")
			if kind == "rsa" {
				ek, err := RSAEK()
				if err != nil {
					t.Fatal(err)
				}
				n.EK = ek
			}
			public, err := tpm2.ImportEncapsulationKey(&n.EK.Public)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{7}, 32)
			blob, secret, err := tpm2.CreateCredential(rand.Reader, public, n.AK.Name(), want)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := n.Activate(blob, secret); err != nil || !bytes.Equal(got, want) {
				t.Errorf("activation gave %x, %v", got, err)
			}
			n.AK = other.AK
			if _, err := n.Activate(blob, secret); err == nil {
				t.Error("a credential for another AK was opened")
			}
		})
	}
}
