package trust

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/vendorca"
)

func TestProblems(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		by     *ecdsa.PrivateKey
		want   string // part of the only problem; "" for none
	}{
		"a root":                {change: func(*x509.Certificate) {}},
		"self-signed, no usage": {change: func(c *x509.Certificate) { c.KeyUsage = 0 }},
		"leaf":                  {change: func(c *x509.Certificate) { c.IsCA = false }, want: "not a CA"},
		"no basic constraints":  {change: func(c *x509.Certificate) { c.BasicConstraintsValid = false }, want: "not a CA"},
		"EK certificate":        {change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidEK} }, want: "endorsement key"},
		"may not sign":          {change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }, want: "keyCertSign"},
		"another's signature":   {change: func(*x509.Certificate) {}, by: stranger, want: "not signed by its own key"},
		"expired":               {change: func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, -1) }, want: "expired on 2026-11-21"},
		"not yet valid":         {change: func(c *x509.Certificate) { c.NotBefore = now.AddDate(0, 0, 1) }, want: "not valid before 2026-11-23"},
		"unknown critical":      {change: critical, want: "unknown critical extension 2.23.133.99.1"},
		"RSA-1024":              {change: otherKey(weak), by: stranger, want: "RSA-1024"},
		"P-224":                 {change: otherKey(&p224.PublicKey), by: stranger, want: "P-224"},
		"Ed25519":               {change: otherKey(ed25519.PublicKey(make([]byte, 32))), by: stranger, want: "unknown"},
	} {
		got := Problems(made(t, c.change, c.by), now)
		if c.want == "" && len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
		if c.want != "" && !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func critical(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 23, 133, 99, 1}, Critical: true, Value: []byte{5, 0}}}
}

func otherKey(key any) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.PublicKey = key }
}

// Whatever is refused is refused with all reasons at once.
func TestProblemsTellsAll(t *testing.T) {
	cert := made(t, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.NotAfter = false, x509.KeyUsageKeyEncipherment, now.AddDate(0, 0, -1)
	}, nil)
	if got := Problems(cert, now); len(got) != 3 {
		t.Errorf("got %q", got)
	}
}

func TestIntermediates(t *testing.T) {
	ca := vendor(t, "Acme Silicon", now)
	inter := parsed(t, ca.Intermediate)
	if got := Problems(inter, now); len(got) > 0 {
		t.Errorf("a CA with keyCertSign: %q", got)
	}
	if got := Warnings(inter, now); len(got) != 1 || !strings.Contains(got[0], "not self-signed") {
		t.Errorf("warnings %q", got)
	}
	for _, shape := range []vendorca.ChainShape{vendorca.ChainNotCA, vendorca.ChainNoCertSign, vendorca.ChainExpired} {
		ca, err := vendorca.New(vendorca.Options{Name: "Acme", Seed: "acme", Now: now, Chain: shape})
		if err != nil {
			t.Fatal(err)
		}
		if len(Problems(parsed(t, ca.Intermediate), now)) == 0 {
			t.Errorf("%s: no problem", shape)
		}
	}
	none := parsed(t, ca.Intermediate)
	none.KeyUsage = 0
	if len(Problems(none, now)) == 0 {
		t.Error("neither self-signed nor with keyCertSign: no problem")
	}
}

// An algorithm that anybody can forge says nothing, for or against.
func TestOutdatedSelfSignature(t *testing.T) {
	cert := parsed(t, vendor(t, "Acme Silicon", now).Root)
	cert.SignatureAlgorithm = x509.MD5WithRSA
	if got := Problems(cert, now); len(got) > 0 {
		t.Errorf("problems %q", got)
	}
	if got := Warnings(cert, now); len(got) != 1 || !strings.Contains(got[0], "MD5-RSA") {
		t.Errorf("warnings %q", got)
	}
	cert.KeyUsage = 0
	if len(Problems(cert, now)) == 0 {
		t.Error("nothing shows that it may sign, and that is no problem")
	}
}

func TestWarnings(t *testing.T) {
	root := parsed(t, vendor(t, "Acme Silicon", now).Root)
	if got := Warnings(root, now); len(got) != 0 {
		t.Errorf("a fresh root: %q", got)
	}
	if got := Warnings(root, root.NotAfter.AddDate(0, 0, -30)); len(got) != 1 || !strings.Contains(got[0], "expires in 30 days, on 2036-11-22") {
		t.Errorf("a month before its end: %q", got)
	}
	if got := Warnings(root, root.NotAfter.AddDate(0, 0, 1)); len(got) != 1 || !strings.Contains(got[0], "expired on") {
		t.Errorf("after its end: %q", got)
	}
}

func TestTestName(t *testing.T) {
	for name, want := range map[string]string{
		"swtpm-localca": "swtpm", "swtpm-localca-rootca": "swtpm", "My LocalCA": "localca", "Quorate Simulated TPM Vendor": "simulat",
		"Acme TEST Root": "test", "TPM-demo": "demo",
		"Infineon OPTIGA(TM) RSA Root CA": "", "STM TPM EK Root CA": "", "Nuvoton TPM Root CA 2110": "", "AMDTPM": "",
		"Microsoft TPM Root Certificate Authority 2014": "", "www.intel.com OnDie CA Root Cert Signing": "", "Contest Silicon": "",
	} {
		cert := made(t, func(c *x509.Certificate) { c.Subject.CommonName = name }, nil)
		if got := TestName(cert); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"Infineon OPTIGA(TM) RSA Root CA": "infineon-optiga-tm-rsa-root-ca-", "../../etc/passwd": "etc-passwd-",
		"\x1b[2J": "2j-", "根": "root-", strings.Repeat("ab ", 40): strings.Repeat("ab-", 16),
	} {
		cert := made(t, func(c *x509.Certificate) { c.Subject.CommonName = name }, nil)
		got := FileName(cert)
		if !strings.HasPrefix(got, want) || !fileName.MatchString(got) {
			t.Errorf("%q: %q, want %q and a digest", name, got, want)
		}
	}
	unnamed := made(t, func(c *x509.Certificate) { c.Subject = pkix.Name{} }, nil)
	if got := FileName(unnamed); !strings.HasPrefix(got, "unnamed-") {
		t.Errorf("no name: %q", got)
	}
}
