package admission_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
)

func (n *network) listed() admission.Listed {
	s := n.statement(0)
	return admission.Listed{Node: s.Node, Role: s.Role, Serial: s.Serial, NotAfter: s.NotAfter, Host: s.Host, NodeKey: s.NodeKey, ConsensusKey: s.ConsensusKey}
}

func (n *network) roster(number uint64, change func(*admission.Roster)) []byte {
	n.t.Helper()
	light := n.listed()
	light.Node, light.ConsensusKey, light.Host, light.NodeKey = "org-a/light-1", "", hexOf("light"), sha256.Sum256([]byte("light"))
	r := admission.Roster{
		Consortium: n.Name, Test: n.Test, Ledger: n.Ledger, Verifier: n.names[0], Number: number, Issued: now,
		Admitted: []admission.Listed{n.listed(), light},
		Barred:   []admission.Barred{{Node: "org-c/validator-1", State: admission.StateRetired, Since: now, Check: "node.retired", Reason: "sold"}},
	}
	if change != nil {
		change(&r)
	}
	msg, err := r.Sign(n.signers[0])
	if err != nil {
		n.t.Fatal(err)
	}
	return msg
}

func bar(state admission.State, check, reason string) func(*admission.Roster) {
	return func(r *admission.Roster) {
		node := r.Admitted[0].Node
		r.Admitted = r.Admitted[1:]
		r.Barred = append(r.Barred, admission.Barred{Node: node, State: state, Since: now, Check: check, Reason: reason})
	}
}

func (n *network) rosterWant(last *admission.VerifiedRoster) admission.RosterWant {
	return admission.RosterWant{Verifier: n.names[0], MaxAge: time.Minute, Last: last}
}

func (n *network) verifyRoster(msg []byte, last *admission.VerifiedRoster) *admission.VerifiedRoster {
	n.t.Helper()
	r, err := n.VerifyRoster(msg, n.rosterWant(last), now)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func TestRoster(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 2, test: true})
	r := n.verifyRoster(n.roster(1, nil), nil)
	if r.Number() != 1 || r.Verifier() != n.names[0] || !r.Issued().Equal(now) {
		t.Errorf("got %+v", r)
	}
	list := r.Roster()
	if len(list.Admitted) != 2 || list.Admitted[0].Node != "org-a/light-1" || list.Admitted[1] != n.listed() || len(list.Barred) != 1 {
		t.Errorf("got %+v", list)
	}
	list.Admitted[0].Node = "changed"
	if r.Roster().Admitted[0].Node == "changed" {
		t.Error("a verified roster can be changed")
	}
	if err := admission.CheckAgainstRoster(n.accept(n.bundle(nil)), r); err != nil {
		t.Error(err)
	}
	empty := n.verifyRoster(n.roster(2, func(r *admission.Roster) { r.Admitted, r.Barred = nil, nil }), r)
	wantRefusal(t, admission.CheckAgainstRoster(n.accept(n.bundle(nil)), empty), admission.NotListed)
}

func TestA165_SuspensionIsSeen(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	a := n.accept(n.bundle(nil))
	if err := admission.CheckAgainstRoster(a, n.verifyRoster(n.roster(1, nil), nil)); err != nil {
		t.Fatalf("twin: %v", err)
	}
	suspended := n.verifyRoster(n.roster(2, bar(admission.StateSuspended, "runtime.ima-unlisted", "/usr/bin/nc sha256:1234")), nil)
	err := admission.CheckAgainstRoster(a, suspended)
	wantRefusal(t, err, admission.NodeSuspended)
	if !strings.Contains(err.Error(), "runtime.ima-unlisted") || !strings.Contains(err.Error(), "/usr/bin/nc") {
		t.Errorf("the reason is not told: %v", err)
	}
	for state, check := range map[admission.State]admission.CheckID{
		admission.StateRetired: admission.NodeRetired, admission.StateQuarantined: admission.NodeQuarantined, admission.StateLate: admission.NodeLate,
	} {
		r := n.verifyRoster(n.roster(2, bar(state, "node.x", "because")), nil)
		wantRefusal(t, admission.CheckAgainstRoster(a, r), check)
	}
	for name, change := range map[string]func(*admission.Listed){
		"host":          func(l *admission.Listed) { l.Host = hexOf("other") },
		"node key":      func(l *admission.Listed) { l.NodeKey[0] ^= 1 },
		"consensus key": func(l *admission.Listed) { l.ConsensusKey = "" },
		"role":          func(l *admission.Listed) { l.Role = "light" },
	} {
		r := n.verifyRoster(n.roster(2, func(r *admission.Roster) { change(&r.Admitted[0]) }), nil)
		if err := admission.CheckAgainstRoster(a, r); err == nil {
			t.Fatalf("%s: accepted", name)
		} else {
			wantRefusal(t, err, admission.Superseded)
		}
	}

	// The list itself must be fresh.
	want := n.rosterWant(nil)
	if _, err := n.VerifyRoster(n.roster(3, nil), want, now.Add(time.Minute)); err != nil {
		t.Fatalf("twin, at the age limit: %v", err)
	}
	_, err = n.VerifyRoster(n.roster(3, nil), want, now.Add(time.Minute+time.Second))
	wantRefusal(t, err, admission.RosterStale)
	_, err = n.VerifyRoster(n.roster(3, nil), want, now.Add(-time.Minute))
	wantRefusal(t, err, admission.NotYet)
}

func TestA166_RosterRollback(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 1})
	old := n.roster(7, nil)
	latest := n.verifyRoster(n.roster(8, bar(admission.StateSuspended, "boot.kernel", "changed kernel")), nil)
	_, err := n.VerifyRoster(old, n.rosterWant(latest), now)
	wantRefusal(t, err, admission.RosterRollback)
	earlier := n.roster(9, func(r *admission.Roster) { r.Issued = now.Add(-time.Second) })
	_, err = n.VerifyRoster(earlier, n.rosterWant(latest), now)
	wantRefusal(t, err, admission.RosterRollback)
	_, err = n.VerifyRoster(n.roster(8, nil), n.rosterWant(latest), now) // two texts of one number
	wantRefusal(t, err, admission.RosterFork)

	n.verifyRoster(n.roster(8, bar(admission.StateSuspended, "boot.kernel", "changed kernel")), latest) // the same again
	n.verifyRoster(n.roster(9, nil), latest)
}

func TestRosterOfAnother(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 1})
	good := n.roster(1, nil)
	n.verifyRoster(good, nil)
	want := n.rosterWant(nil)
	want.Verifier = n.names[1]
	_, err := n.VerifyRoster(good, want, now)
	wantRefusal(t, err, admission.BadSignature)
	want.Verifier = "stranger.example-net"
	_, err = n.VerifyRoster(good, want, now)
	wantRefusal(t, err, admission.UnknownVerifier)
	want = n.rosterWant(nil)
	want.MaxAge = 0
	_, err = n.VerifyRoster(good, want, now)
	wantRefusal(t, err, admission.Unpinned)

	for name, c := range map[string]struct {
		change func(*admission.Roster)
		check  admission.CheckID
	}{
		"consortium": {func(r *admission.Roster) { r.Consortium = "other" }, admission.OtherConsortium},
		"ledger":     {func(r *admission.Roster) { r.Ledger.ID = "other" }, admission.OtherLedger},
		"test":       {func(r *admission.Roster) { r.Test = true }, admission.TestFlag},
	} {
		_, err := n.VerifyRoster(n.roster(1, c.change), n.rosterWant(nil), now)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantRefusal(t, err, c.check)
	}
	other := newNetwork(t, options{verifiers: 1, k: 1, id: "example-2"})
	wantRefusal(t, admission.CheckAgainstRoster(other.accept(other.bundle(nil)), n.verifyRoster(good, nil)), admission.OtherLedger)
	wantRefusal(t, admission.CheckAgainstRoster(nil, n.verifyRoster(good, nil)), admission.Unpinned)
	wantRefusal(t, admission.CheckAgainstRoster(n.accept(n.bundle(nil)), nil), admission.Unpinned)
	wantRefusal(t, admission.CheckAgainstRoster(&admission.Admission{}, n.verifyRoster(good, nil)), admission.Unpinned)
}

// Foreign text in a reason must never keep a suspension from being published.
func TestAnyReasonCanBePublished(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	for i, reason := range []string{
		"", " ", "two\nlines", "bell\a", "\xff\xfe", "nbsp\u00a0x", strings.Repeat("é", 400), strings.Repeat("\x01", 5000),
		"\u2028", "<script>", "admitted: 3", strings.Repeat("x", 255) + "é", " \t lead and trail \n",
	} {
		r := n.verifyRoster(n.roster(uint64(i+1), bar(admission.StateSuspended, "ima.path", reason)), nil)
		if got := r.Roster().Barred; len(got) != 2 || got[0].Reason == "" || len(got[0].Reason) > 256 {
			t.Errorf("%q: got %+v", reason, got)
		}
	}
}

func TestRosterIsStrict(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	list := n.verifyRoster(n.roster(1, nil), nil).Roster()
	good, err := list.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	for name, text := range map[string]string{
		"too many":       strings.Replace(string(good), "admitted: 2", "admitted: 3", 1),
		"absurdly many":  strings.Replace(string(good), "admitted: 2", "admitted: 199999", 1),
		"too few":        strings.Replace(string(good), "admitted: 2", "admitted: 1", 1),
		"leading zero":   strings.Replace(string(good), "number: 1", "number: 01", 1),
		"number zero":    strings.Replace(string(good), "number: 1", "number: 0", 1),
		"order":          strings.Join([]string{strings.Join(lines[:7], ""), lines[8], lines[7], strings.Join(lines[9:], "")}, ""),
		"twice":          strings.Join([]string{strings.Join(lines[:7], ""), lines[7], lines[7], strings.Join(lines[9:], "")}, ""),
		"in both lists":  strings.Replace(string(good), "org-c/validator-1", "org-b/validator-1", 1),
		"unknown state":  strings.Replace(string(good), " retired ", " warned ", 1),
		"host twice":     strings.Replace(string(good), hexOf("light"), list.Admitted[1].Host, 1),
		"node key twice": strings.Replace(string(good), list.Admitted[0].NodeKey.String(), list.Admitted[1].NodeKey.String(), 1),
		"no reason":      strings.Replace(string(good), " sold", " ", 1),
		"double space":   strings.Replace(string(good), " sold", "  sold", 1),
		"trailing bytes": string(good) + "x\n",
		"cut":            string(good[:len(good)-1]),
	} {
		if text == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := admission.ParseRoster([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantRefusal(t, err, admission.Malformed)
		}
	}
}

func FuzzRoster(f *testing.F) {
	n := newNetwork(f, options{verifiers: 1, k: 1, test: true})
	var seeds [][]byte
	for _, change := range []func(*admission.Roster){nil, bar(admission.StateLate, "node.late", "silent"), func(r *admission.Roster) { r.Admitted = nil }} {
		text, _, _ := bytes.Cut(n.roster(1, change), []byte("\n\n"))
		seeds = append(seeds, append(text, '\n'))
	}
	for _, s := range seeds {
		if _, err := admission.ParseRoster(s); err != nil {
			f.Fatal(err)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		weigh.Bounded(t, len(text), func() { _, _ = admission.ParseRoster(text) })
		r, err := admission.ParseRoster(text)
		if err != nil {
			wantRefusal(t, err, admission.Malformed)
			return
		}
		if again, err := r.Marshal(); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("printed as %q, %v", again, err)
		}
	})
}

func BenchmarkVerifyRoster(b *testing.B) {
	n := newNetwork(b, options{verifiers: 1, k: 1})
	msg := n.roster(1, func(r *admission.Roster) {
		for i := range 1000 {
			l := n.listed()
			l.Node = fmt.Sprintf("org-a/v-%d", i)
			r.Admitted = append(r.Admitted, l)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		n.verifyRoster(msg, nil)
	}
}
