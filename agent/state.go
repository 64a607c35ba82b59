package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// Files in the state directory. None holds a secret.
const (
	identityFile  = "identity.json"
	statusFile    = "status.json"
	bundleFile    = "admission.bundle" // what the ledger node shows
	lockFile      = "lock"
	admissionsDir = "admissions"
)

const maxStateFile = 1 << 20

// ErrBusy reports that another agent runs with the same state directory.
var ErrBusy = errors.New("agent: another agent is running with this state directory")

// ErrNotJoined reports that no verifier knows this host yet.
var ErrNotJoined = errors.New("agent: this host has not joined: run `quorate-agent join` with a join token")

// ErrUnsafeDir reports a state directory that others could have changed.
var ErrUnsafeDir = errors.New("agent: state directory is not ours alone")

// state is the state directory. All access goes through a root that symbolic
// links cannot leave.
type state struct {
	root *os.Root
	lock *os.File // nil when opened for reading only
}

// identity is what the agent must remember to be the same node again. The keys
// themselves are made anew from the TPM.
type identity struct {
	Node         string     `json:"node"`
	AKName       string     `json:"akName"`  // hex
	NodeKey      string     `json:"nodeKey"` // "sha256:…" of the SubjectPublicKeyInfo
	Generation   uint32     `json:"nodeKeyGeneration"`
	ConsensusKey string     `json:"consensusKey,omitempty"` // public
	Verifiers    []enrolled `json:"verifiers"`
}

// enrolled is one verifier's answer to an enrolment. State is "asked" between
// the question and the answer, so a crash there loses nothing.
type enrolled struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// openState opens the directory, making it with mode 0700, and takes its lock.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: state directory: %w", err)
	}
	s, err := openRoot(dir, os.Geteuid())
	if err != nil {
		return nil, err
	}
	if err := s.takeLock(); err != nil {
		s.root.Close()
		return nil, err
	}
	if err := s.root.Mkdir(admissionsDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, errors.Join(fmt.Errorf("agent: state directory: %w", err), s.Close())
	}
	return s, nil
}

// readState opens an existing directory for reading. Root may read that of the
// service's user.
func readState(dir string) (*state, error) {
	owner := os.Geteuid()
	if owner == 0 {
		owner = anybody
	}
	return openRoot(dir, owner)
}

// anybody stands for any owner.
const anybody = -1

func openRoot(dir string, owner int) (*state, error) {
	if err := checkDir(dir, owner); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("agent: state directory: %w", err)
	}
	return &state{root: root}, nil
}

// checkDir refuses a directory that is a link, belongs to somebody else, or that
// others may enter.
func checkDir(dir string, want int) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("agent: state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrUnsafeDir, dir)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && want != anybody && int(owner.Uid) != want {
		return fmt.Errorf("%w: %s belongs to user %d", ErrUnsafeDir, dir, owner.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %#o; run `chmod 700 %s`", ErrUnsafeDir, dir, info.Mode().Perm(), dir)
	}
	return nil
}

func (s *state) takeLock() error {
	f, err := s.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("agent: lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return ErrBusy
	}
	s.lock = f
	return nil
}

// running reports whether an agent holds the lock.
func (s *state) running() bool {
	f, err := s.root.Open(lockFile)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Close releases the lock.
func (s *state) Close() error {
	if s.lock != nil {
		s.lock.Close()
	}
	return s.root.Close()
}

// write replaces a file at once: a reader sees the old or the new one, also
// after a crash.
func (s *state) write(name string, data []byte) error {
	temporary := name + ".new"
	if err := s.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	f, err := s.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = s.root.Rename(temporary, name)
	}
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	return s.syncDir(path.Dir(name))
}

// syncDir makes a rename last.
func (s *state) syncDir(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return fmt.Errorf("agent: sync %s: %w", name, err)
	}
	defer d.Close()
	return d.Sync()
}

func (s *state) read(name string) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", name, err)
	}
	if len(data) > maxStateFile {
		return nil, fmt.Errorf("agent: read %s: more than %d bytes", name, maxStateFile)
	}
	return data, nil
}

func (s *state) writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("agent: write %s: %w", name, err)
	}
	return s.write(name, append(data, '\n'))
}

func (s *state) readJSON(name string, v any) error {
	data, err := s.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("agent: read %s: %w", name, err)
	}
	return nil
}

// identity reads who this host is. ErrNotJoined when it is nobody yet.
func (s *state) identity() (identity, error) {
	var id identity
	err := s.readJSON(identityFile, &id)
	if errors.Is(err, fs.ErrNotExist) {
		return id, ErrNotJoined
	}
	return id, err
}

// set records a verifier's answer.
func (id *identity) set(verifier, answer string) {
	for i := range id.Verifiers {
		if id.Verifiers[i].Name == verifier {
			id.Verifiers[i].State = answer
			return
		}
	}
	id.Verifiers = append(id.Verifiers, enrolled{verifier, answer})
}
