package evidence

import (
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// Numbers of the TPM 2.0 Library Specification, part 2.
const (
	generatedValue = 0xff544347 // TPM_GENERATED_VALUE, "\xffTCG"
	attestQuote    = 0x8018     // TPM_ST_ATTEST_QUOTE

	algRSA    = 0x0001
	algSHA256 = 0x000b
	algSHA384 = 0x000c
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECC    = 0x0023
)

// Longest encodings that a TPM of the accepted algorithms produces, in bytes.
const (
	maxQuote     = 512  // TPMS_ATTEST
	maxSignature = 520  // TPMT_SIGNATURE, RSA-4096
	maxPublic    = 1024 // TPMT_PUBLIC
)

// reader takes big-endian fields off the front of a TPM structure.
type reader struct {
	rest []byte
	bad  bool // a field was longer than what was left
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized takes a TPM2B: two bytes of length, then the field.
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

// end refuses a structure that was cut short or goes on.
func (r *reader) end(structure string) error {
	switch {
	case r.bad:
		return verdict.Refuse(verdict.QuoteFormat, structure, "cut short", "a whole structure")
	case len(r.rest) != 0:
		return verdict.Refuse(verdict.QuoteFormat, structure, fmt.Sprintf("%d bytes behind it", len(r.rest)), "nothing behind it")
	}
	return nil
}

// attest is a TPMS_ATTEST of a quote. Its slices alias the signed bytes.
type attest struct {
	signer   []byte // qualified name of the signing key
	extra    []byte // qualifying data
	clock    uint64 // milliseconds
	reset    uint32
	restart  uint32
	safe     bool
	firmware uint64
	count    uint32 // selections; only one is read
	bank     uint16 // of the selection
	bitmap   []byte // of the selection
	digest   []byte // of the PCR values
}

// parseAttest decodes a TPMS_ATTEST of a quote with exactly one PCR selection.
// Magic and type are looked at before anything else. A structure with another
// number of selections is refused, because no question has that answer.
func parseAttest(b []byte) (attest, error) {
	r := reader{rest: b}
	if magic := r.u32(); magic != generatedValue {
		return attest{}, verdict.Refuse(verdict.QuoteMagic, "quote", fmt.Sprintf("0x%08x", magic), "0xff544347")
	}
	if kind := r.u16(); kind != attestQuote {
		return attest{}, verdict.Refuse(verdict.QuoteType, "quote", fmt.Sprintf("0x%04x", kind), "0x8018")
	}
	a := attest{signer: r.sized(), extra: r.sized(), clock: r.u64(), reset: r.u32(), restart: r.u32()}
	safe := r.u8()
	a.safe, a.firmware, a.count = safe == 1, r.u64(), r.u32()
	if safe > 1 {
		return attest{}, verdict.Refuse(verdict.QuoteFormat, "quote", fmt.Sprintf("safe is %d", safe), "0 or 1")
	}
	if !r.bad && a.count != 1 {
		return attest{}, verdict.Refuse(verdict.QuoteSelection, "quote", fmt.Sprintf("%d selections", a.count), "one selection")
	}
	a.bank = r.u16()
	a.bitmap = r.take(int(r.u8()))
	a.digest = r.sized()
	return a, r.end("quote")
}

// signature is a TPMT_SIGNATURE. Its slices alias the input.
type signature struct {
	scheme, hash uint16
	r, s         []byte // ECDSA, 1 to 32 bytes each
	rsa          []byte // RSASSA and RSAPSS
}

// parseSignature decodes a TPMT_SIGNATURE of one of the accepted schemes.
func parseSignature(b []byte) (signature, error) {
	r := reader{rest: b}
	s := signature{scheme: r.u16(), hash: r.u16()}
	switch s.scheme {
	case algECDSA:
		s.r, s.s = r.sized(), r.sized()
	case algRSASSA, algRSAPSS:
		s.rsa = r.sized()
	default:
		return signature{}, verdict.Refuse(verdict.QuoteScheme, "signature", fmt.Sprintf("scheme 0x%04x", s.scheme), "ECDSA, RSASSA or RSAPSS")
	}
	return s, r.end("signature")
}
