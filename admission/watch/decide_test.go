package watch

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// world is a consortium of three members, two of whom admit.
type world struct {
	*issuer.Network
	t     *testing.T
	rules Rules
}

func newWorld(t *testing.T) *world {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	check(t, err)
	peer := func(node string) (string, bool) { return "peer of " + node, !strings.Contains(node, "unknown") }
	return &world{n, t, Rules{n.Consortium, "validator", time.Minute, time.Hour, peer}}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func node(i int) string { return fmt.Sprintf("org-a/v%02d", i) }

// listed are nodes, admitted for an hour.
func listed(nodes ...string) (all []admission.Listed) {
	for _, n := range nodes {
		all = append(all, admission.Listed{Node: n, Role: "validator", Serial: 1, NotAfter: start.Add(time.Hour), Host: fmt.Sprintf("%x", sha256.Sum256([]byte("ek of "+n))), NodeKey: sha256.Sum256([]byte(n))})
	}
	return all
}

func barred(state admission.State, nodes ...string) (all []admission.Barred) {
	for _, n := range nodes {
		all = append(all, admission.Barred{Node: n, State: state, Since: start, Check: "runtime.ima-unlisted", Reason: "a program"})
	}
	return all
}

func (w *world) roster(member string, issued time.Time, in []admission.Listed, out []admission.Barred) *admission.VerifiedRoster {
	w.t.Helper()
	msg, err := w.Roster(member, issued, in, out)
	check(w.t, err)
	r, err := w.VerifyRoster(msg, admission.RosterWant{Verifier: member + ".verifier.example-net", MaxAge: 100 * time.Hour}, issued)
	check(w.t, err)
	return r
}

// all is the same roster by each of the members.
func (w *world) all(issued time.Time, in []admission.Listed, out []admission.Barred, members ...string) (all []*admission.VerifiedRoster) {
	if len(members) == 0 {
		members = []string{"org-a", "org-b", "org-c"}
	}
	for _, m := range members {
		all = append(all, w.roster(m, issued, in, out))
	}
	return all
}

func nodes(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, node(i))
	}
	return all
}

// ten is a ledger of ten nodes that was told of all of them.
func (w *world) ten() State {
	w.t.Helper()
	s, alarm := State{}.Decide(w.rules, w.all(start, listed(nodes(0, 10)...), nil), start)
	if alarm != "" || len(s.Outbox) != 10 || len(s.Peers) != 10 || s.Outbox[3] != (Change{4, Add, node(3), "peer of " + node(3), "admitted by 3 members"}) {
		w.t.Fatalf("%q %+v", alarm, s)
	}
	s.Outbox = nil
	return s
}

func (s State) said() string {
	var all []string
	for _, c := range s.Outbox {
		all = append(all, c.Action+" "+c.Node)
	}
	return strings.Join(all, ", ")
}

func TestDecide(t *testing.T) {
	w := newWorld(t)
	everyone := listed(nodes(0, 10)...)
	others := listed(nodes(1, 10)...)
	two := []string{"org-a", "org-b"}
	for name, row := range map[string]struct {
		rosters []*admission.VerifiedRoster
		at      time.Duration
		want    string
	}{
		"nothing new":                   {w.all(start, everyone, nil), 0, ""},
		"one more":                      {w.all(start, append(everyone, listed(node(10))...), nil), 0, "add " + node(10)},
		"one more, by two":              {w.all(start, append(everyone, listed(node(10))...), nil, two...), 0, "add " + node(10)},
		"one more, by one":              {append(w.all(start, everyone, nil, two...), w.roster("org-c", start, append(everyone, listed(node(10))...), nil)), 0, ""},
		"one more, in old rosters":      {w.all(start, append(everyone, listed(node(10))...), nil), 2 * time.Minute, ""},
		"one more, with no peer name":   {w.all(start, append(everyone, listed("org-b/unknown")...), nil), 0, ""},
		"suspended by all":              {w.all(start, others, barred(admission.StateSuspended, node(0))), 0, "remove " + node(0)},
		"suspended by two":              {append(w.all(start, others, barred(admission.StateSuspended, node(0)), two...), w.roster("org-c", start, everyone, nil)), 0, "remove " + node(0)},
		"suspended by one":              {append(w.all(start, everyone, nil, two...), w.roster("org-c", start, others, barred(admission.StateSuspended, node(0)))), 0, ""},
		"suspended, in old rosters":     {w.all(start, others, barred(admission.StateSuspended, node(0))), 2 * time.Minute, "remove " + node(0)},
		"quarantined":                   {w.all(start, others, barred(admission.StateQuarantined, node(0))), 0, "remove " + node(0)},
		"retired":                       {w.all(start, others, barred(admission.StateRetired, node(0))), 0, "remove " + node(0)},
		"late":                          {w.all(start, others, barred(admission.StateLate, node(0))), 59 * time.Minute, ""},
		"late for too long":             {w.all(start, later(nodes(1, 10)...), barred(admission.StateLate, node(0))), time.Hour, "remove " + node(0)},
		"late for one":                  {append(w.all(start, everyone, nil, two...), w.roster("org-c", start, others, barred(admission.StateLate, node(0)))), 0, ""},
		"not listed":                    {w.all(start, others, nil), 0, "remove " + node(0)},
		"an outage":                     {w.all(start, everyone, nil), 30 * time.Minute, ""},
		"no roster yet":                 {nil, 0, ""},
		"one roster yet":                {w.all(start, others, nil, "org-a"), 0, ""},
		"two rosters yet":               {w.all(start, others, nil, two...), 0, "remove " + node(0)},
		"three leave":                   {w.all(start, listed(nodes(3, 10)...), nil), 0, "remove " + node(0) + ", remove " + node(1) + ", remove " + node(2)},
		"another role":                  {w.all(start, append(others, role("observer", node(0))), nil), 0, "remove " + node(0)},
		"one leaves and another joins":  {w.all(start, listed(nodes(1, 11)...), nil), 0, "remove " + node(0) + ", add " + node(10)},
		"rosters that nobody asked for": {append(w.all(start, everyone, nil), nil), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, alarm := w.ten().Decide(w.rules, row.rosters, start.Add(row.at))
			if got := s.said(); got != row.want || alarm != "" || s.Frozen {
				t.Errorf("%q, want %q; %s", got, row.want, alarm)
			}
		})
	}
}

func role(r, node string) admission.Listed {
	l := listed(node)[0]
	l.Role = r
	return l
}

// A policy that refuses everybody, or the end of all admissions, moves nobody.
func TestFreeze(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		rosters []*admission.VerifiedRoster
		at      time.Duration
	}{
		"four suspended": {w.all(start, listed(nodes(4, 11)...), barred(admission.StateSuspended, nodes(0, 4)...)), 0},
		"all suspended":  {w.all(start, nil, barred(admission.StateSuspended, nodes(0, 10)...)), 0},
		"all expired":    {w.all(start, listed(nodes(0, 10)...), nil), time.Hour},
		"empty rosters":  {w.all(start, nil, nil), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, alarm := w.ten().Decide(w.rules, row.rosters, start.Add(row.at))
			if s.said() != "" || !s.Frozen || !strings.Contains(alarm, node(0)) || len(s.Peers) != 10 {
				t.Fatalf("%q %q %+v", s.said(), alarm, s)
			}
			s, alarm = s.Decide(w.rules, w.all(start.Add(row.at), later(nodes(0, 10)...), nil), start.Add(row.at))
			if s.Frozen || alarm != "" || s.said() != "" {
				t.Errorf("still frozen: %q %+v", alarm, s)
			}
		})
	}
}

// later are nodes, admitted for a week.
func later(nodes ...string) []admission.Listed {
	all := listed(nodes...)
	for i := range all {
		all[i].NotAfter = start.Add(7 * 24 * time.Hour)
	}
	return all
}

// A third less one may leave within the window, together.
func TestWindow(t *testing.T) {
	w := newWorld(t)
	s := w.ten()
	at := start
	leave := func(n int) string {
		var alarm string
		s.Outbox = nil
		s, alarm = s.Decide(w.rules, w.all(at, later(nodes(n, 10)...), nil), at)
		return alarm
	}
	for n := 1; n <= 3; n++ {
		if alarm := leave(n); alarm != "" || len(s.Peers) != 10-n {
			t.Fatalf("%d: %q %+v", n, alarm, s.Peers)
		}
	}
	if alarm := leave(4); alarm == "" || !s.Frozen || len(s.Peers) != 7 {
		t.Fatalf("the fourth: %q %+v", alarm, s.Peers)
	}
	at = start.Add(time.Hour)
	if alarm := leave(4); alarm != "" || s.Frozen || len(s.Peers) != 6 {
		t.Fatalf("after the window: %q %+v", alarm, s.Peers)
	}
}

// The smallest ledgers can still lose one.
func TestOneMayAlwaysLeave(t *testing.T) {
	w := newWorld(t)
	s, _ := State{}.Decide(w.rules, w.all(start, listed(nodes(0, 3)...), nil), start)
	s.Outbox = nil
	s, alarm := s.Decide(w.rules, w.all(start, listed(nodes(1, 3)...), nil), start)
	if alarm != "" || s.said() != "remove "+node(0) {
		t.Errorf("%q %q", alarm, s.said())
	}
}

func TestPeersThatMove(t *testing.T) {
	w := newWorld(t)
	s := w.ten()
	w.rules.Peer = func(node string) (string, bool) { return "new peer of " + node, node == "org-a/v02" }
	s, _ = s.Decide(w.rules, w.all(start, listed(nodes(0, 10)...), nil), start)
	want := []Change{{11, Remove, node(2), "peer of " + node(2), "it has another peer name"}, {12, Add, node(2), "new peer of " + node(2), "admitted by 3 members"}}
	if !reflect.DeepEqual(s.Outbox, want) {
		t.Errorf("%+v", s.Outbox)
	}
}

// A decision changes nothing that it was given.
func TestDecideKeepsItsInput(t *testing.T) {
	w := newWorld(t)
	s := w.ten()
	s.Outbox = []Change{{Number: 10, Action: Add, Node: node(9)}}
	before := fmt.Sprint(s)
	next, _ := s.Decide(w.rules, w.all(start, listed(nodes(1, 12)...), nil), start)
	if fmt.Sprint(s) != before {
		t.Error("the old state changed")
	}
	if next.said() != "add "+node(9)+", remove "+node(0)+", add "+node(10)+", add "+node(11) {
		t.Errorf("%s", next.said())
	}
}
