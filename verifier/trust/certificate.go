package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/quorate/quorate/verifier/enroll"
)

const pemType = "CERTIFICATE"

// MaxFile bounds a file with one certificate, in bytes: the largest certificate
// as PEM, with long lines or short ones.
const MaxFile = 2 * enroll.MaxCertificate

// ExpiresSoon is how long before its end a root is warned about: members need
// time to agree on a new bundle.
const ExpiresSoon = 180 * 24 * time.Hour

// oidEK is the extended key usage of endorsement keys, tcg-kp-EKCertificate.
var oidEK = asn1.ObjectIdentifier{2, 23, 133, 8, 1}

// Parse reads a file that holds exactly one certificate, as DER or as PEM.
// White space around PEM is the only thing that may be there besides.
func Parse(raw []byte) (*x509.Certificate, error) {
	if len(raw) == 0 || len(raw) > MaxFile {
		return nil, fmt.Errorf("%d bytes, want 1 to %d", len(raw), MaxFile)
	}
	cert, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if len(cert.Raw) > enroll.MaxCertificate {
		return nil, fmt.Errorf("a certificate of %d bytes, want at most %d", len(cert.Raw), enroll.MaxCertificate)
	}
	return cert, nil
}

func parse(raw []byte) (*x509.Certificate, error) {
	const sequence = 0x30 // how DER begins; a dash begins PEM
	if raw[0] == sequence {
		return x509.ParseCertificate(raw)
	}
	cert, rest, err := decodePEM(bytes.TrimSpace(raw))
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("more than one certificate, or something after it; want one per file")
	}
	return cert, nil
}

// Encode returns a certificate as a bundle holds it: one PEM block.
func Encode(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: cert.Raw})
}

// Problems reports everything that keeps a certificate from being a vendor's
// root, nothing when it may be one:
//
//   - it is a CA (CA:TRUE) and no endorsement key's own certificate;
//   - it may sign certificates, and says so unless its own signature shows it;
//   - a signature in its own name is its own;
//   - it is valid now;
//   - its key is RSA of at least 2048 bits, or ECC of at least 256;
//   - it has no critical extension that nobody understands, which would make
//     every path to it fail.
func Problems(cert *x509.Certificate, now time.Time) []string {
	var list []string
	if slices.ContainsFunc(cert.UnknownExtKeyUsage, oidEK.Equal) {
		list = append(list, "the certificate of one TPM's endorsement key, not of its vendor")
	} else if !cert.BasicConstraintsValid || !cert.IsCA {
		list = append(list, "not a CA certificate (basic constraints CA:TRUE)")
	}
	list = append(list, signing(cert)...)
	switch {
	case now.After(cert.NotAfter):
		list = append(list, "expired on "+day(cert.NotAfter))
	case now.Before(cert.NotBefore):
		list = append(list, "not valid before "+day(cert.NotBefore))
	}
	if !strong(cert.PublicKey) {
		list = append(list, "a key of kind "+Key(cert)+", want RSA of at least 2048 bits or ECC of at least 256")
	}
	for _, id := range cert.UnhandledCriticalExtensions {
		list = append(list, "unknown critical extension "+id.String())
	}
	return list
}

func signing(cert *x509.Certificate) []string {
	mayIssue := cert.KeyUsage&x509.KeyUsageCertSign != 0
	switch self := SelfSigned(cert); {
	case self == SignatureWrong:
		return []string{"issued in its own name, but not signed by its own key"}
	case cert.KeyUsage != 0 && !mayIssue:
		return []string{"may not sign certificates (key usage lacks keyCertSign)"}
	case !mayIssue && self != SignatureOwn:
		return []string{"neither self-signed nor with the key usage keyCertSign"}
	}
	return nil
}

// Signature is what a certificate's signature says about its issuer.
type Signature string

// What a signature may be.
const (
	SignatureOwn      Signature = "itself"                       // issuer is subject, the signature verifies
	SignatureOutdated Signature = "itself, signature not judged" // issuer is subject, by an algorithm nobody should trust
	SignatureOther    Signature = "another CA"                   // issuer is not subject
	SignatureWrong    Signature = "not itself"                   // issuer is subject, the signature is another key's
)

// SelfSigned judges a certificate's signature against its own key. Trust in a
// root does not rest on it, so SHA-1 of old roots is good enough.
func SelfSigned(cert *x509.Certificate) Signature {
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return SignatureOther
	}
	err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	var insecure x509.InsecureAlgorithmError
	switch {
	case err == nil:
		return SignatureOwn
	case errors.As(err, &insecure), errors.Is(err, x509.ErrUnsupportedAlgorithm):
		return SignatureOutdated
	}
	return SignatureWrong
}

// Warnings reports what is allowed in a bundle but needs a person's eye.
func Warnings(cert *x509.Certificate, now time.Time) []string {
	var list []string
	switch left := cert.NotAfter.Sub(now); {
	case left < 0:
		list = append(list, "expired on "+day(cert.NotAfter)+": TPMs below it can no longer enrol")
	case left < ExpiresSoon:
		list = append(list, fmt.Sprintf("expires in %d days, on %s", int(left.Hours()/24), day(cert.NotAfter)))
	}
	switch SelfSigned(cert) {
	case SignatureOther:
		list = append(list, "not self-signed: an intermediate trusted like a root; what its issuer revokes is not seen")
	case SignatureOutdated:
		list = append(list, "its signature by itself is "+cert.SignatureAlgorithm.String()+" and not judged; compare its SHA-256 with the vendor's")
	}
	return list
}

// TestName returns the word in a certificate's names that gives it away as a
// software TPM's or a test's, or "".
func TestName(cert *x509.Certificate) string {
	text := strings.ToLower(cert.Subject.String() + " " + cert.Issuer.String())
	for _, part := range []string{"swtpm", "localca", "simulat", "emulat", "software tpm"} {
		if strings.Contains(text, part) {
			return part
		}
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, word := range []string{"test", "testing", "tests", "demo", "example", "sample", "debug"} {
		if slices.Contains(words, word) {
			return word
		}
	}
	return ""
}

// Key describes the certificate's key: kind and size.
func Key(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECC " + key.Params().Name
	}
	return "unknown"
}

func strong(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return key.Params().BitSize >= 256
	}
	return false
}

// FileName names the file of a root after its subject and the first 12 hex
// digits of its SHA-256.
func FileName(cert *x509.Certificate) string {
	sum := Fingerprint(cert)
	return slug(Name(cert)) + "-" + hex.EncodeToString(sum[:6]) + fileSuffix
}

// Name is what people call a certificate: its common name, or its organisation.
// The text is the certificate's own and may hold anything.
func Name(cert *x509.Certificate) string {
	for _, name := range append([]string{cert.Subject.CommonName}, cert.Subject.Organization...) {
		if strings.TrimSpace(name) != "" {
			return name
		}
	}
	return "unnamed"
}

// slug keeps lower-case letters and digits, with single dashes between them.
func slug(name string) string {
	const most = 48
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	text := strings.Join(words, "-")
	text = strings.TrimRight(text[:min(len(text), most)], "-")
	if text == "" {
		return "root"
	}
	return text
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
