// Package enroll decides what an enrolment has proven: that a certificate is a
// genuine TPM's, that the attestation key and the node key have the properties
// they need, that they live in that TPM, and that the consensus key is the
// node's own.
//
// The order of an enrolment is Trust.VerifyEK, EK.CheckPublic, CheckAK,
// CheckNodeKey, MakeCredential; and when the agent has answered, the secret,
// CheckCreation, CheckCertify and CheckConsensusKey. Every failure is a
// *verdict.Refusal with an enroll.* check.
//
// The package is pure: certificates, time and randomness are arguments.
package enroll

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"
)

// Class is a kind of TPM. The vendor root tells it.
type Class string

// The classes of TPMs.
const (
	Discrete Class = "discrete" // a chip of its own
	Firmware Class = "firmware" // part of the processor's firmware
	Virtual  Class = "virtual"  // provided by a hypervisor
)

// Template names a TCG template of endorsement keys.
type Template string

// The templates that may count for a class.
const (
	RSA2048 Template = "rsa-2048" // L-1
	ECCP256 Template = "ecc-p256" // L-2
)

// Root is one vendor root of the trust bundle.
type Root struct {
	Class       Class
	Test        bool   // for tests only: in a directory test-<class>
	Certificate []byte // DER
}

func (r Root) dir() string {
	if r.Test {
		return "test-" + string(r.Class)
	}
	return string(r.Class)
}

// Digest names a trust bundle: the SHA-256 over one line for each root,
// "<directory> <hex SHA-256 of the DER>", in ascending order. The directory is
// the class, with "test-" before it for test roots.
func Digest(roots []Root) [32]byte {
	lines := make([]string, len(roots))
	for i, r := range roots {
		sum := sha256.Sum256(r.Certificate)
		lines[i] = r.dir() + " " + hex.EncodeToString(sum[:]) + "\n"
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "")))
}

// Trust is a trust bundle with the consortium's choice of templates, prepared
// for checks. It is safe for concurrent use.
type Trust struct {
	pool      *x509.CertPool
	roots     map[[32]byte]Root // by SHA-256 of the DER
	templates map[Class]Template
	allowTest bool
	digest    [32]byte
}

// NewTrust prepares a trust bundle. Each root must be a parsable CA certificate
// of a known class, and be there once: a root in two classes would let a TPM
// choose. Unless allowTest is set, certificates under test roots are refused
// with a reason of their own.
func NewTrust(roots []Root, templates map[Class]Template, allowTest bool) (*Trust, error) {
	t := &Trust{
		pool: x509.NewCertPool(), roots: map[[32]byte]Root{}, templates: map[Class]Template{},
		allowTest: allowTest, digest: Digest(roots),
	}
	for class, template := range templates {
		if !class.valid() || !template.valid() {
			return nil, fmt.Errorf("enroll: unknown TPM class %q or template %q", class, template)
		}
		t.templates[class] = template
	}
	for i, r := range roots {
		if err := t.add(r); err != nil {
			return nil, fmt.Errorf("enroll: root %d (%s): %w", i, r.dir(), err)
		}
	}
	if len(t.roots) == 0 || len(t.templates) == 0 {
		return nil, errors.New("enroll: a trust bundle needs at least one root, and one class with a template")
	}
	return t, nil
}

func (t *Trust) add(r Root) error {
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return err
	}
	if !r.Class.valid() || !cert.IsCA || !cert.BasicConstraintsValid {
		return errors.New("not a CA certificate of a known class")
	}
	id := sha256.Sum256(r.Certificate)
	if _, twice := t.roots[id]; twice {
		return errors.New("the same certificate is there twice")
	}
	t.roots[id] = r
	t.pool.AddCert(cert)
	return nil
}

// Digest returns the digest of the bundle, see Digest.
func (t *Trust) Digest() [32]byte { return t.digest }

func (c Class) valid() bool { return c == Discrete || c == Firmware || c == Virtual }

func (t Template) valid() bool { return t == RSA2048 || t == ECCP256 }

// EK is an endorsement key whose certificate was verified. Only Trust.VerifyEK
// makes one.
type EK struct {
	Class    Class
	Template Template
	Test     bool   // the chain ends in a test root
	Vendor   string // four-letter TCG vendor id without padding ("STM", "IFX"), or its eight hex digits
	Model    string
	Version  string // hex digits of the firmware version at the time of certification
	HostID   string // lower-case hex SHA-256 of the key's SubjectPublicKeyInfo
	Serial   string // issuer and serial number of the certificate, for people

	public tpm2.TPMTPublic
	bytes  []byte // TPMT_PUBLIC
}

// Public returns the TPMT_PUBLIC that the TPM must have: the certificate's key
// in the class's template.
func (e *EK) Public() []byte { return slices.Clone(e.bytes) }
