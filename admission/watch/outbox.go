package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/quorate/quorate/admission/watch/allowlist"
)

// The files of an outbox.
const (
	stateFile = "state.json"
	lockFile  = "lock"
)

// ErrBusy reports that another process has the outbox.
var ErrBusy = errors.New("watch: another process uses this folder")

// Outbox keeps a State in a folder that one process has at a time.
type Outbox struct {
	dir  string
	lock *os.File
}

// OpenOutbox makes the folder if it is not there, and takes its lock. A process
// that ends in any way has let go of it.
func OpenOutbox(dir string) (*Outbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if !takeLock(lock) {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrBusy, dir), lock.Close())
	}
	return &Outbox{dir, lock}, nil
}

// The lock is tried this often: what a killed process was about to start holds it
// for a moment longer, until it has become another program or died.
const (
	lockTries = 100
	lockPause = 20 * time.Millisecond
)

func takeLock(f *os.File) bool {
	for range lockTries {
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return true
		}
		time.Sleep(lockPause)
	}
	return false
}

// Close lets go of the folder.
func (o *Outbox) Close() error { return o.lock.Close() }

// Load reads the state. Without a file the ledger was told nothing; a file that
// was not written by Save is an error, as nobody knows what the ledger was told.
func (o *Outbox) Load() (allowlist.State, error) {
	path := filepath.Join(o.dir, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return allowlist.State{}, nil
	}
	if err != nil {
		return allowlist.State{}, err
	}
	s, err := allowlist.ParseState(data)
	if err != nil {
		return allowlist.State{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Save replaces the state and returns when that is on disk. After a crash the file
// holds the old state or the new one.
func (o *Outbox) Save(s allowlist.State) error {
	path := filepath.Join(o.dir, stateFile)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.Marshal())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return o.syncFolder()
}

// syncFolder puts the renaming on disk.
func (o *Outbox) syncFolder() error {
	d, err := os.Open(o.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
