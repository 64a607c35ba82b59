package power_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
)

// An admission of these tests lasts 40 blocks, the last quarter of which are 10; who
// does not renew has 5 blocks once verifiers are back.
const (
	life  = 40 * blink
	grace = 5 * blink
)

func outageWorld(t testing.TB, s setup) *world {
	t.Helper()
	if s.founders == 0 {
		s.founders = 7
	}
	if s.lasts == 0 {
		s.lasts = life
	}
	change := s.rules
	s.rules = func(r *power.Rules) {
		r.OutageGrace = grace
		if change != nil {
			change(r)
		}
	}
	return newWorld(t, s)
}

// renew is a bundle of the i-th validator, as of now.
func (w *world) renew(i int, members ...string) []byte {
	w.Helper()
	n := w.node(i)
	n.NotAfter = w.now.Add(life)
	return w.sign(n, members...)
}

// until steps without anything happening up to a height.
func (w *world) until(height uint64) {
	w.Helper()
	for w.state.Height() < height {
		w.block(nil)
	}
}

func (w *world) validator(i int) power.ValidatorStatus {
	w.Helper()
	for _, v := range w.state.Status(w.schedule).Validators {
		if v.Key == key(w.node(i)) {
			return v
		}
	}
	w.Fatalf("validator %d is unknown", i)
	return power.ValidatorStatus{}
}

// R11: while nobody shows that a quorum of verifiers is at work, nobody leaves; by
// the rules before, up to a third do.
func TestR11_OutageEvictsNobody(t *testing.T) {
	for rule, want := range map[time.Duration]int{grace: 7, 0: 5} {
		w := outageWorld(t, setup{rules: func(r *power.Rules) { r.OutageGrace = rule }})
		for i := range 7 { // they end one after the other
			n := w.node(i)
			n.NotBefore, n.NotAfter = birth, birth.Add(life+time.Duration(i)*blink)
			w.accept(w.sign(n))
		}
		w.until(100)
		if len(w.set) != want || w.state.Frozen() == 0 {
			t.Errorf("grace %v: %d of 7 in the set, want %d; frozen since %d", rule, len(w.set), want, w.state.Frozen())
		}
	}
}

// R11: a host that does not renew while others do goes when its admission ends, if
// the ledger has seen for as long as the grace that it could have.
func TestR11_WhoDoesNotRenewGoes(t *testing.T) {
	w := outageWorld(t, setup{})
	w.until(33)
	w.accept(w.renew(0)) // height 34, stated at 33: within the last quarter of the others
	for i := 1; i < 6; i++ {
		w.accept(w.renew(i))
	}
	w.want(10, 10, 10, 10, 10, 10, 10) // height 39
	w.block(nil)
	w.want(10, 10, 10, 10, 10, 10, 0)
	if w.happened("outage") {
		t.Error("an outage is told of, and there was none")
	}

	twin := outageWorld(t, setup{}) // all renew in step, in time, and before the last quarter
	twin.until(20)
	for i := range 6 {
		twin.accept(twin.renew(i))
	}
	twin.until(39)
	twin.block(nil)
	twin.want(10, 10, 10, 10, 10, 10, 10)
	if v := twin.validator(6); !v.Held || !strings.Contains(v.Reason, "held: ") || !strings.Contains(v.Reason, "no quorum of verifiers seen since 2026-11-27T12:04:10Z") {
		t.Errorf("held %t: %s", v.Held, v.Reason)
	}
	if !twin.happened("outage") {
		t.Errorf("nobody is told: %v", twin.events)
	}
	if s := twin.state.Status(twin.schedule); s.Held != 10 || s.Frozen != 0 || s.MayLapse != 13 {
		t.Errorf("%d held, frozen since %d, %d may lapse", s.Held, s.Frozen, s.MayLapse)
	}
	twin.block(nil)
	if twin.happened("outage") {
		t.Error("told twice")
	}
	twin.accept(twin.renew(0)) // height 42: verifiers are at work
	if v := twin.validator(6); !v.Held || !strings.Contains(v.Reason, "must renew until 2026-11-27T12:07:50Z") {
		t.Errorf("held %t: %s", v.Held, v.Reason)
	}
	twin.until(46)
	twin.want(10, 10, 10, 10, 10, 10, 10)
	twin.block(nil)
	twin.want(10, 10, 10, 10, 10, 10, 0)
	if v := twin.validator(6); v.Held || !strings.HasPrefix(v.Reason, "admission ended") {
		t.Errorf("held %t: %s", v.Held, v.Reason)
	}
}

// R11: when verifiers are back, all who renew within the grace stay, whoever comes
// first; who never does goes.
func TestR11_ReturnOneByOne(t *testing.T) {
	w := outageWorld(t, setup{})
	w.until(90)
	if w.state.Frozen() == 0 {
		t.Error("everyone's admission has ended, and no alarm")
	}
	for i := range 5 {
		w.accept(w.renew(i)) // heights 91 to 95
		w.want(10, 10, 10, 10, 10, 10, 10)
	}
	if w.state.Frozen() != 0 {
		t.Error("five of seven stand, and the set is frozen")
	}
	w.accept(w.renew(5)) // the last block in time would be 96; its time is the grace's end
	w.want(10, 10, 10, 10, 10, 10, 0)
	w.accept(w.renew(6))
	w.want(10, 10, 10, 10, 10, 10, 10)
}

// R11: what is more than the passing of time acts at once, in an outage, too.
func TestR11_OnlyTimeWaits(t *testing.T) {
	for name, act := range map[string]func(w *world){
		"nothing": func(w *world) { w.block(nil) },
		"suspension": func(w *world) {
			w.accept(w.roster("org-a", admission.StateSuspended, 6))
		},
		"release": func(w *world) { w.accept(w.command(power.Release, hostOf(w.node(6)), "org-g")) },
		"double vote": func(w *world) {
			w.now = w.now.Add(blink)
			next, out, err := w.state.Step(power.Block{Height: w.state.Height() + 1, Time: w.now, Doubled: []string{key(w.node(6))}}, w.schedule)
			if err != nil {
				w.Fatal(err)
			}
			w.state = next
			w.tell(out.Updates)
		},
		"retired verifier": func(w *world) {
			w.accept(w.command(power.RetireVerifier, verifierID(w, "org-b"), "org-a", "org-c", "org-d", "org-e"))
			w.blocks(2)
		},
		"the application's word": func(w *world) { w.block(w.wish(6, 0)) },
	} {
		w := outageWorld(t, setup{rules: func(r *power.Rules) { r.Notice = 2 * blink }})
		n := w.node(6)
		n.NotBefore, n.NotAfter = birth, birth.Add(30*blink)
		for i := range 6 {
			w.accept(w.renew(i, "org-c", "org-d"))
		}
		w.accept(w.sign(n, "org-a", "org-b"))
		w.until(35)
		w.want(10, 10, 10, 10, 10, 10, 10)
		if !w.validator(6).Held {
			t.Errorf("%s: not held", name)
		}
		act(w)
		if left := w.set[key(n)]; (left > 0) != (name == "nothing") {
			t.Errorf("%s: power %d", name, left)
		}
		w.want(10, 10, 10, 10, 10, 10)
	}
}

// R11: who is held keeps what it has, may have less, and gets no more; who was not
// in the set does not come in.
func TestR11_HeldGainsNothing(t *testing.T) {
	w := outageWorld(t, setup{})
	late := w.node(7)
	late.NotAfter = w.now.Add(20 * blink)
	w.accept(w.sign(late))
	n := w.node(6)
	n.NotAfter = w.now.Add(20 * blink)
	w.accept(w.sign(n))
	w.until(30)
	w.block(append(w.wish(7, 10), w.wish(6, 30)...))
	w.want(10, 10, 10, 10, 10, 10, 10, 0)
	w.block(w.wish(6, 4))
	w.want(10, 10, 10, 10, 10, 10, 4, 0)
	w.block(w.wish(6, 10))
	w.want(10, 10, 10, 10, 10, 10, 4, 0)
	n = w.node(8) // verifiers at work give the grace, and nothing else
	w.accept(w.sign(n))
	w.want(10, 10, 10, 10, 10, 10, 4, 0)
	w.accept(w.renew(6))
	w.want(10, 10, 10, 10, 10, 10, 10, 0)
}

// mixed is a bundle of admissions that each member's verifier made at its own time.
func (w *world) mixed(i int, made map[string]time.Time) []byte {
	w.Helper()
	var items []admission.Item
	for member, at := range made {
		n := w.node(i)
		n.NotBefore, n.NotAfter = at, at.Add(life)
		items = append(items, must(admission.ParseBundle(w.sign(n, member))).Items...)
	}
	return must(admission.NewBundle(items...)).Marshal()
}

// R11: one verifier of two that still answers is no quorum, however fresh its part of
// a bundle is; nor is a bundle from before that somebody carries late.
func TestR11_AQuorumIsSeenOnlyWhereOneIs(t *testing.T) {
	for name, c := range map[string]struct {
		made map[string]time.Duration
		seen bool
	}{
		"two fresh":           {map[string]time.Duration{"org-a": 35 * blink, "org-b": 35 * blink}, true},
		"two fresh, one old":  {map[string]time.Duration{"org-a": 35 * blink, "org-b": 35 * blink, "org-c": 20 * blink}, true},
		"one fresh":           {map[string]time.Duration{"org-a": 35 * blink, "org-b": 20 * blink}, false},
		"one fresh, two old":  {map[string]time.Duration{"org-a": 35 * blink, "org-b": 20 * blink, "org-c": 20 * blink}, false},
		"at the quarter":      {map[string]time.Duration{"org-a": 30 * blink, "org-b": 30 * blink}, false},
		"one second after":    {map[string]time.Duration{"org-a": 30*blink + time.Second, "org-b": 30*blink + time.Second}, true},
		"from before, late":   {map[string]time.Duration{"org-a": 25 * blink, "org-b": 29 * blink}, false},
		"from the last block": {map[string]time.Duration{"org-a": 45 * blink, "org-b": 45 * blink}, true},
	} {
		w := outageWorld(t, setup{})
		w.until(20)
		for i := range 5 {
			w.accept(w.mixed(i, map[string]time.Time{"org-a": birth.Add(20 * blink), "org-b": birth.Add(20 * blink)}))
		}
		w.until(45)
		made := map[string]time.Time{}
		for member, at := range c.made {
			made[member] = birth.Add(at)
		}
		w.accept(w.mixed(5, made))
		w.until(60)
		if left := w.set[key(w.node(6))]; (left == 0) != c.seen {
			t.Errorf("%s: who did not renew has power %d", name, left)
		}
	}
}

// R11: where one verifier is a quorum, its word is enough; and a validator that is
// alone is kept by the guard.
func TestR11_SmallNets(t *testing.T) {
	w := outageWorld(t, setup{members: 1, founders: 4})
	w.until(45)
	w.want(10, 10, 10, 10)
	for i := range 3 {
		w.accept(w.renew(i))
	}
	w.until(55)
	w.want(10, 10, 10, 0)

	alone := outageWorld(t, setup{founders: 1})
	alone.until(80)
	alone.want(10)
	alone.accept(alone.renew(0))
	if alone.state.Frozen() != 0 {
		t.Error("renewed, and frozen")
	}
}

// R11: when somebody carries a bundle decides when the grace begins, and nothing
// else: to hold one's own back puts nobody out sooner and keeps nobody in by itself.
func TestR11_TimingOfCouriers(t *testing.T) {
	w := outageWorld(t, setup{})
	w.until(35)
	kept := w.renew(5)
	w.until(50) // nobody has shown it
	w.want(10, 10, 10, 10, 10, 10, 10)
	w.accept(kept)
	for i := range 5 {
		w.accept(w.renew(i)) // heights 52 to 56: the last one a block too late
	}
	w.want(10, 10, 10, 10, 10, 10, 0)

	other := outageWorld(t, setup{}) // the others' word suffices
	other.until(35)
	_ = other.renew(5)
	for i := range 5 {
		other.accept(other.renew(i))
	}
	other.until(41)
	other.want(10, 10, 10, 10, 10, 0, 0)
}

// R11: a bundle that is older than what the ledger has seen since brings its grace
// with it, and no more.
func TestR11_OldBundleLate(t *testing.T) {
	w := outageWorld(t, setup{})
	old := w.renew(6) // ends at 40
	for i := range 6 {
		n := w.node(i)
		n.NotAfter = birth.Add(80 * blink)
		w.accept(w.sign(n))
	}
	w.until(35)
	w.accept(w.renew(0)) // height 36
	w.until(37)
	w.accept(old) // height 38; the grace ends at 43
	w.until(42)
	w.want(10, 10, 10, 10, 10, 10, 10)
	w.block(nil)
	w.want(10, 10, 10, 10, 10, 10, 0)
}

// R11 and R9: break-glass counts for who is held, and its end waits like any other.
func TestR11_BreakGlass(t *testing.T) {
	w := outageWorld(t, setup{rules: func(r *power.Rules) { r.Extension = 20 * blink }})
	for i := range 6 {
		n := w.node(i)
		n.NotAfter = birth.Add(400 * blink)
		w.accept(w.sign(n))
	}
	w.until(35)
	w.accept(w.sign(w.node(0))) // 36
	w.until(40)
	if !w.validator(6).Held {
		t.Fatal("not held")
	}
	w.accept(w.command(power.Extend, chain, "org-a", "org-b", "org-c", "org-d", "org-e"))
	if w.validator(6).Held || len(entries(w.state, "seen/"+w.node(6).ID)) != 0 {
		t.Error("extended, and held")
	}
	w.until(70) // it ended at 60
	w.want(10, 10, 10, 10, 10, 10, 10)
	w.accept(w.sign(w.node(0)))
	w.until(77)
	w.want(10, 10, 10, 10, 10, 10, 0)
}

// R11 begins and ends at a height. The text of states and rules is the former one
// where it does not hold.
func TestR11_FromAHeight(t *testing.T) {
	without := power.DefaultRules(newIssuer(t, 7, "").Consortium)
	without.OutageGrace = 0
	if text := without.Text(); strings.Contains(text, "outage") {
		t.Errorf("%s", text)
	}
	w := outageWorld(t, setup{rules: func(r *power.Rules) { r.OutageGrace = 0 }, more: func(r power.Rules) []power.Rules {
		on, off := r, r
		on.From, on.OutageGrace = 20, grace
		off.From = 90
		return []power.Rules{on, off}
	}})
	early := w.node(6)
	early.NotAfter = w.now.Add(10 * blink)
	w.accept(w.sign(early))
	w.until(19)
	w.want(10, 10, 10, 10, 10, 10, 0) // by the rules of its height
	if text := w.state.Marshal(); !bytes.HasPrefix(text, []byte("quorate/power/v1\n")) || bytes.Contains(text, []byte("\nquorum ")) {
		t.Errorf("%s", text)
	}
	w.block(nil)
	if text := w.state.Marshal(); !bytes.HasPrefix(text, []byte("quorate/power/v2\n")) || entries(w.state, "quorum")["quorum"] != "2026-11-27T12:00:00Z" {
		t.Errorf("%s", text)
	}
	w.accept(w.renew(0))
	w.until(89)
	w.want(10, 10, 10, 10, 10, 10, 0)
	w.block(nil)
	if text := w.state.Marshal(); !bytes.HasPrefix(text, []byte("quorate/power/v1\n")) || w.state.Frozen() == 0 {
		t.Errorf("%s", text)
	}
}

// R11: other rules ask for another quorum; what was seen before is judged by them.
func TestR11_AnotherThreshold(t *testing.T) {
	stricter := *newIssuer(t, 7, "").Consortium
	stricter.Threshold = 3
	strict := must(admission.ParseConsortium(must(stricter.Marshal())))
	w := outageWorld(t, setup{more: func(r power.Rules) []power.Rules {
		r.From, r.Consortium = 38, strict
		return []power.Rules{r}
	}})
	w.until(34)
	w.accept(w.renew(0, "org-a", "org-b"))
	if got := entries(w.state, "seen/"); len(got) != 6 {
		t.Errorf("seen for %v", got)
	}
	w.until(38)
	if got := entries(w.state, "seen/"); len(got) != 0 {
		t.Errorf("two verifiers of three: seen for %v", got)
	}
	for i := 1; i < 6; i++ {
		w.accept(w.renew(i, "org-a", "org-b", "org-c"))
	}
	w.until(45)
	w.want(0, 10, 10, 10, 10, 10, 0)
}

// Links stay while the vote does: of who is held, and of a frozen set.
func TestR11_PeersOfTheHeld(t *testing.T) {
	w := outageWorld(t, setup{rules: func(r *power.Rules) { r.OutageGrace = grace }})
	observer := w.node(7)
	observer.Role, observer.ConsensusKey, observer.NotAfter = power.RoleObserver, nil, birth.Add(life)
	w.accept(w.sign(observer))
	w.accept(w.command(power.Peer, observer.ID+"=p7", "org-a"))
	w.accept(w.command(power.Peer, w.node(6).ID+"=p6", "org-g"))
	peers := func(want bool) {
		t.Helper()
		for _, p := range []string{"p6", "p7"} {
			if w.state.Peer(p, w.schedule) != want {
				t.Errorf("height %d: %s is welcome: %t", w.state.Height(), p, !want)
			}
		}
	}
	w.until(60)
	peers(true)
	for i := range 6 {
		w.accept(w.renew(i))
	}
	peers(false)

	frozen := newWorld(t, setup{lasts: 3 * blink})
	frozen.accept(frozen.command(power.Peer, frozen.node(1).ID+"=p1", "org-b"))
	frozen.until(10)
	if frozen.state.Frozen() == 0 || !frozen.state.Peer("p1", frozen.schedule) {
		t.Error("a frozen set loses its links")
	}
}

// R11 under random lives: verifiers come and go, hosts renew or do not, couriers are
// late. No validator ever leaves that could not have renewed, one that could does not
// stay for more than the guard asks, and the same blocks give the same bytes.
func TestR11_RandomLives(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for run := range 3 {
		var texts []string
		for range 2 {
			texts = append(texts, randomLife(t, rand.New(rand.NewPCG(seed, uint64(run)))))
		}
		if texts[0] != texts[1] {
			t.Fatal("the same blocks give other bytes")
		}
	}
}

// deadline is what the model knows of a validator: when its last quarter begins, when
// it ends, and when the ledger saw that it could have renewed.
type deadline struct{ last, end, seen time.Time }

func (d deadline) passed(now time.Time) bool {
	return !now.Before(d.end) && !d.seen.IsZero() && !now.Before(d.seen.Add(grace))
}

// parcel is a bundle on its way to the ledger.
type parcel struct {
	node   int
	made   time.Time
	bundle []byte
}

func randomLife(t *testing.T, random *rand.Rand) string {
	t.Helper()
	const nodes = 7
	w := outageWorld(t, setup{})
	var model [nodes]deadline
	for i := range model {
		model[i] = deadline{last: birth.Add(life * 3 / 4), end: birth.Add(life)}
	}
	up, seen, parcels := true, birth, []parcel(nil)
	for range 200 {
		if random.IntN(25) == 0 {
			up = !up
		}
		for i, d := range model {
			waiting := slices.ContainsFunc(parcels, func(p parcel) bool { return p.node == i })
			if up && !waiting && w.now.Add(life/2).After(d.end) && random.IntN(6) == 0 {
				parcels = append(parcels, parcel{i, w.now, w.renew(i, "org-a", "org-b")})
			}
		}
		before, sent := maps.Clone(w.set), [][]byte(nil)
		if random.IntN(3) == 0 {
			for _, p := range parcels {
				sent = append(sent, p.bundle)
			}
		}
		for at, r := range w.block(nil, sent...) {
			if r.Refusal == nil {
				made := parcels[at].made
				model[parcels[at].node] = deadline{last: made.Add(life * 3 / 4), end: made.Add(life)}
				seen = later(seen, made)
			}
		}
		if len(sent) > 0 {
			parcels = nil
		}
		for i, d := range model {
			if d.seen.IsZero() && seen.After(d.last) {
				model[i].seen = w.now
			}
			id, passed := key(w.node(i)), model[i].passed(w.now)
			if left := before[id] > 0 && w.set[id] == 0; left && !passed {
				t.Fatalf("height %d: validator %d left: %+v, now %v", w.state.Height(), i, model[i], w.now)
			}
			if w.set[id] > 0 && passed && w.state.Frozen() == 0 {
				t.Fatalf("height %d: validator %d stays: %+v, now %v", w.state.Height(), i, model[i], w.now)
			}
		}
	}
	return string(w.state.Marshal())
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
