package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with, or doubtful about, a policy or manifest.
type Problem struct {
	Line int    `json:"line,omitempty"` // line in the text, from 1; 0 if it is about no single line
	Key  string `json:"key,omitempty"`  // "boot.images", "rules[2].deny"
	Text string `json:"text"`           // what is wrong and what to write instead
}

// String prints the problem on one line: "line 4: tpm.classes: …".
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Text
}

// Error is every problem that kept a policy or manifest from loading. It is
// never empty.
type Error struct {
	What     string // "policy", "manifest" or "policy set"
	Problems []Problem
}

// Error prints one problem per line.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("%s refused, %d problem(s)", e.What, len(e.Problems)))
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what one broken text can make us print.
const maxProblems = 100

// refuse returns the problems as an error, nil if there are none.
func refuse(what string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{What: what, Problems: problems[:min(len(problems), maxProblems)]}
}
