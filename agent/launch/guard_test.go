package launch_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/launch"
)

// TestMain makes the test binary a guard when it is told to be one.
func TestMain(m *testing.M) {
	if script := os.Getenv("GUARDED"); script != "" {
		guard(script)
		return
	}
	os.Exit(m.Run())
}

func guard(script string) {
	cfg := agent.DefaultConfig()
	cfg.Node, cfg.StateDir, cfg.Consortium = nodeID, os.Getenv("STATE"), os.Getenv("CONSORTIUM")
	o := launch.Options{Command: []string{"/bin/sh", "-c", script}, OnLoss: launch.Stop, Grace: time.Second}
	if err := launch.Run(context.Background(), cfg, o, os.Stdin, os.Stdout, os.Stderr, slog.Default()); err != nil {
		os.Exit(1)
	}
}

// TestNodeEndsWithItsGuard kills the guard: the node must not go on unwatched.
func TestNodeEndsWithItsGuard(t *testing.T) {
	s := newSite(t)
	s.admit(time.Hour)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "STATE="+s.cfg.StateDir, "CONSORTIUM="+s.cfg.Consortium, "GUARDED=echo $$; "+forever)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 32)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(node, 0); err != nil {
		t.Fatal("twin: the node does not run", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node ends", func() bool { return !alive(node) })
	cmd.Wait()
}

// alive reports whether a process runs; one that only waits to be buried does not.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
