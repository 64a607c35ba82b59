package bootlog

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/quorate/quorate/simulator/papertpm"
)

// imaPCR is the PCR that the kernel extends with its list.
const imaPCR = 10

// Entry is one measurement of the kernel's list. All fields may be altered;
// Override, if set, is the template data as a whole.
type Entry struct {
	PCR       uint32
	Template  string // "ima-sig", "ima-ng", "ima-buf"
	Alg       string // "sha256"
	Digest    []byte
	Path      string
	Signature []byte // ima-sig: the file's signature attribute; ima-buf: the buffer
	Violation bool   // the file changed while it was measured
	Override  []byte
	Recorded  []byte // digest that the list shows; nil: SHA-1 of the template data
	Extended  []byte // what PCR 10 is extended with; nil: SHA-256 of the template data
	NotListed bool   // extended, but left out of the list
}

// FileEntry is a file that was executed, with its SHA-256 digest, as a kernel
// with the template ima-sig lists it.
func FileEntry(path string, digest [sha256.Size]byte) Entry {
	return Entry{PCR: imaPCR, Template: "ima-sig", Alg: "sha256", Digest: digest[:], Path: path}
}

// AggregateEntry is the first entry: the digest of PCRs 0 to 9.
func AggregateEntry(pcrs papertpm.PCRs) Entry {
	sum := sha256.Sum256(bytes.Join(pcrs.Values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), nil))
	return FileEntry("boot_aggregate", sum)
}

// ViolationEntry is a file that was written while it was measured.
func ViolationEntry(path string) Entry {
	e := FileEntry(path, [sha256.Size]byte{})
	e.Violation = true
	return e
}

// BufferEntry is kernel memory that was measured, such as "kexec-cmdline".
func BufferEntry(name string, content []byte) Entry {
	sum := sha256.Sum256(content)
	return Entry{PCR: imaPCR, Template: "ima-buf", Alg: "sha256", Digest: sum[:], Path: name, Signature: content}
}

// data encodes the template data.
func (e Entry) data() []byte {
	if e.Override != nil {
		return e.Override
	}
	b := imaField(nil, append([]byte(e.Alg+":\x00"), e.Digest...))
	b = imaField(b, append([]byte(e.Path), 0))
	if e.Template != "ima-ng" {
		b = imaField(b, e.Signature)
	}
	return b
}

// extended returns what PCR 10 is extended with.
func (e Entry) extended() [sha256.Size]byte {
	switch {
	case e.Extended != nil:
		return [sha256.Size]byte(e.Extended)
	case e.Violation:
		return [sha256.Size]byte(bytes.Repeat([]byte{0xff}, sha256.Size))
	}
	return sha256.Sum256(e.data())
}

// append encodes the entry as binary_runtime_measurements has it.
func (e Entry) append(b []byte) []byte {
	data := e.data()
	recorded := sha1.Sum(data)
	switch {
	case e.Recorded != nil:
		copy(recorded[:], e.Recorded)
	case e.Violation:
		recorded = [sha1.Size]byte{}
	}
	b = binary.LittleEndian.AppendUint32(b, e.PCR)
	b = append(b, recorded[:]...)
	b = imaField(b, []byte(e.Template))
	return imaField(b, data)
}

func imaField(b, field []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

// List is a composed IMA list.
type List struct {
	Entries  []Entry
	Trailing []byte // follows the last entry
	Cut      int    // bytes to leave out at the end
}

// NewList composes a list that starts with the boot_aggregate of the PCRs.
func NewList(pcrs papertpm.PCRs, entries ...Entry) *List {
	return &List{Entries: append([]Entry{AggregateEntry(pcrs)}, entries...)}
}

// Bytes encodes the list.
func (l *List) Bytes() []byte {
	var b []byte
	for _, e := range l.Entries {
		if !e.NotListed {
			b = e.append(b)
		}
	}
	b = append(b, l.Trailing...)
	return b[:max(0, len(b)-l.Cut)]
}

// Replay extends PCR 10 of the values by the entries.
func (l *List) Replay(pcrs *papertpm.PCRs) {
	for _, e := range l.Entries {
		pcrs.Extend(imaPCR, e.extended())
	}
}

// ListMutations returns the names of all defects of lists, sorted. Every one
// turns a good list of at least three entries into one that must be refused.
func ListMutations() []Mutation { return slices.Sorted(maps.Keys(listMutations)) }

// Mutate applies the defect to the list, which must have at least three entries.
func (l *List) Mutate(m Mutation) error {
	apply, ok := listMutations[m]
	if !ok {
		return fmt.Errorf("bootlog: no list mutation %q", m)
	}
	apply(l, &l.Entries[len(l.Entries)-1])
	return nil
}

// listMutations alter a list; last is its last entry.
var listMutations = map[Mutation]func(l *List, last *Entry){
	"empty":             func(l *List, _ *Entry) { l.Cut = 1 << 30 },
	"truncated":         func(l *List, _ *Entry) { l.Cut = 3 },
	"entry-hidden":      func(l *List, last *Entry) { last.NotListed = true },
	"entry-forged":      func(_ *List, last *Entry) { last.Extended = bytes.Repeat([]byte{7}, 32) },
	"aggregate-missing": func(l *List, _ *Entry) { l.Entries = l.Entries[1:] },
	"aggregate-twice":   func(l *List, _ *Entry) { l.Entries = append(l.Entries, l.Entries[0]) },
	"aggregate-wrong":   func(l *List, _ *Entry) { l.Entries[0].Digest = bytes.Repeat([]byte{1}, 32) },
	"aggregate-sha1":    func(l *List, _ *Entry) { l.Entries[0].Alg, l.Entries[0].Digest = "sha1", bytes.Repeat([]byte{1}, 20) },
	"template-unknown":  func(_ *List, last *Entry) { last.Template = "evm-sig" },
	"template-confused": func(_ *List, last *Entry) { last.Override = last.data(); last.Template = "ima-ng" },
	"template-trailing": func(_ *List, last *Entry) { last.Override = append(last.data(), 0) },
	"sha1-padded": func(_ *List, last *Entry) {
		sum := sha1.Sum(last.data())
		last.Extended = append(sum[:], make([]byte, 12)...)
	},
	"pcr-other":          func(_ *List, last *Entry) { last.PCR = 11 },
	"path-control":       func(_ *List, last *Entry) { last.Path = "/tmp/x\n10 0000 ima-ng sha256:00 /bin/sh" },
	"path-long":          func(_ *List, last *Entry) { last.Path = "/" + string(bytes.Repeat([]byte{'a'}, 5000)) },
	"path-empty":         func(_ *List, last *Entry) { last.Path = "" },
	"path-two-names":     func(_ *List, last *Entry) { last.Path += "\x00/bin/other" },
	"digest-short":       func(_ *List, last *Entry) { last.Digest = last.Digest[:31] },
	"digest-algorithm":   func(_ *List, last *Entry) { last.Alg = "crc32" },
	"signature-cut":      func(_ *List, last *Entry) { last.Signature = []byte{3, 2, 4, 1, 2, 3, 4, 1, 0, 1} },
	"signature-unknown":  func(_ *List, last *Entry) { last.Signature = []byte{9, 9, 4, 1, 2, 3, 4, 0, 1, 1} },
	"violation-disguise": func(_ *List, last *Entry) { last.Violation, last.Extended = true, bytes.Repeat([]byte{0}, 32) },
}
