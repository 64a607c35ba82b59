// Package ima reads the kernel's binary measurement list
// (binary_runtime_measurements) and replays it to the quoted PCR 10.
//
// The list is data from a hostile host. What it says is believed for exactly the
// entries whose replay ends in the quoted PCR 10; what follows them is ignored
// now and has to be sent again next time. Digests are recomputed from the
// template data in the quoted bank; the digests in the list are only compared.
//
// The package is pure, never panics, and allocates nothing per entry.
package ima

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// PCR is the register that the kernel extends with the list's entries.
const PCR = 10

// Limits bounds a list before any of it is believed.
type Limits struct {
	Bytes  int // longest list in one piece of evidence, in bytes
	Data   int // longest template data of one entry, in bytes
	Path   int // longest path, in bytes, without its NUL
	Suffix int // most bytes behind the entry that reached the quoted PCR 10
}

// DefaultLimits hold 64 MiB of list, entries of 1 MiB (a key or a module
// signature), Linux's longest path, and a suffix that a busy host may gain
// between the quote and the reading of the list.
var DefaultLimits = Limits{Bytes: 64 << 20, Data: 1 << 20, Path: 4096, Suffix: 1 << 20}

// State is a verified position in the list of one boot epoch. It is all that has
// to be remembered to verify the rest of the list later.
type State struct {
	Epoch   verdict.Epoch     // epoch that the position belongs to
	Entries uint64            // entries verified so far
	Bytes   uint64            // offset in the list behind those entries
	PCR10   [sha256.Size]byte // PCR 10 after those entries; zeros before the first
}

// Kind says what an entry is about. It follows from the measured template and name.
type Kind uint8

// The kinds of entries.
const (
	KindFile          Kind = iota // a file that was executed, mapped or read
	KindBootAggregate             // the kernel's digest of the boot's PCRs, the first entry
	KindBuffer                    // kernel memory: a key, a policy, an SELinux state
	KindKexec                     // a command line or event of kexec: another kernel was prepared
	KindViolation                 // a file changed while measured; digest and path prove nothing
)

var kindNames = [...]string{"file", "boot-aggregate", "buffer", "kexec", "violation"}

// String returns "file", "boot-aggregate", "buffer", "kexec" or "violation".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Entry is one measurement. Its slices alias the list, which must not be changed
// while the entry is in use.
type Entry struct {
	Index     uint64 // position in the list, the boot_aggregate being entry 0
	Offset    uint64 // byte offset in the list
	Kind      Kind   //
	Template  string // "ima-ng", "ima-sig", "ima-buf" or "ima-modsig"
	DigestAlg string // algorithm of Digest: "sha256" and the like
	Digest    []byte // the file's digest; zeros for a violation
	Path      []byte // name of the file or buffer, without NUL; the kernel writes '_' for each space
	Signature []byte // the file's signature attribute, whole; empty if it has none
	Buffer    []byte // content of an ima-buf entry
	Data      []byte // the whole template data, which the template digest covers
}

// Violation reports whether the kernel flagged the measurement as unreliable.
func (e Entry) Violation() bool { return e.Kind == KindViolation }

// TemplateDigest returns SHA-256 of the template data: what PCR 10 was extended
// with, except for a violation. It binds digest, path and signature together.
func (e Entry) TemplateDigest() [sha256.Size]byte { return sha256.Sum256(e.Data) }

// DigestText returns the digest as "sha256:<hex>".
func (e Entry) DigestText() string { return e.DigestAlg + ":" + hex.EncodeToString(e.Digest) }

// Where names the entry for people: "IMA entry 118 (offset 14220)".
func (e Entry) Where() string { return where(e.Index, e.Offset) }

func where(index, offset uint64) string {
	return fmt.Sprintf("IMA entry %d (offset %d)", index, offset)
}

func refuseEntry(e *Entry, check verdict.CheckID, got, want string) error {
	return verdict.Refuse(check, e.Where(), got, want)
}
