package catalogue

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// metLine is a line of the threat model that answers a row, with its text.
var metLine = regexp.MustCompile(`(?m)^\| <a id="(a[0-9]{3})"></a>A[0-9]{3} \| (\S.*) \|$`)

// MetLines returns the anchors of the rows that the threat model answers.
func MetLines(threatModel []byte) []string {
	var anchors []string
	for _, m := range metLine.FindAllSubmatch(threatModel, -1) {
		anchors = append(anchors, string(m[1]))
	}
	return anchors
}

// Check returns what is wrong with the answers to the rows: a row needs a test in
// a component it names, or its line in the threat model, or a part that is due.
// It also holds the reverse: no line for a row that does not claim one, and no
// part that is still due once there is a test.
func Check(rows []Row, tests Tests, threatModel []byte) []string {
	var problems []string
	lines := MetLines(threatModel)
	for _, r := range rows {
		met := slices.Contains(lines, r.Anchor())
		switch {
		case r.Met != met:
			problems = append(problems, fmt.Sprintf("%s (%s): line in the threat model: claimed %v, found %v", r.ID(), r.Name, r.Met, met))
		case r.Due != "" && (met || len(tests[r.Number]) > 0):
			problems = append(problems, fmt.Sprintf("%s (%s) is answered and still marked as due with: %s", r.ID(), r.Name, r.Due))
		case r.Due == "" && !met && !answered(r, tests):
			problems = append(problems, fmt.Sprintf("%s (%s) has no test Test%s_… in %s", r.ID(), r.Name, r.ID(), join(r.By)))
		}
	}
	return problems
}

func answered(r Row, tests Tests) bool {
	return slices.ContainsFunc(tests[r.Number], func(t Test) bool {
		return slices.ContainsFunc(r.By, func(c Component) bool {
			return t.Package == c || strings.HasPrefix(string(t.Package), string(c)+"/")
		})
	})
}

func join(components []Component) string {
	names := make([]string, len(components))
	for i, c := range components {
		names[i] = string(c)
	}
	return strings.Join(names, ", ")
}
