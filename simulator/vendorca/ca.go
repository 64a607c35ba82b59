// Package vendorca is a simulated TPM vendor: a root, an intermediate and
// endorsement key certificates after the TCG EK Credential Profile, and the
// same certificates with one named defect each. Nothing it issues is trusted
// outside a consortium that says it is a test.
package vendorca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Options say what vendor to simulate.
type Options struct {
	Name  string     // organisation in the CA certificates; empty: "Quorate Simulated TPM Vendor"
	Seed  string     // same seed and time, same bytes; empty: fresh keys
	Now   time.Time  // certificates are valid from a year before it to ten years after; required
	Chain ChainShape // empty: a sound chain
}

// ChainShape names a defect of the CA certificates.
type ChainShape string

// Chains of which a verifier must refuse every one.
const (
	ChainNotCA       ChainShape = "intermediate-not-ca"       // basic constraints CA:FALSE
	ChainNoCertSign  ChainShape = "intermediate-no-cert-sign" // key usage without keyCertSign
	ChainExpired     ChainShape = "intermediate-expired"
	ChainNoPathLeft  ChainShape = "root-path-length-zero" // the root allows no intermediate below it
	ChainStrangeRoot ChainShape = "stranger-root"         // right names, but the intermediate is signed by another key
)

// ChainShapes lists the hostile chains.
func ChainShapes() []ChainShape {
	return []ChainShape{ChainNotCA, ChainNoCertSign, ChainExpired, ChainNoPathLeft, ChainStrangeRoot}
}

// CA is one vendor.
type CA struct {
	Root         []byte // DER
	Intermediate []byte // DER, signed by Root
	now          time.Time
	name, seed   string
	root, inter  *x509.Certificate
	rootKey      *ecdsa.PrivateKey
	interKey     *ecdsa.PrivateKey
	strangerKey  *ecdsa.PrivateKey // certifies nothing that leads to Root
}

// New makes a vendor's CA certificates.
func New(o Options) (*CA, error) {
	if o.Now.IsZero() {
		return nil, fmt.Errorf("vendorca: Options.Now is required")
	}
	if o.Name == "" {
		o.Name = "Quorate Simulated TPM Vendor"
	}
	if o.Seed == "" {
		o.Seed = rand.Text()
	}
	c := &CA{now: o.Now.UTC().Truncate(time.Second), name: o.Name, seed: o.Seed}
	c.rootKey, c.interKey, c.strangerKey = c.key("root"), c.key("intermediate"), c.key("stranger")
	if err := c.makeRoot(o.Chain); err != nil {
		return nil, fmt.Errorf("vendorca: root: %w", err)
	}
	if err := c.makeIntermediate(o.Chain); err != nil {
		return nil, fmt.Errorf("vendorca: intermediate: %w", err)
	}
	return c, nil
}

// RootPEM returns the root as a trust bundle holds it.
func (c *CA) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Root})
}

// LongChain returns n further CA certificates, each signed by the one before,
// the first by the intermediate: material for path building without end.
func (c *CA) LongChain(n int) ([][]byte, error) {
	parent, key := c.inter, c.interKey
	var chain [][]byte
	for i := range n {
		own := c.key(fmt.Sprintf("link-%d", i))
		link, err := c.sign(c.caTemplate(fmt.Sprintf("Link %d", i)), parent, own.Public(), key)
		if err != nil {
			return nil, fmt.Errorf("vendorca: link %d: %w", i, err)
		}
		chain, parent, key = append(chain, link.Raw), link, own
	}
	return chain, nil
}

func (c *CA) makeRoot(shape ChainShape) (err error) {
	template := c.caTemplate("Root CA")
	if shape == ChainNoPathLeft {
		template.MaxPathLenZero = true
	}
	c.root, err = c.sign(template, template, c.rootKey.Public(), c.rootKey)
	if err == nil {
		c.Root = c.root.Raw
	}
	return err
}

func (c *CA) makeIntermediate(shape ChainShape) (err error) {
	template, key := c.caTemplate("EK CA 001"), c.rootKey
	template.MaxPathLenZero = true
	switch shape {
	case ChainNotCA:
		template.IsCA, template.MaxPathLenZero = false, false
	case ChainNoCertSign:
		template.KeyUsage = x509.KeyUsageCRLSign
	case ChainExpired:
		template.NotAfter = c.now.Add(-time.Hour)
	case ChainStrangeRoot:
		key = c.strangerKey
	}
	c.inter, err = c.sign(template, c.root, c.interKey.Public(), key)
	if err == nil {
		c.Intermediate = c.inter.Raw
	}
	return err
}

func (c *CA) caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          c.serial(name),
		Subject:               pkix.Name{Country: []string{"XX"}, Organization: []string{c.name}, CommonName: c.name + " " + name},
		NotBefore:             c.now.AddDate(-1, 0, 0),
		NotAfter:              c.now.AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign issues a certificate. Without randomness an ECDSA signature is that of
// RFC 6979: the same bytes every time. Where key is not the parent's own, the parent's
// name and key identifier stay and the signature is wrong.
func (c *CA) sign(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	issuer := *parent
	issuer.PublicKey = nil // lets a stranger sign in the parent's name
	der, err := x509.CreateCertificate(nil, template, &issuer, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// serial derives a positive serial number from the seed and a label.
func (c *CA) serial(label string) *big.Int {
	sum := sha256.Sum256([]byte(c.seed + "/serial/" + label))
	return new(big.Int).SetBytes(append([]byte{1}, sum[:15]...))
}

// key derives a CA key from the seed and a label.
func (c *CA) key(label string) *ecdsa.PrivateKey {
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s/key/%s/%d", c.seed, label, i))
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:]); err == nil {
			return key
		}
	}
}

// Like returns the same vendor, with the same keys and validity, whose CA
// certificates have a defect.
func (c *CA) Like(shape ChainShape) (*CA, error) {
	return New(Options{Name: c.name, Seed: c.seed, Now: c.now, Chain: shape})
}
