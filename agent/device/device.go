// Package device opens a TPM 2.0 and sends it commands, one at a time.
//
// A Device hides two things that every user of a TPM meets: answers that mean
// "ask again", and a TPM that went away and came back. What was loaded into the
// TPM before it went away is gone; Generation tells.
package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// MaxResponse is the largest response accepted from a TPM, in bytes.
const MaxResponse = 4096

// Bounds of the back-off on "ask again" answers: about 7 s in total.
const (
	firstPause = 2 * time.Millisecond
	lastPause  = time.Second
	maxTries   = 15
)

// ErrBroken reports that the connection with the TPM failed during a command.
// The command may or may not have run. The next command opens a new connection.
var ErrBroken = errors.New("device: connection with the TPM failed")

// Conn is one open connection with a TPM: one command in, one response out.
type Conn interface {
	transport.TPM
	io.Closer
}

// Opener makes a connection with a TPM. It must respect ctx.
type Opener func(ctx context.Context) (Conn, error)

// Device is a TPM. It is safe for concurrent use; commands run one at a time.
type Device struct {
	name   string
	open   Opener
	shared bool // a resource manager stands before the TPM

	mu         sync.Mutex // held for the length of one command
	conn       Conn       // nil when closed or broken
	generation uint64
	closed     bool
}

// Open opens the TPM that name means: "swtpm:/path/of/socket" and
// "swtpm:host:port" are raw TPM command streams, anything else is a character
// device, best "/dev/tpmrm0".
func Open(ctx context.Context, name string) (*Device, error) {
	d := &Device{name: name, generation: 1}
	switch address, isSocket := strings.CutPrefix(name, "swtpm:"); {
	case isSocket && strings.HasPrefix(address, "/"):
		d.open = dialUnix(address)
	case isSocket:
		d.open = dialTCP(address)
	default:
		d.open = openFile(name)
		d.shared = strings.HasPrefix(name, "/dev/tpmrm")
	}
	return d.start(ctx)
}

// OpenWith opens a TPM through the given opener, which is called again whenever
// the connection has failed.
func OpenWith(ctx context.Context, name string, open Opener) (*Device, error) {
	return (&Device{name: name, open: open, generation: 1}).start(ctx)
}

// Wrap makes a Device of an existing TPM, which it never closes or reopens.
func Wrap(tpm transport.TPM) *Device {
	open := func(context.Context) (Conn, error) { return kept{tpm}, nil }
	return &Device{name: "injected", open: open, generation: 1}
}

// kept is a TPM that somebody else closes.
type kept struct{ transport.TPM }

func (kept) Close() error { return nil }

func (d *Device) start(ctx context.Context) (*Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.connect(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Name returns what the device was opened as.
func (d *Device) Name() string { return d.name }

// Shared reports whether a resource manager stands between us and the TPM. If
// not, this process is the TPM's only user and answers for all that is loaded.
func (d *Device) Shared() bool { return d.shared }

// Generation counts connections, from 1: it moves when a connection ends.
// Handles of an earlier generation are void.
func (d *Device) Generation() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.generation
}

// Reconnect ends the present connection; the next command makes a new one. A
// resource manager frees everything that was loaded over the old one.
func (d *Device) Reconnect() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.disconnect()
}

// Close closes the connection. Later commands fail.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.disconnect()
}

// Send runs one command. It is With(context.Background()).Send.
func (d *Device) Send(command []byte) ([]byte, error) {
	return d.send(context.Background(), command)
}

// With returns a view of the device whose commands, pauses and reopening end
// with ctx. A command that the TPM is working on is not interrupted.
func (d *Device) With(ctx context.Context) transport.TPM { return view{ctx, d} }

type view struct {
	ctx context.Context
	d   *Device
}

func (v view) Send(command []byte) ([]byte, error) { return v.d.send(v.ctx, command) }

func (d *Device) send(ctx context.Context, command []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause := firstPause
	for try := 1; ; try++ {
		response, err := d.once(ctx, command)
		if err != nil || !askAgain(response) || try == maxTries {
			return response, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, lastPause)
	}
}

// once runs one command on the present connection, or on a new one. It does not
// repeat a command whose connection failed: the caller's handles are void.
func (d *Device) once(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	response, err := conn.Send(command)
	if err == nil {
		err = checkResponse(response)
	}
	if err != nil {
		d.disconnect() // the connection is lost either way
		return nil, fmt.Errorf("%w: %s: %w", ErrBroken, d.name, err)
	}
	return response, nil
}

func (d *Device) connect(ctx context.Context) (Conn, error) {
	if d.closed {
		return nil, fmt.Errorf("device: %s is closed", d.name)
	}
	if d.conn != nil {
		return d.conn, nil
	}
	conn, err := d.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("device: open TPM %s: %w", d.name, err)
	}
	d.conn = conn
	return conn, nil
}

func (d *Device) disconnect() error {
	if d.conn == nil {
		return nil
	}
	err := d.conn.Close()
	d.conn = nil
	d.generation++
	return err
}

// checkResponse refuses a response whose header cannot be a TPM's: after it,
// nothing on the connection can be trusted to belong to its command.
func checkResponse(r []byte) error {
	if len(r) < 10 || len(r) > MaxResponse {
		return fmt.Errorf("response of %d bytes", len(r))
	}
	if size := binary.BigEndian.Uint32(r[2:]); int(size) != len(r) {
		return fmt.Errorf("response says %d bytes, has %d", size, len(r))
	}
	return nil
}

// askAgain reports the answers with which the TPM did not run the command and
// will run it later. Lockout is not among them: our keys are exempt from it.
func askAgain(response []byte) bool {
	switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting:
		return true
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
