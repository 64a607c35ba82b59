package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/policy"
)

// problemView is one problem with its file.
type problemView struct {
	File string `json:"file"`
	policy.Problem
}

// lintView is what `policy lint` prints.
type lintView struct {
	Good     bool          `json:"good" doc:"it loads"`
	Digest   string        `json:"digest,omitempty" doc:"of the set, when a folder loads"`
	Problems []problemView `json:"problems" doc:"why it does not load"`
	Doubts   []problemView `json:"doubts" doc:"allowed but doubtful"`
}

func (c *cli) policyLint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint FILE|DIR",
		Short: "Find every problem of a policy or manifest, as the verifier would",
		Long: `Lint loads a policy folder, a policy file alone, or a manifest, with the same
loader that the verifier uses, and lists every problem at once with its line. It
also says what is allowed but doubtful.

Exit code 0: it loads. 1: it does not.`,
		Example: "  quorate policy lint policy\n  quorate policy lint policy/manifests/debian-12-boot.yaml",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := lint(args[0])
			if err != nil {
				return err
			}
			if err := c.show(v, func() { c.printLint(args[0], v) }); err != nil {
				return err
			}
			if !v.Good {
				return answered{exitRefused}
			}
			return nil
		},
	}
	return shaped(cmd, lintView{})
}

func lint(path string) (lintView, error) {
	v := lintView{Problems: []problemView{}, Doubts: []problemView{}}
	if isDir(path) {
		return v, v.folder(path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return v, unknown(err, "")
	}
	if isManifest(text) {
		_, err = policy.ParseManifest(text)
	} else if p, problem := policy.Parse(text); problem != nil {
		err = problem
	} else {
		v.Doubts = addProblems(v.Doubts, path, p.Lint())
	}
	v.blame(path, err)
	v.Good = len(v.Problems) == 0
	return v, nil
}

// folder lints a policy with its manifests. Each file is judged by itself first,
// so that problems of all of them show.
func (v *lintView) folder(dir string) error {
	rules, manifests, err := readPolicy(dir)
	if err != nil {
		return err
	}
	p, err := policy.Parse(rules.text)
	v.blame(rules.path, err)
	var parsed []*policy.Manifest
	for _, m := range manifests {
		one, err := policy.ParseManifest(m.text)
		v.blame(m.path, err)
		parsed = append(parsed, one)
	}
	if len(v.Problems) > 0 {
		return nil
	}
	set, err := policy.NewSet(p, parsed)
	v.blame(dir, err)
	if err != nil {
		return nil
	}
	v.Good, v.Digest, v.Doubts = true, digestOf(set), addProblems(v.Doubts, rules.path, set.Lint())
	return nil
}

// blame adds the problems of one file's error.
func (v *lintView) blame(file string, err error) {
	var all *policy.Error
	switch {
	case err == nil:
	case errors.As(err, &all):
		v.Problems = addProblems(v.Problems, file, all.Problems)
	default:
		v.Problems = append(v.Problems, problemView{file, policy.Problem{Text: err.Error()}})
	}
}

func addProblems(to []problemView, file string, problems []policy.Problem) []problemView {
	for _, p := range problems {
		to = append(to, problemView{file, p})
	}
	return to
}

func (c *cli) printLint(path string, v lintView) {
	for _, p := range v.Problems {
		c.say("%s: %s", p.File, p.Problem)
	}
	for _, p := range v.Doubts {
		c.say("%s: doubtful: %s", p.File, p.Problem)
	}
	switch {
	case !v.Good:
		c.say("%s does not load: %s.", path, count(len(v.Problems), "problem", "problems"))
	case v.Digest != "":
		c.say("%s loads. Set digest: %s", path, v.Digest)
	default:
		c.say("%s loads.", path)
	}
}
