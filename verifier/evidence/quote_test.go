package evidence_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

// quote is the honest quote, to be altered before it is signed.
func (s *scene) quote() papertpm.Attest { return s.node.Quote(s.qualifyingData(), quotedPCRs...) }

func TestA001_MagicChecked(t *testing.T) {
	s := newScene(t)
	s.passes()
	a := s.quote()
	a.Magic = 0xff544346
	s.sign(a)
	s.refused(verdict.QuoteMagic)
}

func TestA002_OtherStructures(t *testing.T) {
	s := newScene(t)
	s.passes()
	extra := s.qualifyingData()
	for name, a := range map[string]papertpm.Attest{
		"certify":  s.node.Certify(s.node.NodeKey, extra),
		"creation": s.node.CertifyCreation(s.node.AKCreation(), extra),
		"time":     s.node.Time(extra),
	} {
		t.Run(name, func(*testing.T) { s.sign(a); s.refused(verdict.QuoteType) })
	}
	a := s.quote()
	a.Type = papertpm.TypeNV
	s.sign(a)
	s.refused(verdict.QuoteType)
}

func TestA003_EveryBitIsSigned(t *testing.T) {
	s := newScene(t)
	s.passes()
	for _, field := range []*[]byte{&s.raw.Quote, &s.raw.Signature} {
		honest := *field
		for i := range 8 * len(honest) {
			changed := bytes.Clone(honest)
			changed[i/8] ^= 1 << (i % 8)
			*field = changed
			if v, err := s.verify(); err == nil || v != nil {
				t.Fatalf("bit %d changed, and the evidence passes", i)
			}
		}
		*field = honest
	}
	s.passes()
	other := papertpm.NewNode("another")
	ak, err := evidence.ParseAK(other.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	s.want.AK = ak
	s.refused(verdict.QuoteSignature)
}

func TestA004_SchemePinned(t *testing.T) {
	key, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	s.node.AK = key
	if s.want.AK, err = evidence.ParseAK(key.Bytes()); err != nil {
		t.Fatal(err)
	}
	s.answer()
	s.passes()
	for _, scheme := range []struct{ scheme, hash tpm2.TPMAlgID }{
		{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA1}, {tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256}, {tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA384},
	} {
		sig, err := key.SignWith(s.raw.Quote, scheme.scheme, scheme.hash)
		if err != nil {
			t.Fatal(err)
		}
		s.raw.Signature = sig.Bytes()
		s.refused(verdict.QuoteScheme)
	}
}

// Any changed byte of an RSA signature or of what it signs is refused, with either
// scheme, and so is a genuine signature by another key of the same kind.
func TestA003_RSASignatures(t *testing.T) {
	key, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	other, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	s.node.AK = key
	if s.want.AK, err = evidence.ParseAK(key.Bytes()); err != nil {
		t.Fatal(err)
	}
	s.answer()
	s.passes()
	const header = 6 // scheme, hash and size of a TPMT_SIGNATURE
	for i := header; i < len(s.raw.Signature); i++ {
		s.raw.Signature[i] ^= 1
		s.refused(verdict.QuoteSignature)
		s.raw.Signature[i] ^= 1
	}
	for i := range s.raw.Quote {
		s.raw.Quote[i] ^= 1
		s.refused(verdict.QuoteSignature)
		s.raw.Quote[i] ^= 1
	}
	s.passes()
	forged, err := other.Sign(s.raw.Quote)
	if err != nil {
		t.Fatal(err)
	}
	s.raw.Signature = forged.Bytes()
	s.refused(verdict.QuoteSignature)
}

// The TPM digests the PCR values with the hash of the key's scheme.
func TestRSAKeysOfOtherSchemes(t *testing.T) {
	key, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t)
	s.node.AK = key
	key.Public.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSAPSS, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS,
			&tpm2.TPMSSigSchemeRSAPSS{HashAlg: tpm2.TPMAlgSHA256})},
		KeyBits: 2048,
	})
	if s.want.AK, err = evidence.ParseAK(key.Bytes()); err != nil {
		t.Fatal(err)
	}
	s.answer()
	sig, err := key.SignWith(s.raw.Quote, tpm2.TPMAlgRSAPSS, tpm2.TPMAlgSHA256)
	if err != nil {
		t.Fatal(err)
	}
	s.raw.Signature = sig.Bytes()
	s.passes()
	s.raw.Signature[40] ^= 1
	s.refused(verdict.QuoteSignature)
}

func TestA005_OddSignatures(t *testing.T) {
	s := newScene(t)
	s.passes()
	honest := s.raw.Signature
	good, err := s.node.AK.Sign(s.raw.Quote)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*papertpm.Signature)) []byte {
		sig := good
		change(&sig)
		return sig.Bytes()
	}
	order := elliptic.P256().Params().N.Bytes()
	for name, sig := range map[string][]byte{
		"empty":        {},
		"one byte":     {0},
		"null scheme":  {0x00, 0x10},
		"HMAC":         append([]byte{0x00, 0x05, 0x00, 0x0b}, make([]byte, 32)...),
		"zero r":       with(func(s *papertpm.Signature) { s.R = make([]byte, 32) }),
		"zero s":       with(func(s *papertpm.Signature) { s.S = make([]byte, 32) }),
		"empty r":      with(func(s *papertpm.Signature) { s.R = nil }),
		"empty s":      with(func(s *papertpm.Signature) { s.S = nil }),
		"r is order":   with(func(s *papertpm.Signature) { s.R = order }),
		"s is order":   with(func(s *papertpm.Signature) { s.S = order }),
		"long r":       with(func(s *papertpm.Signature) { s.R = append([]byte{0}, s.R...) }),
		"huge s":       with(func(s *papertpm.Signature) { s.S = bytes.Repeat([]byte{1}, 400) }),
		"RSA form":     with(func(s *papertpm.Signature) { s.Scheme, s.RSA = tpm2.TPMAlgRSASSA, make([]byte, 256) }),
		"swapped":      with(func(s *papertpm.Signature) { s.R, s.S = s.S, s.R }),
		"beyond limit": make([]byte, 100_000),
	} {
		s.raw.Signature = sig
		if v, err := s.verify(); err == nil || v != nil {
			t.Errorf("%s: verified", name)
		}
	}
	for i := range honest {
		s.raw.Signature = honest[:i]
		if _, err := s.verify(); err == nil {
			t.Errorf("verified with %d bytes of signature", i)
		}
	}
}

func TestA006_TrailingBytes(t *testing.T) {
	s := newScene(t)
	s.passes()
	honest := s.raw.Signature
	s.raw.Signature = append(bytes.Clone(honest), 0)
	s.refused(verdict.QuoteFormat)
	a := s.quote()
	a.Trailing = []byte{0}
	s.sign(a)
	s.refused(verdict.QuoteFormat)
	a = s.quote()
	a.Safe = 2
	s.sign(a)
	s.refused(verdict.QuoteFormat)
	for i := 6; i < len(a.Bytes())-1; i++ {
		sig, err := s.node.AK.Sign(a.Bytes()[:i])
		if err != nil {
			t.Fatal(err)
		}
		s.raw.Quote, s.raw.Signature = a.Bytes()[:i], sig.Bytes()
		if _, err := s.verify(); err == nil {
			t.Fatalf("verified the first %d bytes of a quote", i)
		}
	}
}

// A second valid signature over the same quote proves the same thing: what makes a
// quote single-use is its nonce, which the service consumes before this check.
func TestA007_OtherFormOfTheSignature(t *testing.T) {
	s := newScene(t)
	sig, err := s.node.AK.Sign(s.raw.Quote)
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	sig.S = new(big.Int).Sub(n, new(big.Int).SetBytes(sig.S)).FillBytes(make([]byte, 32))
	s.raw.Signature = sig.Bytes()
	s.passes()
	s.want.Challenge.Nonce = [32]byte{77} // the next challenge
	s.refused(verdict.QuoteNonce)
}

func TestA008_WeakKeys(t *testing.T) {
	good := papertpm.ECCKey(elliptic.P256(), "good", papertpm.AKAttributes())
	if _, err := evidence.ParseAK(good.Bytes()); err != nil {
		t.Fatalf("the twin is refused: %v", err)
	}
	small, err := papertpm.RSAKey(1024, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	rsa, err := papertpm.RSAKey(2048, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.ParseAK(rsa.Bytes()); err != nil {
		t.Fatalf("the RSA twin is refused: %v", err)
	}
	body := good.Bytes()
	offCurve := bytes.Clone(body)
	offCurve[len(offCurve)-1] ^= 1
	exponent := bytes.Clone(rsa.Bytes())
	at := len(exponent) - 256 - 2 - 4
	binary.BigEndian.PutUint32(exponent[at:], 1)
	even := bytes.Clone(rsa.Bytes())
	even[len(even)-1] &^= 1
	declared := bytes.Clone(rsa.Bytes())
	binary.BigEndian.PutUint16(declared[at-2:], 3072)
	keyed := bytes.Clone(body)
	keyed[1] = byte(tpm2.TPMAlgKeyedHash)
	for name, public := range map[string][]byte{
		"keyed hash":        keyed,
		"P-224":             papertpm.ECCKey(elliptic.P224(), "weak", papertpm.AKAttributes()).Bytes(),
		"P-384":             papertpm.ECCKey(elliptic.P384(), "other", papertpm.AKAttributes()).Bytes(),
		"RSA-1024":          small.Bytes(),
		"off the curve":     offCurve,
		"exponent 1":        exponent,
		"even modulus":      even,
		"other size":        declared,
		"empty":             {},
		"cut":               body[:len(body)-1],
		"trailing":          append(bytes.Clone(body), 0),
		"larger than a key": make([]byte, 5000),
	} {
		if k, err := evidence.ParseAK(public); err == nil || k != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*papertpm.Key){
		"SHA-1 scheme": func(k *papertpm.Key) {
			k.Public.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
				Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA,
					&tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA1})},
				CurveID: tpm2.TPMECCNistP256,
			})
		},
		"null scheme": func(k *papertpm.Key) {
			k.Public.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})
		},
		"symmetric algorithm": func(k *papertpm.Key) {
			k.Public.Parameters = tpm2.ECCEKTemplate.Parameters
		},
		"SHA-1 name": func(k *papertpm.Key) { k.Public.NameAlg = tpm2.TPMAlgSHA1 },
	} {
		k := papertpm.ECCKey(elliptic.P256(), "good", papertpm.AKAttributes())
		change(k)
		_, err := evidence.ParseAK(k.Bytes())
		t.Run(name, func(t *testing.T) { refusedBy(t, err, verdict.QuoteKey) })
	}
}

func TestA039_AttributesOfTheKey(t *testing.T) {
	for name, change := range map[string]func(*tpm2.TPMAObject){
		"exportable":     func(a *tpm2.TPMAObject) { a.FixedTPM = false },
		"movable":        func(a *tpm2.TPMAObject) { a.FixedParent = false },
		"imported":       func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false },
		"not restricted": func(a *tpm2.TPMAObject) { a.Restricted = false },
		"cannot sign":    func(a *tpm2.TPMAObject) { a.SignEncrypt = false },
		"decrypts":       func(a *tpm2.TPMAObject) { a.Decrypt = true },
	} {
		t.Run(name, func(t *testing.T) {
			attributes := papertpm.AKAttributes()
			change(&attributes)
			_, err := evidence.ParseAK(papertpm.ECCKey(elliptic.P256(), "ak", attributes).Bytes())
			refusedBy(t, err, verdict.QuoteKey)
		})
	}
	k := papertpm.ECCKey(elliptic.P256(), "ak", papertpm.AKAttributes())
	ak, err := evidence.ParseAK(k.Bytes())
	if err != nil || !bytes.Equal(ak.Name(), k.Name()) || !bytes.Equal(ak.Public(), k.Bytes()) {
		t.Errorf("the twin: %v", err)
	}
}

func TestA009_NonceRequired(t *testing.T) {
	s := newScene(t)
	s.passes()
	for _, extra := range [][]byte{nil, {}, make([]byte, 32)} {
		a := s.quote()
		a.Extra = extra
		s.sign(a)
		s.refused(verdict.QuoteBinding)
	}
	// A verifier that forgot its own expectations never admits.
	for name, forget := range map[string]func(*evidence.Expected){
		"nonce":    func(w *evidence.Expected) { w.Challenge.Nonce = [32]byte{} },
		"exporter": func(w *evidence.Expected) { w.Challenge.Exporter = [32]byte{} },
		"AK":       func(w *evidence.Expected) { w.AK = nil },
		"verifier": func(w *evidence.Expected) { w.Verifier = "" },
		"other":    func(w *evidence.Expected) { w.Challenge.Verifier = "org-b.verifier" },
		"node":     func(w *evidence.Expected) { w.Node = "" },
		"node key": func(w *evidence.Expected) { w.NodeKey = [32]byte{} },
		"ledger":   func(w *evidence.Expected) { w.Ledger.Genesis = [32]byte{} },
		"bank":     func(w *evidence.Expected) { w.Bank = 0 },
		"PCRs":     func(w *evidence.Expected) { w.PCRs = nil },
		"all":      func(w *evidence.Expected) { *w = evidence.Expected{} },
	} {
		s := newScene(t)
		forget(&s.want)
		if v, err := s.verify(); err == nil || v != nil {
			t.Errorf("without %s: verified", name)
		}
	}
}

func TestA011_OldEvidence(t *testing.T) {
	s := newScene(t)
	s.passes()
	s.want.Challenge.Nonce = [32]byte{99}
	s.refused(verdict.QuoteNonce)
	s.raw.Challenges[0].Nonce = [32]byte{99} // the list now fits, the signature is old
	s.refused(verdict.QuoteBinding)
	s.raw.Challenges = nil
	s.refused(verdict.QuoteNonce)
}

func TestA014_NonceInOtherEncodings(t *testing.T) {
	s := newScene(t)
	s.passes()
	extra := s.qualifyingData()
	for _, other := range [][]byte{
		[]byte(base64.StdEncoding.EncodeToString(extra)), []byte(hex.EncodeToString(extra)), append(bytes.Clone(extra), 0), extra[:31],
	} {
		a := s.quote()
		a.Extra = other
		s.sign(a)
		s.refused(verdict.QuoteBinding)
	}
}

func TestA015_BoundToItsContext(t *testing.T) {
	newScene(t).passes()
	for name, change := range map[string]func(*evidence.Expected){
		"consortium":    func(w *evidence.Expected) { w.Ledger.Consortium = "other-net" },
		"chain":         func(w *evidence.Expected) { w.Ledger.ChainID = "example-2" },
		"genesis":       func(w *evidence.Expected) { w.Ledger.Genesis[0]++ },
		"node":          func(w *evidence.Expected) { w.Node = "org-b/validator-1" },
		"node key":      func(w *evidence.Expected) { w.NodeKey[0]++ },
		"consensus key": func(w *evidence.Expected) { w.ConsensusKey = "" },
	} {
		each(t, name, func(s *scene) { change(&s.want); s.refused(verdict.QuoteBinding) })
	}
	each(t, "boot log digest", func(s *scene) { s.raw.BootLogDigest[0]++; s.refused(verdict.QuoteBinding) })
	each(t, "block", func(s *scene) {
		s.want.Challenge.Beacon = binding.Beacon{Height: 5, Hash: [32]byte{5}}
		s.refused(verdict.QuoteNonce)
		s.answer()
		s.passes()
	})
	each(t, "other verifier", func(s *scene) {
		s.want.Verifier, s.want.Challenge.Verifier = "org-b.verifier", "org-b.verifier"
		s.refused(verdict.QuoteNonce)
	})
}

func TestA159_RelayedQuote(t *testing.T) {
	s := newScene(t)
	s.passes()
	s.want.Challenge.Exporter = [32]byte{0xee}
	s.refused(verdict.QuoteChannel)
	s.raw.Challenges[0].Exporter = [32]byte{0xee}
	s.refused(verdict.QuoteBinding)
}

func TestA017_CheapChecksFirst(t *testing.T) {
	s := newScene(t)
	s.raw.BootLog = bytes.Repeat([]byte{0xff}, 16<<20)
	s.raw.IMA = bytes.Repeat([]byte{0xff}, 16<<20)
	s.raw.Signature[20] ^= 1
	s.refused(verdict.QuoteSignature)
	if allocs := testing.AllocsPerRun(5, func() { _, _ = s.verify() }); allocs > 40 {
		t.Errorf("an unsigned giant costs %v allocations", allocs)
	}
	each(t, "long quote", func(s *scene) { s.raw.Quote = make([]byte, 10_000); s.refused(verdict.QuoteSize) })
	each(t, "long boot id", func(s *scene) { s.raw.BootID = strings.Repeat("x", 65); s.refused(verdict.QuoteSize) })
	each(t, "odd boot id", func(s *scene) { s.raw.BootID = "x\n"; s.refused(verdict.QuoteFormat) })
	each(t, "many values", func(s *scene) { s.raw.PCRValues = make([][]byte, 17); s.refused(verdict.QuoteSize) })
	each(t, "many challenges", func(s *scene) {
		s.raw.Challenges = make([]binding.Challenge, binding.MaxChallenges+1)
		s.refused(verdict.QuoteSize)
	})
}

// signSelections signs a quote with selections of the test's choice over the
// scene's values.
func (s *scene) signSelections(digest []byte, selections ...papertpm.Selection) {
	a := s.quote()
	a.Body = papertpm.QuoteBody(digest, selections...)
	s.sign(a)
}

func (s *scene) digestOf(pcrs ...int) []byte {
	sum := sha256.Sum256(bytes.Join(s.node.PCRs.Values(pcrs...), nil))
	return sum[:]
}

func TestA018_SelectionExactlyAsAsked(t *testing.T) {
	s := newScene(t)
	s.signSelections(s.digestOf(quotedPCRs...), papertpm.Select(tpm2.TPMAlgSHA256, quotedPCRs...))
	s.passes()
	for _, pcrs := range [][]int{
		quotedPCRs[:14], quotedPCRs[1:], append(slices.Clone(quotedPCRs), 15), append(slices.Clone(quotedPCRs), 23),
		{0, 1, 2, 3, 4, 5, 6, 7}, {16},
	} {
		s.signSelections(s.digestOf(quotedPCRs...), papertpm.Select(tpm2.TPMAlgSHA256, pcrs...))
		s.refused(verdict.QuoteSelection)
		s.signSelections(s.digestOf(pcrs...), papertpm.Select(tpm2.TPMAlgSHA256, pcrs...))
		s.refused(verdict.QuoteSelection)
	}
	honest := papertpm.Select(tpm2.TPMAlgSHA256, quotedPCRs...)
	for _, bitmap := range [][]byte{honest.Bitmap[:2], append(slices.Clone(honest.Bitmap), 0), {}} {
		s.signSelections(s.digestOf(quotedPCRs...), papertpm.Selection{Bank: tpm2.TPMAlgSHA256, Bitmap: bitmap})
		s.refused(verdict.QuoteSelection)
	}
}

func TestA019_EmptySelection(t *testing.T) {
	s := newScene(t)
	s.passes()
	none := sha256.Sum256(nil)
	s.raw.PCRValues = nil
	s.signSelections(none[:])
	s.refused(verdict.QuoteSelection)
	s.signSelections(none[:], papertpm.Select(tpm2.TPMAlgSHA256))
	s.refused(verdict.QuoteSelection)
}

func TestA020_StrippedSelection(t *testing.T) {
	s := newScene(t)
	s.passes()
	none := sha256.Sum256(nil)
	s.signSelections(none[:], papertpm.Selection{Bank: tpm2.TPMAlgSHA256, Bitmap: []byte{0, 0, 0}})
	s.refused(verdict.QuoteSelection)
	s.signSelections(s.digestOf(quotedPCRs...), papertpm.Select(tpm2.TPMAlgSHA1, quotedPCRs...))
	s.refused(verdict.QuoteSelection)
}

func TestA021_DuplicateSelections(t *testing.T) {
	s := newScene(t)
	s.passes()
	one := papertpm.Select(tpm2.TPMAlgSHA256, quotedPCRs...)
	values := bytes.Join(s.node.PCRs.Values(quotedPCRs...), nil)
	twice := sha256.Sum256(append(bytes.Clone(values), values...))
	s.signSelections(twice[:], one, one)
	s.refused(verdict.QuoteSelection)
	s.signSelections(s.digestOf(quotedPCRs...), one, papertpm.Select(tpm2.TPMAlgSHA1, 0))
	s.refused(verdict.QuoteSelection)
	s.signSelections(s.digestOf(quotedPCRs...), papertpm.Select(tpm2.TPMAlgSHA256), one)
	s.refused(verdict.QuoteSelection)
}

func TestA022_DoubledValues(t *testing.T) {
	s := newScene(t)
	s.passes()
	honest := s.raw.PCRValues
	s.raw.PCRValues = append(slices.Clone(honest), honest[7])
	s.refused(verdict.QuotePCRValues)
	s.raw.PCRValues = slices.Insert(slices.Clone(honest)[:14], 7, make([]byte, 32)) // PCR 7 twice, PCR 14 dropped
	s.refused(verdict.QuotePCRDigest)
}

func TestA023_MissingValues(t *testing.T) {
	s := newScene(t)
	s.passes()
	honest := s.raw.PCRValues
	for i := range honest {
		s.raw.PCRValues = slices.Delete(slices.Clone(honest), i, i+1)
		s.refused(verdict.QuotePCRValues)
		s.raw.PCRValues = slices.Clone(honest)
		s.raw.PCRValues[i] = nil
		s.refused(verdict.QuotePCRValues)
	}
	for _, pcrs := range [][]int{
		{0}, quotedPCRs[1:], quotedPCRs[:11], quotedPCRs[:14], {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11}, append(slices.Clone(quotedPCRs), 16), append(slices.Clone(quotedPCRs), 23),
		append(slices.Clone(quotedPCRs), 24), append(slices.Clone(quotedPCRs), 14), append([]int{-1}, quotedPCRs...),
	} {
		s := newScene(t)
		s.want.PCRs = pcrs
		if _, err := s.verify(); err == nil {
			t.Errorf("PCRs %v can be asked for", pcrs)
		}
	}
}

func TestA029_ValuesOfOtherSizes(t *testing.T) {
	s := newScene(t)
	s.passes()
	honest := s.raw.PCRValues
	for _, value := range [][]byte{honest[0][:31], append(bytes.Clone(honest[0]), 0), []byte(hex.EncodeToString(honest[0])), {}} {
		s.raw.PCRValues = slices.Clone(honest)
		s.raw.PCRValues[0] = value
		s.refused(verdict.QuotePCRValues)
	}
	// Moving a byte from one value to the next keeps the digest.
	s.raw.PCRValues = slices.Clone(honest)
	s.raw.PCRValues[0], s.raw.PCRValues[1] = honest[0][:31], append([]byte{honest[0][31]}, honest[1]...)
	s.refused(verdict.QuotePCRValues)
}

func TestA027_NoSHA1(t *testing.T) {
	s := newScene(t)
	s.passes()
	for _, bank := range []eventlog.Alg{eventlog.SHA1, eventlog.SHA384, 0} {
		s.want.Bank = bank
		if _, err := s.verify(); err == nil {
			t.Errorf("the %v bank can be asked for", bank)
		}
	}
}

func TestA030_ResettablePCRs(t *testing.T) {
	for _, pcr := range []int{16, 17, 20, 22, 23} {
		s := newScene(t)
		s.want.PCRs = append(slices.Clone(quotedPCRs), pcr)
		if _, err := s.verify(); err == nil {
			t.Errorf("PCR %d can be asked for", pcr)
		}
	}
	s := newScene(t)
	if _, ok := s.passes().PCR(16); ok {
		t.Error("PCR 16 has a value")
	}
}

func TestA032_OrderOfValues(t *testing.T) {
	s := newScene(t)
	s.passes()
	slices.Reverse(s.raw.PCRValues)
	s.refused(verdict.QuotePCRDigest)
	reversed := sha256.Sum256(bytes.Join(s.raw.PCRValues, nil))
	s.signSelections(reversed[:], papertpm.Select(tpm2.TPMAlgSHA256, quotedPCRs...))
	if _, err := s.verify(); err == nil {
		t.Error("values in another order explain the same boot")
	}
}

func TestA061_KeyOfAnotherHierarchy(t *testing.T) {
	s := newScene(t)
	s.passes()
	owner := sha256.Sum256(append([]byte{0x40, 0, 0, 1}, s.node.AK.Name()...))
	for _, signer := range [][]byte{append([]byte{0, 0x0b}, owner[:]...), s.node.AK.Name(), nil} {
		a := s.quote()
		a.Signer = signer
		s.sign(a)
		s.refused(verdict.QuoteSigner)
	}
}

// A key whose scheme hashes with SHA-384 signs and digests with it.
func TestRSAKeyWithSHA384(t *testing.T) {
	key, err := papertpm.RSAKey(3072, papertpm.AKAttributes())
	if err != nil {
		t.Fatal(err)
	}
	key.Public.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
		Scheme: tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA,
			&tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA384})},
		KeyBits: 3072,
	})
	s := newScene(t)
	s.node.AK = key
	if s.want.AK, err = evidence.ParseAK(key.Bytes()); err != nil {
		t.Fatal(err)
	}
	s.answer()
	for digest, want := range map[string]verdict.CheckID{
		string(s.digestOf(quotedPCRs...)): verdict.QuotePCRDigest, // SHA-256, as no such TPM computes it
		string(sum384(s)):                 "",
	} {
		a := s.quote()
		a.Body = papertpm.QuoteBody([]byte(digest), papertpm.Select(tpm2.TPMAlgSHA256, quotedPCRs...))
		sig, err := key.SignWith(a.Bytes(), tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA384)
		if err != nil {
			t.Fatal(err)
		}
		s.raw.Quote, s.raw.Signature = a.Bytes(), sig.Bytes()
		if want != "" {
			s.refused(want)
		} else {
			s.passes()
		}
	}
}

func sum384(s *scene) []byte {
	sum := sha512.Sum384(bytes.Join(s.node.PCRs.Values(quotedPCRs...), nil))
	return sum[:]
}
