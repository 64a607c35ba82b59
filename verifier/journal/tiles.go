package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// hashes returns the tree's hashes; each is checked against the root before it
// is handed out.
func (r *Reader) hashes(tree Tree) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(tree.Size), Hash: tree.Root}, tiles{r.dir})
}

// emptyRoot is SHA-256 of nothing (RFC 6962, section 2.1).
var emptyRoot = sha256.Sum256(nil)

// tiles reads tile files for package tlog.
type tiles struct{ dir string }

// Height is fixed by C2SP tlog-tiles.
func (tiles) Height() int { return layout.TileHeight }

// SaveTiles has nothing to do: the files are the tiles.
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadTiles reads each tile, cut to the width asked for.
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, tile := range wanted {
		raw, err := readPartialOrFull(t.dir, uint8(tile.W%layout.TileWidth), func(p uint8) string {
			return layout.TilePath(uint64(tile.L), uint64(tile.N), p)
		})
		if err != nil {
			return nil, err
		}
		size := tile.W * tlog.HashSize
		if len(raw) < size {
			return nil, fmt.Errorf("journal: tile %d/%d has %d bytes, want %d", tile.L, tile.N, len(raw), size)
		}
		data[i] = raw[:size]
	}
	return data, nil
}

// readPartialOrFull reads a tile or bundle of a width (0 means full). The log
// removes partial files once the full one exists.
func readPartialOrFull(dir string, width uint8, path func(width uint8) string) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(dir, path(width)))
	if width != 0 && errors.Is(err, fs.ErrNotExist) {
		raw, err = os.ReadFile(filepath.Join(dir, path(0)))
	}
	return raw, err
}

// Accumulator computes the root hash of entries as they come, in memory that
// grows with the logarithm of their number. The zero Accumulator is empty.
type Accumulator struct {
	size  uint64
	roots []tlog.Hash // of the perfect subtrees, largest first
}

// Add appends one entry.
func (a *Accumulator) Add(entry []byte) {
	h := tlog.RecordHash(entry)
	for n := a.size; n&1 == 1; n >>= 1 {
		last := len(a.roots) - 1
		h = tlog.NodeHash(a.roots[last], h)
		a.roots = a.roots[:last]
	}
	a.roots = append(a.roots, h)
	a.size++
}

// Tree returns size and root of the entries so far. Without any it is the zero
// Tree with the root of the empty tree.
func (a *Accumulator) Tree() Tree {
	if a.size == 0 {
		return Tree{Root: emptyRoot}
	}
	last := len(a.roots) - 1
	root := a.roots[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(a.roots[i], root)
	}
	return Tree{Size: a.size, Root: root}
}
