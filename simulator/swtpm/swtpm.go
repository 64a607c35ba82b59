// Package swtpm runs a software TPM as a process of its own (the program swtpm,
// over libtpms). Unlike the in-process reference simulator, any number of them
// run at once, their state survives, and power can be cut.
package swtpm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/simulator/vendorca"
)

// ErrOff reports a command to a TPM that is powered off.
var ErrOff = errors.New("swtpm: the TPM is off")

// stateFile is where swtpm keeps what survives the power.
const stateFile = "tpm2-00.permall"

// Options say how a new TPM is manufactured. They have no effect on a state
// directory that already holds a TPM.
type Options struct {
	Vendor *vendorca.CA    // issues the EK certificates in NV; nil: the TPM has none
	Device vendorca.Device // what the certificates say; zero: vendorca.DefaultDevice
	Shape  vendorca.Shape  // defect of the certificates, if any
	RSA    bool            // certify the RSA-2048 EK besides the ECC P-256 one; takes a second
}

// TPM is one software TPM. It is safe for concurrent use; commands run one at
// a time, and power cycles wait for the command in progress.
type TPM struct {
	dir string
	ctx context.Context // ends the process; see New

	mu   sync.Mutex
	cmd  *exec.Cmd
	conn net.Conn // nil when off
}

// New manufactures a TPM in the directory, or finds the one that is there,
// and powers it on with Startup(CLEAR): each New of an existing TPM is a boot.
// The process ends at Close, when ctx ends, and when this process ends.
func New(ctx context.Context, dir string, o Options) (*TPM, error) {
	t := &TPM{dir: dir, ctx: ctx}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); errors.Is(err, os.ErrNotExist) {
		if err := t.manufacture(o); err != nil {
			return nil, errors.Join(fmt.Errorf("swtpm: manufacture: %w", err), t.Close())
		}
	} else if err != nil {
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	if err := t.PowerOn(); err != nil {
		return nil, err
	}
	return t, nil
}

// Send runs one command, and runs it again as long as the TPM says so.
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return nil, ErrOff
	}
	return roundTrip(t.conn, command)
}

// PowerOn starts the TPM and sends Startup(CLEAR). After Shutdown or PowerOff
// this is a TPM Reset (resetCount grows by one), after Suspend a TPM Restart
// (only restartCount grows). PCRs start anew.
func (t *TPM) PowerOn() error { return t.powerOn(tpm2.TPMSUClear) }

// Resume starts the TPM and sends Startup(STATE). After Suspend the PCRs are as
// they were; otherwise the TPM refuses and stays unusable until PowerOn.
func (t *TPM) Resume() error { return t.powerOn(tpm2.TPMSUState) }

func (t *TPM) powerOn(kind tpm2.TPMSU) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	if err := t.start(); err != nil {
		return fmt.Errorf("swtpm: %w", err)
	}
	if _, err := (tpm2.Startup{StartupType: kind}).Execute(locked{t}); err != nil {
		t.stop()
		return fmt.Errorf("swtpm: startup: %w", err)
	}
	return nil
}

// Shutdown is an orderly end: Shutdown(CLEAR), then power off.
func (t *TPM) Shutdown() error { return t.shutdown(tpm2.TPMSUClear) }

// Suspend is what an operating system does before it sleeps: Shutdown(STATE),
// then power off.
func (t *TPM) Suspend() error { return t.shutdown(tpm2.TPMSUState) }

func (t *TPM) shutdown(kind tpm2.TPMSU) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		return ErrOff
	}
	if _, err := (tpm2.Shutdown{ShutdownType: kind}).Execute(locked{t}); err != nil {
		return fmt.Errorf("swtpm: shutdown: %w", err)
	}
	t.stop()
	return nil
}

// PowerOff cuts the power without warning.
func (t *TPM) PowerOff() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
}

// Reset is a clean reboot: Shutdown, then PowerOn.
func (t *TPM) Reset() error {
	if err := t.Shutdown(); err != nil {
		return err
	}
	return t.PowerOn()
}

// Close ends the process. The state stays in the directory.
func (t *TPM) Close() error {
	t.PowerOff()
	return nil
}

// start runs the process on one end of a socket pair. There is no path and no
// moment in which it is not yet listening, and it ends when our end closes,
// which happens even if this process is killed.
func (t *TPM) start() error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		ours.Close()
		return err
	}
	cmd := exec.CommandContext(t.ctx, "swtpm", "socket", "--tpm2", "--fd", "3",
		"--tpmstate", "dir="+t.dir, "--flags", "not-need-init", "--log", "file="+filepath.Join(t.dir, "swtpm.log"))
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		ours.Close()
		return err
	}
	t.cmd, t.conn = cmd, ours
	return nil
}

// stop kills the process and waits until it is gone, so that its lock on the
// state directory is gone too.
func (t *TPM) stop() {
	if t.conn == nil {
		return
	}
	t.conn.Close()
	_ = t.cmd.Process.Kill() // it may have ended by itself
	_ = t.cmd.Wait()         // "signal: killed" is what we asked for
	t.conn, t.cmd = nil, nil
}

// locked lets the holder of mu send commands.
type locked struct{ t *TPM }

func (l locked) Send(command []byte) ([]byte, error) { return roundTrip(l.t.conn, command) }

func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tpm"), os.NewFile(uintptr(fds[1]), "tpm")
	defer ours.Close() // FileConn duplicates it
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
