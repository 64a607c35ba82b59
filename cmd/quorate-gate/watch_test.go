package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/watch"
	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/rosterd"
)

// TestScripts runs testdata/*.txtar. Every script finds a consortium file, whose
// verifiers nobody answers for, and a gate's key.
func TestScripts(t *testing.T) {
	s := newSite(t)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			return errors.Join(os.WriteFile(filepath.Join(env.WorkDir, "consortium.yaml"), s.File, 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "gate.key"), []byte(s.GateKey+"\n"), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "open.key"), []byte(s.GateKey+"\n"), 0o644))
		},
	})
}

// exits runs a program that must end with the given code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(code) != want {
		ts.Fatalf("exit code %d, want %s", code, want)
	}
}

// watchSite is a consortium of three members, two of whom admit, with real servers
// of rosters, and the files of a gate.
type watchSite struct {
	*testing.T
	*rosterd.Site
	net    *issuer.Network
	dir    string
	number uint64
}

func newSite(t *testing.T) *watchSite {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	site, err := rosterd.Start(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(site.Close)
	s := &watchSite{T: t, Site: site, net: n, dir: t.TempDir()}
	peers := "peers:\n"
	for i := range 10 {
		peers += "  " + member(i) + ": " + enode(i) + "\n"
	}
	s.write("peers.yaml", peers)
	s.write("consortium.yaml", string(site.File))
	s.write("gate.key", site.GateKey+"\n")
	return s
}

func member(i int) string { return fmt.Sprintf("org-a/n%d", i) }
func enode(i int) string  { return fmt.Sprintf("enode://%02d@127.0.0.1:30303", i) }

func (s *watchSite) path(name string) string { return filepath.Join(s.dir, name) }

func (s *watchSite) write(name, content string) {
	s.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o700); err != nil {
		s.Fatal(err)
	}
	if err := os.Chmod(s.path(name), 0o700); err != nil {
		s.Fatal(err)
	}
}

// publish lets all members list the first n nodes without some.
func (s *watchSite) publish(n int, without ...int) {
	s.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	var admitted []admission.Listed
	for i := range n {
		host := sha256.Sum256([]byte(member(i)))
		if !slices.Contains(without, i) {
			admitted = append(admitted, admission.Listed{Node: member(i), Role: "validator", Serial: 1, NotAfter: now.Add(time.Hour), Host: hex.EncodeToString(host[:]), NodeKey: host})
		}
	}
	s.number++
	for _, m := range []string{"org-a", "org-b", "org-c"} {
		msg, err := s.net.Roster(m, now, admitted, nil)
		if err != nil {
			s.Fatal(err)
		}
		s.Publish(m, s.number, msg)
	}
}

// gate is a running quorate-gate watch, a process of its own.
type gate struct {
	s    *watchSite
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	errors bytes.Buffer // what it wrote on standard error; read it after that

	mu     sync.Mutex
	events []watch.Event
}

func (s *watchSite) start(args ...string) *gate {
	s.Helper()
	base := []string{"watch", "--json", "--consortium", s.path("consortium.yaml"), "--key", s.path("gate.key"), "--peers", s.path("peers.yaml"), "--data", s.path("data")}
	g := &gate{s: s, cmd: exec.Command(os.Args[0], append(base, args...)...), done: make(chan struct{})}
	g.cmd.Env = append(os.Environ(), "QUORATE_GATE_TEST=gate")
	g.cmd.Stderr = &g.errors
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	go g.read(out)
	s.Cleanup(func() {
		if g.kill(); s.Failed() {
			s.Logf("process %d: %+v\n%s", g.cmd.Process.Pid, g.events, &g.errors)
		}
	})
	return g
}

func (g *gate) read(out io.Reader) {
	defer close(g.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e watch.Event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			g.mu.Lock()
			g.events = append(g.events, e)
			g.mu.Unlock()
		}
	}
	_ = g.cmd.Wait()
}

// spoke reports whether the process has printed an event.
func (g *gate) spoke() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.events) > 0
}

// kill ends the process at once, if it has not ended by itself.
func (g *gate) kill() {
	_ = g.cmd.Process.Kill()
	<-g.done
}

// stop asks the process to end.
func (g *gate) stop() {
	g.s.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.s.Fatal(err)
	}
	<-g.done
	if code := g.cmd.ProcessState.ExitCode(); code != program.Good {
		g.s.Errorf("exit code %d after SIGTERM", code)
	}
}

func (s *watchSite) until(what string, ok func() bool) {
	s.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within 40 s; the ledger has %q", what, s.told())
		}
	}
}

// told is what the ledger's command noted: "add org-a/n0 enode://… 1".
func (s *watchSite) told() []string {
	text, err := os.ReadFile(s.path("told"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func line(action string, i, number int) string {
	return fmt.Sprintf("%s %s %s %d", action, member(i), enode(i), number)
}

const noted = `echo "$@" >> "$DIR/told"`

// command is a ledger's program of a few lines.
func (s *watchSite) command(lines ...string) []string {
	s.write("tell", "#!/bin/sh\nDIR="+s.dir+"\n"+strings.Join(lines, "\n")+"\n")
	return []string{"--", s.path("tell")}
}

func TestWatchRunsCommands(t *testing.T) {
	s := newSite(t)
	g := s.start(s.command(noted)...)
	s.publish(4)
	want := []string{line("add", 0, 1), line("add", 1, 2), line("add", 2, 3), line("add", 3, 4)}
	s.until("four nodes", func() bool { return slices.Equal(s.told(), want) })
	s.publish(4, 2)
	want = append(want, line("remove", 2, 5))
	s.until("one leaves", func() bool { return slices.Equal(s.told(), want) })
	if code, _, text := quorateGate(slices.Concat(g.cmd.Args[1:], nil)...); code != program.Unknown || !strings.Contains(text, "another process uses this folder") {
		t.Errorf("a second one on the folder: exit %d, %q", code, text)
	}
	g.stop()
}

// The change is in the outbox, and the program is killed, with -9, before the
// command did anything: by the command itself. The next one delivers it, once.
func TestWatchKilledBeforeTheCommand(t *testing.T) {
	s := newSite(t)
	first := s.start(s.command(`[ -e "$DIR/again" ] || kill -9 $PPID`, `[ -e "$DIR/again" ] || exec sleep 600`, noted)...)
	s.publish(2)
	<-first.done
	if got := s.told(); len(got) > 0 {
		t.Fatalf("told %q", got)
	}
	kept, err := os.ReadFile(s.path("data/state.json"))
	if err != nil || !strings.Contains(string(kept), `"number": 2`) {
		t.Fatalf("kept %s, %v", kept, err)
	}
	s.write("again", "")
	s.start(first.cmd.Args[len(first.cmd.Args)-2:]...)
	s.until("both", func() bool { return slices.Equal(s.told(), []string{line("add", 0, 1), line("add", 1, 2)}) })
}

// It is killed after the command had its effect and before that was noted: the
// change is delivered once more, and nothing is left out or overtaken.
func TestWatchKilledAfterTheCommand(t *testing.T) {
	s := newSite(t)
	first := s.start(s.command(noted, `[ -e "$DIR/again" ] || { echo $$ > "$DIR/pid"; kill -9 $PPID; exec sleep 600; }`)...)
	s.publish(2)
	<-first.done
	s.until("the command ends too, so that it overtakes nothing", s.orphanEnded)
	s.write("again", "")
	s.start(first.cmd.Args[len(first.cmd.Args)-2:]...)
	s.until("both", func() bool {
		return slices.Equal(s.told(), []string{line("add", 0, 1), line("add", 0, 1), line("add", 1, 2)})
	})
}

// orphanEnded reports whether the process named in the file pid has ended.
func (s *watchSite) orphanEnded() bool {
	text, err := os.ReadFile(s.path("pid"))
	if err != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// Killed at random instants while rosters change. The ledger ends up with exactly
// who is listed, and never hears a change before an earlier one.
func TestWatchKilledAtRandom(t *testing.T) {
	s := newSite(t)
	args := slices.Concat([]string{"--window", "1ms"}, s.command(noted)) // many may leave, one after the other
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 8 {
		g := s.start(args...)
		s.publish(7+i%2, i%2) // one leaves and another returns, a third joins or leaves
		s.until("a sign of life", g.spoke)
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // the instant is the point
		g.kill()
	}
	s.start(args...)
	s.publish(7)
	want := map[string]bool{}
	for i := range 7 {
		want[member(i)] = true
	}
	s.until("exactly who is listed", func() bool { return fmt.Sprint(s.replay()) == fmt.Sprint(want) })
}

// replay is what the ledger has after all it was told. It checks the order.
func (s *watchSite) replay() map[string]bool {
	s.Helper()
	has, last := map[string]bool{}, 0
	for _, told := range s.told() {
		words := strings.Fields(told)
		number, err := strconv.Atoi(words[3])
		if err != nil || number != last && number != last+1 {
			s.Fatalf("change %s after %d in %q", words[3], last, s.told())
		}
		last = number
		if words[0] == "add" {
			has[words[1]] = true
		} else {
			delete(has, words[1])
		}
	}
	return has
}

// A command that fails is run again, and the next change waits for it.
func TestWatchRepeatsWhatFails(t *testing.T) {
	s := newSite(t)
	g := s.start(s.command(`[ -e "$DIR/open" ] || { echo closed; exit 1; }`, noted)...)
	s.publish(2)
	s.until("an alarm", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.ContainsFunc(g.events, func(e watch.Event) bool {
			return e.Event == "undelivered" && e.Alarm && strings.Contains(e.Why, "closed")
		})
	})
	s.write("open", "")
	s.until("both", func() bool { return slices.Equal(s.told(), []string{line("add", 0, 1), line("add", 1, 2)}) })
}

// A ledger node that breaks off in the middle of every third answer gets every
// change all the same, in order.
func TestWatchCallsJSONRPC(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	var calls int
	var list []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var call struct {
			Method string
			Params [][]string
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			t.Error(err)
		}
		answer := `"result":"Success"`
		switch there := len(call.Params) == 1 && slices.Contains(list, call.Params[0][0]); {
		case call.Method == "perm_getNodesAllowlist":
			text, _ := json.Marshal(list)
			answer = `"result":` + string(text)
		case there == (call.Method == "perm_addNodesToAllowlist"):
			answer = `"error":{"code":-32000,"message":"no change"}`
		case there:
			list = slices.DeleteFunc(list, func(p string) bool { return p == call.Params[0][0] })
		default:
			list = append(list, call.Params[0][0])
		}
		if calls++; calls%3 == 1 {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"jsonrpc":`)
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,%s}`, answer)
	}))
	defer server.Close()
	g := s.start("--preset", "besu", "--rpc", server.URL)
	has := func(want ...string) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return slices.Equal(list, want) }
	}
	s.publish(4)
	s.until("four nodes", has(enode(0), enode(1), enode(2), enode(3)))
	s.publish(4, 1)
	s.until("one leaves", has(enode(0), enode(2), enode(3)))
	g.stop()
}

// Events are also lines for people.
func TestWatchEventsAsText(t *testing.T) {
	var out strings.Builder
	c := &cli{out: &out}
	c.printEvent(watch.Event{Event: "frozen", Alarm: true, Why: "3 nodes would have to leave"})
	c.printEvent(watch.Event{Event: "roster", Verifier: "a.example", Number: 7})
	if got := out.String(); got != "ALARM frozen: 3 nodes would have to leave\nroster a.example number 7\n" {
		t.Errorf("%q", got)
	}
}
