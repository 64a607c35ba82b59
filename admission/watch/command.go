package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/quorate/quorate/admission/watch/allowlist"
)

// tellTime bounds one attempt to tell a ledger of one change.
const tellTime = 30 * time.Second

// Command tells a ledger by running a program, with the action, the node, its peer
// and the change's number as its last arguments. Exit code 0 means that the ledger
// took the change. The program is killed when its time is over, and when the
// process that started it dies: it could otherwise overtake the next change.
type Command []string

// Tell implements Ledger.
func (c Command) Tell(ctx context.Context, change allowlist.Change) error {
	if len(c) == 0 {
		return errors.New("watch: no command")
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	said := &tail{}
	cmd := exec.CommandContext(ctx, c[0], append(slices.Clone(c[1:]), string(change.Action), change.Node, change.Peer, strconv.FormatUint(change.Number, 10))...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	runtime.LockOSThread() // the child dies with the thread that started it
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %q", c[0], err, said.last)
	}
	return nil
}

// tail keeps the end of what was written.
type tail struct{ last []byte }

const maxTail = 512

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.last = append(t.last, b...)
	if extra := len(t.last) - maxTail; extra > 0 {
		t.last = bytes.Clone(t.last[extra:])
	}
	return len(b), nil
}
