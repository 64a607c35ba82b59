package attestedtls

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/quorate/quorate/admission"
)

// bundleOID marks the extension that holds a bundle, in the arc for experiments
// and private agreements. The extension is not critical: a reader who does not
// know it has no use for the certificate anyway.
var bundleOID = asn1.ObjectIdentifier{1, 3, 6, 1, 3, 7177, 1}

// certificate makes a self-signed certificate of the node key that carries the
// bundle. Its dates say nothing; the bundle has its own.
func certificate(key crypto.Signer, bundle []byte, now time.Time) (*tls.Certificate, error) {
	if len(bundle) == 0 || len(bundle) > admission.MaxBundle {
		return nil, fmt.Errorf("attestedtls: a bundle of %d bytes; a node shows one of 1 to %d", len(bundle), admission.MaxBundle)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "quorate node"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(admission.MaxValidity),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: bundleOID, Value: bundle}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("attestedtls: sign with the node key: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// bundleOf returns the bundle that a certificate carries. It proves nothing
// about it, but that it is the only one and not too long.
func bundleOf(leaf *x509.Certificate) ([]byte, error) {
	var found [][]byte
	for _, e := range leaf.Extensions {
		if e.Id.Equal(bundleOID) {
			found = append(found, e.Value)
		}
	}
	if len(found) != 1 {
		return nil, refuse(NoAttestation, "certificate", strconv.Itoa(len(found))+" bundles", "one bundle")
	}
	if n := len(found[0]); n == 0 || n > admission.MaxBundle {
		return nil, refuse(NoAttestation, "certificate", strconv.Itoa(n)+" bytes", "1 to "+strconv.Itoa(admission.MaxBundle)+" bytes")
	}
	return found[0], nil
}
