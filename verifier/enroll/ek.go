package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/verifier/verdict"
)

// Limits of what an agent may send.
const (
	MaxCertificate   = 8 << 10 // bytes of one certificate
	MaxIntermediates = 8       // certificates
	MaxPath          = 5       // certificates from EK to root, both counted
)

var (
	oidEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidSAN           = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidRSAESOAEP     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}
)

// VerifyEK checks the certificate of an endorsement key, in this order:
//
//   - it is one DER certificate of bounded size, with nothing after it;
//   - every critical extension is understood, and none is there twice;
//   - it is for an endorsement key: EKU tcg-kp-EKCertificate, key encipherment
//     or agreement, CA:FALSE;
//   - its name tells manufacturer, model and version, each once;
//   - the key is of a supported kind, and not one with the ROCA weakness;
//   - it is valid now;
//   - a path of at most MaxPath certificates leads to a root of the bundle.
//     Intermediates are untrusted input for finding it;
//   - that root is no test root, unless they are allowed;
//   - the consortium accepts the root's class, with this kind of key.
//
// Nothing is fetched: URLs in the certificates are not looked at.
func (t *Trust) VerifyEK(der []byte, intermediates [][]byte, now time.Time) (*EK, error) {
	cert, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	name, err := checkExtensions(cert)
	if err != nil {
		return nil, err
	}
	for _, check := range []error{checkUsage(cert), checkAlgorithm(cert), checkROCA(cert), checkTime(cert, now)} {
		if check != nil {
			return nil, check
		}
	}
	root, err := t.path(cert, intermediates, now)
	if err != nil {
		return nil, err
	}
	return t.endorse(cert, name, root)
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) == 0 || len(der) > MaxCertificate {
		return nil, verdict.Refuse(verdict.EnrollEKMalformed, "EK certificate", strconv.Itoa(len(der))+" bytes", "1 to "+strconv.Itoa(MaxCertificate))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, verdict.Refuse(verdict.EnrollEKMalformed, "EK certificate", err.Error(), "one DER certificate")
	}
	return cert, nil
}

// checkExtensions refuses what it does not understand, and reads the TPM's name.
// The subject alternative name is the only critical extension that this package
// handles beyond those of crypto/x509, and it does so by parsing it.
func checkExtensions(cert *x509.Certificate) (deviceName, error) {
	var san []byte
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSAN) {
			san = e.Value
		}
	}
	for _, id := range cert.UnhandledCriticalExtensions {
		if !id.Equal(oidSAN) {
			return deviceName{}, verdict.Refuse(verdict.EnrollEKExtension, "EK certificate", id.String(), "no unknown critical extension")
		}
	}
	seen := map[string]bool{}
	for _, e := range cert.Extensions {
		if seen[e.Id.String()] {
			return deviceName{}, verdict.Refuse(verdict.EnrollEKExtension, "EK certificate", e.Id.String()+" twice", "each extension once")
		}
		seen[e.Id.String()] = true
	}
	name, err := parseName(san)
	if err != nil {
		return deviceName{}, verdict.Refuse(verdict.EnrollEKName, "subject alternative name", err.Error(), "manufacturer, model and version, once each")
	}
	return name, nil
}

func checkUsage(cert *x509.Certificate) error {
	isEK := slices.ContainsFunc(cert.UnknownExtKeyUsage, oidEKCertificate.Equal)
	const encryption = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
	const signing = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	got := ""
	switch {
	case !isEK:
		got = "extended key usage " + usages(cert)
	case !cert.BasicConstraintsValid || cert.IsCA:
		got = "not CA:FALSE"
	case cert.KeyUsage&encryption == 0 || cert.KeyUsage&signing != 0:
		got = fmt.Sprintf("key usage bits %#x", int(cert.KeyUsage))
	default:
		return nil
	}
	return verdict.Refuse(verdict.EnrollEKUsage, "EK certificate", got, "usage "+oidEKCertificate.String()+", key encipherment or agreement, CA:FALSE")
}

func usages(cert *x509.Certificate) string {
	var list []string
	for _, id := range cert.UnknownExtKeyUsage {
		list = append(list, id.String())
	}
	for _, u := range cert.ExtKeyUsage {
		list = append(list, fmt.Sprintf("number %d", int(u)))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// checkAlgorithm refuses keys that crypto/x509 cannot read. Some vendors label
// an RSA key id-RSAES-OAEP; it would come out as a nil key.
func checkAlgorithm(cert *x509.Certificate) error {
	switch cert.PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return nil
	}
	got := algorithmOf(cert.RawSubjectPublicKeyInfo)
	if got == oidRSAESOAEP.String() {
		got += " (id-RSAES-OAEP)"
	}
	return verdict.Refuse(verdict.EnrollEKAlgorithm, "EK certificate", got, "rsaEncryption or an EC key")
}

func algorithmOf(spki []byte) string {
	var parsed struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &parsed); err != nil {
		return "an unreadable key"
	}
	return parsed.Algorithm.Algorithm.String()
}

func checkROCA(cert *x509.Certificate) error {
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && hasROCAFingerprint(key.N) {
		return verdict.Refuse(verdict.EnrollEKWeak, "EK certificate", "a modulus of the weak form", "a modulus without that structure")
	}
	return nil
}

func checkTime(cert *x509.Certificate, now time.Time) error {
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return verdict.Refuse(verdict.EnrollEKValidity, "EK certificate",
			"valid from "+cert.NotBefore.UTC().Format(time.RFC3339)+" to "+cert.NotAfter.UTC().Format(time.RFC3339),
			"valid at "+now.UTC().Format(time.RFC3339))
	}
	return nil
}

// path finds the root that the certificate leads to.
func (t *Trust) path(cert *x509.Certificate, intermediates [][]byte, now time.Time) (Root, error) {
	pool, err := untrustedPool(intermediates)
	if err != nil {
		return Root{}, err
	}
	leaf := *cert
	leaf.UnhandledCriticalExtensions = nil // checkExtensions has handled every one of them
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: pool, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // checkUsage has looked at the leaf's
	})
	if err != nil {
		return Root{}, verdict.Refuse(verdict.EnrollEKChain, "EK certificate", err.Error(), "a path to a root of the trust bundle")
	}
	return t.rootOf(chains)
}

// rootOf picks the root of the acceptable chains, which must agree on class and
// purpose: no TPM may choose what it counts as.
func (t *Trust) rootOf(chains [][]*x509.Certificate) (Root, error) {
	var found []Root
	for _, chain := range chains {
		if len(chain) > MaxPath {
			continue
		}
		root, ok := t.roots[sha256.Sum256(chain[len(chain)-1].Raw)]
		if !ok {
			continue
		}
		if len(found) > 0 && root.dir() != found[0].dir() {
			return Root{}, verdict.Refuse(verdict.EnrollEKChain, "EK certificate", "paths to "+found[0].dir()+" and "+root.dir(), "roots of one class")
		}
		found = append(found, root)
	}
	if len(found) == 0 {
		return Root{}, verdict.Refuse(verdict.EnrollEKChain, "EK certificate", "only longer paths", "at most "+strconv.Itoa(MaxPath)+" certificates")
	}
	if found[0].Test && !t.allowTest {
		return Root{}, verdict.Refuse(verdict.EnrollEKTestRoot, "EK certificate", "a root in "+found[0].dir(), "a production root")
	}
	return found[0], nil
}

func untrustedPool(intermediates [][]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for i, der := range intermediates {
		if i >= MaxIntermediates || len(der) > MaxCertificate {
			return nil, verdict.Refuse(verdict.EnrollIntermediates, "", fmt.Sprintf("%d certificates, number %d of %d bytes", len(intermediates), i+1, len(der)), "at most 8 certificates of 8 KiB")
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, verdict.Refuse(verdict.EnrollIntermediates, "certificate "+strconv.Itoa(i+1), err.Error(), "one DER certificate")
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// endorse puts the certificate's key into the one template of its class.
func (t *Trust) endorse(cert *x509.Certificate, name deviceName, root Root) (*EK, error) {
	template, ok := t.templates[root.Class]
	if !ok {
		return nil, verdict.Refuse(verdict.EnrollEKClass, "EK certificate", string(root.Class), "a class with a template")
	}
	public, ok := template.fill(cert.PublicKey)
	if !ok {
		return nil, verdict.Refuse(verdict.EnrollEKTemplate, "EK certificate", describe(cert.PublicKey), string(template))
	}
	spki, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
	if err != nil {
		return nil, verdict.Refuse(verdict.EnrollEKAlgorithm, "EK certificate", err.Error(), "rsaEncryption or an EC key")
	}
	host := sha256.Sum256(spki)
	return &EK{
		Class: root.Class, Template: template, Test: root.Test,
		Vendor: name.vendor(), Model: name.model, Version: name.version,
		HostID: hex.EncodeToString(host[:]),
		Serial: verdict.Quote(cert.Issuer.String() + " " + cert.SerialNumber.Text(16)),
		public: public, bytes: tpm2.Marshal(public),
	}, nil
}

// fill returns the TPM's public area for a certified key, if the key fits the
// template.
func (t Template) fill(key any) (tpm2.TPMTPublic, bool) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if t != RSA2048 || key.N.BitLen() != 2048 || key.E != 65537 {
			return tpm2.TPMTPublic{}, false
		}
		public := tpm2.RSAEKTemplate
		public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.FillBytes(make([]byte, 256))})
		return public, true
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if t != ECCP256 || key.Curve != elliptic.P256() || err != nil {
			return tpm2.TPMTPublic{}, false
		}
		public := tpm2.ECCEKTemplate
		public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
		})
		return public, true
	}
	return tpm2.TPMTPublic{}, false
}

func describe(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d with exponent %d", key.N.BitLen(), key.E)
	case *ecdsa.PublicKey:
		return "ECC " + key.Curve.Params().Name
	}
	return "another kind of key"
}

// CheckPublic checks that the public area an agent sent for its endorsement key
// is the certificate's key in the class's template, byte for byte. So the
// attributes and the authorisation policy are those of the template too.
func (e *EK) CheckPublic(public []byte) error {
	if !bytes.Equal(public, e.bytes) {
		got, want := sha256.Sum256(public), sha256.Sum256(e.bytes)
		return verdict.Refuse(verdict.EnrollEKPublic, "EK public",
			fmt.Sprintf("%d bytes, SHA-256 %x", len(public), got), fmt.Sprintf("%d bytes, SHA-256 %x", len(e.bytes), want))
	}
	return nil
}
