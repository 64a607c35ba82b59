package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startPair starts a process with a child of its own and returns the child's id.
func startPair(t *testing.T, ctx context.Context) (*Process, int) {
	t.Helper()
	p, err := Start(ctx, nil, "sh", "-c", "sleep 1000 & echo $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	child := 0
	waiting, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Poll(waiting, func() bool { _, err := fmt.Sscan(p.output.String(), &child); return err == nil }, p); err != nil {
		t.Fatal(err)
	}
	return p, child
}

// gone waits for a process that is no child of ours to end.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || bytes.Contains(raw, []byte(") Z ")) || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

func TestStopEndsChildrenToo(t *testing.T) {
	p, child := startPair(t, t.Context())
	p.Stop()
	gone(t, child)
}

func TestContextEndsChildrenToo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, child := startPair(t, ctx)
	cancel()
	<-p.Done()
	gone(t, child)
}

func TestFailureSaysWhatTheProcessSaid(t *testing.T) {
	p, err := Start(t.Context(), nil, "sh", "-c", "echo no such disk >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Failure(); !strings.Contains(err.Error(), "no such disk") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("failure: %v", err)
	}
}
