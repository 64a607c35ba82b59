// Package papertpm signs TPM structures without a TPM. Its keys live in
// memory, so a test can hold thousands of nodes, and every field of a structure
// can be altered before it is signed: what comes out is malformed and still
// carries the enrolled key's valid signature.
package papertpm

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Key is a key that claims to live in a TPM. Public may be altered at will;
// Bytes and Name follow it, the private part does not.
type Key struct {
	Public tpm2.TPMTPublic
	Signer crypto.Signer // the private part; TLS can use it directly
}

// Bytes returns the key's TPMT_PUBLIC.
func (k *Key) Bytes() []byte { return tpm2.Marshal(k.Public) }

// Name returns the TPM name: the name algorithm and the hash of Bytes.
func (k *Key) Name() []byte {
	sum := sha256.Sum256(k.Bytes())
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// QualifiedName returns the name that a primary key of the endorsement
// hierarchy has as signer.
func (k *Key) QualifiedName() []byte {
	parent := []byte{0x40, 0x00, 0x00, 0x0b} // TPM_RH_ENDORSEMENT
	sum := sha256.Sum256(append(parent, k.Name()...))
	return append([]byte{0x00, 0x0b}, sum[:]...)
}

// SPKI returns the DER SubjectPublicKeyInfo of the private part.
func (k *Key) SPKI() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Signer.Public())
	if err != nil {
		panic(fmt.Sprintf("papertpm: %v", err)) // keys of this package are of known types
	}
	return der
}

// SPKIDigest returns the SHA-256 of SPKI: the host id of an EK, the node key
// digest of a node key.
func (k *Key) SPKIDigest() [32]byte { return sha256.Sum256(k.SPKI()) }

// AKAttributes are the object attributes of an attestation key.
func AKAttributes() tpm2.TPMAObject {
	return tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
		UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
	}
}

// NodeKeyAttributes are the object attributes of a node key: those of an
// attestation key without the restriction.
func NodeKeyAttributes() tpm2.TPMAObject {
	a := AKAttributes()
	a.Restricted = false
	return a
}

// ECCKey makes an ECDSA key on the curve, with the scheme ECDSA and the hash
// SHA-256. The same seed gives the same key.
func ECCKey(curve elliptic.Curve, seed string, attributes tpm2.TPMAObject) *Key {
	private := derive(curve, seed)
	return &Key{Signer: private, Public: tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: attributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA,
					&tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: curveID(curve),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, point(&private.PublicKey)),
	}}
}

// RSAKey makes a fresh RSA signing key with the scheme RSASSA and the hash
// SHA-256. RSA keys cannot be derived from a seed; making one takes a while.
func RSAKey(bits int, attributes tpm2.TPMAObject) (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("papertpm: %w", err)
	}
	return &Key{Signer: private, Public: tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: attributes,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{
			Scheme: tpm2.TPMTRSAScheme{
				Scheme: tpm2.TPMAlgRSASSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA,
					&tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			KeyBits: tpm2.TPMKeyBits(bits),
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: private.N.Bytes()}),
	}}, nil
}

// ECCEK makes an endorsement key of the TCG template for ECC P-256 (L-2). The
// same seed gives the same key.
func ECCEK(seed string) *Key {
	private := derive(elliptic.P256(), seed)
	public := tpm2.ECCEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, point(&private.PublicKey))
	return &Key{Signer: private, Public: public}
}

// RSAEK makes a fresh endorsement key of the TCG template for RSA-2048 (L-1).
func RSAEK() (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("papertpm: %w", err)
	}
	public := tpm2.RSAEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: private.N.Bytes()})
	return &Key{Signer: private, Public: public}, nil
}

// derive maps a seed to a private key, by trying hashes until one is below the
// order of the curve.
func derive(curve elliptic.Curve, seed string) *ecdsa.PrivateKey {
	size := (curve.Params().N.BitLen() + 7) / 8
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "quorate/simulator/%s/%d", seed, i))
		raw := append(make([]byte, 32), sum[:]...) // left padding for curves above 256 bits
		if size > len(raw) {
			raw = append(make([]byte, size-len(raw)), raw...)
		}
		if key, err := ecdsa.ParseRawPrivateKey(curve, raw[len(raw)-size:]); err == nil {
			return key
		}
	}
}

func point(public *ecdsa.PublicKey) *tpm2.TPMSECCPoint {
	raw, err := public.Bytes()
	if err != nil {
		panic(fmt.Sprintf("papertpm: %v", err)) // derived keys are on their curve
	}
	half := len(raw) / 2 // after the leading 0x04
	return &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: raw[1 : 1+half]},
		Y: tpm2.TPM2BECCParameter{Buffer: raw[1+half:]},
	}
}

func curveID(curve elliptic.Curve) tpm2.TPMECCCurve {
	switch curve.Params().BitSize {
	case 224:
		return tpm2.TPMECCNistP224
	case 384:
		return tpm2.TPMECCNistP384
	case 521:
		return tpm2.TPMECCNistP521
	}
	return tpm2.TPMECCNistP256
}

// ecdhKey returns the key as one for key agreement, nil if it is no ECC key.
func (k *Key) ecdhKey() *ecdh.PrivateKey {
	private, ok := k.Signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil
	}
	agree, err := private.ECDH()
	if err != nil {
		return nil
	}
	return agree
}
