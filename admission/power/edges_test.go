package power_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
)

// R3 in numbers: as soon as those who stand are no more than two thirds of the
// window's power, the set is frozen; with more, the others leave.
func TestR3_Bounds(t *testing.T) {
	for _, c := range []struct{ founders, lapse, left int }{
		{3, 1, 3}, {4, 1, 3}, {4, 2, 4}, {6, 1, 5}, {6, 2, 6}, {7, 2, 5}, {7, 3, 7}, {1, 1, 1}, {2, 1, 2},
	} {
		w := newWorld(t, setup{founders: c.founders, lasts: 3 * blink})
		var txs [][]byte
		for i := c.lapse; i < c.founders; i++ {
			txs = append(txs, w.sign(w.node(i)))
		}
		w.block(nil, txs...)
		w.blocks(2)
		if len(w.set) != c.left || (w.state.Frozen() > 0) != (c.left == c.founders) {
			t.Errorf("%d of %d lapse: %d left, frozen since %d", c.lapse, c.founders, len(w.set), w.state.Frozen())
		}
	}
}

// R3: a member that lapses and comes back within the window is no loss: another
// one may lapse as if nothing had been.
func TestR3_ComingBackIsNoLoss(t *testing.T) {
	w := newWorld(t, setup{})
	for i := range 3 {
		n := w.node(i)
		n.NotAfter = w.now.Add(2 * blink)
		w.accept(w.sign(n))
		w.block(nil)
		if got := w.set[key(n)]; got != 0 || w.state.Frozen() > 0 {
			t.Fatalf("%d: power %d, frozen since %d", i, got, w.state.Frozen())
		}
		w.accept(w.signAgain(n))
		w.want(10, 10, 10, 10)
	}
}

// What the application takes away itself is no lapse, also in a frozen set; and
// what it wants to add waits.
func TestR3_ApplicationMayTakeAway(t *testing.T) {
	w := newWorld(t, setup{lasts: 3 * blink})
	w.block(nil, w.sign(w.node(2)), w.sign(w.node(3)))
	w.blocks(1)
	w.block(append(w.wish(0, 0), w.wish(1, 0)...)) // in the block in which they lapse
	w.want(0, 0, 10, 10)
	if w.state.Frozen() > 0 {
		t.Error("frozen because of what the application asked for")
	}

	f := newWorld(t, setup{lasts: 2 * blink})
	f.blocks(3)
	f.block(slices.Concat(f.wish(0, 4), f.wish(1, 0), f.wish(2, 20)))
	f.want(4, 0, 10, 10)
	if f.state.Frozen() == 0 {
		t.Error("not frozen")
	}
}

// R1: who has left leaves nothing behind but its admission.
func TestR1_NothingIsKeptOfStrangers(t *testing.T) {
	w := newWorld(t, setup{})
	w.block(w.wish(9, 10))
	w.block(w.wish(9, 0))
	w.block(w.wish(1, 0))
	if got := entries(w.state, "validator/"); len(got) != 3 {
		t.Errorf("%v", got)
	}
}

// R5: one host under two names is refused, even with the same key; and a binding
// that has cooled down is forgotten.
func TestR5_Bindings(t *testing.T) {
	w := newWorld(t, setup{})
	renamed := w.node(0)
	renamed.ID = "org-f/other"
	renamed.Host = hostOf(w.node(0))
	w.refuse(w.sign(renamed), power.HostBound)
	moved := w.node(0) // to a host of its own, without its member's word
	moved.Host = hostOf(w.node(9))
	w.refuse(w.sign(moved), power.NodeBound)

	n := w.node(4)
	n.NotAfter = w.now.Add(4 * blink)
	w.accept(w.sign(n))
	last := w.state.Height()
	for len(entries(w.state, "host/"+hostOf(n))) > 0 {
		if last++; last > 100 {
			t.Fatal("an unused binding is kept for ever")
		}
		w.block(nil)
	}
	if len(entries(w.state, "seat/"+n.ID)) > 0 {
		t.Error("the binding is forgotten, the seat is not")
	}
	if used := w.state.Height(); used < 20 {
		t.Errorf("forgotten at height %d, before the cool-down", used)
	}
}

// R5: a released host cools down although its former key votes from another one.
func TestR5_ReleasedHostServesAgain(t *testing.T) {
	w := newWorld(t, setup{})
	spare := w.node(0)
	spare.Host = hostOf(w.node(9))
	w.block(nil, w.command(power.Release, hostOf(w.node(0)), "org-a"), w.signAgain(spare))
	w.want(10, 10, 10, 10)
	next := w.node(5)
	next.Host = hostOf(w.node(0))
	w.refuse(w.signAgain(next), power.HostCooling)
	w.blocks(20)
	w.accept(w.signAgain(next))
}

// R5: while a key has power, its host is in use, whether its admission has ended
// or its member has released it.
func TestR5_InUseWhileItVotes(t *testing.T) {
	w := newWorld(t, setup{lasts: 2 * blink})
	w.blocks(3) // all ended: frozen, all keep their power
	for _, host := range []int{0, 1} {
		next := w.node(5)
		next.Host = hostOf(w.node(host))
		w.refuse(w.signAgain(next), power.HostBound)
		w.accept(w.command(power.Release, hostOf(w.node(host)), w.Members[host].Name))
		w.refuse(w.signAgain(next), power.HostBound)
	}
	w.want(10, 10, 10, 10)
}

// R5: a release counts once: it does not take out of use again what came back.
func TestR5_ReleaseIsNotReplayed(t *testing.T) {
	w := newWorld(t, setup{})
	release := w.command(power.Release, hostOf(w.node(0)), "org-a")
	w.block(nil, release, w.sign(w.node(0)))
	w.want(10, 10, 10, 10)
	w.refuse(release, power.Older)
	w.want(10, 10, 10, 10)
}

// R5: a key whose node is out of use may serve another node, and then only that.
func TestR5_KeyOfAnotherNode(t *testing.T) {
	w := newWorld(t, setup{})
	n := w.node(4)
	n.NotAfter = w.now.Add(2 * blink)
	w.accept(w.sign(n))
	w.blocks(2)
	heir := w.node(5)
	heir.ConsensusKey = n.ConsensusKey
	w.accept(w.signAgain(heir))
	if got := entries(w.state, "seat/"); got["seat/"+n.ID] != "" || got["seat/"+heir.ID] == "" {
		t.Errorf("%v", got)
	}
}

// R9: break-glass adds to an admission's end, or to now if it has ended.
func TestR9_AddsToTheEnd(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Extension = time.Hour }})
	w.accept(w.command(power.Extend, chain, "org-a", "org-b", "org-c", "org-d", "org-e"))
	if got, want := w.state.Status(w.schedule).Nodes[0].Ends, birth.Add(25*time.Hour); !got.Equal(want) {
		t.Errorf("ends %v, want %v", got, want)
	}
}

// What a transaction brings about stands at the transaction, not at the block.
func TestEventsOfTransactions(t *testing.T) {
	w := newWorld(t, setup{})
	for kind, tx := range map[string][]byte{
		"admitted": w.sign(w.node(4)), "roster": w.roster("org-a", admission.StateLate), "command": w.command(power.Peer, "org-a/x=p", "org-a"),
	} {
		r := w.block(nil, tx)[0]
		if len(r.Events) != 1 || r.Events[0].Type != "quorate_"+kind || w.happened(kind) {
			t.Errorf("%s: %v, and of the block %v", kind, r.Events, w.events)
		}
	}
	w.block(w.wish(0, 5))
	if !w.happened("power") {
		t.Errorf("%v", w.events)
	}
}

// R10: caps bind from so many members on.
func TestR10_FromSoManyMembers(t *testing.T) {
	four := newWorld(t, setup{members: 4})
	four.block(four.wish(0, 100))
	four.want(14, 10, 10, 10)
	three := newWorld(t, setup{members: 3, founders: 3})
	three.block(three.wish(0, 100))
	three.want(100, 10, 10)
}

// R8: a genesis that no consensus would take is refused.
func TestR8_ImpossibleGenesis(t *testing.T) {
	w := newWorld(t, setup{})
	g := power.Genesis{ChainID: chain, Time: birth, Validators: append(w.wish(0, 10), w.wish(1, -1)...), Founding: [][]byte{w.sign(w.node(0))}}
	if _, _, err := power.New(g, w.schedule); err == nil {
		t.Error("negative power")
	}
}

// R6: a notice shortens, it never lengthens.
func TestR6_NoticeOnlyShortens(t *testing.T) {
	w := newWorld(t, setup{rules: func(r *power.Rules) { r.Notice = time.Hour }})
	n := w.node(4)
	n.NotAfter = w.now.Add(4 * blink)
	w.block(w.wish(4, 10), w.sign(n))
	w.accept(w.command(power.RetireVerifier, verifierID(w, "org-a"), "org-b", "org-c", "org-d", "org-e"))
	w.want(10, 10, 10, 10, 10)
	w.blocks(2)
	w.want(10, 10, 10, 10, 0)
}

// R8: a founder's bundle may be younger than the genesis document's time, which
// is still the time of the first state.
func TestR8_BundlesAfterTheGenesisTime(t *testing.T) {
	w := newWorld(t, setup{})
	w.now = birth.Add(5 * time.Hour)
	g := power.Genesis{ChainID: chain, Time: birth, Validators: w.wish(0, 10), Founding: [][]byte{w.sign(w.node(0))}}
	s, set, err := power.New(g, w.schedule)
	if err != nil || len(set) != 1 || !s.Time().Equal(birth) {
		t.Fatalf("%v %v", set, err)
	}
	g.Founding = append(g.Founding, []byte("nonsense"))
	if _, _, err := power.New(g, w.schedule); err == nil {
		t.Error("nonsense among the founders' files")
	}
}

// Adoption refuses a set that would not stay as it is.
func TestAdoptionKeepsTheSet(t *testing.T) {
	net := newIssuer(t, 7, "")
	w := &world{TB: t, Network: net}
	rules := power.DefaultRules(net.Consortium)
	rules.UnattestedUntil = 200
	g := power.Genesis{ChainID: chain, Height: 100, Time: birth, Validators: append(w.wish(0, 100), w.wish(1, 10)...)}
	if _, err := power.Adopt(g, must(power.NewSchedule(rules))); err == nil {
		t.Error("adopted, and a cap changes the set at once")
	}
	rules.CapPerMille = 1000
	if _, err := power.Adopt(g, must(power.NewSchedule(rules))); err != nil {
		t.Errorf("twin: %v", err)
	}
	g.Validators = append(g.Validators, power.Power{Key: "ed25519:x", Power: 1})
	if _, err := power.Adopt(g, must(power.NewSchedule(rules))); err == nil {
		t.Error("adopted a key that is none")
	}
}

// R10 in numbers: powers of one validator for each member, and what is left of
// them under a cap.
func TestR10_Numbers(t *testing.T) {
	for _, c := range []struct {
		cap, shares  uint64
		wished, want []int64
	}{
		{333, 8, []int64{10, 10, 10, 10}, []int64{10, 10, 10, 10}},
		{333, 8, []int64{100, 10, 10, 10}, []int64{14, 10, 10, 10}},
		{333, 8, []int64{100, 100, 10, 10}, []int64{19, 19, 10, 10}},
		{333, 1, []int64{100, 10, 10, 10, 10, 10, 10}, []int64{10, 10, 10, 10, 10, 10, 10}}, // one seventh
		{333, 2, []int64{100, 10, 10, 10, 10, 10, 10}, []int64{24, 10, 10, 10, 10, 10, 10}}, // two sevenths
		{500, 8, []int64{100, 30, 10}, []int64{40, 30, 10}},
		{1000, 8, []int64{100, 1}, []int64{100, 1}},
		{333, 8, []int64{100, 7, 1}, []int64{1, 1, 1}}, // fewer than the cap needs: equal shares
	} {
		w := newWorld(t, setup{founders: len(c.wished), rules: func(r *power.Rules) { r.CapPerMille, r.FairShares = c.cap, c.shares }})
		var wishes []power.Power
		for i, p := range c.wished {
			wishes = append(wishes, w.wish(i, p)...)
		}
		w.block(wishes)
		w.want(c.want...)
	}
}

// A member's cap is shared among its validators in proportion, to the last unit.
func TestR10_SharedInProportion(t *testing.T) {
	w := newWorld(t, setup{founders: 7})
	w.block(slices.Concat(w.wish(0, 300), w.wish(7, 200), w.wish(14, 1)), w.sign(w.node(7)), w.sign(w.node(14)))
	a, b, c := w.set[key(w.node(0))], w.set[key(w.node(7))], w.set[key(w.node(14))]
	if a+b+c != 29 || a < 17 || b < 11 { // of 89; which one gets the remainder depends on the keys
		t.Errorf("%d, %d and %d", a, b, c)
	}
}

// Commands that are no commands of administrators.
func TestCommandsOfOthers(t *testing.T) {
	w := newWorld(t, setup{})
	c := *w.Consortium
	c.Members = slices.Clone(c.Members)
	c.Members[0].Operators = []admission.Operator{{Member: "org-a", Key: w.Members[0].Operators[0].Key, Role: admission.RoleAuditor}}
	demoted := must(admission.ParseConsortium(must(c.Marshal())))
	rules := power.DefaultRules(demoted)
	rules.UnattestedUntil = 10
	s, _, err := power.New(power.Genesis{ChainID: chain, Time: birth, Validators: w.wish(0, 10)}, must(power.NewSchedule(rules)))
	if err != nil {
		t.Fatal(err)
	}
	w.state, w.schedule, w.set = s, must(power.NewSchedule(rules)), map[string]int64{key(w.node(0)): 10}
	w.refuse(w.command(power.Peer, "org-a/validator-0=p", "org-a"), power.Unsigned) // an auditor by now
	w.accept(w.command(power.Peer, "org-b/validator-1=p", "org-b"))
	w.refuse([]byte("quorate/power-command/v1\n"+strings.Repeat("x", 70000)), power.Malformed)
	text := "quorate/power-command/v1\nnonsense\n"
	w.refuse(must(note.Sign(&note.Note{Text: text}, w.Operator("org-b"))), power.Malformed)
}

func TestParseCommandRefuses(t *testing.T) {
	good := string(must(power.Command{
		Consortium: "example-net", Ledger: admission.Ledger{ID: chain, Genesis: hashOf(1)}, Action: power.Peer, Subject: "org-a/x=p1", NotAfter: birth, Number: 7,
	}.Marshal()))
	if c, err := power.ParseCommand([]byte(good)); err != nil || c.Number != 7 || !c.NotAfter.Equal(birth) {
		t.Fatalf("twin: %+v %v", c, err)
	}
	for name, change := range map[string][2]string{
		"header":        {"/v1", "/v2"},
		"consortium":    {"example-net", "Example"},
		"ledger":        {chain + " ", " "},
		"genesis":       {hashOf(1).String(), "sha256:00"},
		"no genesis":    {hashOf(1).String(), admission.Digest{}.String()},
		"action":        {"action: peer", "action: pear"},
		"subject":       {"org-a/x=p1", "org-a/x"},
		"node":          {"org-a/x=p1", "org-a=p1"},
		"peer":          {"org-a/x=p1", "org-a/x="},
		"time":          {"12:00:00Z", "12:00:00.5Z"},
		"zero time":     {"2026-11-27T12", "1970-01-01T00"},
		"number":        {"number: 7", "number: 07"},
		"another field": {"number:", "nonce:"},
		"a line more":   {"number: 7\n", "number: 7\n\n"},
		"a line less":   {"number: 7\n", ""},
	} {
		if bad := strings.Replace(good, change[0], change[1], 1); bad == good {
			t.Errorf("%s: nothing changed", name)
		} else if _, err := power.ParseCommand([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for action, subjects := range map[string][]string{
		power.RetireVerifier: {"a.b", "a.b+0123456", "a.b+0123456G", "A.b+01234567", "a.b+012345678", "a.b+0123456A"},
		power.RetirePolicy:   {"policy", "sha256:00"},
		power.Release:        {"host", strings.Repeat("0A", 32)},
		power.Extend:         {"", "a b"},
		"":                   {"x"},
	} {
		for _, s := range subjects {
			_, err := power.Command{Consortium: "example-net", Ledger: admission.Ledger{ID: chain, Genesis: hashOf(1)}, Action: action, Subject: s, NotAfter: birth}.Marshal()
			if err == nil {
				t.Errorf("%s %q: accepted", action, s)
			}
		}
	}
}

// Rules that are not whole or out of bounds are refused; the bounds themselves
// are not.
func TestScheduleBounds(t *testing.T) {
	base := power.DefaultRules(newIssuer(t, 4, "").Consortium)
	for name, c := range map[string]struct {
		change func(*power.Rules)
		ok     bool
	}{
		"default":             {func(*power.Rules) {}, true},
		"no consortium":       {func(r *power.Rules) { r.Consortium = nil }, false},
		"unparsed consortium": {func(r *power.Rules) { r.Consortium = &admission.Consortium{} }, false},
		"window 1":            {func(r *power.Rules) { r.Window = 1 }, true},
		"window 2^32":         {func(r *power.Rules) { r.Window = 1 << 32 }, true},
		"window more":         {func(r *power.Rules) { r.Window = 1<<32 + 1 }, false},
		"cool-down 0":         {func(r *power.Rules) { r.CoolDown = 0 }, false},
		"cool-down 1":         {func(r *power.Rules) { r.CoolDown = 1 }, true},
		"cool-down more":      {func(r *power.Rules) { r.CoolDown = 1<<32 + 1 }, false},
		"beacons":             {func(r *power.Rules) { r.BeaconAge = power.MaxBeaconAge }, true},
		"beacons more":        {func(r *power.Rules) { r.BeaconAge = power.MaxBeaconAge + 1 }, false},
		"no notice":           {func(r *power.Rules) { r.Notice = 0 }, false},
		"half a second":       {func(r *power.Rules) { r.Notice = time.Second / 2 }, false},
		"90 days":             {func(r *power.Rules) { r.Extension = 90 * 24 * time.Hour }, true},
		"91 days":             {func(r *power.Rules) { r.Extension = 91 * 24 * time.Hour }, false},
		"cap 0":               {func(r *power.Rules) { r.CapPerMille = 0 }, false},
		"cap 1":               {func(r *power.Rules) { r.CapPerMille = 1 }, true},
		"cap 1001":            {func(r *power.Rules) { r.CapPerMille = 1001 }, false},
		"shares 0":            {func(r *power.Rules) { r.FairShares = 0 }, false},
		"shares 1001":         {func(r *power.Rules) { r.FairShares = 1001 }, false},
		"members 0":           {func(r *power.Rules) { r.CapFrom = 0 }, false},
		"no outage grace":     {func(r *power.Rules) { r.OutageGrace = 0 }, true},
		"a second's grace":    {func(r *power.Rules) { r.OutageGrace = time.Second }, true},
		"a day's grace":       {func(r *power.Rules) { r.OutageGrace = 24 * time.Hour }, true},
		"more grace":          {func(r *power.Rules) { r.OutageGrace = 24*time.Hour + time.Second }, false},
		"half a second more":  {func(r *power.Rules) { r.OutageGrace = 1500 * time.Millisecond }, false},
		"negative grace":      {func(r *power.Rules) { r.OutageGrace = -time.Second }, false},
		"members 1001":        {func(r *power.Rules) { r.CapFrom = 1001 }, false},
	} {
		r := base
		c.change(&r)
		if _, err := power.NewSchedule(r); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	later := base
	later.From = 10
	if s, err := power.NewSchedule(base, later); err != nil || s.At(9).From != 1 || s.At(10).From != 10 || s.Last().From != 10 || s.Ledger().ID != chain {
		t.Errorf("%v", err)
	}
	later.Consortium = must(admission.ParseConsortium(bytes.Replace(newIssuer(t, 4, "").File, []byte("id: example-1"), []byte("id: example-2"), 1)))
	if _, err := power.NewSchedule(base, later); err == nil {
		t.Error("rules of two ledgers")
	}
}

// Status says of everyone why.
func TestStatus(t *testing.T) {
	w := newWorld(t, setup{founders: 7, rules: func(r *power.Rules) { r.UnattestedUntil = 3 }})
	short := w.node(7)
	short.NotAfter = w.now.Add(3 * blink)
	w.block(slices.Concat(w.wish(7, 10), w.wish(8, 10), w.wish(9, 10), w.wish(3, 300)), w.sign(short))
	observer := w.node(10)
	observer.Role, observer.ConsensusKey = power.RoleObserver, nil
	w.block(nil, w.sign(observer), w.command(power.Peer, observer.ID+"=p10", "org-d"), w.command(power.RetirePolicy, hashOf(7).String(), "org-a"))
	var rosters [][]byte
	for _, m := range w.Members[:6] {
		rosters = append(rosters, w.roster(m.Name, admission.StateSuspended, 2))
	}
	w.block(nil, rosters...)
	w.block(nil)
	s := w.state.Status(w.schedule)
	reasons := map[string]string{}
	total := int64(0)
	for _, v := range s.Validators {
		reasons[v.Key] = v.Reason
		total += v.Effective
	}
	for i, want := range map[int]string{
		0: "admitted until 2026-11-28T", 2: "barred by its verifiers", 3: "limited by the cap of org-d", 7: "admission ended at 2026-11-27T12:00:30Z", 8: "no admission",
	} {
		if got := reasons[key(w.node(i))]; !strings.HasPrefix(got, want) {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
	if s.Height != 4 || total != s.Total || s.Frozen != 0 || len(s.Retired) != 1 || s.Rules != w.state.RulesText() {
		t.Errorf("%+v", s)
	}
	i := slices.IndexFunc(s.Nodes, func(n power.NodeStatus) bool { return n.Node == observer.ID })
	if i < 0 || !s.Nodes[i].Stands || fmt.Sprint(s.Nodes[i].Peers) != "[p10]" || s.Nodes[i].Role != power.RoleObserver {
		t.Errorf("%+v", s.Nodes)
	}

	i = slices.IndexFunc(s.Members, func(m power.MemberStatus) bool { return m.Member == "org-d" })
	if i < 0 || s.Members[i].Cap != 333 || s.Members[i].PerMille > 333 || s.Members[i].PerMille < 300 || s.Members[i].Power != w.set[key(w.node(3))] {
		t.Errorf("%+v", s.Members)
	}
	if fresh := newWorld(t, setup{}).state.Status(w.schedule); fresh.MayLapse != 13 { // of 40
		t.Errorf("%d of 40 may lapse", fresh.MayLapse)
	}

	frozen := newWorld(t, setup{lasts: 2 * blink})
	frozen.blocks(2)
	f := frozen.state.Status(frozen.schedule)
	if f.Frozen == 0 || !strings.HasSuffix(f.Validators[0].Reason, "; the set is frozen since height 2") || !strings.HasPrefix(f.Validators[0].Reason, "admission ended") {
		t.Errorf("%+v", f)
	}
}

// While founders are unattested, status says so, and peers come in.
func TestStatusOfTheUnattested(t *testing.T) {
	net := newIssuer(t, 7, "")
	rules := power.DefaultRules(net.Consortium)
	rules.UnattestedUntil = 2
	w := &world{TB: t, Network: net, now: birth, set: map[string]int64{}, schedule: must(power.NewSchedule(rules))}
	s, set, err := power.New(power.Genesis{ChainID: chain, Time: birth, Validators: w.wish(0, 10)}, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	w.state = s
	w.tell(set)
	w.blocks(2)
	if got := w.state.Status(w.schedule).Validators[0].Reason; got != "admitted until height 2, unattested" {
		t.Errorf("%q", got)
	}
	if !w.state.Peer("anybody", w.schedule) {
		t.Error("nobody may connect while founders are unattested")
	}
	w.block(nil)
	if got := w.state.Status(w.schedule).Validators[0].Reason; !strings.HasPrefix(got, "no admission") {
		t.Errorf("%q", got)
	}
	if w.state.Peer("anybody", w.schedule) {
		t.Error("everybody may connect")
	}
}
