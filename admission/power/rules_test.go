package power_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
)

// R1: what the application asks for is nothing without an admission, and an
// admission is nothing without the application's asking.
func TestR1_PowerNeedsWishAndAdmission(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(w.wish(4, 10))
	w.want(10, 10, 10, 10, 0)
	w.refuse(w.sign(w.node(4), "org-a"), admission.Threshold)
	w.want(10, 10, 10, 10, 0)
	w.accept(w.sign(w.node(4), "org-a", "org-c"))
	w.want(10, 10, 10, 10, 10)

	w.accept(w.sign(w.node(5))) // admitted, and nobody wants it
	w.want(10, 10, 10, 10, 10, 0)
	w.block(w.wish(5, 7))
	w.want(10, 10, 10, 10, 10, 7)
	w.block(w.wish(5, 3)) // the application may always take away
	w.want(10, 10, 10, 10, 10, 3)
	w.block(w.wish(5, 0))
	w.want(10, 10, 10, 10, 10, 0)
}

// R1: an observer's admission and one for another key give no power.
func TestR1_RoleAndKeyCount(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(append(w.wish(4, 10), w.wish(5, 10)...))
	observer := w.node(4)
	observer.Role, observer.ConsensusKey = power.RoleObserver, nil
	w.accept(w.sign(observer))
	stranger := w.node(5)
	stranger.Role = "archivist"
	w.refuse(w.sign(stranger), power.OtherRole)
	keyless := w.node(5)
	keyless.ConsensusKey = nil
	w.refuse(w.sign(keyless), power.OtherRole)
	w.want(10, 10, 10, 10, 0, 0)
	w.accept(w.sign(w.node(5)))
	w.want(10, 10, 10, 10, 0, 10)
}

// R2: an admission ends with the first block at or after its end, whatever any
// clock says, and a renewal before that goes on without a gap.
func TestR2_EndsByBlockTime(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(append(w.wish(4, 10), w.wish(5, 10)...))
	n, renewed := w.node(4), w.node(5)
	n.NotAfter, renewed.NotAfter = w.now.Add(5*blink), w.now.Add(5*blink)
	w.accept(w.sign(n))
	w.accept(w.sign(renewed))
	w.block(nil)
	w.accept(w.signAgain(w.node(5)))
	w.want(10, 10, 10, 10, 10, 10) // ten seconds before the end
	w.block(nil)                   // the end
	w.want(10, 10, 10, 10, 0, 10)
	w.refuse(w.sign(n), admission.Expired)
}

// R3: lapses take at most a third of the power out of one window; when fewer
// than a quorum would stay, nobody leaves, nobody joins, and renewals thaw it.
func TestR3_QuorumGuard(t *testing.T) {
	w := newWorld(t, setup{lasts: 10 * blink})
	renew := func(nodes ...int) {
		var txs [][]byte
		for _, i := range nodes {
			txs = append(txs, w.sign(w.node(i)))
		}
		for _, r := range w.block(nil, txs...) {
			if r.Refusal != nil {
				t.Fatal(r.Refusal)
			}
		}
	}
	renew(0, 1)
	w.blocks(8)
	w.want(10, 10, 10, 10)
	w.block(nil) // two of four lapse
	w.want(10, 10, 10, 10)
	if w.state.Frozen() != w.state.Height() || !w.happened("frozen") {
		t.Fatalf("two of four lapsed and the set is not frozen: %v", w.events)
	}
	w.block(w.wish(4, 10))
	w.refuse(w.sign(w.node(4)), power.Frozen)
	w.blocks(20) // longer than any window
	w.want(10, 10, 10, 10, 0)

	renew(2) // three of four: a quorum
	w.want(10, 10, 10, 0, 0)
	if w.state.Frozen() != 0 || !w.happened("thawed") {
		t.Fatal("a quorum stands and the set is still frozen")
	}
	w.accept(w.sign(w.node(4)))
	w.want(10, 10, 10, 0, 10)
}

// R3: two lapses that are harmless one by one are too much in one window, and
// harmless again in the next.
func TestR3_WindowBoundsRemovals(t *testing.T) {
	w := newWorld(t, setup{founders: 7})
	for i, d := range []time.Duration{3, 4, 5} {
		n := w.node(i)
		n.NotAfter = birth.Add(d * blink)
		w.accept(w.sign(n))
	}
	// Heights 3 and 4 take two of seven out, height 5 would take a third one.
	w.want(0, 10, 10, 10, 10, 10, 10)
	w.block(nil)
	w.want(0, 0, 10, 10, 10, 10, 10)
	w.block(nil)
	w.want(0, 0, 10, 10, 10, 10, 10)
	if w.state.Frozen() == 0 {
		t.Fatal("the third lapse in a window did not freeze the set")
	}
	w.blocks(4)
	w.want(0, 0, 0, 10, 10, 10, 10)
	if w.state.Frozen() != 0 {
		t.Fatal("still frozen when the window has passed")
	}
}

// R4: whatever lapses and whatever the application asks for, the set is never
// emptied, and nobody leaves who is not in it; tell checks each block.
func TestR4_NeverEmptyNeverAStranger(t *testing.T) {
	w := newWorld(t, setup{lasts: 3 * blink})
	w.block(append(w.wish(7, 0), w.wish(8, 5)...)) // strangers
	w.block(w.wish(8, 0))
	w.blocks(5) // everyone's admission ends
	w.want(10, 10, 10, 10)
	var all []power.Power
	for i := range 4 {
		all = append(all, w.wish(i, 0)...)
	}
	w.block(all) // the application itself removes everyone
	if len(w.set) == 0 || !w.happened("held") {
		t.Fatalf("set %v, events %v", w.set, w.events)
	}
}

// R4: a total beyond what consensus can hold is held back, not told.
func TestR4_NeverMoreThanConsensusHolds(t *testing.T) {
	w := newWorld(t, setup{members: 3, founders: 3})
	w.block(w.wish(0, power.MaxTotalPower-20))
	w.want(power.MaxTotalPower-20, 10, 10)
	w.block(w.wish(1, 11))
	if !w.happened("held") {
		t.Fatal("told")
	}
	w.want(power.MaxTotalPower-20, 10, 10)
	w.block(append(w.wish(1, 1<<62), w.wish(2, 1<<62)...)) // would overflow
	w.want(power.MaxTotalPower-20, 10, 10)
	w.block(append(w.wish(1, 10), w.wish(2, 9)...))
	w.want(power.MaxTotalPower-20, 10, 9)
}

// R5: one host has one consensus key; another one only when the first has been
// out of use for the cool-down.
func TestR5_OneHostOneKey(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(append(w.wish(4, 10), w.wish(5, 10)...))
	w.accept(w.sign(w.node(4)))
	other := w.node(5)
	other.Host = hostOf(w.node(4))
	w.refuse(w.sign(other), power.HostBound)
	w.want(10, 10, 10, 10, 10)

	w.accept(w.command(power.Release, hostOf(w.node(4)), "org-e"))
	w.want(10, 10, 10, 10, 0)
	released := w.state.Height()
	for w.state.Height() < released+19 {
		w.refuse(w.signAgain(other), power.HostCooling)
	}
	w.blocks(2)
	w.accept(w.signAgain(other))
	if p := w.set[key(other)]; p != 10 {
		t.Fatalf("after the cool-down, power %d", p)
	}
}

// signAgain signs a bundle of the node as of now.
func (w *world) signAgain(n issuer.Node, members ...string) []byte {
	w.Helper()
	n.NotBefore, n.NotAfter = w.now, w.now.Add(24*time.Hour)
	return w.sign(n, members...)
}

// hostOf is the host id that the issuer derives.
func hostOf(n issuer.Node) string {
	sum := sha256.Sum256([]byte("ek of " + n.ID))
	return hex.EncodeToString(sum[:])
}

// R5: a key moves to another host once its member has released the old one, and
// not before: two hosts never share a key.
func TestR5_KeyMovesAfterRelease(t *testing.T) {
	w := newWorld(t, setup{})
	spare := w.node(0)
	spare.Host = hostOf(w.node(9))
	w.refuse(w.sign(spare), power.NodeBound)
	renamed := w.node(4) // another node with the first one's key
	renamed.ConsensusKey = w.node(0).ConsensusKey
	w.refuse(w.sign(renamed), power.NodeBound)

	release := w.command(power.Release, hostOf(w.node(0)), "org-b")
	w.refuse(release, power.TooFew) // not its member
	results := w.block(nil, w.command(power.Release, hostOf(w.node(0)), "org-a"), w.signAgain(spare))
	for _, r := range results {
		if r.Refusal != nil {
			t.Fatal(r.Refusal)
		}
	}
	w.want(10, 10, 10, 10) // within one block: no gap
	w.blocks(25)           // the old host's binding is forgotten, the new one's seat is not
	w.want(10, 10, 10, 10)
	w.refuse(w.signAgain(w.node(0)), power.NodeBound)
	w.refuse(w.command(power.Release, hostOf(w.node(9))[:62]+"00", "org-a"), power.UnknownSubject)
}

// R6: what a retired verifier signed ends after the notice, and so does what it
// signs during the notice; which evidence it rested on stays on record.
func TestR6_RetiredVerifier(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Notice = 3 * blink }})
	w.block(w.wish(4, 10))
	w.accept(w.sign(w.node(4), "org-a", "org-b"))
	id := verifierID(w, "org-a")
	w.refuse(w.command(power.RetireVerifier, id, "org-b", "org-c", "org-d"), power.TooFew) // of seven
	w.accept(w.command(power.RetireVerifier, id, "org-b", "org-c", "org-d", "org-e"))
	w.accept(w.signAgain(w.node(4), "org-a", "org-b"))
	w.want(10, 10, 10, 10, 10)
	w.blocks(1)
	w.want(10, 10, 10, 10, 10)
	for i := range 4 { // all founders have org-a's opinion too, and renew without it
		w.block(nil, w.signAgain(w.node(i), "org-b", "org-c"))
	}
	w.want(10, 10, 10, 10, 0)
	w.refuse(w.signAgain(w.node(4), "org-a", "org-b"), power.Retired)
	if seat := entries(w.state, "seat/org-e/validator-4"); len(seat) != 1 {
		t.Error("the record of the evidence is gone")
	}
	w.accept(w.signAgain(w.node(4), "org-b", "org-d"))
	w.want(10, 10, 10, 10, 10)
}

func verifierID(w *world, member string) string {
	k, ok := w.AdmissionKey(member + ".verifier." + w.Network.Name)
	if !ok {
		w.Fatal("no such verifier")
	}
	return fmt.Sprintf("%s+%08x", k.Name(), k.KeyHash())
}

// R6: a retirement by the notice's length is not undone, by a second one or by
// break-glass, and cannot stop the chain.
func TestR6_RetirementStays(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Notice = 3 * blink; r.Extension = time.Hour }})
	w.accept(w.command(power.RetireVerifier, verifierID(w, "org-a"), "org-b", "org-c", "org-d", "org-e"))
	w.accept(w.commandUntil(w.now.Add(2*time.Hour), power.RetireVerifier, verifierID(w, "org-a"), "org-b", "org-c", "org-d", "org-e"))
	w.accept(w.command(power.Extend, chain, "org-b", "org-c", "org-d", "org-e", "org-f"))
	w.blocks(1)
	if w.state.Frozen() == 0 { // everyone rests on org-a
		t.Fatal("break-glass or a second notice undid a retirement")
	}
	w.want(10, 10, 10, 10)
}

// R7: the old policy counts beside the new one until its notice ends.
func TestR7_PolicyOverlap(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Notice = 6 * blink }})
	next := admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("next"))}
	old := admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("policy"))}
	w.block(append(w.wish(4, 10), w.wish(5, 10)...))
	modern := w.node(4)
	modern.Policy = next
	w.accept(w.sign(modern))
	w.accept(w.sign(w.node(5)))
	w.want(10, 10, 10, 10, 10, 10)

	w.accept(w.command(power.RetirePolicy, old.Digest.String(), "org-a"))
	for i := range 4 {
		n := w.node(i)
		n.Policy, n.NotBefore = next, w.now
		w.accept(w.sign(n))
	}
	w.want(10, 10, 10, 10, 10, 10) // still within the notice
	w.accept(w.signAgain(w.node(5)))
	w.block(nil)
	w.want(10, 10, 10, 10, 10, 0)
	w.refuse(w.signAgain(w.node(5)), power.Retired)
}

// R8: founders enter with bundles, or unattested until a height that the rules
// state; a chain without either does not start.
func TestR8_Genesis(t *testing.T) {
	w := newWorld(t, setup{founders: 3}) // with bundles; the fourth has none
	g := power.Genesis{ChainID: chain, Time: birth}
	for i := range 4 {
		g.Validators = append(g.Validators, power.Power{Key: key(w.node(i)), Power: 10})
	}
	if _, _, err := power.New(g, w.schedule); err == nil {
		t.Error("a chain starts with nobody admitted")
	}
	g.Founding = [][]byte{w.sign(w.node(0)), w.sign(w.node(1))}
	_, set, err := power.New(g, w.schedule)
	if err != nil || len(set) != 2 {
		t.Errorf("two bundles make the set %v (%v)", set, err)
	}
	g.Founding = append(g.Founding, w.sign(w.node(2), "org-a"))
	if _, _, err := power.New(g, w.schedule); err == nil {
		t.Error("a genesis bundle with one admission of two")
	}
	g.Founding, g.ChainID = g.Founding[:2], "example-2"
	if _, _, err := power.New(g, w.schedule); err == nil {
		t.Error("a consortium file of another chain")
	}
}

func TestR8_UnattestedUntilAHeight(t *testing.T) {
	rules := power.DefaultRules(newIssuer(t, 4, "").Consortium)
	rules.UnattestedUntil = 3
	w := &world{TB: t, now: birth, set: map[string]int64{}, Network: newIssuer(t, 4, ""), schedule: must(power.NewSchedule(rules))}
	g := power.Genesis{ChainID: chain, Time: birth}
	for i := range 4 {
		g.Validators = append(g.Validators, power.Power{Key: key(w.node(i)), Power: 10})
	}
	state, set, err := power.New(g, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	w.state = state
	w.tell(set)
	w.block(w.wish(4, 10)) // who comes later is no founder
	w.want(10, 10, 10, 10, 0)
	for i := range 2 {
		w.accept(w.sign(w.node(i)))
	}
	w.want(10, 10, 10, 10, 0)
	w.accept(w.sign(w.node(2))) // height 4: the fourth has nothing
	w.want(10, 10, 10, 0, 0)
}

// R9: a quorum of members, not of verifiers, extends every standing admission
// once; fewer cannot, and not twice for the same bundle.
func TestR9_BreakGlass(t *testing.T) {
	w := newWorld(t, setup{lasts: 3 * blink, rules: func(r *power.Rules) { r.Extension = 10 * blink }})
	w.refuse(w.command(power.Extend, chain, "org-a", "org-b", "org-c", "org-d"), power.TooFew) // of seven
	w.blocks(3)                                                                                // everyone has lapsed: frozen
	if w.state.Frozen() == 0 {
		t.Fatal("not frozen")
	}
	w.accept(w.command(power.Extend, chain, "org-a", "org-b", "org-c", "org-d", "org-e"))
	if w.state.Frozen() != 0 {
		t.Fatal("still frozen")
	}
	w.refuse(w.commandUntil(w.now.Add(2*time.Hour), power.Extend, chain, "org-a", "org-b", "org-d", "org-e", "org-f"), power.GlassUsed)
	w.accept(w.sign(w.node(0))) // renewed: it may be extended again, alone
	w.accept(w.commandUntil(w.now.Add(2*time.Hour), power.Extend, chain, "org-a", "org-b", "org-d", "org-e", "org-f"))
	w.blocks(5)
	if w.state.Frozen() != 0 {
		t.Fatal("frozen before the extension ended")
	}
	w.blocks(5)
	if w.state.Frozen() == 0 {
		t.Fatal("the extension does not end")
	}
}

// R10: no member holds more than its cap, when it joins and when others leave.
func TestR10_Caps(t *testing.T) {
	w := newWorld(t, setup{founders: 7})
	w.block(w.wish(7, 100)) // a second validator of org-a
	w.accept(w.sign(w.node(7)))
	total := int64(0)
	for _, p := range w.set {
		total += p
	}
	if held := w.set[key(w.node(0))] + w.set[key(w.node(7))]; held*1000 > 333*total || held < 25 {
		t.Fatalf("org-a holds %d of %d", held, total)
	}
	w.block(slices.Concat(w.wish(1, 0), w.wish(2, 0), w.wish(3, 0))) // others leave
	total = 0
	for _, p := range w.set {
		total += p
	}
	if held := w.set[key(w.node(0))] + w.set[key(w.node(7))]; held*1000 > 333*total || held == 0 {
		t.Fatalf("others left, and org-a holds %d of %d", held, total)
	}
}

// R10: a consortium too small for caps starts without; where fewer members have
// power than the cap needs, an equal share is the cap.
func TestR10_SmallNets(t *testing.T) {
	small := newWorld(t, setup{members: 3, founders: 3})
	small.block(small.wish(0, 100))
	small.want(100, 10, 10)
	w := newWorld(t, setup{founders: 2})
	w.block(w.wish(0, 100))
	w.want(10, 10)
}
