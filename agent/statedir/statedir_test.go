package statedir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quorate/quorate/agent/statedir"
)

func open(t *testing.T) (*statedir.Dir, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a", "state")
	d, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

func TestOneServiceAtATime(t *testing.T) {
	d, path := open(t)
	if _, err := statedir.Open(path); !errors.Is(err, statedir.ErrBusy) {
		t.Errorf("a second service: %v", err)
	}
	look, err := statedir.Look(path)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if !look.Running() {
		t.Error("not running")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if look.Running() {
		t.Error("still running")
	}
	again, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDirectoriesOfOthers(t *testing.T) {
	dir := t.TempDir()
	wide, file, link := filepath.Join(dir, "wide"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(wide, 0o700), os.Chmod(wide, 0o750), os.WriteFile(file, nil, 0o600), os.Symlink(wide, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{wide, file, link} {
		if _, err := statedir.Join(path); !errors.Is(err, statedir.ErrUnsafe) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := statedir.Look(path); !errors.Is(err, statedir.ErrUnsafe) {
			t.Errorf("%s for reading: %v", path, err)
		}
	}
	if _, err := statedir.Look(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFiles(t *testing.T) {
	d, path := open(t)
	for _, text := range []string{"one", "two"} {
		if err := d.Write("f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Read("f"); err != nil || string(got) != text {
			t.Error(string(got), err)
		}
	}
	if info, err := os.Stat(filepath.Join(path, "f")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if _, err := d.Read("absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := d.Write("big", []byte(strings.Repeat("x", 1<<20+1))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("big"); err == nil {
		t.Error("read more than a state file may have")
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("link"); err == nil {
		t.Error("followed a link out of the directory")
	}
	var v struct{ A int }
	if err := d.WriteJSON("j", map[string]int{"A": 3}); err != nil {
		t.Fatal(err)
	}
	if err := d.ReadJSON("j", &v); err != nil || v.A != 3 {
		t.Error(v, err)
	}
	if err := d.ReadJSON("f", &v); err == nil {
		t.Error("text was read as JSON")
	}
}

func TestListAndRemove(t *testing.T) {
	d, _ := open(t)
	if names, err := d.List("sub"); names != nil || err != nil {
		t.Error(names, err)
	}
	for range 2 {
		if err := d.Mkdir("sub"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(d.Write("sub/b", nil), d.Write("sub/a", nil)); err != nil {
		t.Fatal(err)
	}
	if names, err := d.List("sub"); !slices.Equal(names, []string{"a", "b"}) || err != nil {
		t.Error(names, err)
	}
	if err := errors.Join(d.Remove("sub/a"), d.Remove("sub/a")); err != nil {
		t.Error(err)
	}
	if names, err := d.List("sub"); !slices.Equal(names, []string{"b"}) || err != nil {
		t.Error(names, err)
	}
}

// To look whether a service runs never keeps one from starting.
func TestLookingIsNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	first, err := statedir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	look, err := statedir.Look(path)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if !look.Running() {
		t.Error("a service that runs is not seen")
	}
	first.Close()
	if look.Running() {
		t.Error("a service that ended is seen")
	}
	done := make(chan struct{})
	var looking sync.WaitGroup
	for range 4 {
		looking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					look.Running()
				}
			}
		})
	}
	for range 500 {
		d, err := statedir.Open(path)
		if err != nil {
			t.Error(err)
			break
		}
		d.Close()
	}
	close(done)
	looking.Wait()
}
