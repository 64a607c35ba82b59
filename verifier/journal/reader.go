package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads a journal's folder, without a lock and without writing. It trusts
// the checkpoint key and nothing else in the folder.
type Reader struct {
	dir    string
	policy torchwood.Policy

	mu     sync.Mutex // guards signed and tree: the checkpoint verified last
	signed []byte
	tree   Tree

	latest changes
}

// NewReader returns a reader of the journal in a folder, whose checkpoints the
// key must have signed under the key's name.
func NewReader(dir string, key note.Verifier) *Reader {
	return &Reader{dir: dir, policy: torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(key.Name()), torchwood.SingleVerifierPolicy(key))}
}

// Entry is one entry of the journal.
type Entry struct {
	Index uint64
	Data  []byte
}

// Checkpoint returns the signed checkpoint published last.
func (r *Reader) Checkpoint(ctx context.Context) ([]byte, error) {
	signed, _, err := r.checkpoint(ctx)
	return signed, err
}

// Tree returns the tree of the checkpoint published last.
func (r *Reader) Tree(ctx context.Context) (Tree, error) {
	_, tree, err := r.checkpoint(ctx)
	return tree, err
}

func (r *Reader) checkpoint(ctx context.Context) ([]byte, Tree, error) {
	if err := ctx.Err(); err != nil {
		return nil, Tree{}, err
	}
	signed, err := os.ReadFile(filepath.Join(r.dir, layout.CheckpointPath))
	if err != nil {
		return nil, Tree{}, fmt.Errorf("journal: checkpoint: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Equal(signed, r.signed) {
		return signed, r.tree, nil
	}
	c, _, err := torchwood.VerifyCheckpoint(signed, r.policy)
	if err != nil {
		return nil, Tree{}, fmt.Errorf("%w: checkpoint: %w", ErrInconsistent, err)
	}
	r.signed, r.tree = signed, Tree{Size: uint64(c.N), Root: c.Hash}
	return signed, r.tree, nil
}

// Entry returns the entry of an index, checked against the checkpoint.
// ErrNotFound if the published tree does not reach it.
func (r *Reader) Entry(ctx context.Context, index uint64) ([]byte, error) {
	tree, err := r.Tree(ctx)
	if err != nil {
		return nil, err
	}
	if index >= tree.Size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotFound, index, tree.Size)
	}
	entries, err := r.bundle(tree, index/layout.EntryBundleWidth, index, index+1)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// Read returns the entries from an index on, up to the checkpoint published
// when it is called, each checked against that checkpoint. An error ends it.
func (r *Reader) Read(ctx context.Context, start uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		tree, err := r.Tree(ctx)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		r.read(ctx, tree, start, yield)
	}
}

func (r *Reader) read(ctx context.Context, tree Tree, start uint64, yield func(Entry, error) bool) {
	for index := start; index < tree.Size; {
		end := min((index/layout.EntryBundleWidth+1)*layout.EntryBundleWidth, tree.Size)
		entries, err := r.bundle(tree, index/layout.EntryBundleWidth, index, end)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, data := range entries {
			if !yield(Entry{Index: index, Data: data}, nil) {
				return
			}
			index++
		}
	}
}

// bundle returns the entries [start, end) of one entry bundle, after comparing
// their hashes with those that the tree's root vouches for.
func (r *Reader) bundle(tree Tree, n, start, end uint64) ([][]byte, error) {
	raw, err := readPartialOrFull(r.dir, layout.PartialTileSize(0, n, tree.Size), func(p uint8) string { return layout.EntriesPath(n, p) })
	if err != nil {
		return nil, fmt.Errorf("%w: entries %d to %d: %w", ErrInconsistent, start, end-1, err)
	}
	var parsed api.EntryBundle
	if err := parsed.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("%w: entries %d to %d: %w", ErrInconsistent, start, end-1, err)
	}
	first := n * layout.EntryBundleWidth
	if uint64(len(parsed.Entries)) < end-first {
		return nil, fmt.Errorf("%w: bundle %d holds %d entries", ErrInconsistent, n, len(parsed.Entries))
	}
	entries := parsed.Entries[start-first : end-first]
	return entries, r.authenticate(tree, start, entries)
}

func (r *Reader) authenticate(tree Tree, start uint64, entries [][]byte) error {
	indexes := make([]int64, len(entries))
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(0, int64(start)+int64(i))
	}
	hashes, err := r.hashes(tree).ReadHashes(indexes)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	for i, entry := range entries {
		if tlog.RecordHash(entry) != hashes[i] {
			return fmt.Errorf("%w: entry %d was changed", ErrInconsistent, start+uint64(i))
		}
	}
	return nil
}

// Proof returns the proof that an entry is in the journal, in the C2SP
// tlog-proof format, under the checkpoint published last. ErrNotFound if that
// does not reach the entry.
func (r *Reader) Proof(ctx context.Context, index uint64) ([]byte, error) {
	signed, tree, err := r.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if index >= tree.Size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotFound, index, tree.Size)
	}
	proof, err := tlog.ProveRecord(int64(tree.Size), int64(index), r.hashes(tree))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	return torchwood.FormatProof(int64(index), proof, signed), nil
}

// Verify recomputes the root hash from every entry and compares every hash on
// the way, and finally the root, with what the published checkpoint commits to.
// It returns the tree that it found sound.
func (r *Reader) Verify(ctx context.Context) (Tree, error) {
	tree, err := r.Tree(ctx)
	if err != nil {
		return Tree{}, err
	}
	var acc Accumulator
	r.read(ctx, tree, 0, func(e Entry, e2 error) bool {
		if err = e2; err == nil {
			acc.Add(e.Data)
		}
		return err == nil
	})
	if err != nil {
		return Tree{}, err
	}
	if acc.Tree() != tree {
		return Tree{}, fmt.Errorf("%w: %d entries have another root", ErrInconsistent, tree.Size)
	}
	return tree, nil
}

// preflight checks what is on disk before the appender may sign anything: the
// integrated tree matches its tiles and extends both the published checkpoint
// and the remembered tree.
func (r *Reader) preflight(ctx context.Context, remembered Tree) error {
	integrated, err := r.integrated()
	if err != nil {
		return err
	}
	_, published, err := r.checkpoint(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, earlier := range []Tree{published, remembered} {
		if err := r.extends(integrated, earlier); err != nil {
			return err
		}
	}
	return r.extends(integrated, integrated)
}

// integrated reads Tessera's own note of the tree, which may be ahead of the
// checkpoint. Without one the driver would start an empty tree.
func (r *Reader) integrated() (Tree, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, ".state", "treeState"))
	if errors.Is(err, fs.ErrNotExist) {
		return Tree{}, nil
	}
	if err != nil {
		return Tree{}, fmt.Errorf("journal: %w", err)
	}
	var state struct {
		Size uint64 `json:"size"`
		Root []byte `json:"root"`
	}
	if err := json.Unmarshal(raw, &state); err != nil || len(state.Root) != 32 {
		return Tree{}, fmt.Errorf("%w: tree state %q", ErrInconsistent, raw)
	}
	return Tree{Size: state.Size, Root: [32]byte(state.Root)}, nil
}

// extends checks that the first earlier.Size entries of tree hash to
// earlier.Root, from tiles that tree's root vouches for.
func (r *Reader) extends(tree, earlier Tree) error {
	if earlier.Size == 0 {
		return nil
	}
	if tree.Size < earlier.Size {
		return fmt.Errorf("%w: %d entries on disk, %d remembered", ErrRolledBack, tree.Size, earlier.Size)
	}
	root, err := tlog.TreeHash(int64(earlier.Size), r.hashes(tree))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if root != earlier.Root {
		return fmt.Errorf("%w: the first %d entries have another root", ErrRolledBack, earlier.Size)
	}
	return nil
}

// Extends checks that the published journal still begins with an earlier tree.
// ErrRolledBack if it does not.
func (r *Reader) Extends(ctx context.Context, earlier Tree) error {
	tree, err := r.Tree(ctx)
	if err != nil {
		return err
	}
	return r.extends(tree, earlier)
}
