package vendorca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of the TCG EK Credential Profile.
var (
	OIDManufacturer  = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	OIDModel         = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	OIDVersion       = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
	OIDSpecification = asn1.ObjectIdentifier{2, 23, 133, 2, 16}
	OIDEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	OIDAKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 3}

	oidSAN                 = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidDirectoryAttributes = asn1.ObjectIdentifier{2, 5, 29, 9}
	oidUnknown             = asn1.ObjectIdentifier{2, 23, 133, 99, 1}
)

// Device is what an EK certificate says about the TPM.
type Device struct {
	Manufacturer string // "id:" and eight hex digits
	Model        string
	Version      string // "id:" and eight hex digits
}

// DefaultDevice is the TPM of which nothing special is said. Its manufacturer
// is that of the IBM software TPM, as in certificates of swtpm.
var DefaultDevice = Device{Manufacturer: "id:00001014", Model: "swtpm", Version: "id:20191023"}

// Shape names how a certificate departs from the plain one.
type Shape string

// Shapes that genuine vendors' certificates have; a verifier must accept them.
const (
	Plain          Shape = ""
	MultiValuedRDN Shape = "multi-valued-rdn"      // the three attributes in one set
	SubjectAndSAN  Shape = "subject-and-plain-san" // subject present, so the SAN need not be critical
	NoExpiry       Shape = "no-expiry"             // notAfter 9999-12-31T23:59:59Z
	WithAIA        Shape = "with-aia"              // names URLs that nobody may fetch
)

// Shapes of hostile or broken certificates; a verifier must refuse them.
const (
	UnknownCritical       Shape = "unknown-critical-extension"
	NoEKU                 Shape = "no-eku"
	ServerAuthEKU         Shape = "eku-server-auth-only"
	AnyEKU                Shape = "eku-any-only"
	AKCertificateEKU      Shape = "eku-ak-certificate"
	CALeaf                Shape = "ca-leaf"
	NoBasicConstraints    Shape = "no-basic-constraints"
	SigningKeyUsage       Shape = "key-usage-digital-signature"
	NoKeyUsage            Shape = "no-key-usage"
	Expired               Shape = "expired"
	NotYetValid           Shape = "not-yet-valid"
	WrongSignature        Shape = "wrong-signature" // names the vendor, signed by another key
	SelfSigned            Shape = "stranger-issuer" // issued by a CA that nobody knows
	NoSAN                 Shape = "no-san"
	EmptySAN              Shape = "empty-san"
	DuplicateManufacturer Shape = "duplicate-manufacturer"
	MissingModel          Shape = "missing-model"
	SANTrailing           Shape = "san-trailing-bytes"
	SANWrongString        Shape = "san-wrong-string-type"
	SANTwoNames           Shape = "san-two-directory-names"
	SANOtherName          Shape = "san-other-name-only"
	BadManufacturer       Shape = "manufacturer-not-an-id"
	DuplicateExtension    Shape = "duplicate-extension"
	TrailingBytes         Shape = "trailing-bytes"  // after the certificate
	Truncated             Shape = "truncated"       // the last 10 bytes are missing
	PaddedWithZeros       Shape = "padded"          // an NV index larger than the certificate; to be cut before it is sent
	NVHeader              Shape = "nv-header"       // seven bytes before it, as old provisioning tools leave
	OAEPKey               Shape = "oaep-public-key" // SubjectPublicKeyInfo says id-RSAES-OAEP; RSA keys only
)

// Genuine lists the shapes to accept.
func Genuine() []Shape { return []Shape{Plain, MultiValuedRDN, SubjectAndSAN, NoExpiry, WithAIA} }

// Hostile lists the shapes to refuse.
func Hostile() []Shape {
	return []Shape{
		UnknownCritical, NoEKU, ServerAuthEKU, AnyEKU, AKCertificateEKU, CALeaf, NoBasicConstraints,
		SigningKeyUsage, NoKeyUsage, Expired, NotYetValid, WrongSignature, SelfSigned, NoSAN, EmptySAN,
		DuplicateManufacturer, MissingModel, SANTrailing, SANWrongString, SANTwoNames, SANOtherName,
		BadManufacturer, DuplicateExtension, TrailingBytes, Truncated, PaddedWithZeros, NVHeader, OAEPKey,
	}
}

// Issue makes an EK certificate for a public key (*rsa.PublicKey or
// *ecdsa.PublicKey). It returns DER, except for the shapes that spoil it.
func (c *CA) Issue(public crypto.PublicKey, device Device, shape Shape) ([]byte, error) {
	template, err := c.template(public, device, shape)
	if err != nil {
		return nil, fmt.Errorf("vendorca: %s: %w", shape, err)
	}
	parent, key := c.inter, c.interKey
	switch shape {
	case WrongSignature:
		key = c.strangerKey
	case SelfSigned:
		parent, key = c.caTemplate("Stranger"), c.strangerKey
	}
	der, err := c.issue(template, parent, public, key)
	if err == nil {
		der, err = c.spoil(der, shape)
	}
	if err != nil {
		return nil, fmt.Errorf("vendorca: %s: %w", shape, err)
	}
	return der, nil
}

// issue signs without parsing the result, which may be unparsable on purpose.
func (c *CA) issue(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	issuer := *parent
	issuer.PublicKey = nil
	return x509.CreateCertificate(nil, template, &issuer, public, key)
}

func (c *CA) template(public crypto.PublicKey, device Device, shape Shape) (*x509.Certificate, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	t := &x509.Certificate{
		SerialNumber:          c.serial(hex.EncodeToString(sum[:]) + string(shape)),
		NotBefore:             c.now.AddDate(0, -6, 0),
		NotAfter:              c.now.AddDate(5, 0, 0),
		BasicConstraintsValid: shape != NoBasicConstraints,
		IsCA:                  shape == CALeaf,
		KeyUsage:              keyUsage(public, shape),
	}
	setValidity(t, c.now, shape)
	setEKU(t, shape)
	if shape == SubjectAndSAN {
		t.Subject = pkix.Name{CommonName: "simulated TPM"}
	}
	if shape == WithAIA {
		t.OCSPServer = []string{"http://127.0.0.1:1/ocsp"}
		t.IssuingCertificateURL = []string{"http://169.254.169.254/latest/meta-data/"}
		t.CRLDistributionPoints = []string{"http://127.0.0.1:1/crl"}
	}
	t.ExtraExtensions, err = extensions(device, shape)
	return t, err
}

func setValidity(t *x509.Certificate, now time.Time, shape Shape) {
	switch shape {
	case Expired:
		t.NotAfter = now.Add(-time.Hour)
	case NotYetValid:
		t.NotBefore = now.Add(time.Hour)
	case NoExpiry:
		t.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
}

func setEKU(t *x509.Certificate, shape Shape) {
	switch shape {
	case NoEKU:
	case ServerAuthEKU:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case AnyEKU:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	case AKCertificateEKU:
		t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{OIDAKCertificate}
	default:
		t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{OIDEKCertificate}
	}
}

// extensions returns the subject alternative name, the TPM specification and
// whatever the shape adds.
func extensions(device Device, shape Shape) ([]pkix.Extension, error) {
	spec, err := specification()
	if err != nil {
		return nil, err
	}
	list := []pkix.Extension{{Id: oidDirectoryAttributes, Value: spec}}
	if shape != NoSAN {
		san, err := alternativeName(device, shape)
		if err != nil {
			return nil, err
		}
		list = append(list, pkix.Extension{Id: oidSAN, Critical: shape != SubjectAndSAN, Value: san})
	}
	switch shape {
	case UnknownCritical:
		list = append(list, pkix.Extension{Id: oidUnknown, Critical: true, Value: []byte{5, 0}})
	case DuplicateExtension:
		list = append(list, list[len(list)-1])
	}
	return list, nil
}

// specification encodes SubjectDirectoryAttributes with the attribute
// tPMSpecification: family 2.0, level 0, revision 138.
func specification() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(OIDSpecification)
			b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte("2.0")) })
					b.AddASN1Int64(0)
					b.AddASN1Int64(138)
				})
			})
		})
	})
	return b.Bytes()
}
