package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/quorate/quorate/verifier/verdict"
)

// SecretSize is the length of an activation secret, in bytes.
const SecretSize = 32

// AK is an attestation key whose properties were checked. Only CheckAK makes
// one. That it lives in a certain TPM is what MakeCredential asks.
type AK struct{ signingKey }

// NodeKey is a node key whose properties were checked. Only CheckNodeKey makes
// one.
type NodeKey struct{ signingKey }

// signingKey is a P-256 key as a TPM describes it.
type signingKey struct {
	public []byte // TPMT_PUBLIC
	name   []byte
	key    *ecdsa.PublicKey
	digest [32]byte
}

// Public returns the TPMT_PUBLIC.
func (k *signingKey) Public() []byte { return slices.Clone(k.public) }

// Name returns the TPM name, computed from the public area: name algorithm and
// SHA-256, 34 bytes.
func (k *signingKey) Name() []byte { return slices.Clone(k.name) }

// Key returns the key.
func (k *signingKey) Key() *ecdsa.PublicKey { return k.key }

// Digest returns the SHA-256 of the key's SubjectPublicKeyInfo.
func (k *signingKey) Digest() [32]byte { return k.digest }

// Object attributes, as in TPMA_OBJECT.
const (
	attrFixedTPM            = 1 << 1
	attrFixedParent         = 1 << 4
	attrSensitiveDataOrigin = 1 << 5
	attrUserWithAuth        = 1 << 6
	attrNoDA                = 1 << 10
	attrRestricted          = 1 << 16
	attrSign                = 1 << 18

	nodeKeyAttributes = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrUserWithAuth | attrNoDA | attrSign
	akAttributes      = nodeKeyAttributes | attrRestricted
)

// CheckAK checks a TPMT_PUBLIC that is to be an attestation key: ECDSA P-256
// with SHA-256 for name and signatures, restricted, signing, not exportable,
// made by the TPM, without a policy, nothing else set, a point on the curve,
// and no byte more.
func CheckAK(public []byte) (*AK, error) {
	k, err := parseSigning(public, akAttributes)
	if err != nil {
		return nil, verdict.Refuse(verdict.EnrollAK, "AK public", err.Error(), "a restricted ECDSA P-256 key made by the TPM")
	}
	return &AK{k}, nil
}

// CheckNodeKey checks a TPMT_PUBLIC that is to be a node key: as CheckAK, but
// not restricted, since it signs TLS handshakes.
func CheckNodeKey(public []byte) (*NodeKey, error) {
	k, err := parseSigning(public, nodeKeyAttributes)
	if err != nil {
		return nil, verdict.Refuse(verdict.EnrollNodeKey, "node key public", err.Error(), "an unrestricted ECDSA P-256 key made by the TPM")
	}
	return &NodeKey{k}, nil
}

// parseSigning reads a TPMT_PUBLIC of our two signing templates.
func parseSigning(public []byte, attributes uint32) (signingKey, error) {
	in := cryptobyte.String(public)
	for _, f := range []struct {
		name string
		want uint16
	}{{"type", uint16(tpm2.TPMAlgECC)}, {"name algorithm", uint16(tpm2.TPMAlgSHA256)}} {
		if err := wantUint16(&in, f.name, f.want); err != nil {
			return signingKey{}, err
		}
	}
	var got uint32
	if !in.ReadUint32(&got) {
		return signingKey{}, errors.New("cut off")
	}
	if got != attributes {
		return signingKey{}, fmt.Errorf("attributes %#x instead of %#x", got, attributes)
	}
	for _, f := range []struct {
		name string
		want uint16
	}{
		{"policy size", 0}, {"symmetric algorithm", uint16(tpm2.TPMAlgNull)},
		{"scheme", uint16(tpm2.TPMAlgECDSA)}, {"scheme hash", uint16(tpm2.TPMAlgSHA256)},
		{"curve", uint16(tpm2.TPMECCNistP256)}, {"key derivation", uint16(tpm2.TPMAlgNull)},
	} {
		if err := wantUint16(&in, f.name, f.want); err != nil {
			return signingKey{}, err
		}
	}
	key, err := readPoint(&in)
	if err != nil {
		return signingKey{}, err
	}
	return newSigningKey(public, key)
}

func wantUint16(in *cryptobyte.String, name string, want uint16) error {
	var got uint16
	if !in.ReadUint16(&got) {
		return errors.New("cut off")
	}
	if got != want {
		return fmt.Errorf("%s %#x instead of %#x", name, got, want)
	}
	return nil
}

// readPoint reads the rest of a public area, a TPMS_ECC_POINT. Some TPMs drop
// leading zeros of a coordinate.
func readPoint(in *cryptobyte.String) (*ecdsa.PublicKey, error) {
	raw := make([]byte, 65)
	raw[0] = 4
	for end := 33; end <= 65; end += 32 {
		var coordinate cryptobyte.String
		if !in.ReadUint16LengthPrefixed(&coordinate) {
			return nil, errors.New("cut off")
		}
		if len(coordinate) > 32 {
			return nil, fmt.Errorf("a coordinate of %d bytes", len(coordinate))
		}
		copy(raw[end-len(coordinate):end], coordinate)
	}
	if !in.Empty() {
		return nil, fmt.Errorf("%d bytes too many", len(*in))
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil, errors.New("not a point on P-256")
	}
	return key, nil
}

func newSigningKey(public []byte, key *ecdsa.PublicKey) (signingKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return signingKey{}, err
	}
	return signingKey{public: slices.Clone(public), name: objectName(public), key: key, digest: sha256.Sum256(spki)}, nil
}

// objectName is the TPM name of an object whose name algorithm is SHA-256.
func objectName(public []byte) []byte {
	sum := sha256.Sum256(public)
	return append(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)), sum[:]...)
}

// endorsementHandle is TPM_RH_ENDORSEMENT as it stands for a parent's name.
var endorsementHandle = []byte{0x40, 0x00, 0x00, 0x0b}

// qualifiedName is the qualified name of a primary key of the endorsement
// hierarchy.
func (k *signingKey) qualifiedName() []byte {
	return objectName(slices.Concat(endorsementHandle, k.name))
}

// MakeCredential does what TPM2_MakeCredential does: it encrypts the secret so
// that only the TPM with the certified endorsement key recovers it, and only
// while it holds an object of the attestation key's computed name. It returns
// the contents of TPM2B_ID_OBJECT and of TPM2B_ENCRYPTED_SECRET. The secret has
// SecretSize bytes; rand must be a cryptographic source.
func MakeCredential(rand io.Reader, ek *EK, ak *AK, secret []byte) (blob, encrypted []byte, err error) {
	if ek == nil || len(ek.bytes) == 0 || ak == nil || len(ak.name) == 0 {
		return nil, nil, errors.New("enroll: a credential needs a verified EK and a checked AK")
	}
	if len(secret) != SecretSize || bytes.Equal(secret, make([]byte, SecretSize)) {
		return nil, nil, fmt.Errorf("enroll: an activation secret has %d random bytes", SecretSize)
	}
	key, err := tpm2.ImportEncapsulationKey(&ek.public)
	if err != nil {
		return nil, nil, fmt.Errorf("enroll: make credential: %w", err)
	}
	blob, encrypted, err = tpm2.CreateCredential(rand, key, ak.name, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("enroll: make credential: %w", err)
	}
	return blob, encrypted, nil
}
