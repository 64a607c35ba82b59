package admission

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is a SHA-256 value. Its text is "sha256:" and 64 lower-case hex digits.
type Digest [32]byte

// String returns the one text form of the digest.
func (d Digest) String() string { return string(d.Append(make([]byte, 0, len(digestPrefix)+2*len(d)))) }

// Append appends the text form of the digest.
func (d Digest) Append(b []byte) []byte { return hex.AppendEncode(append(b, digestPrefix...), d[:]) }

// IsZero reports whether the digest was never set.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText returns the form of String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

const digestPrefix = "sha256:"

// ParseDigest accepts exactly what Digest.String prints.
func ParseDigest(s string) (Digest, error) {
	rest, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || !validHex(rest) {
		return Digest{}, fmt.Errorf("admission: %q is not a digest like sha256:<64 lower-case hex digits>", plain(s))
	}
	var d Digest
	_, err := hex.Decode(d[:], []byte(rest))
	return d, err
}

// ValidHostID reports whether s is a host id: 64 lower-case hex digits, the
// SHA-256 of the endorsement key's SubjectPublicKeyInfo.
func ValidHostID(s string) bool { return validHex(s) }

func validHex(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ValidNodeID reports whether s names a node: "<member>/<name>", both valid
// labels.
func ValidNodeID(s string) bool {
	member, name, ok := strings.Cut(s, "/")
	return ok && ValidLabel(member) && ValidLabel(name)
}

// NodeMember returns the member part of a valid node id.
func NodeMember(id string) string {
	member, _, _ := strings.Cut(id, "/")
	return member
}

// ValidLabel reports whether s is a label: 1 to 63 of a-z, 0-9 and "-", with
// neither end a "-".
func ValidLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ValidVerifierName reports whether s names a verifier: labels joined by dots,
// at most 253 bytes, like a lower-case DNS name.
func ValidVerifierName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !ValidLabel(label) {
			return false
		}
	}
	return true
}

// ValidToken reports whether s can stand in a statement as a ledger id, policy
// name or check id: 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-", the first a
// letter or digit.
func ValidToken(s string) bool {
	if len(s) == 0 || len(s) > 64 || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("._-", c) < 0 {
			return false
		}
	}
	return true
}

const consensusPrefix = "ed25519:"

// FormatConsensusKey returns the text form of an Ed25519 consensus key:
// "ed25519:" and padded standard base64.
func FormatConsensusKey(key ed25519.PublicKey) string {
	return consensusPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseConsensusKey accepts exactly what FormatConsensusKey prints for a
// 32-byte key.
func ParseConsensusKey(s string) (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(s, consensusPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(key) != ed25519.PublicKeySize || FormatConsensusKey(key) != s {
		return nil, fmt.Errorf("admission: %q is not a consensus key like ed25519:<base64 of 32 bytes>", plain(s))
	}
	return key, nil
}
