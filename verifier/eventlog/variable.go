package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// EFIVariable is a measured EFI variable. Data aliases the event's bytes.
type EFIVariable struct {
	GUID GUID
	Name string
	Data []byte
}

var errVariable = errors.New("eventlog: not exactly one EFI variable")

// ParseVariable reads UEFI_VARIABLE_DATA: GUID, two lengths, name in UTF-16,
// value, and nothing after it.
func ParseVariable(data []byte) (EFIVariable, error) {
	v, rest, err := splitVariable(data)
	if err != nil || len(rest) != 0 {
		return EFIVariable{}, errVariable
	}
	return v, nil
}

// splitVariable reads a variable and returns what follows it.
func splitVariable(data []byte) (EFIVariable, []byte, error) {
	c := cursor{b: data}
	guid := c.take(16)
	chars, size := c.u64(), c.u64()
	if c.bad || chars == 0 || chars > maxNameChars || size > uint64(len(data)) {
		return EFIVariable{}, nil, errVariable
	}
	name, value := c.take(int(chars)*2), c.take(int(size))
	if c.bad {
		return EFIVariable{}, nil, errVariable
	}
	text, ok := decodeUTF16(name)
	if !ok {
		return EFIVariable{}, nil, errVariable
	}
	return EFIVariable{GUID: GUID(guid), Name: text, Data: value}, data[c.off:], nil
}

const maxNameChars = 512 // UTF-16 units of a variable's name; genuine ones have up to 20

// GUID is an EFI GUID in its stored byte order.
type GUID [16]byte

// String prints the usual form, "8be4df61-93ca-11d2-aa0d-00e098032b8c".
func (g GUID) String() string {
	var out [36]byte
	big := [16]byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6]}
	copy(big[8:], g[8:])
	hex.Encode(out[0:], big[0:4])
	hex.Encode(out[9:], big[4:6])
	hex.Encode(out[14:], big[6:8])
	hex.Encode(out[19:], big[8:10])
	hex.Encode(out[24:], big[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// guid builds a GUID from its usual form, the last two groups joined.
func guid(a uint32, b, c uint16, d uint64) (g GUID) {
	binary.LittleEndian.PutUint32(g[:], a)
	binary.LittleEndian.PutUint16(g[4:], b)
	binary.LittleEndian.PutUint16(g[6:], c)
	binary.BigEndian.PutUint64(g[8:], d)
	return g
}

var (
	guidGlobal   = guid(0x8be4df61, 0x93ca, 0x11d2, 0xaa0d00e098032b8c) // EFI_GLOBAL_VARIABLE
	guidSecurity = guid(0xd719b2cb, 0x3d3a, 0x4596, 0xa3bcdad00e67656f) // EFI_IMAGE_SECURITY_DATABASE
	guidShim     = guid(0x605dab50, 0xe046, 0x4300, 0xabb63dd810dd8b23) // shim's variables
)

// decodeUTF16 converts little-endian UTF-16. It refuses odd sizes, NULs and
// broken surrogates, so that encodeUTF16 of the result gives the same bytes.
func decodeUTF16(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	out := make([]byte, 0, len(b)/2)
	for i := 0; i < len(b); i += 2 {
		r := rune(binary.LittleEndian.Uint16(b[i:]))
		if utf16.IsSurrogate(r) {
			if i+4 > len(b) {
				return "", false
			}
			if r = utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(b[i+2:]))); r == utf8.RuneError {
				return "", false
			}
			i += 2
		}
		if r == 0 {
			return "", false
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), true
}

func encodeUTF16(s string) []byte {
	units := utf16.Encode([]rune(s))
	out := make([]byte, 0, 2*len(units)+2)
	for _, u := range units {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// isCString reports whether b is a text with a single NUL, at its very end.
func isCString(b []byte) bool {
	return len(b) > 0 && bytes.IndexByte(b, 0) == len(b)-1
}

// looseText makes claimed text readable: UTF-16 or bytes, NULs at the end cut.
func looseText(b []byte) string {
	if len(b)%2 == 1 && len(b) > 4 && b[1] == 0 && b[3] == 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1] // systemd-boot of 2021 ends its UTF-16 half a character late
	}
	if len(b) >= 4 && len(b)%2 == 0 && b[1] == 0 && b[3] == 0 {
		for len(b) >= 2 && b[len(b)-1] == 0 && b[len(b)-2] == 0 {
			b = b[:len(b)-2]
		}
		if text, ok := decodeUTF16(b); ok {
			return text
		}
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if !utf8.Valid(b) {
		return hex.EncodeToString(b[:min(len(b), 32)])
	}
	return string(b)
}

// validDigest reports whether s is what sha256Text returns for some data.
func validDigest(s string) bool {
	digest, ok := strings.CutPrefix(s, "sha256:")
	raw, err := hex.DecodeString(digest)
	return ok && err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == digest
}

// sha256Text returns "sha256:<hex>" of data.
func sha256Text(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
