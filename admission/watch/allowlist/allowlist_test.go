package allowlist

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// world is a consortium of three members, two of whom admit, with nodes n0, n1, ….
type world struct {
	t     *testing.T
	net   *issuer.Network
	rules Rules
	now   time.Time
	state State
	last  map[string]*admission.VerifiedRoster // by member
}

func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	check(t, err)
	w := &world{t: t, net: n, now: start, last: map[string]*admission.VerifiedRoster{}}
	w.rules = Rules{Consortium: n.Consortium, Role: "validator", MaxAge: 5 * time.Minute, Window: time.Hour, Peers: Peers{}}
	for i := range nodes {
		w.rules.Peers[node(i)] = peer(i)
	}
	check(t, w.rules.Check())
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func node(i int) string { return fmt.Sprintf("org-a/n%03d", i) }
func peer(i int) string { return fmt.Sprintf("enode://%064x@127.0.0.1:%d", i, 30303+i) }

var everybody = []string{"org-a", "org-b", "org-c"}

// listed is a node as every honest verifier lists it.
func (w *world) listed(i int) admission.Listed {
	host, key := sha256.Sum256([]byte("ek of "+node(i))), sha256.Sum256([]byte("key of "+node(i)))
	return admission.Listed{Node: node(i), Role: "validator", Serial: 1, NotAfter: w.now.Add(time.Hour).Truncate(time.Second), Host: hex.EncodeToString(host[:]), NodeKey: key}
}

// list is the first n nodes without some.
func (w *world) list(n int, without ...int) (all []admission.Listed) {
	for i := range n {
		if !slices.Contains(without, i) {
			all = append(all, w.listed(i))
		}
	}
	return all
}

func (w *world) bar(state admission.State, nodes ...int) (all []admission.Barred) {
	for _, i := range nodes {
		all = append(all, admission.Barred{Node: node(i), State: state, Since: start, Check: "runtime.ima-unlisted", Reason: "a program"})
	}
	return all
}

// says takes in a roster of each member.
func (w *world) says(members []string, admitted []admission.Listed, barred []admission.Barred) {
	w.t.Helper()
	for _, m := range members {
		msg, err := w.net.Roster(m, w.now.Truncate(time.Second), admitted, barred)
		check(w.t, err)
		w.last[m], err = w.net.VerifyRoster(msg, admission.RosterWant{Verifier: m + ".verifier.example-net", MaxAge: time.Minute}, w.now)
		check(w.t, err)
	}
}

// decide returns the new changes as text, and empties the outbox.
func (w *world) decide() string {
	w.t.Helper()
	w.state = w.state.Decide(w.rules, slices.Collect(maps.Values(w.last)), w.now)
	again, err := ParseState(w.state.Marshal())
	check(w.t, err)
	if !again.Equal(w.state) {
		w.t.Fatal("a state that is another one after it was kept")
	}
	var words []string
	for len(w.state.Outbox) > 0 {
		c := w.state.Outbox[0]
		words = append(words, string(c.Action)+" "+strings.TrimPrefix(c.Node, "org-a/"))
		w.state = w.state.Delivered()
	}
	return strings.Join(words, ", ")
}

// settled is a world in which all nodes were added.
func settled(t *testing.T, nodes int) *world {
	t.Helper()
	w := newWorld(t, nodes)
	w.says(everybody, w.list(nodes), nil)
	w.decide()
	if len(w.state.Peers) != nodes {
		t.Fatalf("%d of %d nodes were added", len(w.state.Peers), nodes)
	}
	return w
}

func (w *world) want(want string, frozen bool) {
	w.t.Helper()
	if got := w.decide(); got != want || (w.state.Frozen != "") != frozen {
		w.t.Errorf("got %q, frozen %q; want %q, frozen %t", got, w.state.Frozen, want, frozen)
	}
}

func TestNodesJoinWhenEnoughMembersListThem(t *testing.T) {
	w := newWorld(t, 2)
	w.want("", false)
	w.says([]string{"org-b"}, w.list(2), nil)
	w.want("", false)
	w.says([]string{"org-c"}, w.list(1), nil)
	w.want("add n000", false)
	w.says([]string{"org-a"}, w.list(2), nil)
	w.want("add n001", false)
	w.want("", false)
}

// Each of these does not make a member list a node; the twin does.
func TestWhatDoesNotCountAsListed(t *testing.T) {
	for name, spoil := range map[string]func(*world, *admission.Listed){
		"the twin":         func(*world, *admission.Listed) {},
		"another role":     func(_ *world, l *admission.Listed) { l.Role = "observer" },
		"ended":            func(w *world, l *admission.Listed) { l.NotAfter = w.now },
		"another host":     func(_ *world, l *admission.Listed) { l.Host = strings.Repeat("a", 64) },
		"another node key": func(_ *world, l *admission.Listed) { l.NodeKey = sha256.Sum256([]byte("x")) },
		"another consensus key": func(_ *world, l *admission.Listed) {
			l.ConsensusKey = admission.FormatConsensusKey(make([]byte, 32))
		},
		"not in the peers' file": func(_ *world, l *admission.Listed) { l.Node = "org-b/unknown" },
	} {
		w := newWorld(t, 1)
		w.says([]string{"org-a"}, w.list(1), nil)
		other := w.listed(0)
		spoil(w, &other)
		w.says([]string{"org-b"}, []admission.Listed{other}, nil)
		want := ""
		if name == "the twin" {
			want = "add n000"
		}
		if got := w.decide(); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestStaleRostersAdmitNobody(t *testing.T) {
	w := newWorld(t, 1)
	w.says(everybody, w.list(1), nil)
	w.now = start.Add(w.rules.MaxAge + time.Second)
	w.want("", false)
	w.says([]string{"org-a", "org-b"}, w.list(1), nil)
	w.want("add n000", false)
}

// A gate that hears of no verifier keeps everybody, for however long.
func TestOutagesEvictNobody(t *testing.T) {
	w := settled(t, 7)
	w.now = start.Add(30 * 24 * time.Hour) // every admission has ended long ago
	w.want("", false)
	w.says([]string{"org-a"}, w.list(7), nil) // one of three is back
	w.want("", false)
	w.says([]string{"org-b"}, w.list(7, 3), nil)
	w.want("", false) // one member lists it, one does not, one is silent
	w.says([]string{"org-c"}, w.list(7, 3), nil)
	w.want("remove n003", false)
}

// After a restart the rosters come one after the other.
func TestRestartsEvictNobody(t *testing.T) {
	for _, nodes := range []int{1, 4, 7} {
		w := settled(t, nodes)
		w.last = map[string]*admission.VerifiedRoster{}
		w.want("", false)
		w.says([]string{"org-b"}, w.list(nodes), nil)
		w.want("", false)
		w.says([]string{"org-a"}, w.list(nodes), nil)
		w.want("", false)
	}
}

func TestSuspensionsEvict(t *testing.T) {
	for _, state := range []admission.State{admission.StateSuspended, admission.StateRetired, admission.StateQuarantined} {
		w := settled(t, 4)
		w.says([]string{"org-a"}, w.list(4, 2), w.bar(state, 2))
		w.want("", false) // two others admit it: one member alone puts nobody out
		w.says([]string{"org-c"}, w.list(4, 2), w.bar(state, 2))
		w.state = w.state.Decide(w.rules, slices.Collect(maps.Values(w.last)), w.now)
		if len(w.state.Outbox) != 1 || !strings.Contains(w.state.Outbox[0].Reason, string(state)+" by org-a.verifier") {
			t.Errorf("%s: %+v", state, w.state.Outbox)
		}
		w.state = w.state.Delivered()
		w.says(everybody, w.list(4), nil)
		w.want("add n002", false)
	}
}

// What a verifier barred stays barred while it is silent.
func TestBarsOutlastOutages(t *testing.T) {
	w := settled(t, 4)
	w.says([]string{"org-a"}, w.list(4, 2), w.bar(admission.StateSuspended, 2))
	w.want("", false)
	w.now = start.Add(24 * time.Hour)
	w.want("", false)
	w.says([]string{"org-b"}, w.list(4, 2), w.bar(admission.StateSuspended, 2))
	w.want("remove n002", false)
}

// Lateness says nothing about integrity: it only is no listing.
func TestLateNodesLapse(t *testing.T) {
	w := settled(t, 4)
	w.says([]string{"org-a", "org-b"}, w.list(4, 1), w.bar(admission.StateLate, 1))
	w.want("remove n001", false)
	if w.state.Left[node(1)] != start {
		t.Errorf("it left at %v", w.state.Left)
	}
}

// Lateness does not outlast an outage, as a bar does.
func TestLatenessIsForgotten(t *testing.T) {
	w := settled(t, 4)
	w.says([]string{"org-a"}, w.list(4, 1), w.bar(admission.StateLate, 1))
	w.now = start.Add(24 * time.Hour)
	w.says([]string{"org-b"}, w.list(4, 1), w.bar(admission.StateLate, 1))
	w.want("", false)
	w.says([]string{"org-a"}, w.list(4, 1), w.bar(admission.StateLate, 1))
	w.want("remove n001", false)
}

// A node that every member lists with another host is none that they agree on.
func TestDisagreementEvicts(t *testing.T) {
	w := settled(t, 4)
	for i, m := range everybody {
		other := w.listed(3)
		other.Host = strings.Repeat(string("abc"[i]), 64)
		w.says([]string{m}, append(w.list(3), other), nil)
	}
	w.want("remove n003", false)
}

// Rosters from the future, as after a clock was set back, are silence.
func TestRostersFromTheFuture(t *testing.T) {
	w := newWorld(t, 1)
	w.says(everybody, w.list(1), nil)
	w.now = start.Add(-time.Minute)
	w.want("", false)
	w.now = start.Add(-admission.MaxSkew)
	w.want("add n000", false)
}

// No more may leave than a ledger of that size can lose.
func TestMassEvictionsFreeze(t *testing.T) {
	for nodes, most := range map[int]int{1: 0, 3: 0, 4: 1, 6: 1, 7: 2, 10: 3} {
		w := settled(t, nodes)
		gone := make([]int, most+1)
		for i := range gone {
			gone[i] = i
		}
		w.says(everybody, w.list(nodes, gone...), nil)
		w.want("", true)
		w.says(everybody, w.list(nodes, gone[1:]...), nil)
		if got := w.decide(); strings.Count(got, "remove") != most || w.state.Frozen != "" {
			t.Errorf("%d nodes, %d may leave: %q, frozen %q", nodes, most, got, w.state.Frozen)
		}
	}
}

func TestNobodyJoinsAFrozenSet(t *testing.T) {
	w := settled(t, 4)
	w.rules.Peers[node(4)] = peer(4)
	w.says(everybody, w.list(5, 0, 1), nil)
	w.want("", true)
	w.says(everybody, w.list(5), nil)
	w.want("add n004", false)
}

// A quorum that lapses does not keep in those who were suspended.
func TestSuspendedLeaveAFrozenSet(t *testing.T) {
	w := settled(t, 7)
	w.says(everybody, w.list(7, 0, 1, 2, 3), w.bar(admission.StateSuspended, 3))
	w.want("remove n003", true)
}

// If there is room for one, the suspended one leaves.
func TestSuspendedLeaveFirst(t *testing.T) {
	w := settled(t, 4)
	w.says(everybody, w.list(4, 0, 3), w.bar(admission.StateSuspended, 3))
	w.want("remove n003", true)
}

func TestWindows(t *testing.T) {
	w := settled(t, 4)
	w.says(everybody, w.list(4, 0), nil)
	w.want("remove n000", false)
	w.says(everybody, w.list(4, 0, 1), nil)
	w.want("", true)
	w.now = start.Add(w.rules.Window)
	w.says(everybody, w.list(4, 0, 1), nil)
	w.want("", true) // three are left, and a ledger of three can lose nobody
	w.says(everybody, w.list(4), nil)
	w.want("add n000", false)
	w.now = w.now.Add(time.Minute)
	w.says(everybody, w.list(4, 1), nil)
	w.want("remove n001", false)
}

// Who came back takes no room in the window.
func TestReturnsMakeRoom(t *testing.T) {
	w := settled(t, 4)
	for range 3 {
		w.says(everybody, w.list(4, 0), nil)
		w.want("remove n000", false)
		w.says(everybody, w.list(4), nil)
		w.want("add n000", false)
	}
}

// A person's file is followed at once, without limits, removals first.
func TestPeersFileChanges(t *testing.T) {
	w := settled(t, 3)
	w.rules.Peers = Peers{node(0): peer(1), node(1): peer(0), node(2): peer(2)}
	w.want("remove n000, remove n001, add n000, add n001", false)
	w.rules.Peers = Peers{node(0): peer(1)}
	w.want("remove n001, remove n002", false)
}

// Two verifiers of one member are one opinion.
func TestMembersCountOnce(t *testing.T) {
	w := newWorld(t, 1)
	c := *w.rules.Consortium
	c.Verifiers = slices.Clone(c.Verifiers)
	c.Verifiers[1].Member = "org-a"
	file, err := c.Marshal()
	if err == nil {
		w.rules.Consortium, err = admission.ParseConsortium(file)
	}
	check(t, err)
	w.says([]string{"org-a", "org-b"}, w.list(1), nil)
	w.want("", false)
	w.says([]string{"org-c"}, w.list(1), nil)
	w.want("add n000", false)
	w.says([]string{"org-b"}, nil, w.bar(admission.StateSuspended, 0))
	if s := w.rules.stances(slices.Collect(maps.Values(w.last)), w.now)[node(0)]; s.bars != 1 || s.admits != 1 {
		t.Errorf("a member that lists and bars: %+v", s)
	}
}

// The same input gives the same bytes.
func TestDecisionsAreDeterministic(t *testing.T) {
	w := newWorld(t, 50)
	w.says(everybody, w.list(50), nil)
	rosters := slices.Collect(maps.Values(w.last))
	first := State{}.Decide(w.rules, rosters, w.now).Marshal()
	for range 20 {
		slices.Reverse(rosters)
		if again := (State{}).Decide(w.rules, rosters, w.now).Marshal(); !bytes.Equal(again, first) {
			t.Fatal("two states of the same input")
		}
	}
}

func TestIncompleteRules(t *testing.T) {
	for name, spoil := range map[string]func(*Rules){
		"consortium": func(r *Rules) { r.Consortium = nil }, "unparsed": func(r *Rules) { r.Consortium = &admission.Consortium{} },
		"role": func(r *Rules) { r.Role = "" }, "age": func(r *Rules) { r.MaxAge = 0 },
		"window": func(r *Rules) { r.Window = 0 }, "peers": func(r *Rules) { r.Peers = nil },
	} {
		w := newWorld(t, 1)
		if spoil(&w.rules); w.rules.Check() == nil {
			t.Errorf("without %s: taken", name)
		}
	}
}

const goodPeers = "peers:\n  org-a/n1: enode://aa@127.0.0.1:30303\n  org-b/n2: 16Uiu2HAm\n"

var badPeers = map[string]string{
	"nothing":           "",
	"no peers":          "peers: {}\n",
	"unknown key":       goodPeers + "role: validator\n",
	"repeated node":     goodPeers + "  org-b/n2: other\n",
	"repeated peer":     goodPeers + "  org-b/n3: 16Uiu2HAm\n",
	"not a node":        "peers:\n  n1: enode://aa\n",
	"an option":         "peers:\n  org-a/n1: --force\n",
	"two words":         "peers:\n  org-a/n1: a b\n",
	"empty":             "peers:\n  org-a/n1: \"\"\n",
	"a control":         "peers:\n  org-a/n1: \"a\\u0000\"\n",
	"not ASCII":         "peers:\n  org-a/n1: é\n",
	"too long":          "peers:\n  org-a/n1: " + strings.Repeat("a", maxPeer+1) + "\n",
	"a second document": goodPeers + "---\n" + goodPeers,
	"a list":            "peers: [a]\n",
	"too large":         goodPeers + "#" + strings.Repeat("x", maxPeersFile),
}

func TestPeersFiles(t *testing.T) {
	p, err := ParsePeers([]byte(goodPeers))
	if err != nil || len(p) != 2 || p["org-b/n2"] != "16Uiu2HAm" {
		t.Fatalf("%v, %v", p, err)
	}
	for name, text := range badPeers {
		if p, err := ParsePeers([]byte(text)); err == nil || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// FuzzParsePeers: what is taken is taken again after it was printed, and is safe
// to hand to a command.
func FuzzParsePeers(f *testing.F) {
	f.Add([]byte(goodPeers))
	for _, text := range badPeers {
		if len(text) < 4096 {
			f.Add([]byte(text))
		}
	}
	if len(badPeers) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePeers(data)
		if err != nil {
			return
		}
		text, err := yaml.Marshal(map[string]Peers{"peers": p})
		check(t, err)
		again, err := ParsePeers(text)
		check(t, err)
		if !maps.Equal(p, again) {
			t.Fatalf("%v, then %v", p, again)
		}
	})
}

func someState() State {
	s := State{}.clone()
	s.add("org-a/n1", "enode://aa&b", "listed")
	s.add("org-a/n2", "enode://bb", "listed")
	s.remove("org-a/n2", "barred")
	s.Left["org-a/n2"] = start
	return s
}

func TestStateFiles(t *testing.T) {
	for _, s := range []State{{}, someState(), someState().Delivered(), someState().Delivered().Delivered().Delivered()} {
		again, err := ParseState(s.Marshal())
		if err != nil || !again.Equal(s) {
			t.Errorf("%s: %v", s.Marshal(), err)
		}
	}
	good := string(someState().Marshal())
	for old, bad := range map[string]string{
		good: "", "{": "[", "\"number\": 2": "\"number\": 3", "\"numbered\": 3": "\"numbered\": 4", "\"action\": \"remove\"": "\"action\": \"erase\"",
		"enode://bb": "-bb", "org-a/n1": "n1", "\"frozen\"": "\"Frozen\"", "}\n": "}\n\n", "\"numbered\"": "\"x\": 1,\n  \"numbered\"",
	} {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		if _, err := ParseState([]byte(strings.ReplaceAll(good, old, bad))); err == nil {
			t.Errorf("%q for %q: taken", bad, old)
		}
	}
	if got := (State{}).Delivered(); len(got.Outbox) != 0 {
		t.Error("a change from nowhere")
	}
}

// FuzzParseState: only what Marshal makes is a state.
func FuzzParseState(f *testing.F) {
	seeds := [][]byte{State{}.Marshal(), someState().Marshal(), someState().Delivered().Marshal()}
	for _, s := range seeds {
		f.Add(s)
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := ParseState(data); err == nil && !bytes.Equal(s.Marshal(), data) {
			t.Fatalf("%q is taken and printed as %q", data, s.Marshal())
		}
	})
}
