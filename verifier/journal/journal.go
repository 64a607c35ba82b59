// Package journal is a verifier's transparency log: an append-only Merkle tree
// of every decision, in the C2SP tlog-tiles layout, under signed checkpoints.
//
// An entry counts once Append has returned its index. From then on it is on
// disk, integrated in the tree and covered by a published checkpoint, and no
// crash loses it. Everything that is read back is checked against a checkpoint
// first, so an edited file is an error and never an entry.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// Errors of this package. Callers use errors.Is.
var (
	// ErrNotFound means that the journal has no entry of that index yet.
	ErrNotFound = errors.New("journal: no such entry")
	// ErrTooLarge means that an entry exceeds MaxEntry.
	ErrTooLarge = errors.New("journal: entry too large")
	// ErrRolledBack means that the tree on disk lacks entries that it had, or has
	// others in their place. Somebody restored or edited the folder. Signing on
	// would show two histories to the world, so nothing opens it for writing.
	ErrRolledBack = errors.New("journal: history differs from the one remembered")
	// ErrInconsistent means that files of the journal contradict its checkpoint.
	ErrInconsistent = errors.New("journal: stored data does not match the checkpoint")
	// ErrUnpublished means that an entry was not seen under a checkpoint in time.
	// It may still appear later; the caller must act as if it were not there.
	ErrUnpublished = errors.New("journal: entry not published in time")
	// ErrInUse means that another process has the journal open.
	ErrInUse = errors.New("journal: in use by another process")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("journal: closed")
)

// MaxEntry bounds an entry, in bytes (C2SP tlog-tiles).
const MaxEntry = 1<<16 - 1

// An admission waits for its journal entry, so batches are kept young. The
// checkpoint interval is the shortest that Tessera's POSIX driver allows.
const (
	batchAge           = 5 * time.Millisecond
	batchSize          = 256
	checkpointInterval = 100 * time.Millisecond
	pollInterval       = 5 * time.Millisecond
	appendLimit        = 20 * time.Second
	closeLimit         = 10 * time.Second
)

// Tree is a state of the journal: its size in entries and its root hash. The
// zero Tree means that nothing is known.
type Tree struct {
	Size uint64
	Root [32]byte
}

// Config says whose journal it is and what is remembered of it.
type Config struct {
	Signer   note.Signer   // signs checkpoints; its name is the origin, "<verifier>/journal"
	Verifier note.Verifier // for the same key
	// Remembered is the largest tree that is known from elsewhere, such as the
	// store. Opening fails unless the journal still extends it.
	Remembered Tree
}

// Journal is an open log. All methods may be called from many goroutines.
type Journal struct {
	*Reader
	add      tessera.AddFn
	shutdown func(context.Context) error
	cancel   context.CancelFunc
	done     <-chan struct{}
	lock     *os.File
	closing  sync.Once
	closeErr error

	pollMu sync.Mutex // guards polled and size
	polled time.Time
	size   uint64
}

// Open opens the journal in a folder, or starts an empty one there. It checks,
// before anything is signed, that the stored tree matches its own tiles, extends
// the checkpoint published last, and extends the remembered tree. Only one
// process can have a journal open.
func Open(ctx context.Context, dir string, cfg Config) (*Journal, error) {
	if cfg.Signer == nil || cfg.Verifier == nil || cfg.Signer.Name() != cfg.Verifier.Name() || cfg.Signer.KeyHash() != cfg.Verifier.KeyHash() {
		return nil, errors.New("journal: signer and verifier must be of one key")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	j, err := open(ctx, dir, cfg)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j.lock = lock
	return j, nil
}

// Lock takes the lock that an open journal holds, for work on a verifier's files
// that must not run beside it. ErrInUse; close what it returns.
func Lock(dir string) (io.Closer, error) {
	f, err := lockDir(dir)
	if err != nil {
		return nil, err // not the nil *os.File
	}
	return f, nil
}

// lockDir takes a lock that the process's end releases. Tessera's own locks do
// not hold between two users in one process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrInUse, dir, err), f.Close())
	}
	return f, nil
}

func open(ctx context.Context, dir string, cfg Config) (*Journal, error) {
	reader := NewReader(dir, cfg.Verifier)
	if err := reader.preflight(ctx, cfg.Remembered); err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(cfg.Signer).
		WithBatching(batchSize, batchAge).
		WithCheckpointInterval(checkpointInterval)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	appender, shutdown, log, err := tessera.NewAppender(running, driver, options)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{Reader: reader, add: appender.Add, shutdown: shutdown, cancel: cancel, done: running.Done()}
	if err := j.catchUp(ctx, log); err != nil {
		cancel()
		return nil, err
	}
	return j, nil
}

// catchUp waits until a checkpoint covers what a killed process had integrated
// and not yet published.
func (j *Journal) catchUp(ctx context.Context, log tessera.LogReader) error {
	size, err := log.IntegratedSize(ctx)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if size == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, appendLimit)
	defer cancel()
	return j.awaitPublished(ctx, size-1)
}

// Append adds an entry and returns its index once the entry is durable,
// integrated, and covered by a published checkpoint. Concurrent calls share one
// batch. A context that has ended refuses the entry; one that ends later does
// not, since a caller who hangs up must not leave an entry without its effect.
//
// ErrUnpublished means that the entry may appear in the journal later. The next
// change of the same node, made without it, then voids it; see Change.
func (j *Journal) Append(ctx context.Context, entry []byte) (uint64, error) {
	switch {
	case len(entry) == 0:
		return 0, errors.New("journal: empty entry")
	case len(entry) > MaxEntry:
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(entry), MaxEntry)
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("journal: append: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendLimit)
	defer cancel()
	index, err := j.sequence(ctx, entry)
	if err != nil {
		return 0, err
	}
	if err := j.awaitPublished(ctx, index); err != nil {
		return 0, err
	}
	return index, nil
}

// sequence waits for the batch to be written. Tessera's future cannot be
// interrupted, hence the goroutine; it ends with the batch.
func (j *Journal) sequence(ctx context.Context, entry []byte) (uint64, error) {
	type result struct {
		index tessera.Index
		err   error
	}
	results := make(chan result, 1)
	go func() {
		index, err := j.add(ctx, tessera.NewEntry(entry))()
		results <- result{index, err}
	}()
	select {
	case r := <-results:
		if r.err != nil {
			return 0, fmt.Errorf("journal: append: %w", r.err)
		}
		return r.index.Index, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnpublished, context.Cause(ctx))
	case <-j.done:
		return 0, ErrClosed
	}
}

func (j *Journal) awaitPublished(ctx context.Context, index uint64) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last error
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%w: entry %d: %w", ErrUnpublished, index, context.Cause(ctx)), last)
		case <-j.done:
			return ErrClosed
		}
		var size uint64
		if size, last = j.publishedSize(ctx); last == nil && size > index {
			return nil
		}
		timer.Reset(pollInterval)
	}
}

// publishedSize reads the checkpoint at most once per poll interval, however
// many callers wait.
func (j *Journal) publishedSize(ctx context.Context) (uint64, error) {
	j.pollMu.Lock()
	defer j.pollMu.Unlock()
	if time.Since(j.polled) < pollInterval {
		return j.size, nil
	}
	tree, err := j.Tree(ctx)
	if err != nil {
		return 0, err
	}
	j.polled, j.size = time.Now(), tree.Size
	return j.size, nil
}

// Close publishes what is integrated and releases the folder. Appends that are
// running may fail.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		err := j.shutdown(ctx)
		j.cancel()
		j.closeErr = errors.Join(err, j.lock.Close())
	})
	return j.closeErr
}

// LogTo sends the log lines of the libraries beneath to a logger. Without it
// they go to standard error. It is process-wide: call it once, early.
func LogTo(logger *slog.Logger) { klog.SetSlogLogger(logger) }
