package eventlog

import (
	"errors"
	"fmt"
)

// SignatureList is one EFI_SIGNATURE_LIST: entries of one type and size.
type SignatureList struct {
	Type    GUID
	Entries []SignatureEntry
}

// SignatureEntry is one EFI_SIGNATURE_DATA. Data aliases the variable's bytes.
type SignatureEntry struct {
	Owner GUID
	Data  []byte // certificate in DER, or a hash, as the list's type says
}

// The signature types that Secure Boot databases are mostly made of.
var (
	// SignatureX509 marks lists of X.509 certificates in DER.
	SignatureX509 = guid(0xa5c059a1, 0x94e4, 0x4aa7, 0x87b5ab155c2bf072)
	// SignatureSHA256 marks lists of SHA-256 Authenticode digests.
	SignatureSHA256 = guid(0xc1c41626, 0x504c, 0x4092, 0xaca941f936934328)
	// SignatureX509SHA256 marks lists of SHA-256 digests of certificates, each with a revocation time.
	SignatureX509SHA256 = guid(0x3bd2a492, 0x96c0, 0x4079, 0xb420fcf98ef103ed)
)

// signatureSizes are the entry sizes, owner included, that each type of the
// UEFI specification demands; 0: any. No other type is read, so that nothing in
// a database goes unseen.
var signatureSizes = map[GUID]int{
	SignatureX509:       0,
	SignatureSHA256:     ownerSize + 32,
	SignatureX509SHA256: ownerSize + 32 + 16,
	guid(0x7076876e, 0x80c2, 0x4ee6, 0xaad228b349a6865b): ownerSize + 48 + 16, // X.509, SHA-384
	guid(0x446dbf63, 0x2502, 0x4cda, 0xbcfa2465d2b0fe9d): ownerSize + 64 + 16, // X.509, SHA-512
	guid(0x826ca512, 0xcf10, 0x4ac9, 0xb187be01496631bd): ownerSize + 20,      // SHA-1
	guid(0x0b6e5233, 0xa65c, 0x44c9, 0x9407d9ab83bfc8bd): ownerSize + 28,      // SHA-224
	guid(0xff3e5307, 0x9fd0, 0x48c9, 0x85f18ad56c701e01): ownerSize + 48,      // SHA-384
	guid(0x093e0fae, 0xa6c4, 0x4f50, 0x9f1bd41e2b89c19a): ownerSize + 64,      // SHA-512
	guid(0x3c5766e8, 0x269c, 0x4e34, 0xaa14ed776e85b3b6): ownerSize + 256,     // RSA-2048 key
	guid(0xe2b36190, 0x879b, 0x4a3d, 0xad8df2e7bba32784): ownerSize + 256,     // RSA-2048 signature of a SHA-256
	guid(0x67f8444f, 0x8743, 0x48f1, 0xa3281eaab8736080): ownerSize + 256,     // RSA-2048 signature of a SHA-1
	guid(0x452e8ced, 0xdfff, 0x4b8c, 0xae015118862e682c): ownerSize + 1,       // managed from outside
}

const (
	listHeader = 16 + 3*4
	ownerSize  = 16
)

var errSignatureList = errors.New("eventlog: malformed signature list")

// ParseSignatureLists reads a whole signature database. Every list's size is
// exactly 28 + n x entry size with n > 0 and no vendor header, and has the entry
// size of its type; there is no remainder.
func ParseSignatureLists(data []byte) ([]SignatureList, error) {
	var lists []SignatureList
	err := walkSignatureLists(data, func(kind GUID, entries []byte, size int) {
		list := SignatureList{Type: kind, Entries: make([]SignatureEntry, 0, len(entries)/size)}
		for ; len(entries) > 0; entries = entries[size:] {
			list.Entries = append(list.Entries, SignatureEntry{Owner: GUID(entries[:ownerSize]), Data: entries[ownerSize:size:size]})
		}
		lists = append(lists, list)
	})
	if err != nil {
		return nil, err
	}
	return lists, nil
}

// walkSignatureLists checks every list and hands its entries, a non-empty
// multiple of size, to visit. Sizes are checked against what is left before use.
func walkSignatureLists(data []byte, visit func(kind GUID, entries []byte, size int)) error {
	for len(data) > 0 {
		c := cursor{b: data}
		kind := c.take(16)
		total, header, size := uint64(c.u32()), c.u32(), uint64(c.u32())
		if c.bad || total < listHeader || total > uint64(len(data)) {
			return fmt.Errorf("%w: a list of %d bytes in %d", errSignatureList, total, len(data))
		}
		want, known := signatureSizes[GUID(kind)]
		if !known {
			return fmt.Errorf("%w: type %s", errSignatureList, GUID(kind))
		}
		if header != 0 {
			return fmt.Errorf("%w: a vendor header of %d bytes", errSignatureList, header)
		}
		if size <= ownerSize || (want != 0 && size != uint64(want)) {
			return fmt.Errorf("%w: entries of %d bytes", errSignatureList, size)
		}
		entries := total - listHeader
		if entries == 0 || entries%size != 0 {
			return fmt.Errorf("%w: %d bytes for entries of %d", errSignatureList, entries, size)
		}
		if visit != nil {
			visit(GUID(kind), data[listHeader:total:total], int(size))
		}
		data = data[total:]
	}
	return nil
}
