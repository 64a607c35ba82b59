package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/verdict"
)

// tell writes one refusal in full, long values cut.
func tell(out io.Writer, name string, err error) {
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		fmt.Fprintf(out, "%s: %v\n", name, err)
		return
	}
	fmt.Fprintf(out, "%s: %s at %s: got %.50q, want %.50q\n", name, r.Check, r.Where, r.Got, r.Want)
}

// damages calls with every beginning of good, and with every byte changed.
func damages(good []byte, with func(name string, bad []byte)) {
	for n := range good {
		with(fmt.Sprintf("%d bytes", n), slices.Clone(good[:n]))
	}
	for i := range good {
		for _, change := range []byte{1, 2, 0x80} {
			bad := slices.Clone(good)
			bad[i] ^= change
			with(fmt.Sprintf("byte %d ^ %#02x", i, change), bad)
		}
	}
	with("one byte more", append(slices.Clone(good), 0))
}

// TestAccount holds what is said of every damage to every structure that a TPM
// makes, signed again, against an account that was read by a person.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	e := newEnrolment(t, "account")
	resign := func(attest []byte) []byte {
		s, err := e.tpm.AK.Sign(attest)
		if err != nil {
			t.Fatal(err)
		}
		return s.Bytes()
	}
	damages(e.attest, func(name string, bad []byte) {
		tell(&out, "creation, "+name, CheckCreation(e.ak, e.want, e.creation.Bytes(), bad, resign(bad)))
	})
	damages(e.nAttest, func(name string, bad []byte) {
		tell(&out, "certification, "+name, CheckCertify(e.ak, e.node, e.want, bad, resign(bad)))
	})
	creation := papertpm.CreationData{
		Selections: []papertpm.Selection{papertpm.Select(0x0b, 0, 7)}, PCRDigest: []byte{1, 2}, Locality: 1,
		ParentNameAlg: 0x10, ParentName: endorsementHandle, ParentQualified: endorsementHandle, OutsideInfo: []byte{3},
	}
	tell(&out, "creation data", checkParent(creation.Bytes()))
	damages(creation.Bytes(), func(name string, bad []byte) { tell(&out, "creation data, "+name, checkParent(bad)) })
	sig := []byte{0, 0x18, 0, 0x0b, 0, 2, 1, 2, 0, 2, 3, 4}
	damages(sig, func(name string, bad []byte) {
		tell(&out, "signature, "+name, verifySignature(e.ak.key, e.attest, bad))
	})
	damages(e.ak.public, func(name string, bad []byte) {
		if _, err := CheckAK(bad); err != nil {
			tell(&out, "AK, "+name, err)
		}
	})
	tellNames(&out)
	account.Hold(t, "testdata/account.txt", out.Bytes())
}

// der is one DER element.
func der(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	switch {
	case len(content) < 0x80:
		return slices.Concat([]byte{tag, byte(len(content))}, content)
	case len(content) < 0x100:
		return slices.Concat([]byte{tag, 0x81, byte(len(content))}, content)
	}
	return slices.Concat([]byte{tag, 0x82}, binary.BigEndian.AppendUint16(nil, uint16(len(content))), content)
}

// attribute is one attribute of a name; which is 1 to 3.
func attribute(which, tag byte, text string) []byte {
	return der(0x30, []byte{6, 5, 0x67, 0x81, 5, 2, which}, der(tag, []byte(text)))
}

// san is an alternative name of these name components.
func san(rdns ...[]byte) []byte { return der(0x30, der(0xa4, der(0x30, rdns...))) }

const (
	utf8Tag      = 0x0c
	printableTag = 0x13
	ia5Tag       = 0x16
)

// tellNames accounts for alternative names.
func tellNames(out io.Writer) {
	id, model, version := der(0x31, attribute(1, utf8Tag, "id:53544D20")), der(0x31, attribute(2, utf8Tag, "ST33")), der(0x31, attribute(3, utf8Tag, "id:00aF"))
	with := func(id, model, version string) []byte {
		return san(der(0x31, attribute(1, printableTag, id), attribute(2, utf8Tag, model)), der(0x31, attribute(3, printableTag, version)))
	}
	for _, row := range []struct {
		name string
		san  []byte
	}{
		{"none", nil}, {"one byte", []byte{0x30}}, {"a set", der(0x31)}, {"no name", der(0x30)}, {"other name", der(0x30, der(0xa1))},
		{"good", san(id, model, version)}, {"good, in another order", san(version, id, model)},
		{"a byte behind", append(san(id, model, version), 0)},
		{"two names", der(0x30, der(0xa4, der(0x30, id, model, version)), der(0xa4, der(0x30, id)))},
		{"no sequence of components", der(0x30, der(0xa4, der(0x31, id, model, version)))},
		{"components twice", der(0x30, der(0xa4, der(0x30, id, model, version), der(0x30)))},
		{"a component that is no set", san(id, model, version, der(0x30))},
		{"an empty component", san(id, model, version, der(0x31))},
		{"an attribute that is no sequence", san(id, model, version, der(0x31, der(0x31)))},
		{"an attribute without identifier", san(id, model, version, der(0x31, der(0x30, der(utf8Tag), der(utf8Tag))))},
		{"an attribute without value", san(id, model, version, der(0x31, der(0x30, []byte{6, 1, 0x2a})))},
		{"an attribute of two values", san(id, model, version, der(0x31, der(0x30, []byte{6, 1, 0x2a}, der(utf8Tag), der(utf8Tag))))},
		{"another string", san(der(0x31, attribute(1, ia5Tag, "id:53544D20")), model, version)},
		{"no UTF-8", with("id:53544D20", "\xff", "id:1")}, {"a control character", with("id:53544D20", "a\x01", "id:1")},
		{"manufacturer twice", san(id, id, model, version)},
		{"a fourth", san(id, model, version, der(0x31, attribute(4, utf8Tag, "x")))},
		{"two only", san(id, version)}, {"no model, but another", san(id, version, der(0x31, attribute(4, utf8Tag, "x")))},
		{"no manufacturer, but another", san(model, version, der(0x31, attribute(4, utf8Tag, "x")))},
		{"manufacturer without id", with("53544D20", "m", "id:1")}, {"manufacturer of 7 digits", with("id:53544D2", "m", "id:1")},
		{"manufacturer of 9 digits", with("id:53544D200", "m", "id:1")}, {"manufacturer not in hex", with("id:53544D2G", "m", "id:1")},
		{"version without id", with("id:53544D20", "m", "20191023")}, {"no version", with("id:53544D20", "m", "id:")},
		{"version of 1 digit", with("id:53544D20", "m", "id:F")}, {"version of 16 digits", with("id:53544D20", "m", "id:0123456789abcdef")},
		{"version of 17 digits", with("id:53544D20", "m", "id:0123456789abcdef0")}, {"version not in hex", with("id:53544D20", "m", "id:1.2")},
		{"no text in model", with("id:53544D20", "", "id:1")}, {"model of 1 byte", with("id:53544D20", "m", "id:1")},
		{"model of 128 bytes", with("id:53544D20", strings.Repeat("m", 128), "id:1")},
		{"model of 129 bytes", with("id:53544D20", strings.Repeat("m", 129), "id:1")},
	} {
		n, err := parseName(row.san)
		fmt.Fprintf(out, "name, %s: %q %.20q %q %v\n", row.name, n.manufacturer, n.model, n.version, err)
	}
}

func TestVendorText(t *testing.T) {
	for manufacturer, want := range map[string]string{
		"nohex": "nohex", "41zz": "41zz", "41204242": "41204242", "7E414141": "~AAA", "7F414141": "7F414141", "21414141": "!AAA", "41000000": "A", "20202020": "20202020",
	} {
		if got := (deviceName{manufacturer: manufacturer}).vendor(); got != want {
			t.Errorf("%s: %q, want %q", manufacturer, got, want)
		}
	}
}

// The primes are all odd ones up to 167, and the groups are those of 65537.
func TestROCAGroups(t *testing.T) {
	var primes []int64
	for n := int64(3); n <= 167; n++ {
		if big.NewInt(n).ProbablyPrime(10) {
			primes = append(primes, n)
		}
	}
	if !slices.Equal(rocaPrimes, primes) {
		t.Errorf("%v", rocaPrimes)
	}
	for _, p := range primes {
		group := map[int64]bool{}
		for k := range p {
			group[new(big.Int).Exp(big.NewInt(65537), big.NewInt(k), big.NewInt(p)).Int64()] = true
		}
		for x := range p {
			if isPowerOf65537(x, p) != group[x] {
				t.Errorf("%d modulo %d", x, p)
			}
		}
	}
}

// selections is creation data with that many PCR selections announced, and that
// many there.
func selections(announced, there int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(announced))
	for range there {
		b = append(b, 0, 0x0b, 3, 0, 0, 0)
	}
	rest := papertpm.CreationData{ParentNameAlg: 0x10, ParentName: endorsementHandle, ParentQualified: endorsementHandle, Locality: 1}.Bytes()
	return append(b, rest[4:]...)
}

func TestPCRSelectionsOfCreationData(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16} {
		if err := checkParent(selections(n, n)); err != nil {
			t.Errorf("%d: %v", n, err)
		}
	}
	for _, bad := range [][2]int{{17, 0}, {17, 16}, {17, 17}, {16, 15}, {15, 16}, {1 << 31, 0}} {
		wantRefusal(t, checkParent(selections(bad[0], bad[1])), verdict.EnrollMalformed)
	}
}

// A length that reaches beyond the end is an error where it stands, whatever
// follows it could be read as.
func TestLengthsBeyondTheEnd(t *testing.T) {
	parent, behind := []byte{0, 4, 0x40, 0, 0, 0x0b}, []byte{0xff, 0xff}
	digest, head, none := []byte{0, 1, 7}, []byte{1, 0, 0x10}, []byte{0, 0}
	count := func(n byte) []byte { return []byte{0, 0, 0, n} }
	if err := checkParent(slices.Concat(count(1), []byte{0, 0x0b, 1, 0}, digest, head, parent, parent, none)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"bitmap":    slices.Concat(count(1), []byte{0, 0x0b, 0xff}, digest, head, parent, parent, none),
		"digest":    slices.Concat(count(0), behind, head, parent, parent, none),
		"parent":    slices.Concat(count(0), digest, head, behind, parent, none),
		"qualified": slices.Concat(count(0), digest, head, parent, behind, none),
	} {
		if err := checkParent(bad); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantRefusal(t, err, verdict.EnrollMalformed)
		}
	}
	e := newEnrolment(t, "lengths")
	signer := 2 + int(binary.BigEndian.Uint16(e.attest[6:]))
	extra := 2 + int(binary.BigEndian.Uint16(e.attest[6+signer:]))
	for _, bad := range [][]byte{
		slices.Concat(e.attest[:6], behind, e.attest[6+signer:]), slices.Concat(e.attest[:6+signer], behind, e.attest[6+signer+extra:]),
	} {
		s, err := e.tpm.AK.Sign(bad)
		if err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, CheckCreation(e.ak, e.want, e.creation.Bytes(), bad, s.Bytes()), verdict.EnrollMalformed)
	}
	a := e.tpm.CertifyCreation(e.creation, nil)
	for safe, want := range map[byte]verdict.CheckID{0: verdict.EnrollBinding, 1: verdict.EnrollBinding, 2: verdict.EnrollMalformed} {
		a.Safe = safe
		e.attest, e.sig = sign(t, e.tpm, a)
		wantRefusal(t, e.checkCreation(), want)
	}
}

// A primary key's parent is the endorsement hierarchy in all three fields.
func TestParent(t *testing.T) {
	good := papertpm.NewNode("parent").AKCreation()
	if err := checkParent(good.Bytes()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*papertpm.CreationData){
		"algorithm": func(c *papertpm.CreationData) { c.ParentNameAlg = 0x0b },
		"name":      func(c *papertpm.CreationData) { c.ParentName = []byte{0x40, 0, 0, 1} },
		"qualified": func(c *papertpm.CreationData) { c.ParentQualified = []byte{0x40, 0, 0, 1} },
	} {
		bad := good
		change(&bad)
		if err := checkParent(bad.Bytes()); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantRefusal(t, err, verdict.EnrollHierarchy)
		}
	}
}

func TestStructuresToTheByte(t *testing.T) {
	e := newEnrolment(t, "bounds")
	for size, want := range map[int]bool{maxStructure: true, maxStructure + 1: false} {
		e.creation.OutsideInfo = nil
		e.creation.OutsideInfo = make([]byte, size-len(e.creation.Bytes()))
		e.attest, e.sig = sign(t, e.tpm, e.tpm.CertifyCreation(e.creation, extra(t, e.want, binding.PurposeAKCreation)))
		if err := e.checkCreation(); want && err != nil {
			t.Errorf("%d bytes of creation data: %v", size, err)
		} else if !want {
			wantRefusal(t, err, verdict.EnrollMalformed)
			if !strings.Contains(err.Error(), "2049 bytes of creation data") {
				t.Error(err)
			}
		}
		for name, err := range map[string]error{
			"structure": CheckCreation(e.ak, e.want, nil, make([]byte, size), nil),
			"signature": CheckCreation(e.ak, e.want, nil, nil, make([]byte, size)),
		} {
			if want {
				wantRefusal(t, err, verdict.EnrollSignature)
			} else {
				wantRefusal(t, err, verdict.EnrollMalformed)
			}
			if !want && !strings.Contains(err.Error(), "2049") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Integers of a signature have at most 32 bytes, whatever their value.
func TestSignatureIntegers(t *testing.T) {
	e := newEnrolment(t, "integers")
	s, err := e.tpm.AK.Sign(e.attest)
	if err != nil {
		t.Fatal(err)
	}
	in := s.Bytes()[4:]
	r, rest := in[2:2+int(in[1])], in[2+int(in[1]):]
	q := rest[2:]
	make33 := func(b []byte) []byte { return append(make([]byte, 33-len(b)), b...) }
	make32 := func(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }
	whole := func(r, s []byte) []byte {
		b := append([]byte{0, 0x18, 0, 0x0b, 0, byte(len(r))}, r...)
		return append(append(b, 0, byte(len(s))), s...)
	}
	if err := verifySignature(e.ak.key, e.attest, whole(make32(r), make32(q))); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"r": whole(make33(r), make32(q)), "s": whole(make32(r), make33(q)),
		"r longer than all": append([]byte{0, 0x18, 0, 0x0b, 0xff, 0xff, 0, 1}, 7),
	} {
		if err := verifySignature(e.ak.key, e.attest, bad); err == nil || !strings.HasPrefix(err.Error(), "a signature of another form") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An incomplete enrolment binds nothing, and the refusal says what is missing.
func TestIncompleteEnrolment(t *testing.T) {
	e := newEnrolment(t, "incomplete")
	e.want.Nonce = [32]byte{}
	_, wanted := e.want.QualifyingData(binding.PurposeNodeKey)
	for _, err := range []error{e.checkCertify(), e.checkCreation(), CheckConsensusKey(e.want, nil)} {
		var r *verdict.Refusal
		if !errors.As(err, &r) || r.Got != wanted.Error() {
			t.Errorf("%v, want %v", err, wanted)
		}
	}
	wantRefusal(t, CheckCertify(e.ak, &NodeKey{}, e.want, e.nAttest, e.nSig), verdict.EnrollNodeKey)
}

func TestParseConsensusKey(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize))
	if key, ok := parseConsensusKey("ed25519:" + text); !ok || len(key) != ed25519.PublicKeySize {
		t.Error("a good key is refused")
	}
	for _, bad := range []string{text, "ed25519:" + text[:20] + "\n" + text[20:], "ed25519:" + text + "x", "ed25519:" + text[:40], "ED25519:" + text} {
		if _, ok := parseConsensusKey(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A coordinate may lack leading zeros, and has no more than 32 bytes.
func TestCoordinates(t *testing.T) {
	head := papertpm.NewNode("head").AK.Bytes()
	head = head[:len(head)-68]
	short := 0
	for i := 0; short < 2; i++ {
		key := papertpm.ECCKey(elliptic.P256(), fmt.Sprint("coordinate ", i), papertpm.AKAttributes())
		raw := key.Bytes()[len(head):]
		x, y := raw[2:34], raw[36:]
		area := slices.Clone(head)
		for _, c := range [][]byte{x, y} {
			trimmed := bytes.TrimLeft(c, "\x00")
			if len(trimmed) < len(c) {
				short++
			}
			area = append(append(area, 0, byte(len(trimmed))), trimmed...)
		}
		ak, err := CheckAK(area)
		if err != nil || ak.Digest() != key.SPKIDigest() {
			t.Fatalf("key %d: %v", i, err)
		}
		for name, long := range map[string][]byte{
			"x": slices.Concat(head, []byte{0, 33, 0}, x, []byte{0, 32}, y), "y": slices.Concat(head, []byte{0, 32}, x, []byte{0, 33, 0}, y),
		} {
			if _, err := CheckAK(long); err == nil || !strings.Contains(err.Error(), "a coordinate of 33 bytes") {
				t.Fatalf("%s of 33 bytes: %v", name, err)
			}
		}
	}
}

func TestSigningKeyOfUnknownCurve(t *testing.T) {
	//lint:ignore SA1019 a point that is on no curve can be made in no other way
	if k, err := newSigningKey([]byte{1}, &ecdsa.PublicKey{Curve: &elliptic.CurveParams{}, X: big.NewInt(1), Y: big.NewInt(1)}); err == nil || k.public != nil {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestMakeCredentialSaysWhy(t *testing.T) {
	v, a := production(t), papertpm.NewNode("tpm a")
	ek := mustEK(t, v, a.EK)
	ak, err := CheckAK(a.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	secret := bytes.Repeat([]byte{1}, SecretSize)
	for name, row := range map[string]struct {
		rand   io.Reader
		ek     *EK
		ak     *AK
		prefix string
	}{
		"nil EK":       {rand.Reader, nil, ak, "enroll: a credential needs"},
		"unchecked EK": {rand.Reader, &EK{}, ak, "enroll: a credential needs"},
		"nil AK":       {rand.Reader, ek, nil, "enroll: a credential needs"},
		"broken EK":    {rand.Reader, &EK{bytes: []byte{1}}, ak, "enroll: make credential: "},
	} {
		blob, encrypted, err := MakeCredential(row.rand, row.ek, row.ak, secret)
		if err == nil || !strings.HasPrefix(err.Error(), row.prefix) || blob != nil || encrypted != nil {
			t.Errorf("%s: %x, %x, %v", name, blob, encrypted, err)
		}
	}
}

// refusedFor fails unless err is the check's refusal with exactly this value.
func refusedFor(t *testing.T, err error, check verdict.CheckID, got string) {
	t.Helper()
	var r *verdict.Refusal
	if !errors.As(err, &r) || r.Check != check || r.Got != got {
		t.Errorf("%v\nwant %s for %q", err, check, got)
	}
}

func TestCertificateSizes(t *testing.T) {
	v := production(t)
	for size, got := range map[int]string{0: "0 bytes", MaxCertificate + 1: "8193 bytes"} {
		_, err := v.verify(make([]byte, size))
		refusedFor(t, err, verdict.EnrollEKMalformed, got)
	}
	_, err := v.verify(make([]byte, MaxCertificate))
	if err == nil || strings.Contains(err.Error(), "8192 bytes") {
		t.Errorf("the largest size: %v", err)
	}
	_, err = v.verify([]byte{0x30})
	if err == nil || strings.Contains(err.Error(), "got 1 bytes") {
		t.Errorf("one byte: %v", err)
	}
}

func TestExtensions(t *testing.T) {
	name := san(der(0x31, attribute(1, utf8Tag, "id:53544D20")), der(0x31, attribute(2, utf8Tag, "m")), der(0x31, attribute(3, utf8Tag, "id:1")))
	other := asn1.ObjectIdentifier{1, 2, 3}
	cert := &x509.Certificate{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: name}, {Id: other, Value: []byte{5, 0}}}}
	if got, err := checkExtensions(cert); err != nil || got.model != "m" {
		t.Errorf("%+v, %v", got, err)
	}
	cert.UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{2, 5, 29, 17}, other}
	_, err := checkExtensions(cert)
	refusedFor(t, err, verdict.EnrollEKExtension, "1.2.3")
	cert.UnhandledCriticalExtensions = nil
	cert.Extensions = append(cert.Extensions, pkix.Extension{Id: other})
	_, err = checkExtensions(cert)
	refusedFor(t, err, verdict.EnrollEKExtension, "1.2.3 twice")
}

func TestUsage(t *testing.T) {
	ek := []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
	good := x509.Certificate{UnknownExtKeyUsage: ek, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageKeyAgreement}
	if err := checkUsage(&good); err != nil {
		t.Fatal(err)
	}
	for got, change := range map[string]func(*x509.Certificate){
		"extended key usage none":       func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"extended key usage 1.2.3, 4.5": func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}, {4, 5}} },
		"extended key usage 1.2.3, number 1": func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		},
		"extended key usage number 0": func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		},
		"not CA:FALSE":        func(c *x509.Certificate) { c.IsCA = true },
		"key usage bits 0x0":  func(c *x509.Certificate) { c.KeyUsage = 0 },
		"key usage bits 0x24": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign },
		"key usage bits 0x44": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageCRLSign },
	} {
		bad := good
		change(&bad)
		refusedFor(t, checkUsage(&bad), verdict.EnrollEKUsage, got)
	}
	good.BasicConstraintsValid = false
	refusedFor(t, checkUsage(&good), verdict.EnrollEKUsage, "not CA:FALSE")
}

func TestAlgorithmTexts(t *testing.T) {
	algorithm := func(id asn1.ObjectIdentifier) []byte {
		spki, err := asn1.Marshal(struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}{pkix.AlgorithmIdentifier{Algorithm: id}, asn1.BitString{Bytes: []byte{0}, BitLength: 8}})
		if err != nil {
			t.Fatal(err)
		}
		return spki
	}
	for got, spki := range map[string][]byte{
		"1.2.840.113549.1.1.7 (id-RSAES-OAEP)": algorithm(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}),
		"1.3.101.112":                          algorithm(asn1.ObjectIdentifier{1, 3, 101, 112}),
		"an unreadable key":                    {0x30},
	} {
		refusedFor(t, checkAlgorithm(&x509.Certificate{RawSubjectPublicKeyInfo: spki}), verdict.EnrollEKAlgorithm, got)
	}
}

func TestIntermediateBounds(t *testing.T) {
	v := production(t)
	eight := slices.Repeat([][]byte{v.Intermediate}, MaxIntermediates)
	if _, err := untrustedPool(eight); err != nil {
		t.Error(err)
	}
	leaf := v.issue(t, papertpm.ECCEK("leaf").Signer.Public(), vendorca.Plain)
	_, err := v.trust.VerifyEK(leaf, append(eight, v.Intermediate), now)
	refusedFor(t, err, verdict.EnrollIntermediates, fmt.Sprintf("9 certificates, number 9 of %d bytes", len(v.Intermediate)))
	_, err = untrustedPool([][]byte{v.Root, make([]byte, MaxCertificate+1)})
	refusedFor(t, err, verdict.EnrollIntermediates, "2 certificates, number 2 of 8193 bytes")
	_, err = untrustedPool([][]byte{v.Root, make([]byte, MaxCertificate)})
	var r *verdict.Refusal
	if !errors.As(err, &r) || r.Where != "certificate 2" || strings.Contains(r.Got, "number") {
		t.Errorf("the largest size: %v", err)
	}
}

// Chains to unknown roots count as none; all others must agree.
func TestRootOf(t *testing.T) {
	v := production(t)
	known, unknown := &x509.Certificate{Raw: v.Root}, &x509.Certificate{Raw: []byte("unknown")}
	_, err := v.trust.rootOf([][]*x509.Certificate{{unknown}})
	refusedFor(t, err, verdict.EnrollEKChain, "only longer paths")
	long := slices.Repeat([]*x509.Certificate{known}, MaxPath+1)
	for name, chains := range map[string][][]*x509.Certificate{
		"unknown first": {{unknown}, {known}}, "one root twice": {{known}, {known, known}}, "the longest": {long[1:]}, "a longer one too": {long, {known}},
	} {
		if root, err := v.trust.rootOf(chains); err != nil || !bytes.Equal(root.Certificate, v.Root) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = v.trust.rootOf([][]*x509.Certificate{long})
	refusedFor(t, err, verdict.EnrollEKChain, "only longer paths")
}

func TestPathSaysWhy(t *testing.T) {
	v, other := production(t), newVendor(t, vendorca.Options{Seed: "other"}, Root{Class: Discrete})
	_, err := v.verify(other.issue(t, papertpm.ECCEK("path").Signer.Public(), vendorca.Plain))
	var r *verdict.Refusal
	if !errors.As(err, &r) || !strings.HasPrefix(r.Got, "x509: certificate signed by unknown authority") {
		t.Errorf("%v", err)
	}
}

func TestSerial(t *testing.T) {
	v := production(t)
	leaf := v.issue(t, papertpm.ECCEK("serial").Signer.Public(), vendorca.Plain)
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		t.Fatal(err)
	}
	ek, err := v.verify(leaf)
	if want := fmt.Sprintf("%s %x", cert.Issuer, cert.SerialNumber); err != nil || ek.Serial != verdict.Quote(want) {
		t.Errorf("%q, want %q", ek.Serial, want)
	}
}

func TestFill(t *testing.T) {
	n := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	p256, p384 := papertpm.ECCEK("fill").Signer.Public().(*ecdsa.PublicKey), papertpm.ECCKey(elliptic.P384(), "fill", papertpm.AKAttributes()).Signer.Public()
	for _, row := range []struct {
		template Template
		key      any
		want     bool
		text     string
	}{
		{RSA2048, &rsa.PublicKey{N: n, E: 65537}, true, "RSA-2048 with exponent 65537"},
		{RSA2048, &rsa.PublicKey{N: n, E: 3}, false, "RSA-2048 with exponent 3"},
		{RSA2048, &rsa.PublicKey{N: new(big.Int).Rsh(n, 1), E: 65537}, false, "RSA-2047 with exponent 65537"},
		{ECCP256, &rsa.PublicKey{N: n, E: 65537}, false, "RSA-2048 with exponent 65537"},
		{ECCP256, p256, true, "ECC P-256"},
		{RSA2048, p256, false, "ECC P-256"},
		{ECCP256, p384, false, "ECC P-384"},
		//lint:ignore SA1019 a point that is on no curve can be made in no other way
		{ECCP256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, false, "ECC P-256"},
		{ECCP256, ed25519.PublicKey{}, false, "another kind of key"},
		{ECCP256, nil, false, "another kind of key"},
	} {
		if _, ok := row.template.fill(row.key); ok != row.want || describe(row.key) != row.text {
			t.Errorf("%s in %s: %v", describe(row.key), row.template, ok)
		}
	}
}

func TestTrustSaysWhy(t *testing.T) {
	v := production(t)
	leaf := v.issue(t, papertpm.ECCEK("leaf").Signer.Public(), vendorca.Plain)
	for want, roots := range map[string][]Root{
		"enroll: root 0 (test-discrete): x509: malformed certificate":                   {{Class: Discrete, Test: true, Certificate: []byte("x")}},
		"enroll: root 1 (virtual): not a CA certificate of a known class":               {{Class: Discrete, Certificate: v.Root}, {Class: Virtual, Certificate: leaf}},
		"enroll: root 0 (quantum): not a CA certificate of a known class":               {{Class: "quantum", Certificate: v.Root}},
		"enroll: root 1 (test-firmware): the same certificate is there twice":           {{Class: Discrete, Certificate: v.Root}, {Class: Firmware, Test: true, Certificate: v.Root}},
		"enroll: a trust bundle needs at least one root, and one class with a template": nil,
	} {
		if _, err := NewTrust(roots, bothTemplates, true); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	root := []Root{{Class: Discrete, Certificate: v.Root}}
	for class, template := range map[Class]Template{"quantum": RSA2048, Discrete: "rsa-1024"} {
		if _, err := NewTrust(root, map[Class]Template{class: template}, false); err == nil || !strings.HasPrefix(err.Error(), "enroll: unknown TPM class") {
			t.Errorf("%s, %s: %v", class, template, err)
		}
	}
	for class, template := range map[Class]Template{Discrete: RSA2048, Firmware: ECCP256, Virtual: RSA2048} {
		if _, err := NewTrust(root, map[Class]Template{class: template}, false); err != nil {
			t.Error(err)
		}
	}
	sum := sha256.Sum256(v.Root)
	if want := sha256.Sum256(fmt.Appendf(nil, "discrete %x\n", sum)); v.trust.Digest() != want {
		t.Error("another digest")
	}
	if want := sha256.Sum256(fmt.Appendf(nil, "test-discrete %x\n", sum)); Digest([]Root{{Class: Discrete, Test: true, Certificate: v.Root}}) != want {
		t.Error("another digest of a test root")
	}
}
