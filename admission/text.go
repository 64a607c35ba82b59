package admission

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// timeLayout is the only form of a time: UTC, whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// wholeSecond reports whether t prints without loss in four digits of year.
func wholeSecond(t time.Time) bool {
	return t.Nanosecond() == 0 && t.Unix() >= 0 && t.UTC().Year() <= 9999
}

const none = "none"

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func noneEmpty(s string) string {
	if s == none {
		return ""
	}
	return s
}

// text builds lines of "name: value".
type text struct{ buf bytes.Buffer }

func newText(header string) *text {
	w := &text{}
	w.buf.Grow(1024)
	w.line(header)
	return w
}

func (w *text) line(s string) {
	w.buf.WriteString(s)
	w.buf.WriteByte('\n')
}

func (w *text) field(name, value string) {
	w.buf.WriteString(name)
	w.buf.WriteString(": ")
	w.line(value)
}

// test writes the line that only statements of a test network carry.
func (w *text) test(on bool) {
	if on {
		w.field("test", "true")
	}
}

func (w *text) bytes() []byte { return w.buf.Bytes() }

// textReader reads what text wrote. It remembers the first problem; values read
// after it are zero.
type textReader struct {
	rest string
	line int
	err  error
}

func readText(header string, b []byte) *textReader {
	r := &textReader{rest: string(b)}
	if got := r.next(); got != header {
		r.fail(got, header)
	}
	return r
}

func (r *textReader) fail(got, want string) {
	if r.err == nil {
		r.err = refuse(Malformed, "line "+strconv.Itoa(r.line), got, want)
	}
}

// next takes one line, which must end in a newline.
func (r *textReader) next() string {
	r.line++
	line, rest, ok := strings.Cut(r.rest, "\n")
	if !ok {
		r.fail("end of text", "a line")
		return ""
	}
	r.rest = rest
	return line
}

func (r *textReader) field(name string) string {
	if r.err != nil {
		return ""
	}
	line := r.next()
	value, ok := strings.CutPrefix(line, name+": ")
	if !ok {
		r.fail(line, name+": …")
		return ""
	}
	return value
}

func (r *textReader) test() bool {
	if r.err != nil || !strings.HasPrefix(r.rest, "test:") {
		return false
	}
	if got := r.field("test"); got != "true" {
		r.fail(got, "true")
	}
	return true
}

func (r *textReader) number(name string) uint64 { return r.parseNumber(r.field(name), 64) }

// parseNumber accepts decimal digits without sign or leading zeros.
func (r *textReader) parseNumber(s string, bits int) uint64 {
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		r.fail(s, "a number without leading zeros")
		return 0
	}
	return n
}

func (r *textReader) digest(name string) Digest { return r.parseDigest(r.field(name)) }

func (r *textReader) parseDigest(s string) Digest {
	if r.err != nil {
		return Digest{}
	}
	d, err := ParseDigest(s)
	if err != nil {
		r.fail(s, "sha256:<64 lower-case hex digits>")
	}
	return d
}

func (r *textReader) time(name string) time.Time { return r.parseTime(r.field(name)) }

func (r *textReader) parseTime(s string) time.Time {
	if r.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Format(timeLayout) != s {
		r.fail(s, "a time like "+timeLayout)
		return time.Time{}
	}
	return t
}

func (r *textReader) ledger(name string) Ledger {
	id, genesis, _ := strings.Cut(r.field(name), " ")
	return Ledger{ID: id, Genesis: r.parseDigest(genesis)}
}

func (r *textReader) policy(name string) PolicyRef {
	policy, digest, _ := strings.Cut(r.field(name), " ")
	return PolicyRef{Name: policy, Digest: r.parseDigest(digest)}
}

func (r *textReader) epoch(name string) Epoch {
	reset, restart, _ := strings.Cut(r.field(name), "/")
	return Epoch{Reset: uint32(r.parseNumber(reset, 32)), Restart: uint32(r.parseNumber(restart, 32))}
}

func (r *textReader) beacon(name string) Beacon {
	value := r.field(name)
	if value == none {
		return Beacon{}
	}
	height, hash, _ := strings.Cut(value, " ")
	return Beacon{Height: r.parseNumber(height, 64), Hash: r.parseDigest(hash)}
}

// end returns the first problem, and refuses bytes after the last field.
func (r *textReader) end() error {
	if r.err == nil && r.rest != "" {
		r.line++
		r.fail(r.rest, "end of text")
	}
	return r.err
}

// signText returns text as a note with one signature.
func signText(text []byte, signer note.Signer) ([]byte, error) {
	msg, err := note.Sign(&note.Note{Text: string(text)}, signer)
	if err != nil {
		return nil, fmt.Errorf("admission: signing: %w", err)
	}
	return msg, nil
}

// splitNote separates a note with exactly one signature line into its text and
// the name of the key that claims to have signed it. It verifies nothing.
func splitNote(msg []byte) (text []byte, claimed string, err error) {
	at := bytes.LastIndex(msg, []byte("\n\n"))
	if at < 0 {
		return nil, "", refuse(Malformed, "", "no signature block", "a signed note")
	}
	line, ok := bytes.CutSuffix(msg[at+2:], []byte("\n"))
	if !ok || bytes.IndexByte(line, '\n') >= 0 {
		return nil, "", refuse(Malformed, "signature", "not one line", "exactly one signature")
	}
	name, ok := signatureName(string(line))
	if !ok {
		return nil, "", refuse(Malformed, "signature", string(line), "— <name> <base64>")
	}
	return msg[:at+1], name, nil
}

// signatureName returns the name in a signature line. The line must be in
// canonical form: base64 leaves bits unused that a decoder may ignore, and the
// same signature must not have two texts.
func signatureName(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "— ")
	name, sig, found := strings.Cut(rest, " ")
	raw, err := base64.StdEncoding.Strict().DecodeString(sig)
	return name, ok && found && err == nil && base64.StdEncoding.EncodeToString(raw) == sig
}

// openNote checks that msg is a note with exactly one signature, and that key
// made it. It returns the signed text.
func openNote(msg []byte, key note.Verifier) ([]byte, error) {
	text, name, err := splitNote(msg)
	if err != nil {
		return nil, err
	}
	if name != key.Name() {
		return nil, refuse(BadSignature, "signature", name, key.Name())
	}
	if _, err := note.Open(msg, note.VerifierList(key)); err != nil {
		return nil, refuse(BadSignature, "signature", err.Error(), "a signature by "+key.Name())
	}
	return text, nil
}
