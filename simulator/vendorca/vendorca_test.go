package vendorca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/need"
)

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

func newCA(t *testing.T, o Options) *CA {
	t.Helper()
	o.Seed, o.Now = "test", now
	ca, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func ekKey() *ecdsa.PublicKey {
	raw := bytes.Repeat([]byte{3}, 32)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		panic(err)
	}
	return &key.PublicKey
}

func TestDeterministic(t *testing.T) {
	a, b := newCA(t, Options{}), newCA(t, Options{})
	if !bytes.Equal(a.Root, b.Root) || !bytes.Equal(a.Intermediate, b.Intermediate) {
		t.Error("one seed gave two chains")
	}
	x, err := a.Issue(ekKey(), DefaultDevice, Plain)
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Issue(ekKey(), DefaultDevice, Plain)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("one seed gave two certificates")
	}
}

// verify builds the chain as crypto/x509 does, once the SAN that it does not
// know is taken for handled.
func verify(t *testing.T, ca *CA, der []byte) error {
	t.Helper()
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	leaf.UnhandledCriticalExtensions = nil
	roots, inters := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.RootPEM()) {
		t.Fatal("root PEM is unreadable")
	}
	inter, err := x509.ParseCertificate(ca.Intermediate)
	if err != nil {
		return err
	}
	inters.AddCert(inter)
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: inters, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

func TestGenuineShapesVerify(t *testing.T) {
	ca := newCA(t, Options{})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range Genuine() {
		for _, public := range []any{ekKey(), &rsaKey.PublicKey} {
			der, err := ca.Issue(public, DefaultDevice, shape)
			if err != nil {
				t.Errorf("%q: %v", shape, err)
			} else if err := verify(t, ca, der); err != nil {
				t.Errorf("%q: %v", shape, err)
			}
		}
	}
}

func TestHostileShapesDiffer(t *testing.T) {
	ca := newCA(t, Options{})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]Shape{}
	for _, shape := range Hostile() {
		der, err := ca.Issue(&rsaKey.PublicKey, DefaultDevice, shape)
		if err != nil {
			t.Errorf("%q: %v", shape, err)
			continue
		}
		if other, ok := seen[string(der)]; ok {
			t.Errorf("%q and %q are the same certificate", shape, other)
		}
		seen[string(der)] = shape
	}
	for _, shape := range []Shape{Expired, NotYetValid, WrongSignature, SelfSigned} {
		der, err := ca.Issue(ekKey(), DefaultDevice, shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, ca, der); err == nil {
			t.Errorf("%q verifies", shape)
		}
	}
}

func TestHostileChainsDoNotVerify(t *testing.T) {
	for _, shape := range ChainShapes() {
		ca := newCA(t, Options{Chain: shape})
		der, err := ca.Issue(ekKey(), DefaultDevice, Plain)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(t, ca, der); err == nil {
			t.Errorf("%q: chain verifies", shape)
		}
	}
	links, err := newCA(t, Options{}).LongChain(100)
	if err != nil || len(links) != 100 {
		t.Errorf("long chain has %d links, %v", len(links), err)
	}
}

// OpenSSL reads certificates independently of Go.
func TestOpenSSLVerifiesChain(t *testing.T) {
	need.Program(t, "openssl", "openssl")
	ca, dir := newCA(t, Options{}), t.TempDir()
	leaf, err := ca.Issue(ekKey(), DefaultDevice, Plain)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{"root": ca.Root, "inter": ca.Intermediate, "leaf": leaf} {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := strconv.FormatInt(now.Unix(), 10)
	cmd := exec.Command("openssl", "verify", "-attime", at, "-ignore_critical",
		"-CAfile", "root", "-untrusted", "inter", "leaf")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
}
