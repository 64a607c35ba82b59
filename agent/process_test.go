package agent_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/agent"
)

// maxResident is what the agent may take of its host's memory, in bytes.
const maxResident = 30 << 20

// build compiles the shipped agent.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quorate-agent")
	cmd := exec.Command("go", "build", "-o", path, "../cmd/quorate-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// process is a running quorate-agent.
type process struct {
	*exec.Cmd
	log bytes.Buffer
}

func (s *site) args(command string, more ...string) []string {
	return append([]string{
		command, "--node", s.cfg.Node, "--consortium", s.cfg.Consortium, "--state-dir", s.cfg.StateDir,
		"--device", s.cfg.Device, "--boot-log", s.cfg.BootLog, "--ima-list", s.cfg.IMAList, "--boot-id", s.cfg.BootID,
	}, more...)
}

func (s *site) spawn(binary string) *process {
	s.t.Helper()
	p := &process{Cmd: exec.Command(binary, s.args("run")...)}
	p.Stderr = &p.log
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if p.ProcessState == nil {
			p.Process.Kill()
			p.Wait()
		}
	})
	return p
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	p.Process.Kill()
	p.Wait()
}

// memory returns the resident size and its highest value so far, in bytes.
func (p *process) memory(t *testing.T) (now, peak uint64) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kilobytes << 10
		case "VmHWM:":
			peak = kilobytes << 10
		}
	}
	return now, peak
}

// listeners returns the process's listening sockets, of any family.
func (p *process) listeners(t *testing.T) []string {
	t.Helper()
	own := p.sockets(t)
	var found []string
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "unix"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", p.Process.Pid, table))
		if err != nil {
			continue // no such family here
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if inode, ok := listening(table, fields); ok && own[inode] {
				found = append(found, table+": "+lines.Text())
			}
		}
		f.Close()
	}
	return found
}

// listening reads one line of a socket table: its inode, if it accepts.
func listening(table string, fields []string) (inode string, ok bool) {
	switch {
	case table == "unix" && len(fields) >= 7:
		return fields[6], fields[3] == "00010000" // __SO_ACCEPTCON
	case strings.HasPrefix(table, "tcp") && len(fields) >= 10:
		return fields[9], fields[3] == "0A"
	case strings.HasPrefix(table, "udp") && len(fields) >= 10:
		return fields[9], fields[3] == "07" // bound, not connected
	}
	return "", false
}

func (p *process) sockets(t *testing.T) map[string]bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok && err == nil {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own
}

// TestProcess runs the shipped binary through its day: join, run, much to send,
// kill -9, run again, end. Meanwhile it stays small and listens nowhere.
func TestProcess(t *testing.T) {
	s := newSite(t, 2, 1)
	list := bytes.Repeat([]byte("0123456789abcdef"), 512<<10) // 8 MiB
	if err := os.WriteFile(s.host.IMAPath(), list, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := build(t)
	tokens := ""
	for _, v := range s.verifiers {
		tokens += v.name + "=" + joinToken + "\n"
	}
	join := exec.Command(binary, s.args("join", "--token-file", "-")...)
	join.Stdin = strings.NewReader(tokens)
	if out, err := join.CombinedOutput(); err != nil || strings.Count(string(out), "pending") != 2 {
		t.Fatalf("join: %v\n%s", err, out)
	}
	p := s.spawn(binary)
	s.attestTwice(list)
	t.Run("A155_ListensNowhere", func(t *testing.T) {
		if found := p.listeners(t); len(found) != 0 {
			t.Error(found)
		}
		if len(p.sockets(t)) < 2 {
			t.Error("twin: the sessions were not found among the sockets")
		}
	})
	t.Run("Memory", func(t *testing.T) {
		now, peak := p.memory(t)
		t.Logf("resident %d KiB, peak %d KiB", now>>10, peak>>10)
		if peak > maxResident {
			t.Errorf("%d KiB resident at peak, at most %d", peak>>10, maxResident>>10)
		}
	})
	p.kill(t)
	for _, v := range s.verifiers {
		v.quiet()
	}
	if st := s.status(); st.Running {
		t.Error("a killed agent counts as running")
	}
	p = s.spawn(binary)
	s.attestTwice(list)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("end on SIGTERM: %v\n%s", err, p.log.String())
	}
	if !strings.HasPrefix(p.log.String(), `{"time"`) {
		t.Errorf("log is not JSON: %.80q", p.log.String())
	}
}

// attestTwice has every verifier take everything twice.
func (s *site) attestTwice(list []byte) {
	s.t.Helper()
	for range 2 {
		for _, v := range s.verifiers {
			v.challenges <- nil
		}
		for _, v := range s.verifiers {
			if r := v.next(); r.err != nil || !bytes.Equal(r.ima, list) {
				s.t.Fatalf("%s: %d bytes of IMA, %v", v.name, len(r.ima), r.err)
			}
		}
	}
	eventually(s.t, "admitted", func() bool { return s.status().Standing(time.Now()) == agent.Admitted })
}
