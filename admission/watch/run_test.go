package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
)

// told is a ledger that remembers, and refuses as often as it is told to.
type told struct {
	mu      sync.Mutex
	changes []string
	refuse  int
}

func (l *told) Tell(_ context.Context, c Change) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse > 0 {
		l.refuse--
		return errors.New("not now")
	}
	l.changes = append(l.changes, fmt.Sprint(c.Number, " ", c.Action, " ", c.Node))
	return nil
}

func (l *told) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.changes, ", ")
}

// start runs a watcher on the file; stop ends it and returns its error.
func (w *world) watch(path string, ledger Ledger) (rosters chan *admission.VerifiedRoster, stop func() error) {
	rosters = make(chan *admission.VerifiedRoster, 10)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	watcher := &Watcher{Rules: w.rules, Ledger: ledger, Outbox: OpenOutbox(path), Rosters: rosters, Log: func(string, ...any) {}, Now: func() time.Time { return start }}
	go func() { done <- watcher.Run(ctx) }()
	return rosters, func() error { cancel(); return <-done }
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestChangesArriveInOrderThoughTheLedgerRefuses(t *testing.T) {
	w := newWorld(t)
	ledger := &told{refuse: 2}
	rosters, stop := w.watch(filepath.Join(t.TempDir(), "state"), ledger)
	for _, r := range w.all(start, listed(nodes(0, 4)...), nil) {
		rosters <- r
	}
	want := "1 add org-a/v00, 2 add org-a/v01, 3 add org-a/v02, 4 add org-a/v03"
	eventually(t, want, func() bool { return ledger.said() == want })
	for _, r := range w.all(start, listed(nodes(1, 4)...), barred(admission.StateSuspended, node(0))) {
		rosters <- r
	}
	want += ", 5 remove org-a/v00"
	eventually(t, want, func() bool { return ledger.said() == want })
	check(t, stop())
}

// What was written down and not delivered is delivered by the next process; what
// was delivered and not noted, again.
func TestTheNextProcessGoesOn(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "state")
	down := &told{refuse: 1 << 30}
	rosters, stop := w.watch(path, down)
	for _, r := range w.all(start, listed(nodes(0, 2)...), nil) {
		rosters <- r
	}
	eventually(t, "written down", func() bool { s, err := OpenOutbox(path).Load(); return err == nil && len(s.Outbox) == 2 })
	check(t, stop())
	up := &told{}
	_, stop = w.watch(path, up)
	want := "1 add org-a/v00, 2 add org-a/v01"
	eventually(t, want, func() bool { return up.said() == want })
	check(t, stop())
	s, err := OpenOutbox(path).Load()
	check(t, err)
	if len(s.Outbox) != 0 || len(s.Peers) != 2 || s.Numbered != 2 {
		t.Errorf("%+v", s)
	}
	s.Outbox = []Change{{2, Add, node(1), "peer of " + node(1), "again"}} // killed before it was noted
	check(t, OpenOutbox(path).Save(s))
	again := &told{}
	_, stop = w.watch(path, again)
	eventually(t, "again", func() bool { return again.said() == "2 add org-a/v01" })
	check(t, stop())
}

func TestNobodyHearsOfWhatCannotBeKept(t *testing.T) {
	w := newWorld(t)
	ledger, rosters := &told{}, make(chan *admission.VerifiedRoster, 3)
	for _, r := range w.all(start, listed(nodes(0, 2)...), nil) {
		rosters <- r
	}
	err := (&Watcher{
		Rules: w.rules, Ledger: ledger, Outbox: OpenOutbox(filepath.Join(t.TempDir(), "no", "folder")), Rosters: rosters,
		Log: func(string, ...any) {}, Now: func() time.Time { return start },
	}).Run(t.Context())
	if !errors.Is(err, os.ErrNotExist) || ledger.said() != "" {
		t.Errorf("%v, told %q", err, ledger.said())
	}
}

func TestOutboxFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	box := OpenOutbox(path)
	whole := State{
		Peers: map[string]Told{"org-a/x": {"p", start}}, Left: []time.Time{start}, Numbered: 3,
		Outbox: []Change{{2, Add, "org-a/x", "p", "r"}, {3, Remove, "org-a/y", "q", "r"}},
	}
	for _, s := range []State{{}, whole} {
		check(t, box.Save(s))
		got, err := box.Load()
		check(t, err)
		if len(got.Outbox) != len(s.Outbox) || len(got.Peers) != len(s.Peers) || got.Numbered != s.Numbered {
			t.Errorf("%+v, want %+v", got, s)
		}
	}
	good, err := os.ReadFile(path)
	check(t, err)
	for name, edit := range map[string][2]string{
		"unknown key":  {`"frozen"`, `"frozen": false, "x"`},
		"other number": {`"numbered": 3`, `"numbered": 4`},
		"no action":    {`"action": "add"`, `"action": "ad"`},
		"spaces":       {`"frozen": `, `"frozen":  `},
		"cut short":    {"}\n", ""},
	} {
		bad := strings.Replace(string(good), edit[0], edit[1], 1)
		if bad == string(good) {
			t.Fatalf("%s changes nothing", name)
		}
		check(t, os.WriteFile(path, []byte(bad), 0o600))
		if _, err := box.Load(); !errors.Is(err, errState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".watch-*")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func FuzzParseState(f *testing.F) {
	seeds := 0
	for _, s := range []State{{}, {Peers: map[string]Told{"a/b": {"p", start}}, Numbered: 1, Outbox: []Change{{1, Add, "a/b", "p", "r"}}}} {
		data, err := s.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		seeds++
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			return
		}
		again, err := s.marshal()
		if err != nil || string(again) != string(data) {
			t.Fatalf("%v\n%s\n%s", err, data, again)
		}
	})
}

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	script := filepath.Join(dir, "script")
	check(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" >>"+out+"\nexit $1\n"), 0o700))
	c := Change{7, Add, "org-a/x", "enode://1", "r"}
	check(t, Command{script, "0"}.Tell(t.Context(), c))
	if err := (Command{script, "3"}).Tell(t.Context(), c); err == nil {
		t.Error("a command that failed was taken for delivered")
	}
	if err := (Command{filepath.Join(dir, "none")}).Tell(t.Context(), c); err == nil {
		t.Error("a command that is not there was taken for delivered")
	}
	got, err := os.ReadFile(out)
	check(t, err)
	if string(got) != "0 add org-a/x enode://1 7\n3 add org-a/x enode://1 7\n" {
		t.Errorf("%q", got)
	}
}

// besu behaves as Besu's permissioning does: it refuses to add twice.
type besu struct {
	mu    sync.Mutex
	peers []string
	calls []string
	fault string // answered instead, once
}

func (b *besu) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != "" {
		fmt.Fprint(w, b.fault)
		b.fault = ""
		return
	}
	var q struct {
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	_ = json.NewDecoder(r.Body).Decode(&q)
	b.calls = append(b.calls, q.Method)
	var peers []string
	if len(q.Params) == 1 {
		_ = json.Unmarshal(q.Params[0], &peers)
	}
	refuse := func(text string) {
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":%q}}`, text)
	}
	switch q.Method {
	case "perm_getNodesAllowlist":
		list, _ := json.Marshal(append([]string{}, b.peers...))
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, list)
		return
	case "perm_addNodesToAllowlist":
		if len(peers) != 1 || slices.Contains(b.peers, peers[0]) {
			refuse("Cannot add an existing node to allowlist")
			return
		}
		b.peers = append(b.peers, peers[0])
	case "perm_removeNodesFromAllowlist":
		if len(peers) != 1 || !slices.Contains(b.peers, peers[0]) {
			refuse("Cannot remove an absent node from allowlist")
			return
		}
		b.peers = slices.DeleteFunc(b.peers, func(p string) bool { return p == peers[0] })
	default:
		refuse("Method not found")
		return
	}
	fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":"Success"}`)
}

func TestBesu(t *testing.T) {
	node := &besu{}
	server := httptest.NewServer(node)
	defer server.Close()
	rpc := RPC{server.URL, Presets["besu"]}
	add, remove := Change{1, Add, "org-a/x", "enode://1", ""}, Change{2, Remove, "org-a/x", "enode://1", ""}
	check(t, rpc.Tell(t.Context(), add))
	check(t, rpc.Tell(t.Context(), add)) // delivered again
	if !reflect.DeepEqual(node.peers, []string{"enode://1"}) {
		t.Errorf("%v", node.peers)
	}
	check(t, rpc.Tell(t.Context(), remove))
	check(t, rpc.Tell(t.Context(), remove))
	if len(node.peers) != 0 {
		t.Errorf("%v", node.peers)
	}
	for _, fault := range []string{"<html>", `{}`, `{"result":null}`, `{"result":false}`, `{"error":{"code":-32601,"message":"Method not found"}}`} {
		node.fault = fault
		if err := rpc.Tell(t.Context(), add); err == nil {
			t.Errorf("%s was taken for delivered", fault)
		}
	}
	check(t, rpc.Tell(t.Context(), add))
	server.Close()
	if rpc.Tell(t.Context(), remove) == nil {
		t.Error("a node that is down took it")
	}
}

func TestGeth(t *testing.T) {
	var calls []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Method string   `json:"method"`
			Params []string `json:"params"`
		}
		if json.NewDecoder(r.Body).Decode(&q) != nil || len(q.Params) != 1 {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		calls = append(calls, q.Method+" "+q.Params[0])
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":true}`)
	}))
	defer server.Close()
	rpc := RPC{server.URL, Presets["geth"]}
	check(t, rpc.Tell(t.Context(), Change{1, Add, "org-a/x", "enode://1", ""}))
	check(t, rpc.Tell(t.Context(), Change{2, Remove, "org-a/x", "enode://1", ""}))
	want := []string{"admin_addTrustedPeer enode://1", "admin_addPeer enode://1", "admin_removeTrustedPeer enode://1", "admin_removePeer enode://1"}
	if !reflect.DeepEqual(calls, want) {
		t.Errorf("%v", calls)
	}
}
