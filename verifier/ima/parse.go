package ima

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// aggregateName is the kernel's name of the first entry.
const aggregateName = "boot_aggregate"

// recordedSize is the size of the digest that the list carries beside each entry:
// SHA-1, whatever banks the TPM has. It belongs to a bank that is not quoted and
// is never compared; only zeros mean something, a violation, and the replay shows
// whether the TPM agrees.
const recordedSize = sha1.Size

var (
	noDigest = make([]byte, recordedSize)
	violated = [sha256.Size]byte(bytes.Repeat([]byte{0xff}, sha256.Size)) // what a violation extends
)

// reader takes fields off the front of one entry.
type reader struct {
	rest []byte
	bad  bool // a field was longer than what was left
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	field := r.rest[:n:n]
	r.rest = r.rest[n:]
	return field
}

func (r *reader) number() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// field takes a field that is preceded by its length.
func (r *reader) field() []byte { return r.take(r.number()) }

// parser walks a list that starts at entry index and byte offset of the whole list.
type parser struct {
	rest   []byte
	index  uint64
	offset uint64
	lim    Limits
}

func (p *parser) refuse(check verdict.CheckID, got, want string) error {
	return verdict.Refuse(check, where(p.index, p.offset), got, want)
}

// next splits and checks the entry at the front.
func (p *parser) next(e *Entry) error {
	at := *p
	if err := p.split(e); err != nil {
		return err
	}
	return at.check(e)
}

// split takes the entry at the front apart. It goes by lengths alone: every byte
// of the template data belongs to a field of the named template.
func (p *parser) split(e *Entry) error {
	r := reader{rest: p.rest}
	pcr := r.number()
	recorded := r.take(recordedSize)
	template := r.field()
	data := r.field()
	switch {
	case r.bad:
		return p.refuse(verdict.IMAFormat, "the entry is cut short", "whole entries")
	case pcr != PCR:
		return p.refuse(verdict.IMAPCR, fmt.Sprintf("PCR %d", pcr), "PCR 10")
	}
	*e = Entry{Index: p.index, Offset: p.offset, Data: data}
	if err := p.fields(e, template, bytes.Equal(recorded, noDigest)); err != nil {
		return err
	}
	p.offset += uint64(len(p.rest) - len(r.rest))
	p.rest = r.rest
	p.index++
	return nil
}

// fields splits the template data by the rules of the named template.
func (p *parser) fields(e *Entry, template []byte, violation bool) error {
	r := reader{rest: e.Data}
	digest, path := r.field(), r.field()
	switch string(template) { // constants: naming a template must not allocate
	case "ima-ng":
		e.Template = "ima-ng"
	case "ima-sig":
		e.Template, e.Signature = "ima-sig", r.field()
	case "ima-buf":
		e.Template, e.Buffer = "ima-buf", r.field()
	case "ima-modsig":
		e.Template, e.Signature = "ima-modsig", r.field()
		r.field() // digest and
		r.field() // appended signature, see checkModsig
	default:
		return p.refuse(verdict.IMATemplate, string(template[:min(len(template), 64)]), "ima-ng, ima-sig, ima-buf or ima-modsig")
	}
	if r.bad || len(r.rest) != 0 {
		return p.refuse(verdict.IMAFormat, "the template data does not hold exactly the fields of "+e.Template, "no field short, no byte left")
	}
	if len(path) < 2 || path[len(path)-1] != 0 {
		return p.refuse(verdict.IMAPath, "a name without text and NUL", "text, then one NUL")
	}
	e.Path = path[:len(path)-1]
	e.Kind = kind(e.Template, e.Path, violation)
	return p.digest(e, digest)
}

// check judges what split has taken apart.
func (p *parser) check(e *Entry) error {
	if len(e.Data) > p.lim.Data {
		return p.refuse(verdict.IMASize, fmt.Sprintf("%d bytes of template data", len(e.Data)), fmt.Sprintf("at most %d", p.lim.Data))
	}
	if err := p.checkDigest(e); err != nil {
		return err
	}
	if err := p.checkPath(e.Path); err != nil {
		return err
	}
	if len(e.Signature) != 0 && !wholeSignature(e.Signature) {
		return p.refuse(verdict.IMASignature, fmt.Sprintf("%d bytes that are no signature", len(e.Signature)), "none, or a whole signature attribute")
	}
	switch {
	case e.Template == "ima-modsig":
		return p.checkModsig(e.Data)
	case e.Template == "ima-buf" && e.Kind != KindViolation:
		return p.checkBuffer(e)
	}
	return nil
}

// digest splits "sha256:", NUL and the digest.
func (p *parser) digest(e *Entry, field []byte) error {
	i := bytes.IndexByte(field, ':')
	if i < 0 || i+1 >= len(field) || field[i+1] != 0 {
		return p.refuse(verdict.IMAFormat, "a digest field without algorithm", "algorithm, colon, NUL, digest")
	}
	e.DigestAlg, e.Digest = algorithm(field[:i]), field[i+2:]
	if e.DigestAlg == "" {
		return p.refuse(verdict.IMADigest, "digest algorithm "+string(field[:min(i, 64)]), "sha1, sha256, sha384 or sha512")
	}
	return nil
}

// checkDigest demands a digest of the algorithm's size. That of a violation is
// zeros: 20 of them from most kernels, whatever the algorithm.
func (p *parser) checkDigest(e *Entry) error {
	size := digestSize(e.DigestAlg)
	if e.Kind == KindViolation {
		if len(e.Digest) != sha1.Size && len(e.Digest) != size || len(bytes.Trim(e.Digest, "\x00")) != 0 {
			return p.refuse(verdict.IMADigest, "a violation with a file digest", "zeros")
		}
		return nil
	}
	if len(e.Digest) != size {
		return p.refuse(verdict.IMADigest, fmt.Sprintf("%d bytes of %s", len(e.Digest), e.DigestAlg), fmt.Sprintf("%d bytes", size))
	}
	return nil
}

// algorithm returns a digest algorithm's constant name, empty if it is unknown.
func algorithm(name []byte) string {
	switch string(name) {
	case "sha256":
		return "sha256"
	case "sha1":
		return "sha1"
	case "sha384":
		return "sha384"
	case "sha512":
		return "sha512"
	}
	return ""
}

// digestSize returns the size of an algorithm's digests in bytes.
func digestSize(alg string) int {
	switch alg {
	case "sha1":
		return sha1.Size
	case "sha384":
		return sha512.Size384
	case "sha512":
		return sha512.Size
	}
	return sha256.Size
}

// checkPath bounds a name and refuses control characters: on a screen or in a text
// list they forge entries.
func (p *parser) checkPath(path []byte) error {
	if len(path) > p.lim.Path {
		return p.refuse(verdict.IMAPath, fmt.Sprintf("a name of %d bytes", len(path)), fmt.Sprintf("at most %d", p.lim.Path))
	}
	rest := path
	for len(rest) > 8 && plainText(binary.LittleEndian.Uint64(rest)) {
		rest = rest[8:]
	}
	if len(path) >= 8 && len(rest) <= 8 && plainText(binary.LittleEndian.Uint64(path[len(path)-8:])) {
		return nil // the last eight bytes, some of them again
	}
	for len(rest) > 0 {
		if c := rest[0]; c < 0x20 || c == 0x7f {
			return p.refuse(verdict.IMAPath, fmt.Sprintf("a name with byte 0x%02x", c), "no control characters")
		}
		rest = rest[1:]
	}
	return nil
}

// plainText reports whether all eight bytes are printable ASCII, DEL not counted.
// It may say no to bytes that are fine; a look at each of them then decides.
func plainText(word uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	below := word - each*0x20        // borrows where a byte is below 0x20
	zeroed := word ^ each*0x7f       // zero where a byte is DEL
	del := (zeroed - each) &^ zeroed // high bit where a byte was zero
	return (word|below|del)&high == 0
}

func kind(template string, path []byte, violation bool) Kind {
	switch {
	case violation:
		return KindViolation
	case template == "ima-buf" && bytes.HasPrefix(path, []byte("kexec")):
		return KindKexec
	case template == "ima-buf":
		return KindBuffer
	case string(path) == aggregateName:
		return KindBootAggregate
	}
	return KindFile
}

// checkBuffer recomputes the digest of an ima-buf entry, whose content is there.
func (p *parser) checkBuffer(e *Entry) error {
	if len(e.Buffer) == 0 || !digests(e.DigestAlg, e.Digest, e.Buffer) {
		return p.refuse(verdict.IMADigest, e.DigestText(), "the digest of the entry's buffer")
	}
	return nil
}

func digests(alg string, digest, data []byte) bool {
	switch alg {
	case "sha1":
		sum := sha1.Sum(data)
		return bytes.Equal(digest, sum[:])
	case "sha256":
		sum := sha256.Sum256(data)
		return bytes.Equal(digest, sum[:])
	case "sha384":
		sum := sha512.Sum384(data)
		return bytes.Equal(digest, sum[:])
	case "sha512":
		sum := sha512.Sum512(data)
		return bytes.Equal(digest, sum[:])
	}
	return false
}

// Types of the signature attribute, and its longest header field.
const (
	sigFile         = 3  // IMA signature over the file's digest
	sigPortable     = 5  // EVM portable signature, which the kernel puts here if there is no other
	sigVerity       = 6  // signature over an fs-verity digest
	sigHeader       = 9  // type, version, hash algorithm, key id, size
	sigHashes       = 24 // hash algorithms that the kernel numbers
	sigVersion2     = 2
	sigVersion3     = 3
	sigSizePosition = 7
)

// wholeSignature reports whether the attribute has a known type and version and
// is exactly as long as it says. It proves nothing about the signature.
func wholeSignature(b []byte) bool {
	if len(b) <= sigHeader || b[2] >= sigHashes {
		return false
	}
	known := (b[0] == sigFile || b[0] == sigPortable || b[0] == sigVerity) && (b[1] == sigVersion2 || b[1] == sigVersion3)
	return known && int(binary.BigEndian.Uint16(b[sigSizePosition:])) == len(b)-sigHeader
}

// checkModsig looks at the two further fields of ima-modsig: the digest that an
// appended signature covers, and that signature. Both are empty, or neither is.
func (p *parser) checkModsig(data []byte) error {
	r := reader{rest: data}
	for range 3 { // digest, name, signature attribute
		r.field()
	}
	digest, signature := r.field(), r.field()
	if len(digest) == 0 && len(signature) == 0 {
		return nil
	}
	i := bytes.IndexByte(digest, ':')
	if i < 0 || i+1 >= len(digest) || digest[i+1] != 0 || len(signature) == 0 {
		return p.refuse(verdict.IMAFormat, "an incomplete appended signature", "algorithm, colon, NUL, digest; then the signature")
	}
	if alg := algorithm(digest[:i]); alg == "" || len(digest) != i+2+digestSize(alg) {
		return p.refuse(verdict.IMADigest, "an appended signature's digest of a wrong size", "sha1, sha256, sha384 or sha512")
	}
	return nil
}
