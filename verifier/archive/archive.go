// Package archive keeps evidence by its SHA-256. Whoever can edit the folder can
// destroy evidence but not replace it: every read is checked against the name.
package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Errors of this package. Callers use errors.Is.
var (
	// ErrNotFound means that the archive does not hold that digest.
	ErrNotFound = errors.New("archive: not found")
	// ErrTooLarge means that a blob exceeds the archive's limit.
	ErrTooLarge = errors.New("archive: too large")
	// ErrCorrupt means that a stored blob does not have the digest of its name.
	ErrCorrupt = errors.New("archive: content does not match its digest")
)

// Archive is a folder of blobs named by digest. All methods may be called from
// many goroutines and processes.
type Archive struct {
	dir   string
	limit int64
}

// Open opens the archive in a folder, creating it if needed (mode 0700). Limit
// bounds each blob, in bytes, on writing and on reading; it is more than 0.
func Open(dir string, limit int64) (*Archive, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("archive: limit of %d bytes", limit)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sha256"), 0o700); err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return &Archive{dir: dir, limit: limit}, nil
}

// Put stores a blob and returns its digest once the blob is on disk. Storing
// the same bytes again changes nothing, but mends a damaged copy.
func (a *Archive) Put(data []byte) ([32]byte, error) {
	digest := sha256.Sum256(data)
	if int64(len(data)) > a.limit {
		return digest, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), a.limit)
	}
	if stored, err := a.Get(digest); err == nil && bytes.Equal(stored, data) {
		return digest, nil
	}
	if err := a.write(a.path(digest), data); err != nil {
		return digest, fmt.Errorf("archive: %w", err)
	}
	return digest, nil
}

// write makes the file appear whole or not at all: a reader never sees a part,
// and after it returns a crash does not take the file away.
func (a *Archive) write(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Has reports whether a blob is stored. Get says whether it is sound.
func (a *Archive) Has(digest [32]byte) (bool, error) {
	_, err := os.Stat(a.path(digest))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("archive: %w", err)
}

// Get returns a blob after checking its digest. ErrNotFound, ErrCorrupt,
// ErrTooLarge.
func (a *Archive) Get(digest [32]byte) ([]byte, error) {
	r, err := a.Open(digest)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return data, nil
}

// Open returns a reader of a blob. The last Read returns ErrCorrupt instead of
// io.EOF when the bytes do not have the digest, so a caller must read to the end
// before it relies on any of them. ErrNotFound, ErrTooLarge.
func (a *Archive) Open(digest [32]byte) (io.ReadCloser, error) {
	f, err := os.Open(a.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: sha256:%x", ErrNotFound, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if info, err := f.Stat(); err != nil || info.Size() > a.limit {
		if err == nil {
			err = fmt.Errorf("%w: sha256:%x has %d bytes, at most %d", ErrTooLarge, digest, info.Size(), a.limit)
		}
		return nil, errors.Join(err, f.Close())
	}
	return &reader{file: f, hash: sha256.New(), want: digest, left: a.limit}, nil
}

func (a *Archive) path(digest [32]byte) string {
	name := hex.EncodeToString(digest[:])
	return filepath.Join(a.dir, "sha256", name[:2], name)
}

// reader hashes what it hands out and judges it at the end.
type reader struct {
	file *os.File
	hash hash.Hash
	want [32]byte
	left int64
}

// Read reads on; see Archive.Open for the last call.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.file.Read(p)
	r.hash.Write(p[:n])
	if r.left -= int64(n); r.left < 0 {
		return n, fmt.Errorf("%w: sha256:%x grew while it was read", ErrTooLarge, r.want)
	}
	if err == io.EOF && [32]byte(r.hash.Sum(nil)) != r.want {
		return n, fmt.Errorf("%w: sha256:%x", ErrCorrupt, r.want)
	}
	return n, err
}

// Close releases the file.
func (r *reader) Close() error { return r.file.Close() }
