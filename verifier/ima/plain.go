package ima

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"iter"
)

// plain is an entry of the shape that nearly all have: a file by SHA-256 digest,
// as ima-ng or as ima-sig without a signature, and no violation.
//
// It exists for speed alone. Whatever scan does not recognise takes the long way
// through split and check; what it does recognise, they would accept with the
// same path and digest, and a fuzz target holds it to that.
type plain struct {
	digest []byte // 32 bytes
	path   []byte // without NUL
	data   []byte // the whole template data
	size   int    // bytes of the entry
}

// Layout of a plain entry. Numbers are little-endian.
const (
	plainName   = 4 + recordedSize + 4 // offset of the template's name, behind its length
	plainDigest = 4 + 8                // offset of the digest in the data, behind length and "sha256:\x00"
	plainPath   = plainDigest + sha256.Size + 4
	plainLeast  = plainName + len("ima-ng") + 4 + plainPath + 2
)

var plainPrefix = append([]byte{8 + sha256.Size, 0, 0, 0}, "sha256:\x00"...)

// scan recognises a plain entry at the front of the list. The path's bytes are
// not looked at, except that one NUL ends it and that it is not the aggregate's.
func (e *plain) scan(b []byte) bool {
	if len(b) < plainLeast || binary.LittleEndian.Uint32(b) != PCR || bytes.Equal(b[4:4+recordedSize], noDigest) {
		return false
	}
	signature := uint64(0) // bytes of the empty signature field
	name := plainName + len("ima-ng")
	switch {
	case b[plainName-4] == byte(len("ima-ng")) && string(b[plainName-3:name]) == "\x00\x00\x00ima-ng":
	case b[plainName-4] == byte(len("ima-sig")) && string(b[plainName-3:name+1]) == "\x00\x00\x00ima-sig":
		signature, name = 4, name+1
	default:
		return false
	}
	size := uint64(binary.LittleEndian.Uint32(b[name:]))
	if b = b[name+4:]; size > uint64(len(b)) || size < plainPath+2 {
		return false
	}
	data := b[:size:size]
	path := uint64(binary.LittleEndian.Uint32(data[plainPath-4:]))
	end := plainPath + path // behind the path's NUL
	if path < 2 || end+signature != size || data[end-1] != 0 || string(data[:plainDigest]) != string(plainPrefix) {
		return false
	}
	if signature != 0 && binary.LittleEndian.Uint32(data[end:]) != 0 {
		return false
	}
	e.digest, e.path, e.data = data[plainDigest:plainDigest+sha256.Size], data[plainPath:end-1], data
	e.size = name + 4 + int(size)
	return string(e.path) != aggregateName
}

// replayPlain takes plain entries off the front and extends them, until the
// quoted value is reached or an entry needs the long way, be it to be refused.
func (p *parser) replayPlain(pcr, quoted *[sha256.Size]byte) {
	var e plain
	var both [2 * sha256.Size]byte
	copy(both[:], pcr[:])
	for p.index != 0 && [sha256.Size]byte(both[:sha256.Size]) != *quoted && e.scan(p.rest) && p.within(&e) {
		*(*[sha256.Size]byte)(both[sha256.Size:]) = sha256.Sum256(e.data)
		*(*[sha256.Size]byte)(both[:]) = sha256.Sum256(both[:])
		p.pass(e.size)
	}
	copy(pcr[:], both[:])
}

// within reports whether check has nothing against a plain entry.
func (p *parser) within(e *plain) bool {
	return len(e.data) <= p.lim.Data && p.checkPath(e.path) == nil
}

// pass goes on to the next entry.
func (p *parser) pass(size int) {
	p.rest = p.rest[size:]
	p.offset += uint64(size)
	p.index++
}

// Batch is how many files Except asks about at a time.
const Batch = 32

// Except returns the verified entries from an index on, in order, without those
// that are known: files with a SHA-256 digest, not in violation, that known says
// so of. It is told up to Batch paths with their digests at a time, and sets
// whether each is known. Iterating hashes nothing, and allocates nothing for an
// entry.
func (s *Segment) Except(from uint64, known func(paths, digests [][]byte, known []bool)) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		b := batch{parser: parser{rest: s.list, index: s.Start.Entries, offset: s.Start.Bytes}}
		for len(b.rest) != 0 {
			n := b.gather(from)
			known(b.paths[:n], b.digests[:n], b.known[:n])
			for i := range n {
				if b.known[i] {
					b.pass(b.sizes[i])
				} else if !b.yield(yield) {
					return
				}
			}
			if n < Batch && len(b.rest) != 0 && !b.special(from, yield) {
				return
			}
		}
	}
}

// batch is plain entries at the front of the list.
type batch struct {
	parser
	paths, digests [Batch][]byte
	known          [Batch]bool
	sizes          [Batch]int
}

// gather collects the plain entries at the front, after passing those before from.
func (b *batch) gather(from uint64) (n int) {
	var e plain
	for b.index < from && e.scan(b.rest) {
		b.pass(e.size)
	}
	ahead := b.parser // at from, or at an entry before it that is not plain
	for n < Batch && e.scan(ahead.rest) {
		b.paths[n], b.digests[n], b.sizes[n] = e.path, e.digest, e.size
		ahead.pass(e.size)
		n++
	}
	return n
}

// special takes an entry that is not plain.
func (b *batch) special(from uint64, yield func(Entry) bool) bool {
	if b.index >= from {
		return b.yield(yield)
	}
	var e Entry
	return b.split(&e) == nil
}

func (b *batch) yield(yield func(Entry) bool) bool {
	var e Entry
	return b.split(&e) == nil && yield(e)
}
