package evidence

import (
	"bytes"
	"crypto/elliptic"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/weigh"
)

// seed adds non-empty seeds to a fuzz target.
func seed(f *testing.F, seeds ...[]byte) {
	f.Helper()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for i, s := range seeds {
		if len(s) == 0 {
			f.Fatalf("seed %d is empty", i)
		}
		f.Add(s)
	}
}

// FuzzAttest compares the decoder with go-tpm's: what it accepts, go-tpm reads the
// same way and writes back as the same bytes.
func FuzzAttest(f *testing.F) {
	n := papertpm.NewNode("fuzz")
	two := n.Quote(make([]byte, 32), 0, 7)
	two.Body = papertpm.QuoteBody(make([]byte, 32), papertpm.Select(tpm2.TPMAlgSHA256, 0), papertpm.Select(tpm2.TPMAlgSHA1, 0))
	seed(f, n.Quote(make([]byte, 32), 0, 1, 10, 14).Bytes(), n.Quote(nil, 0).Bytes(), n.Time(nil).Bytes(),
		n.Certify(n.NodeKey, []byte("x")).Bytes(), two.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = parseAttest(b) })
		a, err := parseAttest(b)
		if err != nil {
			return
		}
		theirs, err := tpm2.Unmarshal[tpm2.TPMSAttest](b)
		if err != nil {
			t.Fatalf("go-tpm refuses what is accepted: %v", err)
		}
		if !bytes.Equal(tpm2.Marshal(theirs), b) {
			t.Fatal("not the only encoding")
		}
		quote, err := theirs.Attested.Quote()
		if err != nil {
			t.Fatal(err)
		}
		if a.clock != theirs.ClockInfo.Clock || a.reset != theirs.ClockInfo.ResetCount || a.restart != theirs.ClockInfo.RestartCount ||
			a.safe != bool(theirs.ClockInfo.Safe) || a.firmware != theirs.FirmwareVersion ||
			!bytes.Equal(a.extra, theirs.ExtraData.Buffer) || !bytes.Equal(a.signer, theirs.QualifiedSigner.Buffer) ||
			!bytes.Equal(a.digest, quote.PCRDigest.Buffer) || len(quote.PCRSelect.PCRSelections) != 1 ||
			!bytes.Equal(a.bitmap, quote.PCRSelect.PCRSelections[0].PCRSelect) {
			t.Fatalf("read as %+v, by go-tpm as %+v", a, theirs)
		}
	})
}

// FuzzSignature does the same for TPMT_SIGNATURE.
func FuzzSignature(f *testing.F) {
	sig, err := papertpm.NewNode("fuzz").AK.Sign([]byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	rsa := papertpm.Signature{Scheme: tpm2.TPMAlgRSASSA, Hash: tpm2.TPMAlgSHA256, RSA: make([]byte, 256)}
	pss := papertpm.Signature{Scheme: tpm2.TPMAlgRSAPSS, Hash: tpm2.TPMAlgSHA384, RSA: make([]byte, 256)}
	seed(f, sig.Bytes(), rsa.Bytes(), pss.Bytes(), []byte{0, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = parseSignature(b) })
		s, err := parseSignature(b)
		if err != nil || len(s.r) > 32 || len(s.s) > 32 || len(s.rsa) > 512 { // go-tpm knows no longer numbers
			return
		}
		theirs, err := tpm2.Unmarshal[tpm2.TPMTSignature](b)
		if err != nil {
			t.Fatalf("go-tpm refuses what is accepted: %v", err)
		}
		if !bytes.Equal(tpm2.Marshal(theirs), b) {
			t.Fatal("not the only encoding")
		}
	})
}

// FuzzPublic feeds attestation keys. Whatever is accepted is one encoding of a
// restricted signing key, by go-tpm's reading.
func FuzzPublic(f *testing.F) {
	rsa, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		f.Fatal(err)
	}
	seed(f, papertpm.NewNode("fuzz").AK.Bytes(), papertpm.NewNode("fuzz").NodeKey.Bytes(), rsa.Bytes(),
		papertpm.ECCKey(elliptic.P384(), "fuzz", papertpm.AKAttributes()).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = ParseAK(b) })
		k, err := ParseAK(b)
		if (err == nil) != (k != nil) {
			t.Fatalf("key %v with error %v", k, err)
		}
		if err != nil {
			return
		}
		theirs, err := tpm2.Unmarshal[tpm2.TPMTPublic](b)
		if err != nil {
			t.Fatalf("go-tpm refuses what is accepted: %v", err)
		}
		if !bytes.Equal(tpm2.Marshal(theirs), b) {
			t.Fatal("not the only encoding")
		}
		a := theirs.ObjectAttributes
		if !a.Restricted || !a.SignEncrypt || a.Decrypt || !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin {
			t.Fatalf("attributes %+v", a)
		}
		if (k.ec == nil) == (k.rsa == nil) || len(k.name) < 34 || len(k.qualified) != len(k.name) {
			t.Fatal("not one key with its names")
		}
	})
}
