package realboot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/simulator/site"
)

// Guest is a running guest. Its init obeys one command line at a time.
type Guest struct {
	Console  string        // file of everything firmware, kernel and agent printed
	BootTime time.Duration // power on to obeying
	qemu     *site.Process
	tpm      *site.Process
	control  net.Conn
	reader   *bufio.Reader
	commands int
}

// connect waits for the guest's init to say that it is ready.
func (g *Guest) connect(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	ended := g.closeWhenGone(listener.Close)
	defer close(ended)
	conn, err := listener.Accept()
	if err != nil {
		return g.why(ctx, err)
	}
	g.control, g.reader = conn, bufio.NewReader(conn)
	return g.awaitReady(ctx)
}

// errGone means that the guest ended while something was expected of it.
var errGone = errors.New("guest is gone")

// ErrRefused means that firmware or shim did not start a boot loader because
// Secure Boot does not allow it.
var ErrRefused = errors.New("refused by Secure Boot")

// What the guest says when it obeys, and what firmware and shim say when they
// stop. Both also write to the control channel before the guest has it.
var (
	sayReady   = []byte("\n#ready\n")
	sayRefused = []byte("Security Violation")
)

// awaitReady reads bytes, not lines: shim's message is a box on a screen that
// waits for a key.
func (g *Guest) awaitReady(ctx context.Context) error {
	stop := g.interruptible(ctx)
	defer stop()
	var said []byte
	for !bytes.HasSuffix(said, sayReady) {
		b, err := g.reader.ReadByte()
		if err != nil {
			return g.why(ctx, err)
		}
		if said = append(said, b); bytes.HasSuffix(said, sayRefused) {
			return ErrRefused
		}
	}
	return nil
}

// interruptible makes reads of the control channel end with ctx.
func (g *Guest) interruptible(ctx context.Context) (stop func() bool) {
	g.control.SetReadDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { g.control.SetReadDeadline(time.Unix(1, 0)) })
}

// closeWhenGone calls closer when QEMU ends before the returned channel is closed.
func (g *Guest) closeWhenGone(closer func() error) chan struct{} {
	ended := make(chan struct{})
	go func() {
		select {
		case <-g.qemu.Done():
			closer()
		case <-ended:
		}
	}()
	return ended
}

// Exec runs a shell command as root in the guest and returns what it wrote. A
// status other than 0 is an error that holds the output.
func (g *Guest) Exec(ctx context.Context, command string) (string, error) {
	if strings.ContainsAny(command, "\n\r") {
		return "", errors.New("guest command: more than one line")
	}
	g.commands++
	if err := g.send(ctx, fmt.Sprintf("%d %s\n", g.commands, command)); err != nil {
		return "", fmt.Errorf("guest command %q: %w", command, err)
	}
	prefix := fmt.Sprintf("#done %d ", g.commands)
	lines, err := g.readUntil(ctx, func(line string) bool { return strings.HasPrefix(line, prefix) })
	if err != nil {
		return "", fmt.Errorf("guest command %q: %w", command, err)
	}
	last := len(lines) - 1
	output := strings.TrimSuffix(strings.Join(lines[:last], "\n"), "\n")
	status, err := strconv.Atoi(strings.TrimPrefix(lines[last], prefix))
	if err != nil || status != 0 {
		return output, fmt.Errorf("guest command %q ended with %s: %s", command, lines[last], output)
	}
	return output, nil
}

func (g *Guest) send(ctx context.Context, line string) error {
	if deadline, ok := ctx.Deadline(); ok {
		g.control.SetWriteDeadline(deadline)
	}
	_, err := g.control.Write([]byte(line))
	return g.why(ctx, err)
}

// readUntil returns the lines up to and with the first that matches.
func (g *Guest) readUntil(ctx context.Context, match func(string) bool) ([]string, error) {
	stop := g.interruptible(ctx)
	defer stop()
	var lines []string
	for {
		line, err := g.reader.ReadString('\n')
		if err != nil {
			return lines, g.why(ctx, err)
		}
		line = strings.TrimRight(line, "\r\n")
		lines = append(lines, line)
		if match(line) {
			return lines, nil
		}
	}
}

// why replaces the error of a closed channel by the reason it was closed for.
func (g *Guest) why(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w); console:\n%s", ctx.Err(), err, lastLines(g.Console, 15))
	}
	if waitErr := g.qemu.Wait(ctx, time.Second); waitErr == nil {
		return fmt.Errorf("%w: %w: console:\n%s", errGone, g.qemu.Failure(), lastLines(g.Console, 15))
	}
	return err
}

// Shutdown ends the guest as an operator would: the agent stops, the state
// partition is unmounted, the TPM is told. What does not end is killed, and
// that is an error.
func (g *Guest) Shutdown(ctx context.Context) error {
	defer g.Kill()
	if err := g.send(ctx, "0 poweroff\n"); err != nil {
		return fmt.Errorf("shut down guest: %w", err)
	}
	if err := g.qemu.Wait(ctx, 20*time.Second); err != nil {
		return fmt.Errorf("%w: %w", errRefusedToEnd, err)
	}
	return g.tpm.Wait(ctx, 5*time.Second)
}

// Kill cuts the power. It may be called at any time and more than once.
func (g *Guest) Kill() {
	if g.control != nil {
		g.control.Close()
	}
	for _, p := range []*site.Process{g.qemu, g.tpm} {
		if p != nil {
			p.Stop()
		}
	}
}

// lastLines reads the end of a console file, for messages.
func lastLines(path string, n int) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.ReplaceAll(string(raw), "\r", ""), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
