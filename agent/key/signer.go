package key

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// signTimeout bounds one signature; crypto.Signer has no context of its own.
const signTimeout = 30 * time.Second

// Signer returns the node key as a crypto.Signer for SHA-256 digests. It works
// as long as the Keys are open.
func (k *Keys) Signer() crypto.Signer { return signer{k} }

type signer struct{ keys *Keys }

func (s signer) Public() crypto.PublicKey { return s.keys.identity.nodeKey }

func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("key: the node key signs SHA-256 digests only")
	}
	ctx, cancel := context.WithTimeout(context.Background(), signTimeout)
	defer cancel()
	return s.keys.signDigest(ctx, digest)
}

func (k *Keys) signDigest(ctx context.Context, digest []byte) ([]byte, error) {
	var sig tpm2.TPMTSignature
	err := k.use(ctx, func(tpm transport.TPM) error {
		rsp, err := tpm2.Sign{
			KeyHandle:  k.node.auth(),
			Digest:     tpm2.TPM2BDigest{Buffer: digest},
			InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(tpm)
		if err == nil {
			sig = rsp.Signature
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("key: sign with node key: %w", err)
	}
	r, s, err := ecdsaValues(sig)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// noExpiry is what RFC 5280 writes for a certificate without an end.
var noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Certificate returns a self-signed TLS client certificate on the node key.
// Verifiers know the key by its digest and read nothing else in it.
func (k *Keys) Certificate(node string) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: node},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     noExpiry,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.identity.nodeKey, k.Signer())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: certificate on node key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.Signer()}, nil
}
