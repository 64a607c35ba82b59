package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestVerifyEK(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("one")
	ek := mustEK(t, v, key)
	digest := key.SPKIDigest()
	if ek.Class != Discrete || ek.Template != ECCP256 || ek.Test || ek.HostID != hex.EncodeToString(digest[:]) {
		t.Errorf("got %+v", ek)
	}
	if ek.Vendor != "00001014" || ek.Model != "swtpm" || ek.Version != "20191023" {
		t.Errorf("got vendor %q, model %q, version %q", ek.Vendor, ek.Model, ek.Version)
	}
	if !bytes.Equal(ek.Public(), key.Bytes()) {
		t.Error("the public area is not the template with the certified key")
	}
}

func TestVendorNames(t *testing.T) {
	for manufacturer, want := range map[string]string{"53544D20": "STM", "49465800": "IFX", "00001014": "00001014", "00000000": "00000000"} {
		if got := (deviceName{manufacturer: manufacturer}).vendor(); got != want {
			t.Errorf("%s: got %q, want %q", manufacturer, got, want)
		}
	}
}

func TestGenuineShapes(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("genuine")
	for _, shape := range vendorca.Genuine() {
		if _, err := v.verify(v.issue(t, key.Signer.Public(), shape)); err != nil {
			t.Errorf("%q: %v", shape, err)
		}
	}
}

func TestHostileShapes(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("hostile")
	mustEK(t, v, key)
	for _, shape := range vendorca.Hostile() {
		if shape == vendorca.OAEPKey {
			continue // needs an RSA key, see TestA056
		}
		_, err := v.verify(v.issue(t, key.Signer.Public(), shape))
		if err == nil {
			t.Errorf("%q was accepted", shape)
			continue
		}
		wantRefusal(t, err, verdict.EnrollEKMalformed, verdict.EnrollEKExtension, verdict.EnrollEKUsage, verdict.EnrollEKName,
			verdict.EnrollEKValidity, verdict.EnrollEKChain)
	}
}

func TestA045_CertificateOfAnotherEK(t *testing.T) {
	v := production(t)
	ek := mustEK(t, v, papertpm.ECCEK("certified"))
	if err := ek.CheckPublic(papertpm.ECCEK("certified").Bytes()); err != nil {
		t.Fatalf("twin: %v", err)
	}
	wantRefusal(t, ek.CheckPublic(papertpm.ECCEK("after change of seed").Bytes()), verdict.EnrollEKPublic)
	wantRefusal(t, ek.CheckPublic(append(papertpm.ECCEK("certified").Bytes(), 0)), verdict.EnrollEKPublic)
	wantRefusal(t, ek.CheckPublic(nil), verdict.EnrollEKPublic)
}

func TestA046_KeyOutsideTheTemplate(t *testing.T) {
	v := production(t)
	good := papertpm.ECCEK("template")
	ek := mustEK(t, v, good)
	for name, spoil := range map[string]func(*papertpm.Key){
		"no policy":  func(k *papertpm.Key) { k.Public.AuthPolicy.Buffer = nil },
		"exportable": func(k *papertpm.Key) { k.Public.ObjectAttributes.FixedTPM = false },
		"signing":    func(k *papertpm.Key) { k.Public.ObjectAttributes.SignEncrypt = true },
	} {
		key := papertpm.ECCEK("template")
		spoil(key)
		if err := ek.CheckPublic(key.Bytes()); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantRefusal(t, err, verdict.EnrollEKPublic)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.verify(v.issue(t, p384.Public(), vendorca.Plain))
	wantRefusal(t, err, verdict.EnrollEKTemplate)
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// One TPM has certificates for several templates; only the class's one counts.
func TestOneTemplatePerClass(t *testing.T) {
	key := rsaKey(t, 2048)
	firmware := newVendor(t, vendorca.Options{}, Root{Class: Firmware})
	ek, err := firmware.verify(firmware.issue(t, key.Public(), vendorca.Plain))
	if err != nil {
		t.Fatal(err)
	}
	if ek.Template != RSA2048 || ek.Class != Firmware {
		t.Errorf("got %+v", ek)
	}
	discrete := production(t)
	_, err = discrete.verify(discrete.issue(t, key.Public(), vendorca.Plain))
	wantRefusal(t, err, verdict.EnrollEKTemplate)
	_, err = firmware.verify(firmware.issue(t, rsaKey(t, 3072).Public(), vendorca.Plain))
	wantRefusal(t, err, verdict.EnrollEKTemplate)
}

func TestA047_CertificateForAnotherUse(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("usage")
	mustEK(t, v, key)
	for _, shape := range []vendorca.Shape{
		vendorca.NoEKU, vendorca.ServerAuthEKU, vendorca.AnyEKU, vendorca.AKCertificateEKU, vendorca.CALeaf,
		vendorca.NoBasicConstraints, vendorca.SigningKeyUsage, vendorca.NoKeyUsage,
	} {
		_, err := v.verify(v.issue(t, key.Signer.Public(), shape))
		wantRefusal(t, err, verdict.EnrollEKUsage)
	}
}

func TestA048_CriticalExtensions(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("critical")
	mustEK(t, v, key) // its critical name is parsed
	_, err := v.verify(v.issue(t, key.Signer.Public(), vendorca.UnknownCritical))
	wantRefusal(t, err, verdict.EnrollEKExtension)
	_, err = v.verify(v.issue(t, key.Signer.Public(), vendorca.DuplicateExtension))
	wantRefusal(t, err, verdict.EnrollEKExtension, verdict.EnrollEKMalformed)
}

func TestA049_LooseNames(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("name")
	mustEK(t, v, key)
	for _, shape := range []vendorca.Shape{
		vendorca.NoSAN, vendorca.EmptySAN, vendorca.DuplicateManufacturer, vendorca.MissingModel, vendorca.SANTrailing,
		vendorca.SANWrongString, vendorca.SANTwoNames, vendorca.SANOtherName, vendorca.BadManufacturer,
	} {
		_, err := v.verify(v.issue(t, key.Signer.Public(), shape))
		wantRefusal(t, err, verdict.EnrollEKName, verdict.EnrollEKMalformed)
	}
}

func TestA050_CertificateLifetime(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("lifetime")
	for _, shape := range []vendorca.Shape{vendorca.Expired, vendorca.NotYetValid} {
		_, err := v.verify(v.issue(t, key.Signer.Public(), shape))
		wantRefusal(t, err, verdict.EnrollEKValidity)
	}
	forever := v.issue(t, key.Signer.Public(), vendorca.NoExpiry)
	if _, err := v.trust.VerifyEK(forever, [][]byte{v.Intermediate}, now.AddDate(9, 0, 0)); err != nil {
		t.Errorf("9999 as the end: %v", err)
	}
	_, err := v.trust.VerifyEK(v.issue(t, key.Signer.Public(), vendorca.Plain), [][]byte{v.Intermediate}, now.AddDate(6, 0, 0))
	wantRefusal(t, err, verdict.EnrollEKValidity)
	_, err = v.trust.VerifyEK(forever, [][]byte{v.Intermediate}, now.AddDate(11, 0, 0)) // the vendor's CA has ended
	wantRefusal(t, err, verdict.EnrollEKChain)
}

func TestA051_HostileIntermediates(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("path")
	mustEK(t, v, key)
	for _, chain := range vendorca.ChainShapes() {
		bad := newVendor(t, vendorca.Options{Chain: chain}, Root{Class: Discrete})
		_, err := bad.verify(bad.issue(t, key.Signer.Public(), vendorca.Plain))
		wantRefusal(t, err, verdict.EnrollEKChain)
	}

	attacker := newVendor(t, vendorca.Options{Seed: "attacker"}, Root{Class: Discrete})
	_, err := v.trust.VerifyEK(attacker.issue(t, key.Signer.Public(), vendorca.Plain), [][]byte{attacker.Intermediate, attacker.Root}, now)
	wantRefusal(t, err, verdict.EnrollEKChain)

	good := v.issue(t, key.Signer.Public(), vendorca.Plain)
	many := slices.Repeat([][]byte{v.Intermediate}, 100)
	_, err = v.trust.VerifyEK(good, many, now)
	wantRefusal(t, err, verdict.EnrollIntermediates)
	_, err = v.trust.VerifyEK(good, [][]byte{v.Intermediate, make([]byte, MaxCertificate+1)}, now)
	wantRefusal(t, err, verdict.EnrollIntermediates)
	_, err = v.trust.VerifyEK(good, [][]byte{append(slices.Clone(v.Intermediate), 0)}, now)
	wantRefusal(t, err, verdict.EnrollIntermediates)
	_, err = v.trust.VerifyEK(good, nil, now)
	wantRefusal(t, err, verdict.EnrollEKChain)
}

// A path may have five certificates and no more.
func TestPathLength(t *testing.T) {
	for links, ok := range map[int]bool{3: true, 4: false} {
		chain, leaf := ladder(t, links)
		trust, err := NewTrust([]Root{{Class: Discrete, Certificate: chain[0]}}, bothTemplates, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = trust.VerifyEK(leaf, chain[1:], now)
		if ok && err != nil {
			t.Errorf("%d intermediates: %v", links, err)
		} else if !ok {
			wantRefusal(t, err, verdict.EnrollEKChain)
		}
	}
}

// ladder makes a root, n intermediates one below the other, and an EK
// certificate: the vendor's, with the last intermediate as issuer.
func ladder(t *testing.T, n int) (chain [][]byte, leaf []byte) {
	t.Helper()
	v := production(t)
	template, err := x509.ParseCertificate(v.issue(t, papertpm.ECCEK("ladder").Signer.Public(), vendorca.Plain))
	if err != nil {
		t.Fatal(err)
	}
	var parent *x509.Certificate
	var parentKey *ecdsa.PrivateKey
	for i := range n + 1 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ca := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "CA " + string(rune('A'+i))},
			NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent, parentKey = ca, key
		}
		der, err := x509.CreateCertificate(rand.Reader, ca, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		chain, parentKey = append(chain, der), key
	}
	leafTemplate := *template
	leafTemplate.AuthorityKeyId = nil
	leafTemplate.ExtraExtensions = slices.DeleteFunc(slices.Clone(template.Extensions), func(e pkix.Extension) bool { return !e.Id.Equal(oidSAN) })
	leaf, err = x509.CreateCertificate(rand.Reader, &leafTemplate, parent, template.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain, leaf
}

// The certificate names URLs that do not answer. The check neither waits for
// them nor minds: the package has no import that could dial.
func TestA052_NothingIsFetched(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("aia")
	if _, err := v.verify(v.issue(t, key.Signer.Public(), vendorca.WithAIA)); err != nil {
		t.Fatal(err)
	}
	_, err := v.trust.VerifyEK(v.issue(t, key.Signer.Public(), vendorca.WithAIA), nil, now) // the URL of the issuer is not followed
	wantRefusal(t, err, verdict.EnrollEKChain)
}

func TestA053_TestRootInProduction(t *testing.T) {
	v := newVendor(t, vendorca.Options{}, Root{Class: Discrete, Test: true})
	der := v.issue(t, papertpm.ECCEK("test").Signer.Public(), vendorca.Plain)
	_, err := v.verify(der)
	wantRefusal(t, err, verdict.EnrollEKTestRoot)

	allowed, err := NewTrust([]Root{{Class: Discrete, Test: true, Certificate: v.Root}}, bothTemplates, true)
	if err != nil {
		t.Fatal(err)
	}
	ek, err := allowed.VerifyEK(der, [][]byte{v.Intermediate}, now)
	if err != nil || !ek.Test {
		t.Errorf("twin in a test network: %+v, %v", ek, err)
	}
}

func TestA055_MalformedCertificate(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("malformed")
	mustEK(t, v, key)
	for _, shape := range []vendorca.Shape{vendorca.TrailingBytes, vendorca.Truncated, vendorca.PaddedWithZeros, vendorca.NVHeader} {
		_, err := v.verify(v.issue(t, key.Signer.Public(), shape))
		wantRefusal(t, err, verdict.EnrollEKMalformed)
	}
	_, err := v.verify(nil)
	wantRefusal(t, err, verdict.EnrollEKMalformed)
	_, err = v.verify(make([]byte, MaxCertificate+1))
	wantRefusal(t, err, verdict.EnrollEKMalformed)
}

func TestA056_OAEPKeyIdentifier(t *testing.T) {
	v, key := newVendor(t, vendorca.Options{}, Root{Class: Firmware}), rsaKey(t, 2048)
	if _, err := v.verify(v.issue(t, key.Public(), vendorca.Plain)); err != nil {
		t.Fatalf("twin: %v", err)
	}
	_, err := v.verify(v.issue(t, key.Public(), vendorca.OAEPKey))
	wantRefusal(t, err, verdict.EnrollEKAlgorithm)
}

// rocaModulus makes a modulus of the form that the weak library made.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(2)
	for _, p := range rocaPrimes {
		m.Mul(m, big.NewInt(p))
	}
	prime := func() *big.Int {
		a, err := rand.Int(rand.Reader, m)
		if err != nil {
			t.Fatal(err)
		}
		rest := new(big.Int).Exp(big.NewInt(65537), a, m)
		for k := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(3), 1022), m); ; k.Add(k, big.NewInt(1)) {
			p := new(big.Int).Mul(k, m)
			if p.Add(p, rest); p.ProbablyPrime(1) {
				return p
			}
		}
	}
	return new(big.Int).Mul(prime(), prime())
}

func TestA057_ROCAKey(t *testing.T) {
	v, key := newVendor(t, vendorca.Options{}, Root{Class: Firmware}), rsaKey(t, 2048)
	if _, err := v.verify(v.issue(t, key.Public(), vendorca.Plain)); err != nil {
		t.Fatalf("twin: %v", err)
	}
	weak := &rsa.PublicKey{N: rocaModulus(t), E: 65537}
	_, err := v.verify(v.issue(t, weak, vendorca.Plain))
	wantRefusal(t, err, verdict.EnrollEKWeak)
}

func TestA060_ClassNotAccepted(t *testing.T) {
	v := newVendor(t, vendorca.Options{}, Root{Class: Virtual})
	key := papertpm.ECCEK("virtual")
	_, err := v.verify(v.issue(t, key.Signer.Public(), vendorca.Plain))
	wantRefusal(t, err, verdict.EnrollEKClass)
	mustEK(t, production(t), key)
}

// The certificate that is chained is the one whose key is used, wherever
// others stand in the request.
func TestA066_AnotherCertificateInTheBag(t *testing.T) {
	v := production(t)
	good, attacker := papertpm.ECCEK("good"), papertpm.ECCEK("attacker")
	goodDER := v.issue(t, good.Signer.Public(), vendorca.Plain)
	attackerDER := v.issue(t, attacker.Signer.Public(), vendorca.SelfSigned)
	ek, err := v.trust.VerifyEK(goodDER, [][]byte{attackerDER, v.Intermediate}, now)
	if err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, ek.CheckPublic(attacker.Bytes()), verdict.EnrollEKPublic)
	_, err = v.trust.VerifyEK(attackerDER, [][]byte{goodDER, v.Intermediate}, now)
	wantRefusal(t, err, verdict.EnrollEKChain)
}

func TestTrustBundle(t *testing.T) {
	ca, other := production(t), newVendor(t, vendorca.Options{Seed: "other"}, Root{Class: Firmware})
	a, b := Root{Class: Discrete, Certificate: ca.Root}, Root{Class: Firmware, Test: true, Certificate: other.Root}
	if Digest([]Root{a, b}) != Digest([]Root{b, a}) {
		t.Error("the digest depends on the order")
	}
	b.Test = false
	if Digest([]Root{a, b}) == Digest([]Root{a, {Class: Firmware, Test: true, Certificate: other.Root}}) {
		t.Error("the digest does not tell test roots apart")
	}
	for name, roots := range map[string][]Root{
		"none": nil, "twice": {a, a}, "in two classes": {a, {Class: Virtual, Certificate: ca.Root}},
		"unknown class": {{Class: "quantum", Certificate: ca.Root}}, "not a certificate": {{Class: Discrete, Certificate: []byte("x")}},
		"not a CA": {{Class: Discrete, Certificate: ca.issue(t, papertpm.ECCEK("leaf").Signer.Public(), vendorca.Plain)}},
	} {
		if _, err := NewTrust(roots, bothTemplates, true); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewTrust([]Root{a}, map[Class]Template{Discrete: "rsa-1024"}, true); err == nil {
		t.Error("an unknown template was accepted")
	}
	if _, err := NewTrust([]Root{a}, nil, true); err == nil {
		t.Error("no template was accepted")
	}
}

func TestTwoPathsToTwoClasses(t *testing.T) {
	v := production(t)
	inter, err := x509.ParseCertificate(v.Intermediate)
	if err != nil {
		t.Fatal(err)
	}
	if !inter.IsCA {
		t.Fatal("the intermediate is no CA")
	}
	// The intermediate itself pinned as a root of another class: the certificate
	// leads to both.
	trust, err := NewTrust([]Root{{Class: Discrete, Certificate: v.Root}, {Class: Virtual, Certificate: v.Intermediate}}, bothTemplates, false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = trust.VerifyEK(v.issue(t, papertpm.ECCEK("both").Signer.Public(), vendorca.Plain), [][]byte{v.Intermediate}, now)
	wantRefusal(t, err, verdict.EnrollEKChain)
}

func FuzzVerifyEK(f *testing.F) {
	v, key := production(f), papertpm.ECCEK("fuzz")
	seeds := 0
	for _, shape := range slices.Concat(vendorca.Genuine(), vendorca.Hostile()) {
		if shape != vendorca.OAEPKey {
			f.Add(v.issue(f, key.Signer.Public(), shape))
			seeds++
		}
	}
	if seeds < 20 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		weigh.Bounded(t, len(der), func() { _, _ = v.verify(der) })
		ek, err := v.verify(der)
		if (ek == nil) != (err != nil) {
			t.Fatalf("got %v and %v", ek, err)
		}
		if err == nil {
			cert, err := x509.ParseCertificate(der)
			if err != nil || !bytes.Equal(cert.Raw, der) {
				t.Fatal("accepted bytes that are not one certificate")
			}
		} else {
			wantRefusal(t, err, enrollCheckIDs()...)
		}
	})
}

func enrollCheckIDs() []verdict.CheckID {
	var ids []verdict.CheckID
	for _, c := range verdict.Checks() {
		if len(c.ID) > 7 && c.ID[:7] == "enroll." {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

func FuzzParseName(f *testing.F) {
	v, key := production(f), papertpm.ECCEK("fuzz")
	seeds := 0
	for _, shape := range slices.Concat(vendorca.Genuine(), vendorca.Hostile()) {
		if shape == vendorca.OAEPKey {
			continue
		}
		if cert, err := x509.ParseCertificate(v.issue(f, key.Signer.Public(), shape)); err == nil {
			for _, e := range cert.Extensions {
				if e.Id.Equal(oidSAN) {
					f.Add(e.Value)
					seeds++
				}
			}
		}
	}
	if seeds < 10 {
		f.Fatalf("only %d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, san []byte) {
		weigh.Bounded(t, len(san), func() { _, _ = parseName(san) })
		if name, err := parseName(san); err == nil && (len(name.manufacturer) != 8 || name.model == "" || name.version == "") {
			t.Fatalf("accepted %+v", name)
		} else if written, ok := again(san); err == nil && (!ok || !bytes.Equal(written, san)) {
			t.Fatalf("%x became %x", san, written)
		}
	})
}

func BenchmarkVerifyEK(b *testing.B) {
	v, key := production(b), papertpm.ECCEK("bench")
	der := v.issue(b, key.Signer.Public(), vendorca.Plain)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.verify(der); err != nil {
			b.Fatal(err)
		}
	}
}

// A certificate has one form: whatever byte of it is changed, it is refused. Its
// signature covers all but itself, and has one encoding.
func TestA003_EveryByteOfACertificateCounts(t *testing.T) {
	v, key := production(t), papertpm.ECCEK("bytes")
	for _, shape := range vendorca.Genuine() {
		der := v.issue(t, key.Signer.Public(), shape)
		if _, err := v.verify(der); err != nil {
			t.Fatalf("twin: %v", err)
		}
		for i := range der {
			for _, bit := range []byte{1, 0x80} {
				changed := slices.Clone(der)
				changed[i] ^= bit
				if _, err := v.verify(changed); err == nil {
					t.Fatalf("%s: byte %d changed, and the certificate passes", shape, i)
				}
			}
		}
	}
}
