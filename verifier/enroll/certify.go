package enroll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/verdict"
)

// maxStructure bounds a TPM structure of an enrolment, in bytes.
const maxStructure = 2 << 10

// Values of the first two fields of a TPMS_ATTEST.
const (
	attestMagic    = 0xff544347
	attestCertify  = 0x8017
	attestCreation = 0x801a
)

// CheckCreation checks the attestation key's certification of its own creation,
// in this order:
//
//   - the AK signed it, with its one scheme;
//   - it is a TPM structure of type creation, made for this enrolment;
//   - the signer is a primary of the endorsement hierarchy by its qualified name;
//   - it is about the AK, and about exactly this creation data;
//   - the creation data names the endorsement hierarchy as the parent.
func CheckCreation(ak *AK, want binding.Certification, creationData, attest, signature []byte) error {
	const where = "AK creation"
	body, err := openAttest(ak, where, attest, signature, attestCreation, want, binding.PurposeAKCreation)
	if err != nil {
		return err
	}
	var name, hash cryptobyte.String
	if !body.ReadUint16LengthPrefixed(&name) || !body.ReadUint16LengthPrefixed(&hash) || !body.Empty() {
		return verdict.Refuse(verdict.EnrollMalformed, where, "a body of another form", "a name and a creation hash")
	}
	if !bytes.Equal(name, ak.name) {
		return verdict.Refuse(verdict.EnrollSubject, where, fmt.Sprintf("%x", name), fmt.Sprintf("%x", ak.name))
	}
	if len(creationData) > maxStructure {
		return verdict.Refuse(verdict.EnrollMalformed, where, fmt.Sprintf("%d bytes of creation data", len(creationData)), fmt.Sprintf("at most %d", maxStructure))
	}
	if sum := sha256.Sum256(creationData); !bytes.Equal(hash, sum[:]) {
		return verdict.Refuse(verdict.EnrollSubject, where, fmt.Sprintf("creation hash %x", hash), fmt.Sprintf("%x", sum))
	}
	return checkParent(creationData)
}

// checkParent reads TPMS_CREATION_DATA. A primary key's parent is a hierarchy,
// whose name is its handle and whose name algorithm is none.
func checkParent(data []byte) error {
	in := cryptobyte.String(data)
	var count uint32
	ok := in.ReadUint32(&count) && count <= 16
	for range min(count, 16) {
		var hash uint16
		var bitmap cryptobyte.String
		ok = ok && in.ReadUint16(&hash) && in.ReadUint8LengthPrefixed(&bitmap)
	}
	var digest, parent, qualified, outside cryptobyte.String
	var locality uint8
	var alg uint16
	ok = ok && in.ReadUint16LengthPrefixed(&digest) && in.ReadUint8(&locality) && in.ReadUint16(&alg) &&
		in.ReadUint16LengthPrefixed(&parent) && in.ReadUint16LengthPrefixed(&qualified) &&
		in.ReadUint16LengthPrefixed(&outside) && in.Empty()
	if !ok {
		return verdict.Refuse(verdict.EnrollMalformed, "AK creation data", "another form", "one TPMS_CREATION_DATA")
	}
	if alg != uint16(tpm2.TPMAlgNull) || !bytes.Equal(parent, endorsementHandle) || !bytes.Equal(qualified, endorsementHandle) {
		return verdict.Refuse(verdict.EnrollHierarchy, "AK creation data", fmt.Sprintf("parent %x, algorithm %#x", parent, alg),
			fmt.Sprintf("parent %x, the endorsement hierarchy", endorsementHandle))
	}
	return nil
}

// CheckCertify checks the attestation key's certification of the node key, in
// this order:
//
//   - the AK signed it, with its one scheme;
//   - it is a TPM structure of type certify, made for this enrolment;
//   - the signer is a primary of the endorsement hierarchy by its qualified name;
//   - it is about the node key, which is such a primary too.
func CheckCertify(ak *AK, node *NodeKey, want binding.Certification, attest, signature []byte) error {
	const where = "node key certification"
	if node == nil || len(node.name) == 0 {
		return verdict.Refuse(verdict.EnrollNodeKey, where, "no node key", "a checked node key")
	}
	body, err := openAttest(ak, where, attest, signature, attestCertify, want, binding.PurposeNodeKey)
	if err != nil {
		return err
	}
	var name, qualified cryptobyte.String
	if !body.ReadUint16LengthPrefixed(&name) || !body.ReadUint16LengthPrefixed(&qualified) || !body.Empty() {
		return verdict.Refuse(verdict.EnrollMalformed, where, "a body of another form", "a name and a qualified name")
	}
	if !bytes.Equal(name, node.name) {
		return verdict.Refuse(verdict.EnrollSubject, where, fmt.Sprintf("%x", name), fmt.Sprintf("%x", node.name))
	}
	if !bytes.Equal(qualified, node.qualifiedName()) {
		return verdict.Refuse(verdict.EnrollHierarchy, where, fmt.Sprintf("qualified name %x", qualified), fmt.Sprintf("%x", node.qualifiedName()))
	}
	return nil
}

// openAttest checks signature, type and qualifying data of a TPMS_ATTEST, and
// returns the part that depends on its type. No field is read before the
// signature has been checked.
func openAttest(ak *AK, where string, attest, signature []byte, kind uint16, want binding.Certification, purpose binding.Purpose) (cryptobyte.String, error) {
	if ak == nil || ak.key == nil {
		return nil, verdict.Refuse(verdict.EnrollAK, where, "no attestation key", "a checked attestation key")
	}
	if len(attest) > maxStructure || len(signature) > maxStructure {
		return nil, verdict.Refuse(verdict.EnrollMalformed, where, fmt.Sprintf("%d and %d bytes", len(attest), len(signature)), fmt.Sprintf("at most %d", maxStructure))
	}
	if err := verifySignature(ak.key, attest, signature); err != nil {
		return nil, verdict.Refuse(verdict.EnrollSignature, where, err.Error(), "ECDSA with SHA-256 by the attestation key")
	}
	in := cryptobyte.String(attest)
	var magic uint32
	var got uint16
	if !in.ReadUint32(&magic) || !in.ReadUint16(&got) || magic != attestMagic || got != kind {
		return nil, verdict.Refuse(verdict.EnrollType, where, fmt.Sprintf("magic %#x, type %#x", magic, got), fmt.Sprintf("magic %#x, type %#x", attestMagic, kind))
	}
	var signer, extra, clockAndFirmware cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&signer) || !in.ReadUint16LengthPrefixed(&extra) ||
		!in.ReadBytes((*[]byte)(&clockAndFirmware), 8+4+4+1+8) || clockAndFirmware[16] > 1 {
		return nil, verdict.Refuse(verdict.EnrollMalformed, where, "a structure of another form", "one TPMS_ATTEST")
	}
	expected, err := want.QualifyingData(purpose)
	if err != nil {
		return nil, verdict.Refuse(verdict.EnrollBinding, where, err.Error(), "a complete enrolment to compare with")
	}
	if subtle.ConstantTimeCompare(extra, expected[:]) != 1 {
		return nil, verdict.Refuse(verdict.EnrollBinding, where, fmt.Sprintf("%x", extra), fmt.Sprintf("%x", expected))
	}
	if !bytes.Equal(signer, ak.qualifiedName()) {
		return nil, verdict.Refuse(verdict.EnrollHierarchy, where, fmt.Sprintf("signer %x", signer), fmt.Sprintf("%x", ak.qualifiedName()))
	}
	return in, nil
}

// verifySignature checks a TPMT_SIGNATURE of the scheme that CheckAK pins:
// ECDSA with SHA-256, and no byte after it.
func verifySignature(key *ecdsa.PublicKey, message, signature []byte) error {
	in := cryptobyte.String(signature)
	var scheme, hash uint16
	var r, s cryptobyte.String
	if !in.ReadUint16(&scheme) || !in.ReadUint16(&hash) || !in.ReadUint16LengthPrefixed(&r) ||
		!in.ReadUint16LengthPrefixed(&s) || !in.Empty() || len(r) > 32 || len(s) > 32 {
		return fmt.Errorf("a signature of another form, %d bytes", len(signature))
	}
	if scheme != uint16(tpm2.TPMAlgECDSA) || hash != uint16(tpm2.TPMAlgSHA256) {
		return fmt.Errorf("scheme %#x with hash %#x", scheme, hash)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	if err != nil {
		return err
	}
	if digest := sha256.Sum256(message); !ecdsa.VerifyASN1(key, digest[:], der) {
		return errors.New("a signature that does not verify")
	}
	return nil
}

// CheckConsensusKey checks that the consensus key of the enrolment signed this
// enrolment. Without a consensus key there must be no signature.
func CheckConsensusKey(want binding.Certification, signature []byte) error {
	const where = "consensus key"
	refuse := func(got, wanted string) error {
		return verdict.Refuse(verdict.EnrollConsensusKey, where, got, wanted)
	}
	if want.ConsensusKey == "" {
		if len(signature) != 0 {
			return refuse("a signature without a key", "both or neither")
		}
		return nil
	}
	key, ok := parseConsensusKey(want.ConsensusKey)
	if !ok {
		return refuse(want.ConsensusKey, "ed25519:<base64 of 32 bytes>")
	}
	data, err := want.QualifyingData(binding.PurposeConsensusKey)
	if err != nil {
		return refuse(err.Error(), "a complete enrolment to sign")
	}
	if !ed25519.Verify(key, data[:], signature) {
		return refuse("a signature that does not verify", "a signature over the qualifying data of this enrolment")
	}
	return nil
}

func parseConsensusKey(s string) (ed25519.PublicKey, bool) {
	text, ok := strings.CutPrefix(s, "ed25519:")
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	return key, ok && err == nil && len(key) == ed25519.PublicKeySize && base64.StdEncoding.EncodeToString(key) == text
}
