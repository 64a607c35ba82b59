package bootlog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/quorate/quorate/simulator/swtpm"
)

// Host is one simulated machine: a software TPM that several processes may use,
// a boot log file and an IMA list file, which an agent reads as it would read
// the kernel's. It is safe for concurrent use.
type Host struct {
	TPM *swtpm.TPM
	Mux *swtpm.Mux
	dir string

	mu     sync.Mutex // held while files and PCRs differ
	fresh  bool       // nothing was extended since power on
	booted bool
}

// NewHost makes a machine in the directory, or finds the one that is there, and
// powers its TPM on. It has booted nothing yet: its log does not exist.
func NewHost(ctx context.Context, dir string, o swtpm.Options) (*Host, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("bootlog: %w", err)
	}
	h := &Host{dir: dir}
	if err := h.clear(); err != nil {
		return nil, err
	}
	tpm, err := swtpm.New(ctx, filepath.Join(dir, "tpm"), o)
	if err != nil {
		return nil, err
	}
	mux, err := swtpm.Listen(filepath.Join(dir, "tpm.sock"), tpm)
	if err != nil {
		return nil, errors.Join(err, tpm.Close())
	}
	h.TPM, h.Mux, h.fresh = tpm, mux, true
	return h, nil
}

// Device returns the TPM's name as agents take it: "swtpm:/path/of/socket".
func (h *Host) Device() string { return "swtpm:" + h.Mux.Path() }

// BootLogPath returns the path of the boot log.
func (h *Host) BootLogPath() string { return filepath.Join(h.dir, "binary_bios_measurements") }

// IMAPath returns the path of the IMA list.
func (h *Host) IMAPath() string { return filepath.Join(h.dir, "binary_runtime_measurements") }

// BootIDPath returns the path of a file like the kernel's boot_id: another random
// id for each boot.
func (h *Host) BootIDPath() string { return filepath.Join(h.dir, "boot_id") }

// Boot switches the machine on, or off and on if it runs, and boots.
func (h *Host) Boot(b Boot) error { return h.BootLog(b.Log()) }

// BootLog is Boot with a log that may be defective.
func (h *Host) BootLog(l *Log) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.reset(); err != nil {
		return err
	}
	h.fresh = false
	if err := l.Extend(h.TPM); err != nil {
		return err
	}
	if err := os.WriteFile(h.BootLogPath(), l.Bytes(), 0o600); err != nil {
		return fmt.Errorf("bootlog: %w", err)
	}
	if err := os.WriteFile(h.BootIDPath(), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return fmt.Errorf("bootlog: %w", err)
	}
	if err := h.measure(AggregateEntry(l.PCRs())); err != nil {
		return err
	}
	h.booted = true
	return nil
}

// reset ends what runs. The first boot finds the TPM freshly powered on.
func (h *Host) reset() error {
	h.booted = false
	h.Mux.Disconnect()
	if err := h.clear(); err != nil || h.fresh {
		return err
	}
	return h.TPM.Reset()
}

func (h *Host) clear() error {
	for _, path := range []string{h.BootLogPath(), h.IMAPath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("bootlog: %w", err)
		}
	}
	return nil
}

// Exec measures a program that is being started, by path and SHA-256 digest.
func (h *Host) Exec(path string, digest [sha256.Size]byte) error {
	return h.Measure(FileEntry(path, digest))
}

// Measure adds an entry to the IMA list and extends PCR 10. As in the kernel,
// the list is ahead of the PCR for a moment, never behind it.
func (h *Host) Measure(e Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.booted {
		return errors.New("bootlog: the host has not booted")
	}
	return h.measure(e)
}

func (h *Host) measure(e Entry) error {
	if !e.NotListed {
		if err := appendFile(h.IMAPath(), e.append(nil)); err != nil {
			return fmt.Errorf("bootlog: %w", err)
		}
	}
	if err := extend(h.TPM, imaPCR, e.extended()); err != nil {
		return fmt.Errorf("bootlog: %w", err)
	}
	return nil
}

func appendFile(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(data)
	return err
}

// Close cuts the machine's power. Its state stays in the directory.
func (h *Host) Close() error {
	return errors.Join(h.Mux.Close(), h.TPM.Close())
}
