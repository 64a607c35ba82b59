// Package eventlog reads the measured boot log of a TCG PC Client platform
// (crypto-agile format), replays it, and turns it into typed facts.
//
// The log is data from a hostile host. Nothing in it is believed because of an
// event's type, order or text: a fact is measured only when the digest that the
// quoted PCR bank extended covers exactly the bytes that the fact was read from.
// Everything else is claimed, which is good enough for people to read and never
// good enough for a policy to match.
//
// Three steps, each refusing with a *verdict.Refusal:
//
//	log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
//	err = log.Verify(pcrs, values) // the log explains the quoted values
//	facts, err := log.Facts(nil)   // the log is a complete, well-formed boot
//
// The package is pure and never panics; parse and replay allocate a constant
// number of times, whatever the number of events.
package eventlog

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
)

// Alg is a hash algorithm by its TPM identifier.
type Alg uint16

// The hash algorithms that a log may carry. Only SHA-256 and longer may be the
// quoted bank; SHA-1 is known so that its digests can be stepped over.
const (
	SHA1   Alg = 0x0004
	SHA256 Alg = 0x000B
	SHA384 Alg = 0x000C
	SHA512 Alg = 0x000D
	sm3    Alg = 0x0012
)

// MaxDigest is the size of the longest digest, in bytes.
const MaxDigest = 64

// Size returns the digest size in bytes, 0 for an algorithm this package does not know.
func (a Alg) Size() int {
	switch a {
	case SHA1:
		return 20
	case SHA256, sm3:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// Hash returns the standard library's name of the algorithm, 0 if it has none.
func (a Alg) Hash() crypto.Hash {
	switch a {
	case SHA1:
		return crypto.SHA1
	case SHA256:
		return crypto.SHA256
	case SHA384:
		return crypto.SHA384
	case SHA512:
		return crypto.SHA512
	}
	return 0
}

// String returns "sha256" and the like, "alg 0x0027" for an unknown algorithm.
func (a Alg) String() string {
	switch a {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	case sm3:
		return "sm3_256"
	}
	return fmt.Sprintf("alg 0x%04x", uint16(a))
}

// bankable reports whether a bank of this algorithm may be the quoted one.
func (a Alg) bankable() bool { return a == SHA256 || a == SHA384 || a == SHA512 }

// sum writes H(data) to the first Size bytes of out. It never allocates.
func (a Alg) sum(out *[MaxDigest]byte, data []byte) {
	switch a {
	case SHA1:
		s := sha1.Sum(data)
		copy(out[:], s[:])
	case SHA256:
		s := sha256.Sum256(data)
		copy(out[:], s[:])
	case SHA384:
		s := sha512.Sum384(data)
		copy(out[:], s[:])
	case SHA512:
		s := sha512.Sum512(data)
		copy(out[:], s[:])
	}
}

// covers reports whether digest is that of exactly these bytes.
func (a Alg) covers(digest, data []byte) bool {
	if a == SHA256 {
		return len(digest) == sha256.Size && sha256.Sum256(data) == [sha256.Size]byte(digest)
	}
	var sum [MaxDigest]byte
	a.sum(&sum, data)
	return bytes.Equal(sum[:a.Size()], digest)
}

// NumPCRs is the number of PCRs that a log may name.
const NumPCRs = 24

// Limits bounds a log before any of it is believed.
type Limits struct {
	Bytes  int // longest log, in bytes
	Events int // most events, the header included
}

// DefaultLimits are 1 MiB and 20,000 events: ten times the longest genuine log seen.
var DefaultLimits = Limits{Bytes: 1 << 20, Events: 20_000}

// Event is one record of the log. Digest and Data alias the log's bytes, which
// must not be changed while the Log is in use.
type Event struct {
	Index  int       // position in the log, the header being event 0
	Offset int       // byte offset of the record in the log
	PCR    uint32    // PCR that the digest was extended into
	Type   EventType // what the host says the event is; proves nothing
	Digest []byte    // digest of the quoted bank
	Data   []byte    // event data; covered by Digest only where Facts says so
}

// Where names the event for people: "event 41 (offset 9120), PCR 8".
func (e Event) Where() string {
	return fmt.Sprintf("event %d (offset %d), PCR %d", e.Index, e.Offset, e.PCR)
}
