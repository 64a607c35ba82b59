package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/quorate/quorate/verifier/enroll"
)

// A file of exactly the bound is read, one byte more is not.
func TestParseBounds(t *testing.T) {
	text := vendor(t, "Acme Silicon", now).RootPEM()
	full := append(text, bytes.Repeat([]byte("\n"), MaxFile-len(text))...)
	if _, err := Parse(full); err != nil {
		t.Errorf("%d bytes: %v", len(full), err)
	}
	if _, err := Parse(append(full, '\n')); err == nil {
		t.Errorf("%d bytes: parsed", len(full)+1)
	}
	largest := sized(t, enroll.MaxCertificate)
	if _, err := Parse(largest); err != nil {
		t.Errorf("a certificate of %d bytes: %v", len(largest), err)
	}
	if _, err := Parse(sized(t, enroll.MaxCertificate+1)); err == nil {
		t.Error("a certificate one byte larger: parsed")
	}
	if _, err := Parse(append(bytes.Clone(text), 'x')); err == nil {
		t.Error("one letter behind: parsed")
	}
}

// sized makes a certificate of that many bytes.
func sized(t *testing.T, size int) []byte {
	t.Helper()
	fill := size / 2
	for range 200 { // signatures differ in length
		cert := made(t, func(c *x509.Certificate) { c.Subject.Organization = []string{strings.Repeat("x", fill)} }, nil)
		if len(cert.Raw) == size {
			return cert.Raw
		}
		fill += (size - len(cert.Raw)) / 2 // the name stands there twice, as subject and issuer
	}
	t.Fatalf("no certificate of %d bytes", size)
	return nil
}

// An endorsement key's certificate is known by the number that the TCG gave out.
func TestEndorsementKeyUsage(t *testing.T) {
	usage := asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	cert := made(t, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{usage} }, nil)
	want := []string{"the certificate of one TPM's endorsement key, not of its vendor"}
	if got := Problems(cert, now); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestBasicConstraintsMustBeThere(t *testing.T) {
	cert := made(t, func(*x509.Certificate) {}, nil)
	cert.BasicConstraintsValid = false
	if got := Problems(cert, now); !slices.Equal(got, []string{"not a CA certificate (basic constraints CA:TRUE)"}) {
		t.Errorf("got %q", got)
	}
}

func TestStrongKeys(t *testing.T) {
	for bits, want := range map[int]bool{2047: false, 2048: true, 2049: true} {
		key := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int), bits-1, 1)}
		if strong(key) != want {
			t.Errorf("RSA-%d", bits)
		}
	}
	for bits, want := range map[int]bool{255: false, 256: true, 257: true} {
		key := &ecdsa.PublicKey{Curve: &elliptic.CurveParams{BitSize: bits}}
		if strong(key) != want {
			t.Errorf("ECC of %d bits", bits)
		}
	}
}

// A signature by an algorithm without a name says nothing, for or against.
func TestUnknownSelfSignature(t *testing.T) {
	cert := made(t, func(*x509.Certificate) {}, nil)
	cert.SignatureAlgorithm = x509.UnknownSignatureAlgorithm
	if got := SelfSigned(cert); got != SignatureOutdated {
		t.Errorf("got %q", got)
	}
	if got := Problems(cert, now); len(got) > 0 {
		t.Errorf("problems %q", got)
	}
}

// Warnings begin and change to the second.
func TestWarningsToTheSecond(t *testing.T) {
	root := made(t, func(*x509.Certificate) {}, nil)
	for _, row := range []struct {
		before time.Duration // the root's end
		want   []string
	}{
		{180 * 24 * time.Hour, nil},
		{180*24*time.Hour - time.Second, []string{"expires in 179 days, on 2035-11-22"}},
		{0, []string{"expires in 0 days, on 2035-11-22"}},
		{-time.Second, []string{"expired on 2035-11-22: TPMs below it can no longer enrol"}},
	} {
		if got := Warnings(root, root.NotAfter.Add(-row.before)); !slices.Equal(got, row.want) {
			t.Errorf("%s before its end: %q", row.before, got)
		}
	}
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{
		"azAZ09": "azaz09", "a`{/:b": "a-b", "": "root", "--": "root",
		strings.Repeat("a", 49):        strings.Repeat("a", 48),
		strings.Repeat("a", 47) + " b": strings.Repeat("a", 47),
	} {
		if got := slug(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	cert := made(t, func(*x509.Certificate) {}, nil)
	sum := sha256.Sum256(cert.Raw)
	if Fingerprint(cert) != sum || FileName(cert) != "acme-root-"+hex.EncodeToString(sum[:])[:12]+".pem" {
		t.Errorf("%x, %s", Fingerprint(cert), FileName(cert))
	}
}

func TestFolder(t *testing.T) {
	for _, class := range Classes() {
		if got := Folder(class, true); got != "test-"+string(class) {
			t.Error(got)
		}
	}
}

// What stands in a file is a certificate or refused, and said to be so in words.
func TestReadFSSaysWhy(t *testing.T) {
	root := vendor(t, "Acme Silicon", now)
	headed := pem.EncodeToMemory(&pem.Block{Type: pemType, Headers: map[string]string{"A": "b"}, Bytes: root.Root})
	for want, text := range map[string][]byte{
		"something that is not a PEM block":             []byte("x"),
		"a broken PEM block":                            []byte("-----BEGIN CERTIFICATE-----\nMIIB"),
		`a PEM block "PRIVATE KEY", want "CERTIFICATE"`: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: root.Root}),
		"a PEM block with headers":                      headed,
		"x509: malformed certificate":                   pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")}),
	} {
		_, err := ReadFS(fstest.MapFS{"virtual/a.pem": {Data: text}})
		if err == nil || err.Error() != "trust bundle: virtual/a.pem: "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Folders named like files count as folders; a file that cannot be read ends it.
func TestReadFSWalks(t *testing.T) {
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "discrete", "empty.pem"), 0o755); err != nil {
		t.Fatal(err)
	}
	if bundle, err := ReadFS(os.DirFS(folder)); err != nil || len(bundle.Roots)+len(bundle.Ignored) != 0 {
		t.Errorf("%+v, %v", bundle, err)
	}
	if err := os.Symlink("nowhere", filepath.Join(folder, "discrete", "a.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFS(os.DirFS(folder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to nowhere: %v", err)
	}
}

// A CA is its name with its key: one of them alone is another CA.
func TestAddOtherCAs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string, key *ecdsa.PrivateKey) *x509.Certificate {
		return made(t, func(c *x509.Certificate) { c.Subject.CommonName, c.PublicKey = name, key.Public() }, key)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bundle := &Bundle{}
	for class, cert := range map[enroll.Class]*x509.Certificate{
		enroll.Discrete: named("Acme", key), enroll.Firmware: named("Acme", other), enroll.Virtual: named("Bolt", key),
	} {
		if _, err := bundle.Add(class, false, cert); err != nil {
			t.Errorf("%s: %v", class, err)
		}
	}
	if _, err := bundle.Add(enroll.Firmware, false, named("Bolt", key)); err == nil || !strings.HasPrefix(err.Error(), "the same CA is in another class: virtual/bolt-") {
		t.Errorf("got %v", err)
	}
}
