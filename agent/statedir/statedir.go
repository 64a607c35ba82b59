// Package statedir keeps a service's state directory: ours alone, one service at
// a time, every file replaced at once. All access goes through a root that
// symbolic links cannot leave.
package statedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	lockFile = "lock"
	maxFile  = 1 << 20
)

// ErrBusy reports that another service runs with the same directory.
var ErrBusy = errors.New("agent: another agent is running with this state directory")

// ErrUnsafe reports a directory that others could have changed.
var ErrUnsafe = errors.New("agent: state directory is not ours alone")

// Dir is an open state directory.
type Dir struct {
	root *os.Root
	lock *os.File // nil when opened for reading only
}

// Open opens the directory, making it with mode 0700, and takes its lock.
func Open(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: state directory: %w", err)
	}
	d, err := openRoot(dir, os.Geteuid())
	if err != nil {
		return nil, err
	}
	if err := d.takeLock(); err != nil {
		d.root.Close()
		return nil, err
	}
	return d, nil
}

// Look opens an existing directory for reading. Root may read that of the
// service's user.
func Look(dir string) (*Dir, error) {
	owner := os.Geteuid()
	if owner == 0 {
		owner = anybody
	}
	return openRoot(dir, owner)
}

// Join opens an existing directory to write into it beside the service that
// holds the lock.
func Join(dir string) (*Dir, error) { return openRoot(dir, os.Geteuid()) }

// anybody stands for any owner.
const anybody = -1

func openRoot(dir string, owner int) (*Dir, error) {
	if err := checkDir(dir, owner); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("agent: state directory: %w", err)
	}
	return &Dir{root: root}, nil
}

// checkDir refuses a directory that is a link, belongs to somebody else, or that
// others may enter.
func checkDir(dir string, want int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("agent: state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrUnsafe, dir)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && want != anybody && int(owner.Uid) != want {
		return fmt.Errorf("%w: %s belongs to user %d", ErrUnsafe, dir, owner.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %#o; run `chmod 700 %s`", ErrUnsafe, dir, info.Mode().Perm(), dir)
	}
	return nil
}

func (d *Dir) takeLock() error {
	f, err := d.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("agent: lock: %w", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole); err != nil {
		f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return ErrBusy
		}
		return fmt.Errorf("agent: lock: %w", err)
	}
	d.lock = f
	return nil
}

// Running reports whether an agent holds the lock. It asks and takes nothing: to
// look at a service never keeps it from starting.
func (d *Dir) Running() bool {
	f, err := d.root.Open(lockFile)
	if err != nil {
		return false
	}
	defer f.Close()
	holder := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &holder) == nil && holder.Type != unix.F_UNLCK
}

// Close releases the lock.
func (d *Dir) Close() error {
	if d.lock != nil {
		d.lock.Close()
	}
	return d.root.Close()
}

// Write replaces a file at once: a reader sees the old or the new one, also
// after a crash.
func (d *Dir) Write(name string, data []byte) error {
	temporary := name + ".new"
	if err := d.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	f, err := d.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = d.root.Rename(temporary, name)
	}
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	return d.syncDir(path.Dir(name))
}

// syncDir makes a rename last.
func (d *Dir) syncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return fmt.Errorf("agent: sync %s: %w", name, err)
	}
	defer f.Close()
	return f.Sync()
}

// Read returns a file of at most 1 MiB.
func (d *Dir) Read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("agent: read %s: more than %d bytes", name, maxFile)
	}
	return data, nil
}

// WriteJSON replaces a file by a value, indented.
func (d *Dir) WriteJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	return d.Write(name, append(data, '\n'))
}

// ReadJSON reads a file into a value.
func (d *Dir) ReadJSON(name string, v any) error {
	data, err := d.Read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("agent: read %s: %w", name, err)
	}
	return nil
}

// Mkdir makes a directory within, if it is not there.
func (d *Dir) Mkdir(name string) error {
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("agent: state directory: %w", err)
	}
	return nil
}

// List returns the names in a directory within, sorted; none if it is absent.
func (d *Dir) List(name string) ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: list %s: %w", name, err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Remove removes a file, if it is there.
func (d *Dir) Remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("agent: remove %s: %w", name, err)
	}
	return nil
}
