package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/attestedtls"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/verifier/verdict"
)

// checkView is one check, as documented.
type checkView struct {
	ID       string `json:"id"`
	Title    string `json:"title" doc:"what was found wrong"`
	Protects string `json:"protects" doc:"the attack or accident that the check stops"`
	Got      string `json:"got,omitempty" doc:"what a finding's got holds"`
	Want     string `json:"want,omitempty" doc:"what a finding's want holds"`
	Remedy   string `json:"remedy" doc:"what a person does about it"`
}

// checksView is what `explain` without an argument prints.
type checksView struct {
	Checks []checkView `json:"checks"`
}

// allChecks are the checks of verifiers, of admissions and of gates.
func allChecks() []checkView {
	var all []checkView
	for _, c := range verdict.Checks() {
		all = append(all, checkView{string(c.ID), c.Title, c.Protects, c.Got, c.Want, c.Remedy})
	}
	for _, c := range slices.Concat(admission.Checks(), power.Checks(), attestedtls.Checks(), seal.Checks(), permit.Checks()) {
		all = append(all, checkView{string(c.ID), c.Title, c.Protects, c.Got, c.Want, c.Remedy})
	}
	return all
}

func (c *cli) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [CHECK]",
		Short: "Say what a check protects, and how to mend what it finds",
		Long: `Explain prints what is behind a check id, such as boot.command-line: what it
protects, what got and want hold, what to do. Without an argument, or with the
first part of an id, it lists checks. docs/checks.md has all of them.`,
		Example: "  quorate explain boot.command-line\n  quorate explain ima",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var some []checkView
			for _, check := range allChecks() {
				if len(args) == 1 && check.ID == args[0] {
					return c.show(checksView{[]checkView{check}}, func() { c.printCheck(check) })
				}
				if len(args) == 0 || strings.HasPrefix(check.ID, args[0]) {
					some = append(some, check)
				}
			}
			if len(some) == 0 {
				return usagef("quorate explain lists all of them", "there is no check %q", args[0])
			}
			return c.show(checksView{some}, func() { c.printChecks(some) })
		},
	}
	return shaped(cmd, checksView{})
}

func (c *cli) printCheck(check checkView) {
	fmt.Fprintf(c.out, "%s\n", c.paint(bold, check.ID))
	l := labels{c, "  ", 8}
	l.row("found", check.Title)
	l.row("protects", check.Protects)
	l.row("got", check.Got)
	l.row("want", check.Want)
	l.row("remedy", check.Remedy)
}

func (c *cli) printChecks(checks []checkView) {
	var t table
	t.head("CHECK", "FOUND")
	for _, check := range checks {
		t.add(cell{check.ID, bold}, cell{check.Title, plain})
	}
	t.print(c)
}
