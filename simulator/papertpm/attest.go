package papertpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Values of TPMS_ATTEST's first two fields.
const (
	Magic        = 0xff544347 // TPM_GENERATED_VALUE
	TypeNV       = 0x8014     // TPM_ST_ATTEST_NV
	TypeCertify  = 0x8017     // TPM_ST_ATTEST_CERTIFY
	TypeQuote    = 0x8018     // TPM_ST_ATTEST_QUOTE
	TypeTime     = 0x8019     // TPM_ST_ATTEST_TIME
	TypeCreation = 0x801a     // TPM_ST_ATTEST_CREATION
)

// Attest is a TPMS_ATTEST. All fields may be altered before Bytes.
type Attest struct {
	Magic    uint32
	Type     uint16
	Signer   []byte // qualified name of the signing key
	Extra    []byte // extraData
	Clock    uint64 // milliseconds
	Reset    uint32 // resetCount
	Restart  uint32 // restartCount
	Safe     byte   // 1 is yes
	Firmware uint64
	Body     []byte // the part that depends on Type: QuoteBody, CertifyBody, …
	Trailing []byte // follows the structure, and is signed with it
}

// Bytes encodes the structure.
func (a Attest) Bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, a.Magic)
	b = binary.BigEndian.AppendUint16(b, a.Type)
	b = sized(b, a.Signer)
	b = sized(b, a.Extra)
	b = binary.BigEndian.AppendUint64(b, a.Clock)
	b = binary.BigEndian.AppendUint32(b, a.Reset)
	b = binary.BigEndian.AppendUint32(b, a.Restart)
	b = append(b, a.Safe)
	b = binary.BigEndian.AppendUint64(b, a.Firmware)
	b = append(b, a.Body...)
	return append(b, a.Trailing...)
}

// Selection is a TPMS_PCR_SELECTION. The size byte is the bitmap's length.
type Selection struct {
	Bank   tpm2.TPMAlgID
	Bitmap []byte // PCR i is bit i%8 of byte i/8; TPMs write 3 bytes
}

// Select returns the selection of PCRs 0 to 23 by number.
func Select(bank tpm2.TPMAlgID, pcrs ...int) Selection {
	bitmap := make([]byte, 3)
	for _, i := range pcrs {
		bitmap[i/8] |= 1 << (i % 8)
	}
	return Selection{Bank: bank, Bitmap: bitmap}
}

// QuoteBody encodes a TPMS_QUOTE_INFO.
func QuoteBody(pcrDigest []byte, selections ...Selection) []byte {
	return sized(selectionList(selections), pcrDigest)
}

// CertifyBody encodes a TPMS_CERTIFY_INFO.
func CertifyBody(name, qualifiedName []byte) []byte {
	return sized(sized(nil, name), qualifiedName)
}

// CreationBody encodes a TPMS_CREATION_INFO.
func CreationBody(name, creationHash []byte) []byte {
	return sized(sized(nil, name), creationHash)
}

// CreationData is a TPMS_CREATION_DATA. All fields may be altered before Bytes.
type CreationData struct {
	Selections      []Selection
	PCRDigest       []byte
	Locality        byte // bit i stands for locality i
	ParentNameAlg   uint16
	ParentName      []byte
	ParentQualified []byte
	OutsideInfo     []byte
	Trailing        []byte
}

// Bytes encodes the structure.
func (c CreationData) Bytes() []byte {
	b := sized(selectionList(c.Selections), c.PCRDigest)
	b = append(b, c.Locality)
	b = binary.BigEndian.AppendUint16(b, c.ParentNameAlg)
	b = sized(b, c.ParentName)
	b = sized(b, c.ParentQualified)
	b = sized(b, c.OutsideInfo)
	return append(b, c.Trailing...)
}

// Signature is a TPMT_SIGNATURE. All fields may be altered before Bytes.
type Signature struct {
	Scheme   tpm2.TPMAlgID
	Hash     tpm2.TPMAlgID
	R, S     []byte // ECDSA, padded to the size of the curve
	RSA      []byte // RSASSA and RSAPSS
	Trailing []byte
}

// Bytes encodes the structure.
func (s Signature) Bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(s.Scheme))
	b = binary.BigEndian.AppendUint16(b, uint16(s.Hash))
	if s.Scheme == tpm2.TPMAlgRSASSA || s.Scheme == tpm2.TPMAlgRSAPSS {
		b = sized(b, s.RSA)
	} else {
		b = sized(sized(b, s.R), s.S)
	}
	return append(b, s.Trailing...)
}

// Sign signs the data with the key's usual scheme: ECDSA or RSASSA, SHA-256.
func (k *Key) Sign(data []byte) (Signature, error) {
	if _, ok := k.Signer.(*rsa.PrivateKey); ok {
		return k.SignWith(data, tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256)
	}
	return k.SignWith(data, tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256)
}

// SignWith signs the data with a scheme and a hash of the caller's choice, be
// it one that the key's public area forbids.
func (k *Key) SignWith(data []byte, scheme, hash tpm2.TPMAlgID) (Signature, error) {
	h, err := hash.Hash()
	if err != nil {
		return Signature{}, fmt.Errorf("papertpm: %w", err)
	}
	hasher := h.New()
	hasher.Write(data)
	digest := hasher.Sum(nil)
	s := Signature{Scheme: scheme, Hash: hash}
	switch key := k.Signer.(type) {
	case *ecdsa.PrivateKey:
		s.R, s.S, err = signECDSA(key, digest, h)
	case *rsa.PrivateKey:
		s.RSA, err = signRSA(key, digest, h, scheme)
	default:
		err = fmt.Errorf("no way to sign with %T", k.Signer)
	}
	if err != nil {
		return Signature{}, fmt.Errorf("papertpm: %w", err)
	}
	return s, nil
}

func signECDSA(key *ecdsa.PrivateKey, digest []byte, h crypto.Hash) (r, s []byte, err error) {
	der, err := key.Sign(nil, digest, h) // no randomness: RFC 6979, the same bytes every time
	if err != nil {
		return nil, nil, err
	}
	var inner cryptobyte.String
	var x, y big.Int
	input := cryptobyte.String(der)
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(&x) || !inner.ReadASN1Integer(&y) {
		return nil, nil, fmt.Errorf("unreadable ECDSA signature")
	}
	size := (key.Params().N.BitLen() + 7) / 8
	return x.FillBytes(make([]byte, size)), y.FillBytes(make([]byte, size)), nil
}

func signRSA(key *rsa.PrivateKey, digest []byte, h crypto.Hash, scheme tpm2.TPMAlgID) ([]byte, error) {
	if scheme == tpm2.TPMAlgRSAPSS {
		return rsa.SignPSS(rand.Reader, key, h, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return rsa.SignPKCS1v15(nil, key, h, digest)
}

func selectionList(list []Selection) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(list)))
	for _, s := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(s.Bank))
		b = append(b, byte(len(s.Bitmap)))
		b = append(b, s.Bitmap...)
	}
	return b
}

// sized appends the field with its two-byte length.
func sized(b, field []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
	return append(b, field...)
}
