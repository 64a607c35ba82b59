package mutate

import (
	"slices"
	"strings"
	"testing"
)

// The tests of the sample notice a lost check and miss a moved boundary; one of
// its functions no test reaches, and one mutant never ends.
func TestRun(t *testing.T) {
	const path = "simulator/mutate/testdata/gate"
	results, err := Run(t.Context(), "../..", path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]Outcome{}
	for _, r := range results {
		outcomes[r.Func+" "+r.Change] = r.Outcome
	}
	for change, want := range map[string]Outcome{
		"Open n < 1: false":                 Failed,
		"Open n < 1: true":                  Failed,
		"Open n < 1: <=":                    Unreached, // no test asks at the boundary
		"Open n <= most: <":                 Unreached,
		"Open return n <= most: zero":       Failed,
		"Loop n > 0: >=":                    Survived, // one more round adds nothing
		"Open return n <= most: true":       Failed,
		"Closed return !Open(n): zero":      Unreached,
		"Loop n > 0: false":                 Failed,
		"Loop without n--":                  TimedOut,
		"Loop return sum: zero":             Failed,
		"Loop without sum += n":             Failed,
		"Open no such mutant in the sample": "",
	} {
		if got := outcomes[change]; got != want {
			t.Errorf("%s: %q, want %q", change, got, want)
		}
	}
	report := &Report{}
	report.Put(path, results)
	if s := report.Total(); s.Mutants != len(results) || s.Killed == 0 || s.Survived() == 0 {
		t.Errorf("score %+v of %d mutants", s, len(results))
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "below") {
		t.Errorf("a sample with survivors is good enough: %v", err)
	}
}

// What was killed before or has a reason need not run again; a reason counts for
// survivors only.
func TestReasons(t *testing.T) {
	result := func(change string, o Outcome) Result {
		return Result{Mutant: Mutant{File: "p/f.go", Func: "F", Change: change, Nth: 1}, Outcome: o}
	}
	report := &Report{}
	report.Put("p", []Result{result("a", Failed), result("b", Survived), result("c", Survived)})
	report.Explain(map[string]string{"p/f.go F: a": "a test kills it", "p/f.go F: b": "sizes memory only", "p/f.go F: c": ""})
	if s := report.Total(); s != (Score{Mutants: 3, Killed: 1, Equivalent: 1}) || s.OfTellable() != 50 {
		t.Errorf("%+v", s)
	}
	if want := []string{"p/f.go F: a", "p/f.go F: c"}; !slices.Equal(report.stale, want) {
		t.Errorf("stale reasons %q, want %q", report.stale, want)
	}
	if settled := report.Settled("p", nil); len(settled) != 1 || settled["p/f.go F: a"] != Failed {
		t.Errorf("settled %v", settled)
	}
	if settled := report.Settled("p", map[string]string{"p/f.go F: b": "sizes memory only", "p/f.go F: c": ""}); len(settled) != 2 || settled["p/f.go F: b"].Killed() {
		t.Errorf("settled %v", settled)
	}
}
