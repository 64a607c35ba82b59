package mutate

import "fmt"

// Mutant is one change of one package.
type Mutant struct {
	// File is the path below the module's folder, Line the line of the change.
	File string `json:"file"`
	Line int    `json:"line"`
	// Func is the function or method that holds the change, or the variable.
	Func string `json:"func"`
	// Change says what is altered, for example "n > maxEvents: false".
	Change string `json:"change"`
	// Nth tells apart equal changes within one function, from 1.
	Nth int `json:"nth"`

	id int
}

// Name identifies the mutant across edits that only move lines.
func (m Mutant) Name() string {
	name := fmt.Sprintf("%s %s: %s", m.File, m.Func, m.Change)
	if m.Nth > 1 {
		name += fmt.Sprintf(" #%d", m.Nth)
	}
	return name
}

// Outcome is what the tests made of a mutant. The zero value is not a kill.
type Outcome string

const (
	// Survived: every test passed; the change was not noticed.
	Survived Outcome = "survived"
	// Unreached: no test runs the changed code.
	Unreached Outcome = "unreached"
	// Equivalent: it survived, and the list of equivalent mutants says why no test could tell.
	Equivalent Outcome = "equivalent"
	// Failed: a test failed or crashed.
	Failed Outcome = "killed"
	// TimedOut: the tests did not end in many times their usual time.
	TimedOut Outcome = "timeout"
)

// Killed reports whether the tests noticed the mutant.
func (o Outcome) Killed() bool { return o == Failed || o == TimedOut }

// Result is a mutant with its outcome and, if it is equivalent, the reason.
type Result struct {
	Mutant
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
}
