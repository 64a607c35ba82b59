package evidence

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 of keys with that scheme
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/quorate/quorate/verifier/verdict"
)

// AK is an attestation key as enrolled, ready to check quotes with. Only
// ParseAK makes one; it may be used by many goroutines.
type AK struct {
	public    []byte      // TPMT_PUBLIC
	name      []byte      // name algorithm and digest
	qualified []byte      // qualified name as a primary key of the endorsement hierarchy
	scheme    uint16      // signature scheme that the public area pins
	hash      crypto.Hash // hash that the public area pins
	ec        *ecdsa.PublicKey
	rsa       *rsa.PublicKey
}

// Public returns the TPMT_PUBLIC. It must not be changed.
func (k *AK) Public() []byte { return k.public }

// Name returns the TPM name: name algorithm (2 bytes) and digest of the public
// area. It must not be changed.
func (k *AK) Name() []byte { return k.name }

// Attributes of an attestation key, TPMA_OBJECT.
const (
	attrFixedTPM            = 1 << 1
	attrFixedParent         = 1 << 4
	attrSensitiveDataOrigin = 1 << 5
	attrRestricted          = 1 << 16
	attrDecrypt             = 1 << 17
	attrSign                = 1 << 18

	akMust    = attrFixedTPM | attrFixedParent | attrSensitiveDataOrigin | attrRestricted | attrSign
	akMustNot = attrDecrypt
)

const (
	curveP256       = 0x0003
	publicExponent  = 65537
	minRSA, maxRSA  = 2048, 4096
	coordinateBytes = 32
)

// ParseAK decodes an enrolled TPMT_PUBLIC and checks that quotes by this key can
// be trusted: the TPM made the key, will never let it out, and signs nothing with
// it that looks like its own structures; scheme and hash are pinned, and the
// public key is strong and valid. Every load of a stored key repeats the checks.
// The error is a *verdict.Refusal.
func ParseAK(public []byte) (*AK, error) {
	if len(public) > maxPublic {
		return nil, refuseKey(fmt.Sprintf("%d bytes", len(public)), fmt.Sprintf("at most %d", maxPublic))
	}
	r := reader{rest: bytes.Clone(public)}
	k := &AK{public: r.rest}
	kind, nameAlg, attributes := r.u16(), r.u16(), r.u32()
	r.sized() // authPolicy; enrolment compares the whole template
	if attributes&akMust != akMust || attributes&akMustNot != 0 {
		return nil, refuseKey(fmt.Sprintf("attributes 0x%08x", attributes), "fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt")
	}
	if err := k.parseKey(&r, kind); err != nil {
		return nil, err
	}
	if err := k.setNames(nameAlg); err != nil {
		return nil, err
	}
	return k, nil
}

func refuseKey(got, want string) error {
	return verdict.Refuse(verdict.QuoteKey, "attestation key", got, want)
}

// parseKey decodes parameters and unique field.
func (k *AK) parseKey(r *reader, kind uint16) error {
	if symmetric := r.u16(); symmetric != algNull {
		return refuseKey(fmt.Sprintf("symmetric algorithm 0x%04x", symmetric), "none")
	}
	k.scheme = r.u16()
	hash := r.u16()
	switch hash {
	case algSHA256:
		k.hash = crypto.SHA256
	case algSHA384:
		k.hash = crypto.SHA384
	default:
		return refuseKey(fmt.Sprintf("hash 0x%04x", hash), "SHA-256 or SHA-384")
	}
	switch kind {
	case algECC:
		return k.parseECC(r)
	case algRSA:
		return k.parseRSA(r)
	}
	return refuseKey(fmt.Sprintf("type 0x%04x", kind), "ECC or RSA")
}

func (k *AK) parseECC(r *reader) error {
	curve, kdf, x, y := r.u16(), r.u16(), r.sized(), r.sized()
	if err := r.end("attestation key"); err != nil {
		return err
	}
	if k.scheme != algECDSA || k.hash != crypto.SHA256 || curve != curveP256 || kdf != algNull {
		return refuseKey(fmt.Sprintf("scheme 0x%04x with %v on curve 0x%04x", k.scheme, k.hash, curve), "ECDSA with SHA-256 on P-256")
	}
	if len(x) > coordinateBytes || len(y) > coordinateBytes {
		return refuseKey("coordinates of a wrong size", "32 bytes each")
	}
	var point [1 + 2*coordinateBytes]byte
	point[0] = 4 // uncompressed
	copy(point[1+coordinateBytes-len(x):], x)
	copy(point[1+2*coordinateBytes-len(y):], y)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
	if err != nil {
		return refuseKey("a point that is not on the curve", "a point of P-256")
	}
	k.ec = public
	return nil
}

func (k *AK) parseRSA(r *reader) error {
	bits, exponent, modulus := int(r.u16()), r.u32(), r.sized()
	if err := r.end("attestation key"); err != nil {
		return err
	}
	if k.scheme != algRSASSA && k.scheme != algRSAPSS {
		return refuseKey(fmt.Sprintf("scheme 0x%04x", k.scheme), "RSASSA or RSAPSS")
	}
	if exponent != 0 && exponent != publicExponent { // 0 stands for the default, 65537
		return refuseKey(fmt.Sprintf("exponent %d", exponent), "65537")
	}
	n := new(big.Int).SetBytes(modulus)
	if bits < minRSA || bits > maxRSA || len(modulus) != bits/8 || n.BitLen() != bits || n.Bit(0) == 0 {
		return refuseKey(fmt.Sprintf("a modulus of %d bits for %d", n.BitLen(), bits), "an odd modulus of 2048 to 4096 bits, as declared")
	}
	k.rsa = &rsa.PublicKey{N: n, E: publicExponent}
	return nil
}

// setNames computes name and qualified name. They are never taken from a message.
func (k *AK) setNames(nameAlg uint16) error {
	var hash crypto.Hash
	switch nameAlg {
	case algSHA256:
		hash = crypto.SHA256
	case algSHA384:
		hash = crypto.SHA384
	default:
		return refuseKey(fmt.Sprintf("name algorithm 0x%04x", nameAlg), "SHA-256 or SHA-384")
	}
	endorsement := []byte{0x40, 0x00, 0x00, 0x0b} // TPM_RH_ENDORSEMENT, its own name
	k.name = name(nameAlg, hash, k.public)
	k.qualified = name(nameAlg, hash, append(endorsement, k.name...))
	return nil
}

func name(alg uint16, hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(binary.BigEndian.AppendUint16(nil, alg))
}

// sum hashes with the key's hash. The TPM uses it for the signature and for the
// digest of the PCR values.
func (k *AK) sum(data []byte) []byte {
	if k.hash == crypto.SHA256 {
		digest := sha256.Sum256(data)
		return digest[:]
	}
	h := k.hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// verify checks a TPMT_SIGNATURE over data. Scheme and hash must be those that
// the key was enrolled with.
func (k *AK) verify(data, sig []byte) error {
	s, err := parseSignature(sig)
	if err != nil {
		return err
	}
	if s.scheme != k.scheme || !sameHash(s.hash, k.hash) {
		return verdict.Refuse(verdict.QuoteScheme, "signature",
			fmt.Sprintf("scheme 0x%04x, hash 0x%04x", s.scheme, s.hash), fmt.Sprintf("scheme 0x%04x, hash %v", k.scheme, k.hash))
	}
	if !k.valid(k.sum(data), s) {
		return verdict.Refuse(verdict.QuoteSignature, "signature", "a signature that does not verify", "one by the enrolled attestation key")
	}
	return nil
}

func sameHash(alg uint16, hash crypto.Hash) bool {
	return alg == algSHA256 && hash == crypto.SHA256 || alg == algSHA384 && hash == crypto.SHA384
}

func (k *AK) valid(digest []byte, s signature) bool {
	switch k.scheme {
	case algECDSA:
		var buf [maxDER]byte
		der, ok := derSignature(buf[:0], s.r, s.s)
		return ok && ecdsa.VerifyASN1(k.ec, digest, der)
	case algRSASSA:
		return rsa.VerifyPKCS1v15(k.rsa, k.hash, digest, s.rsa) == nil
	case algRSAPSS:
		return rsa.VerifyPSS(k.rsa, k.hash, digest, s.rsa, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
	}
	return false
}

// maxDER is the size of the longest ECDSA signature on P-256 in DER.
const maxDER = 2 + 2*(3+coordinateBytes)

// derSignature encodes r and s as the standard library wants them. TPMs pad to
// the size of the curve or not; more bytes than that are refused.
func derSignature(b, r, s []byte) ([]byte, bool) {
	if len(r) > coordinateBytes || len(s) > coordinateBytes {
		return nil, false
	}
	b = append(b, 0x30, 0)
	b = derInteger(b, r)
	b = derInteger(b, s)
	b[1] = byte(len(b) - 2)
	return b, true
}

func derInteger(b, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if len(n) == 0 || n[0]&0x80 != 0 {
		b = append(b, 0x02, byte(len(n)+1), 0)
	} else {
		b = append(b, 0x02, byte(len(n)))
	}
	return append(b, n...)
}
