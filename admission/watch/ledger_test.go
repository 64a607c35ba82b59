package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorate/quorate/admission/watch/allowlist"
)

var change = allowlist.Change{Number: 7, Action: allowlist.Add, Node: "org-a/n1", Peer: "enode://aa@127.0.0.1:30303", Reason: "listed"}

// script is a program that is really run.
func script(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tell")
	check(t, os.WriteFile(path, []byte("#!/bin/sh\n"+strings.Join(lines, "\n")+"\n"), 0o700))
	return path
}

func TestCommands(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	check(t, Command{script(t, `echo "$@" > `+out), "--chain", "1"}.Tell(t.Context(), change))
	if got, err := os.ReadFile(out); err != nil || string(got) != "--chain 1 add org-a/n1 enode://aa@127.0.0.1:30303 7\n" {
		t.Errorf("%q, %v", got, err)
	}
	for name, c := range map[string]Command{
		"exit code 3": {script(t, "echo it is closed >&2", "exit 3")}, "no such program": {filepath.Join(t.TempDir(), "none")}, "nothing": {},
	} {
		err := c.Tell(t.Context(), change)
		if err == nil || name == "exit code 3" && !strings.Contains(err.Error(), "it is closed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A command that is given up ends with all that it started.
func TestCommandsAreEnded(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Command{script(t, "sleep 600 &", `echo $$ $! > `+pids+".new && mv "+pids+".new "+pids, "wait")}.Tell(ctx, change)
	}()
	var words []string
	poll(t, "it runs", func() bool {
		text, err := os.ReadFile(pids)
		words = strings.Fields(string(text))
		return err == nil
	})
	cancel()
	if <-done == nil {
		t.Error("a command that was ended was taken for delivered")
	}
	for _, word := range words {
		pid, err := strconv.Atoi(word)
		check(t, err)
		poll(t, word+" ended", func() bool { return gone(pid) })
	}
}

// gone reports whether a process has ended, collected or not.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestTailsAreBounded(t *testing.T) {
	var said tail
	for range 100 {
		_, _ = said.Write(bytes.Repeat([]byte("x"), 99))
	}
	_, _ = said.Write([]byte("end"))
	if len(said.last) != maxTail || !bytes.HasSuffix(said.last, []byte("xend")) {
		t.Errorf("%d bytes, %q", len(said.last), said.last)
	}
}

// ledgerNode is a node with JSON-RPC that keeps a list, as strict as Besu with
// repeated calls, and fails when it is told to.
type ledgerNode struct {
	t    *testing.T
	mu   sync.Mutex
	list []string
	log  []string
	fail func(n int, w http.ResponseWriter) bool // at the nth request, after the list has changed
}

func (l *ledgerNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var call struct {
		Method string
		Params json.RawMessage
		ID     int
	}
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &call) != nil || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	l.log = append(l.log, call.Method+" "+string(call.Params))
	answer := map[string]any{"jsonrpc": "2.0", "id": call.ID}
	if result, no := l.do(call.Method, call.Params); no != "" {
		answer["error"] = map[string]any{"code": -32000, "message": no}
	} else {
		answer["result"] = result
	}
	if l.fail != nil && l.fail(len(l.log), w) {
		return
	}
	check(l.t, json.NewEncoder(w).Encode(answer))
}

func (l *ledgerNode) do(method string, params json.RawMessage) (result any, no string) {
	var flat []string
	var nested [][]string
	if json.Unmarshal(params, &nested) == nil && len(nested) == 1 {
		flat = nested[0]
	} else if json.Unmarshal(params, &flat) != nil {
		return nil, "invalid params"
	}
	switch method {
	case "perm_getNodesAllowlist":
		return l.list, ""
	case "perm_addNodesToAllowlist", "admin_addTrustedPeer":
		if slices.Contains(l.list, flat[0]) && strings.HasPrefix(method, "perm_") {
			return nil, "Cannot add a duplicate node"
		}
		l.list = append(l.list, flat[0])
		return "Success", ""
	case "perm_removeNodesFromAllowlist", "admin_removeTrustedPeer":
		if !slices.Contains(l.list, flat[0]) && strings.HasPrefix(method, "perm_") {
			return nil, "Cannot remove an absent node"
		}
		l.list = slices.DeleteFunc(l.list, func(p string) bool { return p == flat[0] })
		return true, ""
	case "admin_removePeer":
		return true, ""
	}
	return nil, "the method does not exist"
}

func (l *ledgerNode) serve(preset string) *RPC {
	l.t.Helper()
	server := httptest.NewServer(l)
	l.t.Cleanup(server.Close)
	rpc, err := NewRPC(server.URL, preset)
	check(l.t, err)
	return rpc
}

func (l *ledgerNode) wantLog(want ...string) {
	l.t.Helper()
	if !slices.Equal(l.log, want) {
		l.t.Errorf("called %q, want %q", l.log, want)
	}
}

func TestBesu(t *testing.T) {
	l := &ledgerNode{t: t}
	rpc := l.serve("besu")
	remove := change
	remove.Action = allowlist.Remove
	for _, c := range []allowlist.Change{change, change, remove, remove} { // each delivered twice
		check(t, rpc.Tell(t.Context(), c))
	}
	add, list := `perm_addNodesToAllowlist [["`+change.Peer+`"]]`, "perm_getNodesAllowlist []"
	gone := `perm_removeNodesFromAllowlist [["` + change.Peer + `"]]`
	l.wantLog(add, add, list, gone, gone, list)
}

func TestGeth(t *testing.T) {
	l := &ledgerNode{t: t}
	rpc := l.serve("geth")
	remove := change
	remove.Action = allowlist.Remove
	check(t, rpc.Tell(t.Context(), change))
	check(t, rpc.Tell(t.Context(), remove))
	one := ` ["` + change.Peer + `"]`
	l.wantLog("admin_addTrustedPeer"+one, "admin_removeTrustedPeer"+one, "admin_removePeer"+one)
}

// hangUp breaks the connection in the middle of an answer.
func hangUp(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0",`)
	panic(http.ErrAbortHandler)
}

// A node that took a change and failed before it said so is told again, and has
// the change once.
func TestNodesThatFailInTheMiddle(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"hangs up":     hangUp,
		"server error": func(w http.ResponseWriter) { http.Error(w, "out of memory", http.StatusInternalServerError) },
		"other answer": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":2,"result":true}`) },
		"redirects": func(w http.ResponseWriter) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"null": func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":null}`) },
	} {
		t.Run(name, func(t *testing.T) {
			l := &ledgerNode{t: t, fail: func(n int, w http.ResponseWriter) bool {
				if n == 1 {
					fail(w)
				}
				return n == 1
			}}
			rpc := l.serve("besu")
			if err := rpc.Tell(t.Context(), change); err == nil {
				t.Error("taken for delivered")
			}
			check(t, rpc.Tell(t.Context(), change))
			if !slices.Equal(l.list, []string{change.Peer}) {
				t.Errorf("the list is %q", l.list)
			}
		})
	}
}

// A refusal that the list does not explain is one.
func TestRefusals(t *testing.T) {
	l := &ledgerNode{t: t}
	rpc := l.serve("besu")
	rpc.preset.calls = map[allowlist.Action][]string{allowlist.Add: {"perm_unknown"}}
	if err := rpc.Tell(t.Context(), change); err == nil || !strings.Contains(err.Error(), "the method does not exist") {
		t.Errorf("got %v", err)
	}
	l.list = []string{change.Peer + "?discport=0"} // the twin: it is as it should be
	check(t, rpc.Tell(t.Context(), change))
	for _, row := range [][2]string{{"http://127.0.0.1:1", "parity"}, {"ftp://127.0.0.1", "geth"}, {"127.0.0.1:8545", "geth"}, {"http://", "geth"}} {
		if _, err := NewRPC(row[0], row[1]); err == nil {
			t.Errorf("%q: taken", row)
		}
	}
}

var goodAnswers = []string{`{"jsonrpc":"2.0","id":1,"result":true}`, `{"jsonrpc":"2.0","id":1,"result":"Success"}`, `{"jsonrpc":"2.0","id":1,"result":["a"]}`}

var badAnswers = []string{
	"", "null", "[]", "true", `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"result":false}`, `{"jsonrpc":"2.0","id":1,"result":null}`,
	`{"jsonrpc":"2.0","id":2,"result":true}`, `{"jsonrpc":"2.0","id":"1","result":true}`, `{"jsonrpc":"1.0","id":1,"result":true}`, `{"id":1,"result":true}`,
	`{"jsonrpc":"2.0","id":1,"result":true,"error":{"code":1,"message":"no"}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}`,
	goodAnswers[0] + goodAnswers[0],
}

func TestAnswers(t *testing.T) {
	for _, text := range goodAnswers {
		if _, err := parseAnswer([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range append(badAnswers, `{"jsonrpc":"2.0","id":1,"result":"`+strings.Repeat("x", maxAnswer)+`"}`) {
		if _, err := parseAnswer([]byte(text)); err == nil {
			t.Errorf("%.80s: taken", text)
		}
	}
}

// FuzzParseAnswer: a result that is taken is one that says yes, and is taken again
// in an answer of one's own.
func FuzzParseAnswer(f *testing.F) {
	seeds := append(slices.Clone(goodAnswers), badAnswers...)
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		result, err := parseAnswer(text)
		if err != nil {
			return
		}
		again, err := parseAnswer([]byte(`{"jsonrpc":"2.0","id":1,"result":` + string(result) + `}`))
		if err != nil || !bytes.Equal(again, result) {
			t.Fatalf("%q, then %q, %v", result, again, err)
		}
	})
}
