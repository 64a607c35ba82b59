package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "org-a.verifier.example-net/journal"

func TestMain(m *testing.M) {
	LogTo(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// keys returns a signer and verifier for the origin.
func keys(t testing.TB) (string, Config) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	return private + "\n" + public, config(t, private, public)
}

func config(t testing.TB, private, public string) Config {
	t.Helper()
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return Config{Signer: signer, Verifier: verifier}
}

func openJournal(t testing.TB, dir string, cfg Config) *Journal {
	t.Helper()
	j, err := Open(context.Background(), dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // closed by most tests already
	return j
}

// fill appends n entries at once and returns them by index.
func fill(t testing.TB, j *Journal, prefix string, n int) map[uint64]string {
	t.Helper()
	var mu sync.Mutex
	written := map[uint64]string{}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			entry := fmt.Sprintf("%s %d", prefix, i)
			index, err := j.Append(t.Context(), []byte(entry))
			if err != nil {
				t.Errorf("append: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			written[index] = entry
		})
	}
	wg.Wait()
	if len(written) != n {
		t.Fatalf("%d entries got %d indexes", n, len(written))
	}
	return written
}

func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAppendReadProve(t *testing.T) {
	dir := t.TempDir()
	_, cfg := keys(t)
	j := openJournal(t, dir, cfg)
	written := fill(t, j, "entry", 600) // two full bundles and a partial one
	checkEntries(t, j, written)
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(cfg.Verifier))
	for _, index := range []uint64{0, 255, 256, 511, 512, 599} {
		proof, err := j.Proof(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash([]byte(written[index])), proof); err != nil {
			t.Errorf("proof of %d: %v", index, err)
		}
		if err := torchwood.VerifyProof(policy, tlog.RecordHash([]byte("another")), proof); err == nil {
			t.Errorf("the proof of %d holds for another entry", index)
		}
	}
	for _, f := range []func() error{
		func() error { _, err := j.Entry(t.Context(), 600); return err },
		func() error { _, err := j.Proof(t.Context(), 600); return err },
	} {
		if err := f(); !errors.Is(err, ErrNotFound) {
			t.Errorf("entry 600 of 600: %v", err)
		}
	}
	closeJournal(t, j)
	if _, err := j.Append(t.Context(), []byte("late")); err == nil {
		t.Error("appended to a closed journal")
	}
	checkEntries(t, openJournal(t, dir, cfg), written)
}

func checkEntries(t *testing.T, j *Journal, written map[uint64]string) {
	t.Helper()
	next := uint64(0)
	for e, err := range j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != next || string(e.Data) != written[e.Index] {
			t.Fatalf("entry %d is %d %q", next, e.Index, e.Data)
		}
		next++
	}
	if next != uint64(len(written)) {
		t.Errorf("read %d of %d entries", next, len(written))
	}
	if tree, err := j.Verify(t.Context()); err != nil || tree.Size != next {
		t.Errorf("verify: %d, %v", tree.Size, err)
	}
	for e, err := range j.Read(t.Context(), next-1) {
		if err != nil || e.Index != next-1 {
			t.Errorf("last entry: %d, %v", e.Index, err)
		}
	}
}

func TestEmptyJournal(t *testing.T) {
	_, cfg := keys(t)
	dir := t.TempDir()
	j := openJournal(t, dir, cfg)
	for range j.Read(t.Context(), 0) {
		t.Error("an entry out of nothing")
	}
	if tree, err := j.Verify(t.Context()); err != nil || tree.Size != 0 {
		t.Errorf("verify: %+v, %v", tree, err)
	}
	closeJournal(t, j)
	openJournal(t, dir, cfg)
}

func TestAppendRefuses(t *testing.T) {
	_, cfg := keys(t)
	j := openJournal(t, t.TempDir(), cfg)
	if _, err := j.Append(t.Context(), nil); err == nil {
		t.Error("empty entry")
	}
	if _, err := j.Append(t.Context(), make([]byte, MaxEntry+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(cancelled, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := j.Append(t.Context(), make([]byte, MaxEntry)); err != nil {
		t.Errorf("twin, the largest: %v", err)
	}
}

func TestOneProcessOnly(t *testing.T) {
	_, cfg := keys(t)
	dir := t.TempDir()
	j := openJournal(t, dir, cfg)
	if _, err := Open(t.Context(), dir, cfg); !errors.Is(err, ErrInUse) {
		t.Errorf("second opener: %v", err)
	}
	closeJournal(t, j)
	openJournal(t, dir, cfg)
}

func TestOpenRefusesForeignKeys(t *testing.T) {
	_, cfg := keys(t)
	_, other := keys(t)
	dir := t.TempDir()
	if _, err := Open(t.Context(), dir, Config{Signer: cfg.Signer, Verifier: other.Verifier}); err == nil {
		t.Error("signer and verifier of different keys")
	}
	if _, err := Open(t.Context(), dir, Config{}); err == nil {
		t.Error("no keys")
	}
	j := openJournal(t, dir, cfg)
	fill(t, j, "entry", 1)
	closeJournal(t, j)
	if _, err := Open(t.Context(), dir, other); !errors.Is(err, ErrInconsistent) {
		t.Errorf("another verifier's journal: %v", err)
	}
}

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestA177_Rollback: a restored, emptied or replaced folder does not open.
func TestA177_Rollback(t *testing.T) {
	t.Parallel()
	_, cfg := keys(t)
	dir := t.TempDir()
	j := openJournal(t, dir, cfg)
	fill(t, j, "early", 3)
	closeJournal(t, j)
	backup := copyDir(t, dir)
	j = openJournal(t, dir, cfg)
	fill(t, j, "later", 3)
	tree, err := j.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)

	cfg.Remembered = tree
	for name, folder := range map[string]string{"backup": backup, "empty": t.TempDir()} {
		if _, err := Open(t.Context(), folder, cfg); !errors.Is(err, ErrRolledBack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fork := openJournal(t, backup, Config{Signer: cfg.Signer, Verifier: cfg.Verifier})
	fill(t, fork, "other history", 5)
	closeJournal(t, fork)
	if _, err := Open(t.Context(), backup, cfg); !errors.Is(err, ErrRolledBack) {
		t.Errorf("fork: %v", err)
	}
	j = openJournal(t, dir, cfg) // twin
	fill(t, j, "more", 1)
	if err := j.Extends(t.Context(), tree); err != nil {
		t.Errorf("twin, grown: %v", err)
	}
	closeJournal(t, j)
	openJournal(t, dir, cfg)
}

// TestLostTreeState: without its own state the driver would start an empty log
// over the old one.
func TestLostTreeState(t *testing.T) {
	_, cfg := keys(t)
	for name, damage := range map[string]func(path string) error{
		"removed":   os.Remove,
		"emptied":   func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"smaller":   func(p string) error { return edit(p, `"size":3`, `"size":2`) },
		"larger":    func(p string) error { return edit(p, `"size":3`, `"size":4`) },
		"not a log": func(p string) error { return os.WriteFile(p, []byte(`{"size":3,"root":"AAAA"}`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := openJournal(t, dir, cfg)
			fill(t, j, "entry", 3)
			closeJournal(t, j)
			before := snapshot(t, dir)
			if err := damage(filepath.Join(dir, ".state", "treeState")); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), dir, cfg); !errors.Is(err, ErrRolledBack) && !errors.Is(err, ErrInconsistent) {
				t.Errorf("opened: %v", err)
			}
			if after := snapshot(t, dir); before["checkpoint"] != after["checkpoint"] {
				t.Error("signed a checkpoint nevertheless")
			}
		})
	}
}

func edit(path, old, new string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(raw, []byte(old)) {
		return fmt.Errorf("%s does not hold %s", raw, old)
	}
	return os.WriteFile(path, bytes.Replace(raw, []byte(old), []byte(new), 1), 0o600)
}

// snapshot returns the digest of every file by its path.
func snapshot(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	files := map[string][32]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = sha256.Sum256(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestA178_EditedFiles flips one byte of every file that readers use, in turn.
// Each flip is found by Verify, and no read returns anything but the truth.
func TestA178_EditedFiles(t *testing.T) {
	_, cfg := keys(t)
	dir := t.TempDir()
	j := openJournal(t, dir, cfg)
	written := fill(t, j, "entry", 300)
	closeJournal(t, j)
	flipped := 0
	for path := range snapshot(t, dir) {
		if path != "checkpoint" && !strings.HasPrefix(path, "tile/") || stale(path) {
			continue
		}
		flipped++
		full := filepath.Join(dir, path)
		raw, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(raw)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(full, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r := NewReader(dir, cfg.Verifier)
		if _, err := r.Verify(t.Context()); err == nil {
			t.Errorf("%s was edited and nobody noticed", path)
		}
		for e, err := range r.Read(t.Context(), 0) {
			if err == nil && string(e.Data) != written[e.Index] {
				t.Errorf("%s edited: entry %d read as %q", path, e.Index, e.Data)
			}
		}
		if err := os.WriteFile(full, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if flipped < 5 {
		t.Errorf("only %d files tried", flipped)
	}
	if _, err := NewReader(dir, cfg.Verifier).Verify(t.Context()); err != nil {
		t.Errorf("twin: %v", err)
	}
}

// stale reports whether a file is a partial tile that the tree of 300 entries
// does not use: widths other than 44 at level 0, other than 1 at level 1.
func stale(path string) bool {
	i := strings.LastIndex(path, ".p/")
	return i >= 0 && !strings.HasSuffix(path, "001.p/44") && !strings.HasSuffix(path, "1/000.p/1")
}

// TestA186_NoSpace: when nothing can be written, Append fails and gives no
// index; once there is room again it works, and nothing was lost.
func TestA186_NoSpace(t *testing.T) {
	_, cfg := keys(t)
	dir := t.TempDir()
	j := openJournal(t, dir, cfg)
	written := fill(t, j, "entry", 3)
	entries := filepath.Join(dir, "tile", "entries")
	if err := os.Rename(entries, entries+".away"); err != nil {
		t.Fatal(err)
	}
	// A file where a folder belongs fails like a full disk does, for any user.
	if err := os.WriteFile(entries, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if index, err := j.Append(t.Context(), []byte("lost")); err == nil {
		t.Fatalf("appended as %d with nowhere to write", index)
	}
	if err := errors.Join(os.Remove(entries), os.Rename(entries+".away", entries)); err != nil {
		t.Fatal(err)
	}
	index, err := j.Append(t.Context(), []byte("twin"))
	if err != nil || index != 3 {
		t.Fatalf("with room again: %d, %v", index, err)
	}
	written[3] = "twin"
	checkEntries(t, j, written)
}

func TestAccumulatorAgreesWithTlog(t *testing.T) {
	var acc Accumulator
	if acc.Tree() != (Tree{Root: sha256.Sum256(nil)}) {
		t.Error("root of the empty tree")
	}
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			out[i] = hashes[n]
		}
		return out, nil
	})
	for n := range int64(70) {
		entry := fmt.Appendf(nil, "entry %d", n)
		stored, err := tlog.StoredHashes(n, entry, reader)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, stored...)
		acc.Add(entry)
		want, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		if acc.Tree() != (Tree{Size: uint64(n) + 1, Root: want}) {
			t.Fatalf("root of %d entries differs", n+1)
		}
	}
}

// BenchmarkAppend is a lone append, from the call to a published checkpoint. An
// admission waits for two of them.
func BenchmarkAppend(b *testing.B) {
	_, cfg := keys(b)
	j := openJournal(b, b.TempDir(), cfg)
	for i := 0; b.Loop(); i++ {
		if _, err := j.Append(b.Context(), fmt.Appendf(nil, "%d", i)); err != nil {
			b.Fatal(err)
		}
	}
}
