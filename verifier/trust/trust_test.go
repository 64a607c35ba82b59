package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/enroll"
)

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

func vendor(t testing.TB, name string, at time.Time) *vendorca.CA {
	t.Helper()
	ca, err := vendorca.New(vendorca.Options{Name: name, Seed: name, Now: at})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func parsed(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// made signs a certificate as given, by its own key unless another is given.
func made(t *testing.T, change func(*x509.Certificate), signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Acme Root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
	}
	var public crypto.PublicKey = key.Public()
	change(template)
	if template.PublicKey != nil {
		public = template.PublicKey
	}
	if signer == nil {
		signer = key
	}
	issuer := *template
	issuer.PublicKey = nil
	der, err := x509.CreateCertificate(rand.Reader, template, &issuer, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, der)
}

func TestReadFS(t *testing.T) {
	a, b := vendor(t, "Acme Silicon", now), vendor(t, "swtpm-localca", now)
	folder := fstest.MapFS{
		"README":                 {Data: []byte("text")},
		"discrete/acme.pem":      {Data: a.RootPEM()},
		"discrete/forgotten.crt": {Data: a.RootPEM()},
		"test-virtual/both.pem":  {Data: append(append(b.RootPEM(), '\n'), Encode(parsed(t, b.Intermediate))...)},
	}
	bundle, err := ReadFS(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(bundle.Roots) != 3 || !slices.Equal(bundle.Ignored, []string{"discrete/forgotten.crt"}) {
		t.Errorf("read %d roots and ignored %v", len(bundle.Roots), bundle.Ignored)
	}
	want := enroll.Digest([]enroll.Root{
		{Class: enroll.Virtual, Test: true, Certificate: b.Intermediate}, {Class: enroll.Discrete, Certificate: a.Root},
		{Class: enroll.Virtual, Test: true, Certificate: b.Root},
	})
	if bundle.Digest() != want {
		t.Error("another digest than package enroll's")
	}
	if err := bundle.Check(); err != nil {
		t.Error(err)
	}
}

func TestReadFSRefuses(t *testing.T) {
	root := vendor(t, "Acme Silicon", now).RootPEM()
	broken := bytes.Replace(root, []byte("MI"), []byte("!!"), 1)
	for name, folder := range map[string]fstest.MapFS{
		"unknown class":           {"hardware/a.pem": {Data: root}},
		"no class":                {"a.pem": {Data: root}},
		"too deep":                {"discrete/acme/a.pem": {Data: root}},
		"comment before":          {"discrete/a.pem": {Data: append([]byte("Acme\n"), root...)}},
		"comment after":           {"discrete/a.pem": {Data: append(bytes.Clone(root), "Acme\n"...)}},
		"broken block first":      {"discrete/a.pem": {Data: append(broken, root...)}},
		"other block":             {"discrete/a.pem": {Data: pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte{0x30, 0}})}},
		"headers":                 {"discrete/a.pem": {Data: pem.EncodeToMemory(&pem.Block{Type: pemType, Headers: map[string]string{"A": "b"}, Bytes: []byte{0x30, 0}})}},
		"DER":                     {"discrete/a.pem": {Data: parsed(t, vendor(t, "Acme Silicon", now).Root).Raw}},
		"no certificate":          {"discrete/a.pem": {Data: pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("text")})}},
		"trailing DER in a block": {"discrete/a.pem": {Data: pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: append(bytes.Clone(vendor(t, "Acme Silicon", now).Root), 0x30, 0)})}},
	} {
		if _, err := ReadFS(folder); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if _, err := ReadFS(os.DirFS(filepath.Join(t.TempDir(), "missing"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestCheckRefusesTheSameRootTwice(t *testing.T) {
	root := vendor(t, "Acme Silicon", now).RootPEM()
	bundle, err := ReadFS(fstest.MapFS{"discrete/a.pem": {Data: root}, "virtual/a.pem": {Data: root}})
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Check() == nil {
		t.Error("one root in two classes loads")
	}
	if err := (&Bundle{}).Check(); err != nil {
		t.Errorf("empty bundle: %v", err)
	}
}

func TestAdd(t *testing.T) {
	ca := vendor(t, "Acme Silicon", now)
	root, renewed := parsed(t, ca.Root), parsed(t, vendor(t, "Acme Silicon", now.AddDate(1, 0, 0)).Root)
	bundle := &Bundle{}
	added, err := bundle.Add(enroll.Discrete, false, root)
	if err != nil || added.File != "discrete/"+FileName(root) {
		t.Fatalf("%q, %v", added.File, err)
	}
	if _, err := bundle.Add(enroll.Discrete, false, root); err == nil {
		t.Error("the same root twice")
	}
	if _, err := bundle.Add(enroll.Discrete, true, renewed); err == nil {
		t.Error("the same CA, renewed, as a test root")
	}
	if _, err := bundle.Add(enroll.Firmware, false, renewed); err == nil {
		t.Error("the same CA, renewed, in another class")
	}
	if _, err := bundle.Add(enroll.Discrete, false, renewed); err != nil {
		t.Errorf("the same CA, renewed, in its class: %v", err)
	}
	if len(bundle.Roots) != 2 || bundle.Check() != nil {
		t.Errorf("%d roots, %v", len(bundle.Roots), bundle.Check())
	}
}

func TestParse(t *testing.T) {
	ca := vendor(t, "Acme Silicon", now)
	for name, raw := range map[string][]byte{
		"DER": ca.Root, "PEM": ca.RootPEM(), "white space": []byte("\r\n " + strings.ReplaceAll(string(ca.RootPEM()), "\n", "\r\n") + "\n\n"),
	} {
		cert, err := Parse(raw)
		if err != nil || !bytes.Equal(cert.Raw, ca.Root) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range hostile(t) {
		if _, err := Parse(raw); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

// hostile are files that do not hold exactly one certificate.
func hostile(t testing.TB) map[string][]byte {
	ca := vendor(t, "Acme Silicon", now)
	return map[string][]byte{
		"empty":            {},
		"white space":      []byte(" \n"),
		"two":              append(ca.RootPEM(), Encode(parsed(t, ca.Intermediate))...),
		"two of DER":       append(bytes.Clone(ca.Root), ca.Intermediate...),
		"DER, zero behind": append(bytes.Clone(ca.Root), 0),
		"DER, cut":         ca.Root[:len(ca.Root)-1],
		"text behind":      append(ca.RootPEM(), "text"...),
		"text before":      append([]byte("text\n"), ca.RootPEM()...),
		"byte order mark":  append([]byte("\xef\xbb\xbf"), ca.RootPEM()...),
		"private key":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ca.Root}),
		"trusted":          pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: ca.Root}),
		"oversized":        append(ca.RootPEM(), bytes.Repeat([]byte("\n"), MaxFile)...),
	}
}

func TestParseRefusesLargeCertificates(t *testing.T) {
	large := made(t, func(c *x509.Certificate) {
		c.Subject.Organization = []string{strings.Repeat("x", enroll.MaxCertificate/2)}
	}, nil)
	if _, err := Parse(large.Raw); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	ca := vendor(f, "Acme Silicon", now)
	seeds := append([][]byte{ca.Root, ca.RootPEM()}, ca.Intermediate)
	for _, raw := range hostile(f) {
		seeds = append(seeds, raw)
	}
	for _, raw := range seeds {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		cert, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(Encode(cert))
		if err != nil || !bytes.Equal(again.Raw, cert.Raw) {
			t.Fatalf("printed and parsed again: %v", err)
		}
		_, _, _ = Problems(cert, now), Warnings(cert, now), TestName(cert)
		if name := FileName(cert); !fileName.MatchString(name) {
			t.Fatalf("file name %q", name)
		}
	})
}

var fileName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{12}\.pem$`)
