package seal

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"golang.org/x/sys/unix"
)

// ErrWiped reports a signature asked of a key that was wiped.
var ErrWiped = errors.New("seal: the key is wiped")

// Secret is a released key. It lies in memory of its own that is never swapped
// out, left out of core dumps, and empty in a child process.
//
// The standard library's Ed25519 keeps expanded keys in a cache on the ordinary
// heap, and refuses memory that is not its own; so the signatures are made by the
// library that CometBFT itself uses.
type Secret struct {
	mu   sync.Mutex
	page []byte // the 64 bytes of the private key, and room; nil when wiped
}

// newSecret moves a seed into locked memory.
func newSecret(seed []byte) (*Secret, error) {
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, locked(err)
	}
	err = errors.Join(unix.Mlock(page), unix.Madvise(page, unix.MADV_DONTDUMP), unix.Madvise(page, unix.MADV_WIPEONFORK))
	if err != nil {
		return nil, errors.Join(locked(err), unix.Munmap(page))
	}
	private := voi.NewKeyFromSeed(seed)
	copy(page, private)
	wipe(private, seed)
	return &Secret{page: page}, nil
}

func locked(err error) *Refusal {
	return &Refusal{Check: Memory, Got: err.Error(), Want: "one page of locked memory", Cause: err,
		Remedy: "raise the limit of locked memory (LimitMEMLOCK= in the unit, or ulimit -l)"}
}

// Public returns the public half.
func (s *Secret) Public() ed25519.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page == nil {
		return nil
	}
	return append(ed25519.PublicKey(nil), s.page[32:64]...)
}

// Sign signs a message.
func (s *Secret) Sign(message []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page == nil {
		return nil, ErrWiped
	}
	return voi.Sign(voi.PrivateKey(s.page[:64]), message), nil
}

// Wipe forgets the key.
func (s *Secret) Wipe() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.page == nil {
		return nil
	}
	wipe(s.page)
	err := unix.Munmap(s.page)
	s.page = nil
	return err
}

// LockProcess keeps the whole process out of core dumps and from being traced
// by other processes of its user, and its memory out of swap where the limits
// allow it. The error says that swap remains possible for what the key's own
// page does not hold, which are traces of single signatures.
func LockProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("seal: forbid core dumps: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("seal: forbid core dumps: %w", err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("seal: limit of locked memory: %w", err)
	}
	if limit.Cur != unix.RLIM_INFINITY { // locking all under a limit would later end the process
		return &Refusal{Check: Memory, Got: fmt.Sprintf("a limit of %d bytes", limit.Cur), Want: "no limit",
			Remedy: "set LimitMEMLOCK=infinity in the unit"}
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("seal: lock memory: %w", err)
	}
	return nil
}
