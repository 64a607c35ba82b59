package policy

import (
	"encoding/hex"
	"hash/maphash"
	"math/bits"
	"strings"
)

// fileTable finds (path, digest) pairs in constant time without allocating. Two
// million files take about 150 MB: directories are kept once, names in one
// block of bytes, and the slots hold indexes only. Slots are chosen by path, so
// that other digests of the same path are met on the way and can be named.
//
// The hash is seeded per process and only spreads the rows; a match compares the
// whole digest and the whole path.
type fileTable struct {
	seed  maphash.Seed
	slots []fileSlot
	rows  []fileRow
	dirs  []string
	names []byte
}

// fileSlot leads to a row. The tag is a part of the path's hash, so that a row
// with another path is seldom fetched from memory.
type fileSlot struct {
	row uint32 // number plus one; 0 is empty
	tag uint32
}

type fileRow struct {
	digest   [32]byte
	dir      uint32 // index of dirs
	name     uint32 // offset in names
	size     uint16 // length of the name
	standing uint16 // index of Set.standings
}

// fileEntry is one row to put into a table.
type fileEntry struct {
	path     string
	digest   [32]byte
	standing uint16
}

// newFileTable builds the table. all calls its argument for every entry, twice.
func newFileTable(count int, all func(func(fileEntry))) *fileTable {
	t := &fileTable{seed: maphash.MakeSeed()}
	if count == 0 {
		return t
	}
	t.rows = make([]fileRow, 0, count)
	t.slots = make([]fileSlot, count+count/2+1)
	size := 0
	all(func(e fileEntry) { _, name := split(e.path); size += len(name) })
	t.names = make([]byte, 0, size)
	dirs := map[string]uint32{}
	all(func(e fileEntry) { t.insert(e, dirs) })
	return t
}

func split(path string) (dir, name string) {
	cut := strings.LastIndexByte(path, '/') + 1
	return path[:cut], path[cut:]
}

func (t *fileTable) insert(e fileEntry, dirs map[string]uint32) {
	dir, name := split(e.path)
	number, known := dirs[dir]
	if !known {
		number = uint32(len(t.dirs))
		dirs[strings.Clone(dir)] = number
		t.dirs = append(t.dirs, strings.Clone(dir))
	}
	t.rows = append(t.rows, fileRow{e.digest, number, uint32(len(t.names)), uint16(len(name)), e.standing})
	t.names = append(t.names, name...)
	slot, tag := t.first([]byte(e.path))
	for t.slots[slot].row != 0 {
		slot = t.next(slot)
	}
	t.slots[slot] = fileSlot{uint32(len(t.rows)), tag}
}

// first returns where a path's search begins, from the high bits of its hash, and
// its tag, from the low ones.
func (t *fileTable) first(path []byte) (slot int, tag uint32) {
	hash := maphash.Bytes(t.seed, path)
	high, _ := bits.Mul64(hash, uint64(len(t.slots)))
	return int(high), uint32(hash)
}

func (t *fileTable) next(slot int) int {
	if slot++; slot == len(t.slots) {
		return 0
	}
	return slot
}

func (t *fileTable) at(row *fileRow, path []byte) bool {
	dir := t.dirs[row.dir]
	return len(path) == len(dir)+int(row.size) && string(path[:len(dir)]) == dir &&
		string(path[len(dir):]) == string(t.names[row.name:int(row.name)+int(row.size)])
}

// find calls each for every row with that path, until it returns false.
func (t *fileTable) find(path []byte, each func(*fileRow) bool) {
	if len(t.rows) == 0 {
		return
	}
	for slot, tag := t.first(path); t.slots[slot].row != 0; slot = t.next(slot) {
		if t.slots[slot].tag != tag {
			continue
		}
		if row := &t.rows[t.slots[slot].row-1]; t.at(row, path) && !each(row) {
			return
		}
	}
}

// lookup returns the standing of the pair, 0 if it is not listed.
func (t *fileTable) lookup(path, digest []byte) uint16 {
	if len(t.rows) == 0 || len(digest) != 32 {
		return 0
	}
	for slot, tag := t.first(path); t.slots[slot].row != 0; slot = t.next(slot) {
		if t.slots[slot].tag != tag {
			continue
		}
		row := &t.rows[t.slots[slot].row-1]
		if row.digest == [32]byte(digest) && t.at(row, path) {
			return row.standing
		}
	}
	return 0
}

// Batch is how many files GoodFiles takes at a time.
const Batch = 32

// lookupAll is lookup for up to Batch pairs, in steps: all slots, all rows, all
// names. The processor fetches what a step needs for many pairs at once, where
// lookup would wait for each in turn.
func (t *fileTable) lookupAll(paths, digests [][]byte, found []uint16) {
	var slots, tags [Batch]uint32
	var rows [Batch]*fileRow
	for i, path := range paths {
		slot, tag := t.first(path)
		slots[i], tags[i] = uint32(slot), tag
	}
	for i := range paths {
		rows[i] = t.candidate(int(slots[i]), tags[i])
	}
	for i, digest := range digests {
		if rows[i] != nil && (len(digest) != 32 || rows[i].digest != [32]byte(digest)) {
			rows[i] = nil
		}
	}
	for i, path := range paths {
		if row := rows[i]; row != nil && t.at(row, path) {
			found[i] = row.standing
		} else {
			found[i] = t.lookup(path, digests[i])
		}
	}
}

// candidate returns the first row from a slot on that has the tag, or nil.
func (t *fileTable) candidate(slot int, tag uint32) *fileRow {
	for ; t.slots[slot].row != 0; slot = t.next(slot) {
		if t.slots[slot].tag == tag {
			return &t.rows[t.slots[slot].row-1]
		}
	}
	return nil
}

// digests returns up to max digests that are listed for the path.
func (t *fileTable) digests(path []byte, max int) (all []string) {
	t.find(path, func(row *fileRow) bool {
		all = append(all, "sha256:"+hex.EncodeToString(row.digest[:]))
		return len(all) < max
	})
	return all
}
