package power_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
)

// full is a state with something of every kind in it.
func full(t testing.TB) *power.State {
	w := newWorld(t, setup{lasts: 6 * blink, rules: func(r *power.Rules) { r.BeaconAge, r.UnattestedUntil = 0, 2 }, more: func(r power.Rules) []power.Rules {
		r.From, r.BeaconAge, r.OutageGrace = 5, 3, time.Second
		return []power.Rules{r}
	}})
	observer := w.node(5)
	observer.Role, observer.ConsensusKey = power.RoleObserver, nil
	w.block(w.wish(4, 10), w.sign(w.node(4)), w.sign(observer), w.sign(w.node(1)), w.sign(w.node(2)), w.sign(w.node(3)))
	w.block(nil, w.command(power.Peer, "org-a/validator-0=p1", "org-a"), w.roster("org-b", admission.StateSuspended, 1, 2))
	w.block(nil, w.command(power.RetireVerifier, verifierID(w, "org-c"), "org-b", "org-c", "org-d", "org-e"))
	w.blocks(4)
	renewed := w.node(1)
	renewed.Beacon = admission.Beacon{Height: w.state.Height(), Hash: hashOf(w.state.Height())}
	w.accept(w.sign(renewed))
	w.block(nil)
	next, _, err := w.state.Step(power.Block{Height: w.state.Height() + 1, Time: w.now, Doubled: []string{key(w.node(0))}}, w.schedule)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestStatesReadBack(t *testing.T) {
	s := full(t)
	text := s.Marshal()
	for _, kind := range []string{"barred/", "beacons ", "block ", "command/", "doubled/", "frozen ", "host/", "number/", "peer/", "quorum ", "removed/", "retired/", "rules ", "seat/", "seen/", "validator/"} {
		if !bytes.Contains(text, []byte("\n"+kind)) {
			t.Errorf("the test's state holds no %q", kind)
		}
	}
	again, err := power.ParseState(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Marshal(), text) {
		t.Error("another text")
	}
	for _, header := range []string{"quorate/power/v1", "quorate/power/v3", ""} { // not this state's
		if _, err := power.ParseState(bytes.Replace(text, []byte("quorate/power/v2"), []byte(header), 1)); err == nil {
			t.Errorf("accepted as %q", header)
		}
	}
	for i, line := range strings.SplitAfter(string(text), "\n") {
		if line == "" {
			continue
		}
		for _, bad := range []string{strings.Replace(string(text), line, "", 1), strings.Replace(string(text), line, line+line, 1), strings.Replace(string(text), line, " "+line, 1)} {
			if s, err := power.ParseState([]byte(bad)); err == nil && !bytes.Equal(s.Marshal(), []byte(bad)) {
				t.Errorf("line %d: accepted another text", i+1)
			}
		}
	}
}

func FuzzParseState(f *testing.F) {
	seeds := [][]byte{full(f).Marshal(), []byte("quorate/power/v1\nbeacons none\nblock 0 0001-01-01T00:00:00Z\nfrozen 0\nrules x\n")}
	for _, s := range seeds {
		if _, err := power.ParseState(s); err != nil {
			f.Fatalf("seed: %v", err)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := power.ParseState(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Fatal("accepted bytes that it would not write")
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	c := power.Command{Consortium: "example-net", Ledger: admission.Ledger{ID: chain, Genesis: hashOf(1)}, Subject: chain, Action: power.Extend, NotAfter: birth, Number: 7}
	seeds := 0
	for action, subject := range map[string]string{
		power.Extend: chain, power.Peer: "org-a/x=p1", power.Release: strings.Repeat("0a", 32), power.RetirePolicy: hashOf(1).String(), power.RetireVerifier: "a.b+01234567",
	} {
		c.Action, c.Subject = action, subject
		f.Add(must(c.Marshal()))
		seeds++
	}
	if seeds != 5 {
		f.Fatal("too few seeds")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := power.ParseCommand(b)
		if err != nil {
			return
		}
		if again, err := c.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Fatal("accepted bytes that it would not write")
		}
	})
}

func FuzzParseSchedule(f *testing.F) {
	c := newIssuer(f, 4, "").Consortium
	for _, s := range []string{goodRules, "rules: quorate/power-rules/v1\nfrom: [{height: 1}]\n"} {
		if _, err := power.ParseSchedule([]byte(s), c); err != nil {
			f.Fatalf("seed: %v", err)
		}
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := power.ParseSchedule(b, c)
		if err == nil && (s.At(1).Consortium == nil || s.At(1).Window == 0) {
			t.Fatal("rules that are not whole")
		}
	})
}

const goodRules = `rules: quorate/power-rules/v1
from:
  - height: 1
    unattestedUntil: 100
    window: 600
  - height: 5000
    beaconAge: 100
    notice: 48h
    outageGrace: 2h
`

func TestRulesFile(t *testing.T) {
	c := newIssuer(t, 4, "").Consortium
	s, err := power.ParseSchedule([]byte(goodRules), c)
	if err != nil {
		t.Fatal(err)
	}
	if r := s.At(4999); r.Window != 600 || r.BeaconAge != 0 || r.Notice != 24*time.Hour || r.UnattestedUntil != 100 || r.OutageGrace != time.Hour {
		t.Errorf("before: %+v", r)
	}
	if r := s.At(5000); r.Window != 600 || r.BeaconAge != 100 || r.Notice != 48*time.Hour || r.OutageGrace != 2*time.Hour {
		t.Errorf("after: %+v", r)
	}
	if s.At(1).Text() == s.At(5000).Text() {
		t.Error("other rules, same text")
	}
	for name, bad := range map[string]string{
		"empty":            "",
		"no rules":         "rules: quorate/power-rules/v1\n",
		"other format":     strings.Replace(goodRules, "/v1", "/v2", 1),
		"unknown key":      strings.Replace(goodRules, "window:", "windows:", 1),
		"not from one":     strings.Replace(goodRules, "height: 1\n", "height: 2\n", 1),
		"not ascending":    strings.Replace(goodRules, "5000", "1", 1),
		"no window":        strings.Replace(goodRules, "600", "0", 1),
		"negative notice":  strings.Replace(goodRules, "48h", "-1h", 1),
		"other consortium": strings.Replace(goodRules, "window:", "consortium: "+hashOf(1).String()+"\n    window:", 1),
		"two documents":    goodRules + "---\n" + goodRules,
		"long grace":       strings.Replace(goodRules, "outageGrace: 2h", "outageGrace: 25h", 1),
		"old beacons":      strings.Replace(goodRules, "beaconAge: 100", "beaconAge: 100000", 1),
	} {
		if _, err := power.ParseSchedule([]byte(bad), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := power.ParseSchedule(nil, c); err != nil {
		t.Errorf("no file: %v", err)
	}
	if _, err := power.ParseSchedule(nil); err == nil {
		t.Error("no consortium")
	}
}

func TestChecksAreDocumented(t *testing.T) {
	seen := map[admission.CheckID]bool{}
	for _, c := range power.Checks() {
		if seen[c.ID] || c.Title == "" || c.Protects == "" || c.Remedy == "" {
			t.Errorf("%s: twice or without title, protects or remedy", c.ID)
		}
		seen[c.ID] = true
	}
}
