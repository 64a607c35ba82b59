package mutate

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The bounds that hold the core: shares of mutants killed, in percent, of
// those that are not equivalent.
const (
	CoreBound    = 95
	PackageBound = 90
)

//go:embed equivalent.txt
var equivalents string

// Equivalents are the mutants that no test can tell from the original, by
// name, each with the reason. They are kept in equivalent.txt.
func Equivalents() map[string]string {
	reasons := map[string]string{}
	name := ""
	for line := range strings.Lines(equivalents) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "#"), line == "":
		case strings.HasPrefix(line, "\t"):
			reasons[name] = strings.TrimSpace(line)
		default:
			name = line
			reasons[name] = ""
		}
	}
	return reasons
}

// Package holds the results of one package.
type Package struct {
	Path    string   `json:"path"`
	Results []Result `json:"results"`
}

// Report holds the results of packages. Its zero value is empty.
type Report struct {
	Packages []*Package `json:"packages"`

	stale []string
}

// Put adds the results of the package at path, in place of older ones.
func (r *Report) Put(path string, results []Result) {
	p := r.find(path)
	if p == nil {
		p = &Package{Path: path}
		r.Packages = append(r.Packages, p)
	}
	p.Results = results
	slices.SortFunc(r.Packages, func(a, b *Package) int { return strings.Compare(a.Path, b.Path) })
}

func (r *Report) find(path string) *Package {
	if i := slices.IndexFunc(r.Packages, func(p *Package) bool { return p.Path == path }); i >= 0 {
		return r.Packages[i]
	}
	return nil
}

// Settled names the mutants of the package at path that need no further run:
// those that were noticed, and those that were not and have a reason.
func (r *Report) Settled(path string, reasons map[string]string) map[string]Outcome {
	settled := map[string]Outcome{}
	if p := r.find(path); p != nil {
		for _, result := range p.Results {
			if name := result.Name(); result.Outcome.Killed() || reasons[name] != "" {
				settled[name] = result.Outcome
			}
		}
	}
	return settled
}

// Explain marks the survivors that reasons names as equivalent. A reason that
// is empty, or that fits no survivor of the packages in the report, is an error
// of the report.
func (r *Report) Explain(reasons map[string]string) {
	used := map[string]bool{}
	for _, p := range r.Packages {
		for i := range p.Results {
			result := &p.Results[i]
			if reason := reasons[result.Name()]; reason != "" && !result.Outcome.Killed() {
				result.Outcome, result.Reason = Equivalent, reason
				used[result.Name()] = true
			}
		}
	}
	for name := range reasons {
		if !used[name] && r.covers(name) {
			r.stale = append(r.stale, name)
		}
	}
	slices.Sort(r.stale)
}

func (r *Report) covers(name string) bool {
	return slices.ContainsFunc(r.Packages, func(p *Package) bool {
		file, _, _ := strings.Cut(name, " ")
		return strings.HasPrefix(file, p.Path+"/") && !strings.Contains(file[len(p.Path)+1:], "/")
	})
}

// Score counts outcomes.
type Score struct {
	Mutants, Killed, Equivalent int
}

// Score counts the package's outcomes.
func (p *Package) Score() Score {
	s := Score{Mutants: len(p.Results)}
	for _, r := range p.Results {
		if r.Outcome.Killed() {
			s.Killed++
		}
		if r.Outcome == Equivalent {
			s.Equivalent++
		}
	}
	return s
}

func (s Score) plus(o Score) Score {
	return Score{Mutants: s.Mutants + o.Mutants, Killed: s.Killed + o.Killed, Equivalent: s.Equivalent + o.Equivalent}
}

// Survived is how many mutants survived without a reason.
func (s Score) Survived() int { return s.Mutants - s.Killed - s.Equivalent }

// OfAll is the share killed of all mutants, in percent; 0 if there are none.
func (s Score) OfAll() float64 { return share(s.Killed, s.Mutants) }

// OfTellable is the share killed of the mutants that are not equivalent, in percent; 0 if there are none.
func (s Score) OfTellable() float64 { return share(s.Killed, s.Mutants-s.Equivalent) }

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// Total is the score of all packages together.
func (r *Report) Total() Score {
	var total Score
	for _, p := range r.Packages {
		total = total.plus(p.Score())
	}
	return total
}

// Err tells what is below its bound, and which reasons fit no survivor.
func (r *Report) Err() error {
	var errs []error
	for _, p := range r.Packages {
		if s := p.Score().OfTellable(); s < PackageBound {
			errs = append(errs, fmt.Errorf("%s: %.1f %% of its mutants are killed, below %d %%", p.Path, s, PackageBound))
		}
	}
	if s := r.Total().OfTellable(); s < CoreBound {
		errs = append(errs, fmt.Errorf("%.1f %% of all mutants are killed, below %d %%", s, CoreBound))
	}
	for _, name := range r.stale {
		errs = append(errs, fmt.Errorf("equivalent.txt names %q, which is no survivor or has no reason", name))
	}
	return errors.Join(errs...)
}

const row = "| %-18s | %7v | %7v | %10v | %8v | %8v | %10v |\n"

// Table writes the scores as a table in Markdown.
func (r *Report) Table(w io.Writer) {
	fmt.Fprintf(w, row, "package", "mutants", "killed", "equivalent", "survived", "of all", "of others")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|")
	line := func(name string, s Score) {
		fmt.Fprintf(w, row, name, s.Mutants, s.Killed, s.Equivalent, s.Survived(), fmt.Sprintf("%.1f %%", s.OfAll()), fmt.Sprintf("%.1f %%", s.OfTellable()))
	}
	for _, p := range r.Packages {
		line(p.Path, p.Score())
	}
	line("**core**", r.Total())
}
