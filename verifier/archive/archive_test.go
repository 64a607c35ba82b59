package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
)

func open(t *testing.T, limit int64) (*Archive, string) {
	t.Helper()
	dir := t.TempDir()
	a, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func put(t *testing.T, a *Archive, data []byte) [32]byte {
	t.Helper()
	digest, err := a.Put(data)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestPutGet(t *testing.T) {
	a, dir := open(t, 1<<20)
	for _, data := range [][]byte{nil, []byte("evidence"), bytes.Repeat([]byte{7}, 1<<20)} {
		digest := put(t, a, data)
		if digest != sha256.Sum256(data) {
			t.Error("the digest is not the content's SHA-256")
		}
		put(t, a, data)
		got, err := a.Get(digest)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d: %v", len(data), len(got), err)
		}
		if has, err := a.Has(digest); err != nil || !has {
			t.Errorf("has: %v, %v", has, err)
		}
	}
	again, err := Open(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Get(sha256.Sum256([]byte("evidence"))); err != nil {
		t.Errorf("after reopening: %v", err)
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, "sha256", "*", ".new-*"))
	if err != nil || len(leftovers) != 0 {
		t.Errorf("left over: %v, %v", leftovers, err)
	}
}

func TestAbsent(t *testing.T) {
	a, _ := open(t, 10)
	if _, err := a.Get([32]byte{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if has, err := a.Has([32]byte{1}); err != nil || has {
		t.Errorf("has: %v, %v", has, err)
	}
}

func TestLimit(t *testing.T) {
	a, dir := open(t, 10)
	if _, err := a.Put(make([]byte, 11)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("11 bytes: %v", err)
	}
	digest := put(t, a, make([]byte, 10)) // twin
	smaller, err := Open(dir, 9)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := smaller.Get(digest); !errors.Is(err, ErrTooLarge) {
		t.Errorf("reading over the limit: %v", err)
	}
	if _, err := Open(dir, 0); err == nil {
		t.Error("opened without a limit")
	}
}

// TestA178_DamagedBlob: no edited blob is ever returned, whole or streamed.
func TestA178_DamagedBlob(t *testing.T) {
	for name, damage := range map[string][]byte{"flipped": []byte("evidencf"), "cut": []byte("eviden"), "longer": []byte("evidence!"), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			a, _ := open(t, 100)
			digest := put(t, a, []byte("evidence"))
			if err := os.WriteFile(a.path(digest), damage, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Get(digest); !errors.Is(err, ErrCorrupt) {
				t.Errorf("get: %v", err)
			}
			r, err := a.Open(digest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.Copy(io.Discard, iotest.OneByteReader(r)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("stream: %v", err)
			}
			put(t, a, []byte("evidence"))
			if _, err := a.Get(digest); err != nil {
				t.Errorf("twin, stored again: %v", err)
			}
		})
	}
}

func TestConcurrentPuts(t *testing.T) {
	a, _ := open(t, 1<<20)
	data := bytes.Repeat([]byte("same"), 1000)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			digest, err := a.Put(data)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := a.Get(digest); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestNoSpace(t *testing.T) {
	a, dir := open(t, 100)
	digest := sha256.Sum256([]byte("evidence"))
	// A file where the folder belongs fails like a full disk does, for any user.
	blocked := filepath.Dir(a.path(digest))
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Put([]byte("evidence")); err == nil {
		t.Fatal("stored nowhere")
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	put(t, a, []byte("evidence"))
	if entries, err := os.ReadDir(filepath.Join(dir, "sha256")); err != nil || len(entries) != 1 {
		t.Errorf("%d folders, %v", len(entries), err)
	}
}
