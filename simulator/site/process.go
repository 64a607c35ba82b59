package site

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is one program that runs beside us, in a process group of its own,
// so that what it starts ends with it. It dies with this process on every path:
// by Stop, by the context, and by the kernel when we are killed.
type Process struct {
	name   string
	cmd    *exec.Cmd
	output *tail
	done   chan struct{}
	err    error // valid after done
}

// killAfter is how long a process may take to end by itself once its pipes or
// its context are gone.
const killAfter = 2 * time.Second

// Start runs a program until it ends, Stop is called or ctx is done.
func Start(ctx context.Context, log *os.File, program string, args ...string) (*Process, error) {
	p := &Process{name: filepath.Base(program), cmd: exec.CommandContext(ctx, program, args...), output: &tail{file: log}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.Cancel = p.killGroup
	p.cmd.WaitDelay = killAfter
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.killGroup() // helpers that outlived it
		close(p.done)
	}()
	return p, nil
}

func (p *Process) killGroup() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// Stop kills the process and returns when it is gone.
func (p *Process) Stop() {
	p.killGroup()
	<-p.done
}

// Interrupt asks the process to end, and kills it if it does not.
func (p *Process) Interrupt(patience time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = p.Wait(context.Background(), patience)
	p.Stop()
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Failure describes an end that nobody asked for.
func (p *Process) Failure() error {
	<-p.done
	if p.err == nil {
		return fmt.Errorf("%s ended early: %s", p.name, p.output)
	}
	return fmt.Errorf("%s ended early: %w: %s", p.name, p.err, p.output)
}

// Wait returns when the process has ended or patience has.
func (p *Process) Wait(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s still runs after %s", p.name, patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tail keeps the last of what a process wrote, for error messages, and copies
// all of it into a file.
type tail struct {
	mu   sync.Mutex
	last []byte
	file *os.File // may be nil
}

const tailSize = 2048

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	t.last = bytes.Clone(t.last[max(0, len(t.last)-tailSize):])
	if t.file == nil {
		return len(b), nil
	}
	return t.file.Write(b)
}

// String is the last 2 KiB.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
