package permit

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

var now = time.Unix(1_800_000_000, 0).UTC()

func admitted(t testing.TB) *admission.Admission {
	t.Helper()
	n, err := issuer.New(issuer.Setup{Ledger: admission.Ledger{ID: "l", Genesis: sha256.Sum256(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	node := issuer.Node{ID: "org-a/n", NodeKey: sha256.Sum256([]byte("k")), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	b, err := n.Bundle(node)
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.VerifyBundle(b, admission.Want{Role: "validator", NodeKey: node.NodeKey}, now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDecide(t *testing.T) {
	good := Facts{Released: true, Measured: true, Looked: now, Saved: true, Admission: admitted(t)}
	if r := Decide(good, now); r != nil {
		t.Fatal(r)
	}
	if r := Decide(Facts{}, now); r == nil || r.Check != Sealed {
		t.Errorf("nothing known: %v", r)
	}
	for want, spoil := range map[CheckID][]func(*Facts){
		Sealed:      {func(f *Facts) { f.Released = false }},
		Blind:       {func(f *Facts) { f.Looked = time.Time{} }, func(f *Facts) { f.Looked = now.Add(-MaxBlind - 1) }, func(f *Facts) { f.Looked = now.Add(MaxBlind + 1) }},
		Moved:       {func(f *Facts) { f.Measured = false }},
		Unsaved:     {func(f *Facts) { f.Saved = false }},
		Suspended:   {func(f *Facts) { f.Standing.Suspended = true }},
		NoAdmission: {func(f *Facts) { f.Admission = nil }},
		Lapsed:      {func(f *Facts) { f.Admission = &admission.Admission{} }},
	} {
		for i, s := range spoil {
			f := good
			s(&f)
			if r := Decide(f, now); r == nil || r.Check != want {
				t.Errorf("%s %d: %v", want, i, r)
			}
		}
	}
	f := good
	f.Looked = now.Add(time.Hour)
	if r := Decide(f, now.Add(time.Hour)); r == nil || r.Check != Lapsed { // the very end is out
		t.Errorf("at its end: %v", r)
	}
	f.Looked = now.Add(-MaxBlind)
	if r := Decide(f, now); r != nil {
		t.Errorf("as long ago as may be: %v", r)
	}
}

func TestNext(t *testing.T) {
	free, held := Standing{}, Standing{true, "earlier"}
	for name, c := range map[string]struct {
		from Standing
		v    Verdicts
		want bool
	}{
		"none heard":             {free, Verdicts{3, 2, 0, 0, "r"}, false},
		"none heard, held":       {held, Verdicts{3, 2, 0, 0, "r"}, true},
		"one refuses of three":   {free, Verdicts{3, 2, 0, 1, "r"}, false},
		"two refuse of three":    {free, Verdicts{3, 2, 0, 2, "r"}, true},
		"two refuse, one admits": {free, Verdicts{3, 2, 1, 2, "r"}, true},
		"one admits, held":       {held, Verdicts{3, 2, 1, 1, "r"}, true},
		"two admit, held":        {held, Verdicts{3, 2, 2, 1, "r"}, false},
		"all needed, one":        {free, Verdicts{3, 3, 2, 1, "r"}, true},
		"a single verifier":      {free, Verdicts{1, 1, 0, 1, "r"}, true},
		"the only one admits":    {held, Verdicts{1, 1, 1, 0, ""}, false},
		"no verifiers":           {free, Verdicts{}, true},
		"fewer than needed":      {free, Verdicts{1, 2, 1, 0, ""}, true},
	} {
		if got := c.from.Next(c.v); got.Suspended != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := held.Next(Verdicts{3, 2, 2, 0, ""}); got != free {
		t.Errorf("a reason stays: %+v", got)
	}
}

func TestEveryCheckIsDescribed(t *testing.T) {
	all := map[admission.CheckID]bool{}
	for _, c := range Checks() {
		if all[c.ID] || c.Title == "" || c.Protects == "" || c.Got == "" || c.Want == "" || c.Remedy == "" {
			t.Errorf("%s is doubled or not fully described", c.ID)
		}
		all[c.ID] = true
	}
	for _, id := range []CheckID{Sealed, Blind, Moved, Unsaved, Suspended, NoAdmission, Lapsed} {
		if !all[admission.CheckID(id)] {
			t.Errorf("%s is not described", id)
		}
		delete(all, admission.CheckID(id))
	}
	if len(all) > 0 {
		t.Errorf("no such checks: %v", all)
	}
}
