package watch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/admission/watch/allowlist"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/rosterd"
)

// world is a consortium of three members, two of whom admit, with real servers of
// rosters, and a ledger that remembers what it was told.
type world struct {
	t      *testing.T
	net    *issuer.Network
	site   *rosterd.Site
	dir    string
	number map[string]uint64

	mu     sync.Mutex
	events []Event
	told   []string
	refuse error // the ledger's answer, if it refuses
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	check(t, err)
	site, err := rosterd.Start(n)
	check(t, err)
	t.Cleanup(site.Close)
	return &world{t: t, net: n, site: site, dir: t.TempDir(), number: map[string]uint64{}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var everybody = []string{"org-a", "org-b", "org-c"}

func node(i int) string { return fmt.Sprintf("org-a/n%d", i) }

func peers(n int) allowlist.Peers {
	p := allowlist.Peers{}
	for i := range n {
		p[node(i)] = fmt.Sprintf("enode://%02d@127.0.0.1:30303", i)
	}
	return p
}

// publish lets members list the first n nodes without some, which they suspend.
func (w *world) publish(members []string, n int, suspended ...int) {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	var admitted []admission.Listed
	var barred []admission.Barred
	for i := range n {
		if slices.Contains(suspended, i) {
			barred = append(barred, admission.Barred{Node: node(i), State: admission.StateSuspended, Since: now, Check: "runtime.ima-unlisted", Reason: "a program"})
			continue
		}
		host := sha256.Sum256([]byte(node(i)))
		admitted = append(admitted, admission.Listed{Node: node(i), Role: "validator", Serial: 1, NotAfter: now.Add(time.Hour), Host: hex.EncodeToString(host[:]), NodeKey: host})
	}
	for _, m := range members {
		msg, err := w.net.Roster(m, now, admitted, barred)
		check(w.t, err)
		w.number[m]++
		w.site.Publish(m, w.number[m], msg)
	}
}

// Tell implements Ledger.
func (w *world) Tell(_ context.Context, c allowlist.Change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return w.refuse
	}
	w.told = append(w.told, fmt.Sprintf("%d %s %s", c.Number, c.Action, c.Node))
	return nil
}

func (w *world) report(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) config(nodes int, box *Outbox) Config {
	w.t.Helper()
	c := Config{
		Rules:  allowlist.Rules{Consortium: w.site.Consortium, Role: "validator", MaxAge: time.Minute, Window: time.Hour, Peers: peers(nodes)},
		Ledger: w, Outbox: box, Report: w.report, Now: time.Now,
	}
	key, err := operator.ParseKey(w.site.GateKey)
	check(w.t, err)
	for _, v := range w.site.Consortium.Verifiers {
		client, err := roster.New(roster.Config{Consortium: w.site.Consortium, Verifier: v.Name, Key: key, MaxAge: time.Minute, Now: time.Now})
		check(w.t, err)
		c.Followers = append(c.Followers, client)
	}
	return c
}

// start runs a watcher until stop is called, or the test ends.
func (w *world) start(nodes int) (stop func()) {
	w.t.Helper()
	box, err := OpenOutbox(w.dir)
	check(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, w.config(nodes, box)) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, box.Close()); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// until polls, holding the lock.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		ok := done()
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within 30 s; told %q, events %+v", what, w.told, w.events)
		}
	}
}

func (w *world) untilTold(want ...string) {
	w.t.Helper()
	w.until("told "+strings.Join(want, ", "), func() bool { return slices.Equal(w.told, want) })
}

// happened reports whether there was an event with an alarm or without one.
func (w *world) happened(event string, alarm bool) bool {
	return slices.ContainsFunc(w.events, func(e Event) bool { return e.Event == event && e.Alarm == alarm })
}

// heard counts rosters.
func (w *world) heard(member string) (n int) {
	for _, e := range w.events {
		if e.Event == "roster" && strings.HasPrefix(e.Verifier, member+".") {
			n++
		}
	}
	return n
}

func TestLedgersFollowRosters(t *testing.T) {
	w := newWorld(t)
	w.start(4)
	w.publish([]string{"org-a"}, 4)
	w.until("one roster", func() bool { return w.heard("org-a") == 1 })
	w.publish([]string{"org-b"}, 4)
	w.untilTold("1 add org-a/n0", "2 add org-a/n1", "3 add org-a/n2", "4 add org-a/n3")
	w.publish([]string{"org-a", "org-c"}, 4, 2)
	w.untilTold("1 add org-a/n0", "2 add org-a/n1", "3 add org-a/n2", "4 add org-a/n3", "5 remove org-a/n2")
	w.publish(everybody, 4, 0, 1)
	w.until("an alarm", func() bool { return w.happened("frozen", true) })
	w.publish(everybody, 4)
	w.until("the end of it", func() bool { return w.happened("thawed", false) && len(w.told) == 6 })
}

// Verifiers that go away, all of them, put nobody out; neither does a restart
// while only some are back. A suspension then counts again.
func TestOutagesAndRestarts(t *testing.T) {
	w := newWorld(t)
	stop := w.start(4)
	w.publish(everybody, 4)
	w.until("everybody joined", func() bool { return len(w.told) == 4 })
	for _, m := range everybody {
		w.site.Leave(m)
	}
	w.until("the outage is noticed", func() bool { return w.happened("verifier", false) })
	stop()
	w.start(4)
	check(t, w.site.Return("org-b"))
	before := w.heard("org-b")
	w.until("one verifier is back", func() bool { return w.heard("org-b") > before })
	check(t, w.site.Return("org-a"))
	w.publish([]string{"org-a", "org-b"}, 4, 1)
	w.until("an eviction", func() bool { return len(w.told) == 5 })
	if got := w.told[4]; got != "5 remove org-a/n1" {
		t.Errorf("told %q", got)
	}
}

// Rosters that are not what they must be change nothing and raise an alarm.
func TestForgedRosters(t *testing.T) {
	w := newWorld(t)
	w.start(1)
	other, err := issuer.New(issuer.Setup{Threshold: 2, Salt: "other", Ledger: w.net.Ledger})
	check(t, err)
	genuine := w.net
	w.net = other
	w.publish(everybody, 1)
	w.until("an alarm", func() bool { return w.happened("verifier", true) })
	w.net = genuine
	w.publish(everybody, 1)
	w.untilTold("1 add org-a/n0")
}

// What the ledger does not take is kept, in order, also over a restart.
func TestUndelivered(t *testing.T) {
	w := newWorld(t)
	w.refuse = errors.New("the ledger is away")
	stop := w.start(2)
	w.publish(everybody, 2)
	w.until("it was tried", func() bool { return w.happened("undelivered", true) })
	stop()
	w.refuse = nil
	w.start(2)
	w.untilTold("1 add org-a/n0", "2 add org-a/n1")
}

// A state that cannot be kept ends the watch before the ledger hears of it.
func TestUnkeptChangesAreNotTold(t *testing.T) {
	w := newWorld(t)
	box, err := OpenOutbox(w.dir)
	check(t, err)
	defer box.Close()
	check(t, os.Mkdir(filepath.Join(w.dir, stateFile+".new"), 0o700)) // the file cannot be written
	w.publish(everybody, 1)
	if err := Run(t.Context(), w.config(1, box)); err == nil || !strings.Contains(err.Error(), "keep what the ledger") {
		t.Errorf("got %v", err)
	}
	if len(w.told) > 0 {
		t.Errorf("told %q", w.told)
	}
}

func TestIncompleteConfigurations(t *testing.T) {
	w := newWorld(t)
	box, err := OpenOutbox(w.dir)
	check(t, err)
	defer box.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	check(t, Run(ended, w.config(1, box)))
	for name, spoil := range map[string]func(*Config){
		"rules": func(c *Config) { c.Rules.Window = 0 }, "followers": func(c *Config) { c.Followers = nil }, "ledger": func(c *Config) { c.Ledger = nil },
		"outbox": func(c *Config) { c.Outbox = nil }, "report": func(c *Config) { c.Report = nil }, "clock": func(c *Config) { c.Now = nil },
	} {
		c := w.config(1, box)
		if spoil(&c); Run(ended, c) == nil {
			t.Errorf("without %s: run", name)
		}
	}
}

func TestOutboxes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	box, err := OpenOutbox(dir)
	check(t, err)
	if s, err := box.Load(); err != nil || s.Numbered != 0 {
		t.Fatalf("an empty folder: %+v, %v", s, err)
	}
	if _, err := OpenOutbox(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("a second process: %v", err)
	}
	want := allowlist.State{Peers: map[string]string{"org-a/n1": "enode://aa"}, Numbered: 1}
	check(t, box.Save(want))
	check(t, os.WriteFile(filepath.Join(dir, stateFile+".new"), []byte("half a"), 0o600)) // what a crash leaves
	check(t, box.Close())
	box, err = OpenOutbox(dir)
	check(t, err)
	defer box.Close()
	if got, err := box.Load(); err != nil || !got.Equal(want) {
		t.Errorf("%s, %v", got.Marshal(), err)
	}
	check(t, box.Save(want.Delivered()))
	check(t, os.WriteFile(filepath.Join(dir, stateFile), []byte("{}"), 0o600))
	if _, err := box.Load(); !errors.Is(err, allowlist.ErrState) {
		t.Errorf("a foreign file: %v", err)
	}
}
