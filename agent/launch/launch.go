// Package launch runs a ledger node under this host's admission: it starts the
// node's program once the host is admitted, and acts when the admission is gone.
package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/agent/standing"
)

// lookEvery is how often the agent's state is looked at.
const lookEvery = 250 * time.Millisecond

// OnLoss says what happens to the program when the admission is gone.
type OnLoss string

// The zero value is none of them.
const (
	Stop   OnLoss = "stop"   // end it, with SIGTERM and after a while with SIGKILL
	Signal OnLoss = "signal" // send it a signal, once for each loss
	Report OnLoss = "report" // only say so
)

// ErrLost reports that the program was stopped because the admission is gone.
var ErrLost = errors.New("launch: the admission is gone")

// Options say what to run.
type Options struct {
	Command []string
	OnLoss  OnLoss
	Signal  syscall.Signal // for OnLoss Signal
	Grace   time.Duration  // between SIGTERM and SIGKILL
}

// Check refuses options that mean nothing.
func (o Options) Check() error {
	switch {
	case len(o.Command) == 0:
		return errors.New("launch: no command")
	case o.OnLoss != Stop && o.OnLoss != Signal && o.OnLoss != Report:
		return fmt.Errorf("launch: on loss %q is none of stop, signal, report", o.OnLoss)
	case o.OnLoss == Signal && o.Signal == 0:
		return errors.New("launch: no signal for a lost admission")
	case o.Grace <= 0:
		return errors.New("launch: no time between SIGTERM and SIGKILL")
	}
	return nil
}

// ExitError is the end of a program that did not end with 0.
type ExitError struct{ Code int }

// Error names the code.
func (e *ExitError) Error() string {
	return fmt.Sprintf("launch: the program ended with code %d", e.Code)
}

// launcher is one run.
type launcher struct {
	Options
	cfg   agent.Config
	watch *standing.Watch
	log   *slog.Logger
	state permit.Standing
}

// Run waits until the host is admitted, runs the program with its environment
// extended by QUORATE_BUNDLE and QUORATE_NODE, forwards signals to it, and returns
// how it ended: nil, an *ExitError, or ErrLost when it was stopped for want of an
// admission. Nil too if ctx ends before the program was started.
func Run(ctx context.Context, cfg agent.Config, o Options, stdin *os.File, stdout, stderr *os.File, log *slog.Logger) error {
	if err := o.Check(); err != nil {
		return err
	}
	consortium, err := agent.ReadConsortium(cfg)
	if err != nil {
		return err
	}
	l := &launcher{Options: o, cfg: cfg, watch: standing.New(cfg, consortium), log: log}
	if !l.wait(ctx) {
		return nil
	}
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.Env = l.environment(os.Environ())
	return l.run(cmd)
}

// environment is the program's. The socket of systemd stays ours: READY means
// admitted and started.
func (l *launcher) environment(own []string) []string {
	var env []string
	for _, v := range own {
		if !strings.HasPrefix(v, "NOTIFY_SOCKET=") {
			env = append(env, v)
		}
	}
	return append(env, "QUORATE_BUNDLE="+filepath.Join(l.cfg.StateDir, "admission.bundle"), "QUORATE_NODE="+l.cfg.Node)
}

// wait returns true once the host is admitted, false if ctx ends first.
func (l *launcher) wait(ctx context.Context) bool {
	said := ""
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		lost := l.lost(time.Now())
		if lost == "" {
			return true
		}
		if lost != said {
			said = lost
			l.log.Info("waiting for the admission", "reason", lost)
		}
		notify("STATUS=waiting for the admission: "+lost, "EXTEND_TIMEOUT_USEC=30000000")
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// lost says why the host is not admitted, "" if it is.
func (l *launcher) lost(now time.Time) string {
	if v, heard := l.watch.Verdicts(); heard {
		l.state = l.state.Next(v)
	}
	if l.state.Suspended {
		return "suspended: " + l.state.Reason
	}
	nodeKey, err := agent.EnrolledNodeKey(l.cfg)
	if err != nil {
		return err.Error()
	}
	a, unusable := l.watch.Admission(admission.Want{NodeKey: nodeKey}, now)
	switch {
	case a == nil:
		return unusable
	case !a.ValidAt(now):
		return "the admission ended at " + a.NotAfter().Format(time.RFC3339)
	}
	return ""
}

// run runs the program to its end.
func (l *launcher) run(cmd *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT)
	defer signal.Stop(signals)
	started, ended := make(chan error, 1), make(chan error, 1)
	go child(cmd, started, ended)
	if err := <-started; err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	l.log.Info("admitted; the program is started", "pid", cmd.Process.Pid, "program", cmd.Path)
	notify("READY=1", "STATUS=admitted; the program runs")
	lost, err := l.follow(cmd.Process, signals, ended)
	notify("STOPPING=1")
	if lost {
		return ErrLost
	}
	return exitError(err)
}

// child starts the program and waits for it, on one thread: the kernel ends the
// program when the thread that started it dies, so that it never outlives its
// guard.
func child(cmd *exec.Cmd, started, ended chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err := cmd.Start()
	started <- err
	if err == nil {
		ended <- cmd.Wait()
	}
}

// follow forwards signals and watches the admission until the program ends.
func (l *launcher) follow(p *os.Process, signals <-chan os.Signal, ended <-chan error) (stopped bool, err error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var kill <-chan time.Time
	said := ""
	for {
		select {
		case err := <-ended:
			return stopped, err
		case s := <-signals:
			_ = p.Signal(s) // it may have ended just now
		case <-kill:
			_ = p.Kill()
		case now := <-tick.C:
			if stopped {
				continue
			}
			lost := l.lost(now)
			if (lost == "") != (said == "") {
				stopped = l.act(p, lost)
				if stopped {
					kill = time.After(l.Grace)
				}
			}
			said = lost
		}
	}
}

// act does what a change of the admission asks for. It returns true if the
// program was told to end.
func (l *launcher) act(p *os.Process, lost string) bool {
	if lost == "" {
		l.log.Info("admitted again")
		notify("STATUS=admitted again")
		return false
	}
	l.log.Warn("the admission is gone", "reason", lost, "onLoss", string(l.OnLoss))
	notify("STATUS=the admission is gone: " + lost)
	switch l.OnLoss {
	case Stop:
		_ = p.Signal(syscall.SIGTERM)
		return true
	case Signal:
		_ = p.Signal(l.Options.Signal)
	}
	return false
}

// exitError is how the program ended: its code, or 128 and the signal as shells
// have it.
func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return &ExitError{128 + int(w.Signal())}
	}
	return &ExitError{exit.ExitCode()}
}
