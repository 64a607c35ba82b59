package power_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
)

// roster is the member's verifier's next roster, that bars the nodes.
func (w *world) roster(member string, state admission.State, nodes ...int) []byte {
	w.Helper()
	var barred []admission.Barred
	for _, i := range nodes {
		barred = append(barred, admission.Barred{Node: w.node(i).ID, State: state, Since: w.now, Check: "runtime.ima-unlisted", Reason: "a program"})
	}
	r, err := w.Roster(member, w.now, nil, barred)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// A host that is admitted and then suspended is out as soon as so many verifiers
// say so that the rest would not make a bundle; one of them is not enough, and
// silence is none.
func TestRostersTakePowerAway(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(w.wish(4, 10))
	w.accept(w.sign(w.node(4), "org-a", "org-b", "org-c"))
	w.accept(w.roster("org-a", admission.StateLate, 4))
	w.accept(w.roster("org-b", admission.StateLate, 4))
	w.want(10, 10, 10, 10, 10)
	old := w.sign(w.node(4), "org-a", "org-b", "org-c")
	w.accept(w.roster("org-a", admission.StateSuspended, 4))
	w.want(10, 10, 10, 10, 10) // two of three verifiers still admit it, as k asks
	w.accept(w.roster("org-b", admission.StateQuarantined, 4))
	w.want(10, 10, 10, 10, 0)
	w.refuse(old, power.Barred)
	w.block(nil)
	w.accept(w.sign(w.node(4), "org-a", "org-b", "org-c")) // made after it passed again
	w.want(10, 10, 10, 10, 10)
}

// The roster of a verifier with thousands of nodes fits into a transaction.
func TestLargeRoster(t *testing.T) {
	w := newWorld(t, setup{})
	var listed []admission.Listed
	for i := range 3000 {
		listed = append(listed, admission.Listed{
			Node: fmt.Sprintf("org-a/observer-%04d", i), Role: "observer", Serial: uint64(i + 1),
			NotAfter: w.now.Add(time.Hour), Host: fmt.Sprintf("%064x", i+1), NodeKey: admission.Digest{1, byte(i), byte(i >> 8)},
		})
	}
	for _, member := range []string{"org-a", "org-b", "org-c", "org-d", "org-e", "org-f"} {
		tx, err := w.Roster(member, w.now, listed, []admission.Barred{{
			Node: w.node(3).ID, State: admission.StateSuspended, Since: w.now, Check: "runtime.ima-unlisted", Reason: "a program",
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.accept(tx)
	}
	w.want(10, 10, 10, 0)
}

// Rosters that bar everybody do not stop the chain: a policy mistake freezes the
// set.
func TestA173_MassExpulsionFreezes(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(nil, w.roster("org-a", admission.StateSuspended, 0), w.roster("org-b", admission.StateSuspended, 0))
	w.want(10, 10, 10, 10) // seven verifiers admitted it
	var txs [][]byte
	for i := range w.Members[:6] {
		txs = append(txs, w.roster(w.Members[i].Name, admission.StateSuspended, 0, 1, 2, 3))
	}
	w.block(nil, txs...)
	w.want(10, 10, 10, 10)
	if w.state.Frozen() == 0 || !w.happened("frozen") {
		t.Fatal("not frozen, no alarm")
	}

	twin := newWorld(t, setup{}) // one of four may go
	txs = nil
	for i := range twin.Members[:6] {
		txs = append(txs, twin.roster(twin.Members[i].Name, admission.StateSuspended, 3))
	}
	twin.block(nil, txs...)
	twin.want(10, 10, 10, 0)
}

// An older roster does not undo a newer one.
func TestA166_RosterReplay(t *testing.T) {
	w := newWorld(t, setup{})
	clean, bars := w.roster("org-a", admission.StateSuspended), w.roster("org-a", admission.StateSuspended, 3)
	w.accept(clean)
	w.accept(bars)
	w.refuse(clean, power.Older)
	w.refuse(bars, power.Older)
	foreign, err := newIssuer(t, 7, "other").Roster("org-a", w.now, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.refuse(foreign, admission.BadSignature)
}

// A bundle gives power to the key it names and to nobody who shows it.
func TestA168_AnothersBundle(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(append(w.wish(4, 10), w.wish(5, 10)...))
	w.accept(w.sign(w.node(4))) // whoever submits it
	w.want(10, 10, 10, 10, 10, 0)
	w.accept(w.sign(w.node(5)))
	w.want(10, 10, 10, 10, 10, 10)
}

// One captured verifier key admits nobody; k of them do.
func TestA170_OneVerifierKey(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(w.wish(4, 10))
	w.refuse(w.sign(w.node(4), "org-b"), admission.Threshold)
	w.want(10, 10, 10, 10, 0)
	w.accept(w.sign(w.node(4), "org-b", "org-c"))
	w.want(10, 10, 10, 10, 10)
}

// An admitted host whose key the application does not want has no power, and a
// wanted key without an admission has none either.
func TestA167_AttestedOrMember(t *testing.T) {
	w := newWorld(t, setup{})
	w.accept(w.sign(w.node(4)))
	w.block(w.wish(5, 10))
	w.want(10, 10, 10, 10, 0, 0)
	w.block(w.wish(4, 10), w.sign(w.node(5)))
	w.want(10, 10, 10, 10, 10, 10)
}

// The same host under two names is one host.
func TestA043_HostTwice(t *testing.T) {
	w := newWorld(t, setup{})
	w.accept(w.sign(w.node(4)))
	twice := w.node(5)
	twice.Host = hostOf(w.node(4))
	w.refuse(w.sign(twice), power.HostBound)
	w.accept(w.sign(w.node(5)))
}

// Bundles do not displace newer ones, and a node's admissions follow each other.
func TestOldBundlesStayOld(t *testing.T) {
	w := newWorld(t, setup{})
	first, second := w.sign(w.node(0)), w.sign(w.node(0))
	w.accept(second)
	w.refuse(second, power.Known)
	w.refuse(first, power.Older)
	w.accept(w.sign(w.node(0)))
}

// Evidence is as fresh as the block that its challenge named; a block of another
// chain, an old one and none are refused.
func TestBeacons(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.From = 1 }, more: func(r power.Rules) []power.Rules {
		r.From, r.BeaconAge = 2, 3
		return []power.Rules{r}
	}})
	w.block(nil)
	if _, r := w.state.Try(w.sign(w.node(0)), nil, w.schedule); r == nil || r.Check != power.StaleBeacon {
		t.Errorf("the next block will ask for a beacon: %v", r)
	}
	w.blocks(4)
	bundle := func(b admission.Beacon) []byte {
		n := w.node(0)
		n.Beacon = b
		return w.sign(n)
	}
	w.refuse(bundle(admission.Beacon{}), power.StaleBeacon)
	w.refuse(bundle(admission.Beacon{Height: 2, Hash: hashOf(2)}), power.StaleBeacon)
	w.refuse(bundle(admission.Beacon{Height: 6, Hash: hashOf(66)}), power.StaleBeacon)
	w.accept(bundle(admission.Beacon{Height: w.state.Height() - 2, Hash: hashOf(w.state.Height() - 2)}))
	w.refuse(bundle(admission.Beacon{Height: w.state.Height() - 3, Hash: hashOf(w.state.Height() - 3)}), power.StaleBeacon)
	w.refuse(bundle(admission.Beacon{Height: w.state.Height() + 1, Hash: hashOf(w.state.Height() + 1)}), power.StaleBeacon)
}

// Commands count once, in time, for this ledger, and with the signatures of
// administrators.
func TestCommands(t *testing.T) {
	w := newWorld(t, setup{})
	peer := func(end time.Time, members ...string) []byte {
		return w.commandUntil(end, power.Peer, "org-a/validator-0=p1", members...)
	}
	good := peer(w.now.Add(time.Hour), "org-a")
	w.refuse(peer(w.now, "org-a"), power.Untimely)
	w.refuse(peer(w.now.Add(power.MaxCommandLife+time.Hour), "org-a"), power.Untimely)
	w.refuse(peer(w.now.Add(time.Hour), "org-b"), power.TooFew)
	w.refuse(bytes.Replace(good, []byte("=p1"), []byte("=p2"), 1), power.Unsigned)
	w.refuse(append(bytes.Clone(good), "more\n"...), power.Unsigned)
	w.accept(good)
	w.refuse(good, power.Older)
	w.refuse(w.command(power.Peer, "org-b/validator-1=p1", "org-b"), power.PeerBound)
	policy := w.command(power.RetirePolicy, hashOf(1).String(), "org-a")
	w.accept(policy)
	w.refuse(policy, power.Known)

	text := must(power.Command{Consortium: "other-net", Ledger: w.Ledger, Action: power.Extend, Subject: chain, NotAfter: w.now.Add(time.Hour)}.Marshal())
	w.refuse(must(note.Sign(&note.Note{Text: string(text)}, w.Operator("org-a"))), power.OtherLedger)
	other := admission.Ledger{ID: "example-2", Genesis: w.Ledger.Genesis}
	text = must(power.Command{Consortium: w.Network.Name, Ledger: other, Action: power.Extend, Subject: chain, NotAfter: w.now.Add(time.Hour)}.Marshal())
	w.refuse(must(note.Sign(&note.Note{Text: string(text)}, w.Operator("org-a"))), power.OtherLedger)
	w.accept(w.command(power.Peer, "org-a/validator-0=p3", "org-a")) // replaces p1
	w.accept(w.command(power.Peer, "org-b/validator-1=p1", "org-b"))
	if got := entries(w.state, "peer/"); len(got) != 2 || got["peer/p3"] != "org-a/validator-0" || got["peer/p1"] != "org-b/validator-1" {
		t.Errorf("peers %v", got)
	}
	// When the command's own time has passed, the state need not remember it.
	for w.now.Before(birth.Add(2 * time.Hour)) {
		w.block(nil)
	}
	if left := entries(w.state, "command/"); len(left) != 0 {
		t.Errorf("remembers %v", left)
	}
}

// A member alone cannot fill the state.
func TestOwnCommandsAreBounded(t *testing.T) {
	w := newWorld(t, setup{})
	for i := range 64 {
		w.accept(w.command(power.Peer, fmt.Sprintf("org-a/n%d=p%d", i, i), "org-a"))
	}
	w.refuse(w.command(power.Peer, "org-a/n64=p64", "org-a"), power.TooMany)
	w.accept(w.command(power.Peer, "org-b/n64=p64", "org-b"))
	w.accept(w.command(power.Peer, "org-a/n0=p65", "org-a"))
	if got := entries(w.state, "peer/"); len(got) != 65 {
		t.Errorf("%d peers", len(got))
	}
	if got := entries(w.state, "number/", "command/"); len(got) != 2 {
		t.Errorf("remembers %v", got)
	}
}

// A peer may stay while the node that it belongs to stands.
func TestPeersFollowTheirNode(t *testing.T) {
	w := newWorld(t, setup{})
	n := w.node(4)
	n.NotAfter = w.now.Add(5 * blink)
	w.accept(w.command(power.Peer, n.ID+"=p4", "org-e"))
	if w.state.Peer("p4", w.schedule) || w.state.Peer("p5", w.schedule) {
		t.Error("a peer of no admitted node")
	}
	w.accept(w.sign(n))
	if !w.state.Peer("p4", w.schedule) {
		t.Error("the admitted node's peer is refused")
	}
	w.blocks(3)
	if w.state.Peer("p4", w.schedule) {
		t.Error("the admission ended, the peer stays")
	}
}

// Rules hold from their height on. A consortium file without a verifier gives
// what that verifier signed its notice; blocks before are judged as they were.
func TestRulesOfAHeight(t *testing.T) {
	smaller := newIssuer(t, 6, "") // without org-g
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Notice = 2 * blink }, more: func(r power.Rules) []power.Rules {
		r.From, r.Consortium = 4, smaller.Consortium
		return []power.Rules{r}
	}})
	w.block(w.wish(4, 10))
	w.accept(w.sign(w.node(4), "org-a", "org-g"))
	for i := range 4 {
		if r := w.block(nil, w.sign(w.node(i), "org-a", "org-b"))[0].Refusal; r != nil {
			t.Fatal(r)
		}
		if h := w.state.Height(); h == 4 && !w.happened("rules") {
			t.Error("new rules, and nobody is told")
		} else if h < 6 {
			w.want(10, 10, 10, 10, 10) // during the notice, too
		}
	}
	w.want(10, 10, 10, 10, 0) // height 6: the notice of height 4 has ended
	w.refuse(w.signAgain(w.node(4), "org-a", "org-g"), admission.UnknownVerifier)
	w.accept(w.signAgain(w.node(4), "org-a", "org-b"))
	w.want(10, 10, 10, 10, 10)
}

// Transactions beyond what a block may carry, and foreign bytes, are refused and
// change nothing.
func TestForeignBytes(t *testing.T) {
	w := newWorld(t, setup{})
	for _, tx := range []string{"", "nonsense", "quorate/roster/v1\n", "quorate/power-command/v1\n", strings.Repeat("x", power.MaxTx+1)} {
		if r := w.block(nil, []byte(tx))[0].Refusal; r == nil {
			t.Errorf("%.20q accepted", tx)
		}
	}
	var many [][]byte
	for range power.MaxTxs {
		many = append(many, []byte("x"))
	}
	good := w.sign(w.node(0))
	results := w.block(nil, append(many, good)...)
	if r := results[power.MaxTxs].Refusal; r == nil || r.Check != power.TooMany {
		t.Errorf("one too many: %v", r)
	}
	w.accept(good)
}

// A block that does not follow, and wishes that no consensus knows, are errors.
func TestImpossibleBlocks(t *testing.T) {
	w := newWorld(t, setup{})
	for _, b := range []power.Block{
		{Height: 0}, {Height: 2}, {Height: 1, Desired: []power.Power{{Key: "ed25519:x", Power: 1}}}, {Height: 1, Desired: w.wish(0, -1)},
	} {
		if _, _, err := w.state.Step(b, w.schedule); err == nil {
			t.Errorf("height %d, %v: no error", b.Height, b.Desired)
		}
	}
}

// Try says beforehand what a block would say, and changes nothing.
func TestTry(t *testing.T) {
	w := newWorld(t, setup{})
	before := w.state.Marshal()
	if _, r := w.state.Try(w.sign(w.node(4)), nil, w.schedule); r != nil {
		t.Error(r)
	}
	if _, r := w.state.Try(w.sign(w.node(4), "org-a"), nil, w.schedule); r == nil || r.Check != admission.Threshold {
		t.Errorf("%v", r)
	}
	if !bytes.Equal(before, w.state.Marshal()) {
		t.Error("Try changed the state")
	}
}

// What is known of transactions beforehand changes no state and no result, whether it
// is right, of another bundle, or of a transaction that is no bundle.
func TestKnownChangesNothing(t *testing.T) {
	w := newWorld(t, setup{})
	good, other, few := w.sign(w.node(4)), w.sign(w.node(5)), w.sign(w.node(6), "org-a")
	roster := w.roster("org-b", admission.StateSuspended, 4)
	a, r := w.state.Try(good, nil, w.schedule)
	if r != nil || a == nil || a.Node() != w.node(4).ID {
		t.Fatalf("%v %v", a, r)
	}
	if again, r := w.state.Try(good, a, w.schedule); r != nil || again != a {
		t.Errorf("the same again: %v %v", again, r)
	}
	if b, r := w.state.Try(other, a, w.schedule); r != nil || b == a {
		t.Errorf("another one: %v %v", b, r)
	}
	step := func(known ...*admission.Admission) string {
		next, out, err := w.state.Step(power.Block{
			Height: 1, Time: w.now.Add(blink), Txs: [][]byte{good, few, roster, other}, Known: known, Desired: w.wish(4, 10),
		}, w.schedule)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %v", next.Marshal(), out)
	}
	want := step()
	for i, known := range [][]*admission.Admission{{a}, {nil, a, a, a}, {a, a, a, a, a}, {{}, {}, {}, {}}} {
		if got := step(known...); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
}

// Two machines that see the same blocks have the same bytes.
func TestDeterministic(t *testing.T) {
	life := func() string {
		w := newWorld(t, setup{founders: 7, lasts: 12 * blink, rules: func(r *power.Rules) { r.Notice = 4 * blink }})
		w.block(append(w.wish(7, 50), w.wish(8, 20)...), w.sign(w.node(7)), w.sign(w.node(8)))
		w.block(nil, w.command(power.Peer, w.node(7).ID+"=p", "org-a"), w.roster("org-b", admission.StateSuspended, 1, 2, 3))
		w.block(nil, w.command(power.RetireVerifier, verifierID(w, "org-c"), "org-b", "org-c", "org-d", "org-e"))
		w.blocks(20)
		return string(w.state.Marshal()) + fmt.Sprint(w.events)
	}
	first := life()
	for range 5 {
		if again := life(); again != first {
			t.Fatalf("another state:\n%s\nfirst:\n%s", again, first)
		}
	}
}

// A chain that ran without a gate goes on with the set that it had, or not at all.
func TestAdopt(t *testing.T) {
	net := newIssuer(t, 7, "")
	rules := power.DefaultRules(net.Consortium)
	g := power.Genesis{ChainID: chain, Height: 100, Time: birth}
	w := &world{TB: t, Network: net}
	for i := range 4 {
		g.Validators = append(g.Validators, power.Power{Key: key(w.node(i)), Power: 10})
	}
	if _, err := power.Adopt(g, must(power.NewSchedule(rules))); err == nil {
		t.Error("adopted, and nobody would have power")
	}
	rules.UnattestedUntil = 200
	s, err := power.Adopt(g, must(power.NewSchedule(rules)))
	if err != nil || s.Height() != 100 || len(s.Effective()) != 4 {
		t.Errorf("%v", err)
	}
}

// A key that signed twice loses its power, and no admission from before gives it
// back; one that the verifiers make later does.
func TestA174_KeyOnTwoHosts(t *testing.T) {
	w := newWorld(t, setup{})
	early := w.sign(w.node(0))
	w.now = w.now.Add(blink)
	next, out, err := w.state.Step(power.Block{Height: 1, Time: w.now, Doubled: []string{key(w.node(0)), key(w.node(9))}}, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	w.state, w.events = next, out.Events
	w.tell(out.Updates)
	w.want(0, 10, 10, 10)
	if !w.happened("doubled") {
		t.Error("nobody is told")
	}
	if got := entries(w.state, "doubled/"); len(got) != 1 {
		t.Errorf("remembers strangers: %v", got)
	}
	w.refuse(early, power.Doubled)
	w.accept(w.signAgain(w.node(0)))
	w.want(10, 10, 10, 10)
}

// While founders are unattested, one that signed twice is out all the same.
func TestA174_FounderOnTwoHosts(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.UnattestedUntil = 100 }})
	next, out, err := w.state.Step(power.Block{Height: 1, Time: w.now, Doubled: []string{key(w.node(1))}}, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	w.state = next
	w.tell(out.Updates)
	w.want(10, 0, 10, 10)
	w.blocks(1)
	w.want(10, 0, 10, 10)
}
