package catalogue

import (
	"fmt"
	"io"
	"strings"
)

const preface = `# Attacks

<!-- Generated from the tests by make docs. Do not edit. -->

Every known way to fool a remote attestation that Quorate has to refuse, and the
test that shows it refused next to the same input without the defect, which is
admitted. A test belongs to a row by its name. Rows about how machines are built
and run are answered in the [threat model](threat-model.md); rows of parts that do
not exist yet name the part.

`

// Count is how the rows are answered; a row with both a test and a line counts as
// tested.
type Count struct{ Tested, Met, Due, Missing int }

// Tally counts how rows are answered.
func Tally(rows []Row, tests Tests) Count {
	var c Count
	for _, r := range rows {
		switch {
		case len(tests[r.Number]) > 0:
			c.Tested++
		case r.Met:
			c.Met++
		case r.Due != "":
			c.Due++
		default:
			c.Missing++
		}
	}
	return c
}

// Write writes the catalogue as a Markdown document. Equal tests give equal bytes.
func Write(w io.Writer, tests Tests) error {
	var b strings.Builder
	b.WriteString(preface)
	c := Tally(Rows(), tests)
	fmt.Fprintf(&b, "%d rows: %d with tests, %d met in operation only, %d due with a later part, %d open.\n", Size, c.Tested, c.Met, c.Due, c.Missing)
	for _, g := range Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| row | attempt | refused | answered by |\n|---|---|---|---|\n", g.Title)
		for _, r := range g.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID(), r.Name, r.Refused, answers(r, tests[r.Number]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// answers is the last cell of a row.
func answers(r Row, tests []Test) string {
	var cells []string
	var last Component
	for _, t := range tests {
		name := "`" + t.Name + "`"
		if t.Package != last {
			name = string(t.Package) + " " + name
		}
		cells, last = append(cells, name), t.Package
	}
	if r.Met {
		cells = append(cells, fmt.Sprintf("[threat model](threat-model.md#%s)", r.Anchor()))
	}
	if r.Due != "" {
		cells = append(cells, "due with: "+string(r.Due))
	}
	if len(cells) == 0 {
		return "open"
	}
	return strings.Join(cells, "<br>")
}
