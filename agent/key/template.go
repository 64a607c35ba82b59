// Package key makes and uses the agent's three keys inside the TPM: the
// endorsement key (EK) that identifies the chip, the attestation key (AK) that
// signs quotes and certifications, and the node key that TLS runs on.
//
// All are primaries of the endorsement hierarchy, derived anew from the TPM's
// seed whenever they are loaded. Nothing of them is stored outside the TPM.
package key

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Template names a TCG template for endorsement keys.
type Template string

// The templates that a consortium file can name.
const (
	RSA2048 Template = "rsa-2048" // TCG L-1
	ECCP256 Template = "ecc-p256" // TCG L-2
)

// Labels that make our keys differ from anybody else's with the same
// attributes: they fill the template's unique field.
const (
	akLabel   = "quorate/attestation-key/v1"
	nodeLabel = "quorate/node-key/v1"
)

// ErrTemplate reports an EK template that this agent does not know.
var ErrTemplate = errors.New("key: unknown EK template")

// ErrAttributes reports that the TPM, or something between us and it, made
// another key than it was asked for.
var ErrAttributes = errors.New("key: TPM returned a key with other properties than asked for")

// ekTemplate returns the public template and the NV index of its certificate.
func (t Template) ekTemplate() (tpm2.TPMTPublic, tpm2.TPMHandle, error) {
	switch t {
	case RSA2048:
		return tpm2.RSAEKTemplate, 0x01c00002, nil
	case ECCP256:
		return tpm2.ECCEKTemplate, 0x01c0000a, nil
	}
	return tpm2.TPMTPublic{}, 0, fmt.Errorf("%w %q", ErrTemplate, string(t))
}

// akTemplate is a restricted P-256 signing key: it signs nothing that looks
// like a TPM structure unless the TPM itself made it.
func akTemplate() tpm2.TPMTPublic { return signingTemplate(true, akLabel, 0) }

// nodeTemplate is an unrestricted P-256 signing key. Each generation is another
// key of the same TPM.
func nodeTemplate(generation uint32) tpm2.TPMTPublic {
	return signingTemplate(false, nodeLabel, generation)
}

func signingTemplate(restricted bool, label string, generation uint32) tpm2.TPMTPublic {
	unique := sha256.Sum256(binary.BigEndian.AppendUint32([]byte(label), generation))
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: unique[:]},
			Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		}),
	}
}

// checkAgainst reports whether made equals the template in everything but the
// unique field, and is a point on P-256.
func checkAgainst(made, template tpm2.TPMTPublic) (*ecdsa.PublicKey, error) {
	same := made
	same.Unique = template.Unique
	if string(tpm2.Marshal(same)) != string(tpm2.Marshal(template)) {
		return nil, ErrAttributes
	}
	point, err := made.Unique.ECC()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttributes, err)
	}
	raw := make([]byte, 65)
	raw[0] = 4
	if len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, fmt.Errorf("%w: oversized point", ErrAttributes)
	}
	copy(raw[33-len(point.X.Buffer):33], point.X.Buffer)
	copy(raw[65-len(point.Y.Buffer):], point.Y.Buffer)
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAttributes, err)
	}
	return pub, nil
}

// spkiDigest returns the SHA-256 of the key's SubjectPublicKeyInfo.
func spkiDigest(pub any) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(der), nil
}
