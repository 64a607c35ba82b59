package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/verdict"
)

func (c *cli) policyExplain() *cobra.Command {
	var dir string
	var at instant
	cmd := &cobra.Command{
		Use:   "explain EVIDENCE",
		Short: "Tell layer by layer what a policy says about evidence",
		Long: `Explain judges an evidence file with a policy and accounts for every check: what
the policy requires, what the evidence shows, and the result. It uses the policy
in --policy, or the one in force at the verifier. It does not touch the node.

Exit code 0: the policy admits it. 1: it does not.`,
		Example: "  quorate evidence get org-a/validator-4 --out evidence.json\n  quorate policy explain evidence.json --policy ./policy",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			var where []string
			if dir != "" {
				where = []string{dir}
			}
			set, _, err := c.policyAt(cmd, where, "")
			if err != nil {
				return err
			}
			verified, err := file.VerifyWhole()
			if err != nil {
				return err
			}
			history, err := appraise.Recorded(file.Record)
			if err != nil {
				return refused(err, "")
			}
			a := appraise.Explain(set, verified, appraise.History{TPM: history.TPM}, at.or(file.Record.At))
			if err := c.show(a, func() { c.printAccount(a) }); err != nil {
				return err
			}
			return decided(a.Verdict)
		},
	}
	cmd.Flags().StringVar(&dir, "policy", "", "policy `folder`; default: the one in force at the verifier")
	cmd.Flags().Var(&at, "time", "judge as of this `time` (RFC 3339); default: when the evidence was judged")
	return shaped(cmd, appraise.Account{})
}

// decided is the exit code of a verdict that has been printed.
func decided(v verdict.Verdict) error {
	if v.Decision != verdict.Admitted {
		return answered{exitRefused}
	}
	return nil
}

func (c *cli) printAccount(a appraise.Account) {
	c.printDecision(a.Verdict)
	for _, layer := range a.Layers {
		fmt.Fprintf(c.out, "\n%s  %s\n", c.paint(bold, layer.Name), c.paint(faint, layer.Mode))
		for _, line := range layer.Lines {
			fmt.Fprintf(c.out, "  %s  %s%s\n", c.paint(resultStyle(line.Result), fmt.Sprintf("%-4s", line.Result)), line.Check, accountOf(line))
			for _, f := range line.Findings {
				c.findingBlock("        ", f)
			}
		}
	}
}

// accountOf is what a passed check required and found, where both say something.
func accountOf(l appraise.Line) string {
	if len(l.Findings) > 0 {
		return ""
	}
	text := ""
	if l.Required != "" {
		text += "  required: " + strings.ReplaceAll(l.Required, "\n", " | ")
	}
	if l.Found != "" {
		text += "; found: " + strings.ReplaceAll(l.Found, "\n", " | ")
	}
	return verdict.Quote(text)
}

func resultStyle(result string) style {
	switch result {
	case "pass":
		return green
	case "warn":
		return yellow
	}
	return red
}

func (c *cli) printDecision(v verdict.Verdict) {
	colour := red
	if v.Decision == verdict.Admitted {
		colour = green
	}
	fmt.Fprintf(c.out, "%s by policy %s, as of %s\n", c.paint(colour, strings.ToUpper(v.Decision.String())), orNone(v.Policy), stamp(&v.At))
	deny, warn := 0, 0
	for _, f := range v.Findings {
		if f.Severity == verdict.Deny {
			deny++
		} else {
			warn++
		}
	}
	c.say("%d checks passed, %d findings refuse, %d warn.", len(v.Passed), deny, warn)
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return verdict.Quote(s)
}
