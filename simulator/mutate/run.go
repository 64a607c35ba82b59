package mutate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Core are the packages that decide, by their paths below the module's folder.
var Core = []string{
	"proto/binding", "verifier/verdict", "verifier/eventlog", "verifier/ima", "verifier/enroll", "verifier/evidence",
	"verifier/policy", "verifier/appraise", "verifier/node", "verifier/trust", "admission",
}

// Run tries every mutant of the package at path below the module's folder
// against that package's own tests, which have to pass without a mutant.
// skip names mutants that need no run; progress, if not nil, hears each result.
func Run(ctx context.Context, module, path string, skip map[string]Outcome, progress func(Result)) ([]Result, error) {
	module, err := filepath.Abs(module)
	if err != nil {
		return nil, err
	}
	s, err := load(ctx, module, path)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "quorate-mutate-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	files, mutants := rewrite(s, module)
	b, err := compile(ctx, s, module, scratch, files)
	if err != nil {
		return nil, err
	}
	tests, err := b.tests(ctx)
	if err != nil {
		return nil, err
	}
	return b.tryAll(ctx, mutants, tests, skip, progress)
}

func (b *binary) tryAll(ctx context.Context, mutants []Mutant, tests []test, skip map[string]Outcome, progress func(Result)) ([]Result, error) {
	var results []Result
	for _, m := range mutants {
		r := Result{Mutant: m, Outcome: skip[m.Name()]}
		if r.Outcome == "" {
			var err error
			if r.Outcome, err = b.try(ctx, m, tests); err != nil {
				return nil, err
			}
		}
		results = append(results, r)
		if progress != nil {
			progress(r)
		}
	}
	return results, nil
}

// quick is how long a test may take to be tried before the slower ones.
const quick = 200 * time.Millisecond

// try runs the tests that reach m, the quick ones first, until one fails.
func (b *binary) try(ctx context.Context, m Mutant, tests []test) (Outcome, error) {
	reaching := slices.DeleteFunc(slices.Clone(tests), func(t test) bool { return !t.reaches[m.id] })
	if len(reaching) == 0 {
		return Unreached, nil
	}
	slices.SortStableFunc(reaching, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	first := max(1, slices.IndexFunc(append(slices.Clone(reaching), test{took: time.Hour}), func(t test) bool { return t.took > quick }))
	outcome, err := b.outcome(ctx, m, reaching[:first])
	if err != nil || outcome != Survived || first == len(reaching) {
		return outcome, err
	}
	return b.outcome(ctx, m, reaching[first:])
}

func (b *binary) outcome(ctx context.Context, m Mutant, tests []test) (Outcome, error) {
	limit := 5 * time.Second
	var names []string
	for _, t := range tests {
		limit += 10 * t.took
		names = append(names, t.name)
	}
	pattern := "^(" + strings.Join(names, "|") + ")$"
	began := time.Now()
	_, err := b.run(ctx, limit, fmt.Sprintf("QUORATE_MUTANT=%d", m.id), "-test.failfast", "-test.run", pattern)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return Survived, nil
	case time.Since(began) >= limit:
		return TimedOut, nil
	case errors.As(err, &exit):
		return Failed, nil
	}
	return "", err
}
