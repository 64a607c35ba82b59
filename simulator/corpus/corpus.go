// Package corpus is evidence with known verdicts: for each case one evidence
// file, as `quorate evidence get` exports it, the policy that it is judged by, and
// what must come of it. Three cases are real boots of Debian; all others are
// composed, and signed by package papertpm.
//
// Each case is a folder of testdata:
//
//	evidence.json    the evidence file, in its one encoding
//	policy/          the policy folder, as `quorate policy learn` writes it; absent if there is no policy
//	expect.json      decision, first check, and the whole verdict
//
// beside consortium.yaml, the consortium file of them all. A program that decides
// by evidence must come to the expected verdict of every case, byte for byte.
package corpus

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

//go:generate go test -run ^TestCorpusIsCurrent$ -update

//go:embed testdata
var embedded embed.FS

// Case is one piece of evidence and what must come of it.
type Case struct {
	Name     string         // of the folder
	Expect   Expect         //
	Raw      []byte         // the evidence file as stored
	Evidence *evidence.File // the same, parsed
	Set      *policy.Set    // that it is judged by; nil: no policy
}

// Expect is what must come of a case.
type Expect struct {
	About    string           `json:"about"`           // what happened to the host, one sentence
	Decision verdict.Decision `json:"decision"`        //
	Check    verdict.CheckID  `json:"check,omitempty"` // of the first finding; empty if nothing was found
	Verdict  json.RawMessage  `json:"verdict"`         // all of it, as JSON
}

// Files returns the folder with the cases, for programs that read files.
func Files() fs.FS {
	files, err := fs.Sub(embedded, "testdata")
	if err != nil {
		panic(err) // the name above is valid
	}
	return files
}

// least is the number of cases below which something must have been lost.
const least = 30

// Load returns all cases in the order of their names. A corpus of fewer than 30
// cases, or with only one decision, is an error: it would show nothing.
func Load() ([]Case, error) {
	files := Files()
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("corpus: %w", err)
	}
	var all []Case
	decisions := map[verdict.Decision]bool{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		c, err := load(files, e.Name())
		if err != nil {
			return nil, fmt.Errorf("corpus: %s: %w", e.Name(), err)
		}
		decisions[c.Expect.Decision] = true
		all = append(all, *c)
	}
	if len(all) < least || len(decisions) != 2 {
		return nil, fmt.Errorf("corpus: %d cases with %d different decisions, want %d and 2", len(all), len(decisions), least)
	}
	return all, nil
}

func load(files fs.FS, name string) (*Case, error) {
	c := &Case{Name: name}
	text, err := fs.ReadFile(files, name+"/expect.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &c.Expect); err != nil {
		return nil, fmt.Errorf("expect.json: %w", err)
	}
	if c.Raw, err = fs.ReadFile(files, name+"/evidence.json"); err != nil {
		return nil, err
	}
	if c.Evidence, err = evidence.ParseFile(c.Raw); err != nil {
		return nil, err
	}
	c.Set, err = loadPolicy(files, name+"/policy")
	return c, err
}

// loadPolicy reads a policy folder; without one there is no set.
func loadPolicy(files fs.FS, dir string) (*policy.Set, error) {
	text, err := fs.ReadFile(files, dir+"/policy.yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, dir+"/manifests/*.yaml")
	if err != nil {
		return nil, err
	}
	var manifests []*policy.Manifest
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		m, err := policy.ParseManifest(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		manifests = append(manifests, m)
	}
	return policy.NewSet(p, manifests)
}
