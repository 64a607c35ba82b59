package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/verdict"
)

// explainView is what `node explain` prints.
type explainView struct {
	Node             nodeView         `json:"node"`
	Summary          string           `json:"summary" doc:"one sentence"`
	CommandLine      *commandLineView `json:"commandLine,omitempty" doc:"when a kernel command line was refused"`
	AcceptedEvidence string           `json:"acceptedEvidence,omitempty" doc:"digest of the last evidence that admitted the node"`
	Differences      []differenceView `json:"differences" doc:"of the last boot to the last accepted one, in order"`
}

// commandLineView shows two command lines side by side.
type commandLineView struct {
	Accepted string   `json:"accepted" doc:"the nearest that the policy allows"`
	Found    string   `json:"found"`
	Added    []string `json:"added" doc:"arguments that only the found one has"`
	Missing  []string `json:"missing" doc:"arguments that only the accepted one has"`
}

// differenceView is one boot event that differs from the last accepted boot.
type differenceView struct {
	Where    string `json:"where"`
	What     string `json:"what"`
	Accepted string `json:"accepted"`
	Found    string `json:"found"`
	Remedy   string `json:"remedy,omitempty"`
}

func (c *cli) nodeExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NODE",
		Short: "Tell why a node is, or is not, admitted, and what mends it",
		Long: `Explain tells a node's story: its state, the first finding in words, further
findings, and every boot event that differs from the last boot that was accepted.
Of a refused kernel command line it shows both and marks the difference.`,
		Example: "  quorate node explain org-a/validator-4\n  quorate node explain org-a/validator-4 --json | jq .differences",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v explainView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				r, err := s.admin.ExplainNode(ctx, &pb.ExplainNodeRequest{NodeId: args[0]})
				v = explanationOf(r)
				return notFound(err, args[0])
			})
			if err != nil {
				return err
			}
			return c.show(v, func() { c.printExplanation(v, time.Now()) })
		},
	}
	return shaped(cmd, explainView{})
}

func explanationOf(r *pb.ExplainNodeResponse) explainView {
	v := explainView{Node: nodeOf(r.GetNode()), AcceptedEvidence: r.GetAcceptedEvidence(), Differences: []differenceView{}}
	v.Summary = summary(v.Node)
	for _, d := range r.GetDifferences() {
		v.Differences = append(v.Differences, differenceView{
			Where: d.GetWhere(), What: d.GetWhat(), Accepted: d.GetAccepted(), Found: d.GetFound(), Remedy: d.GetRemedy(),
		})
	}
	for _, f := range v.Node.Findings {
		if f.Check == verdict.BootCommandLine {
			v.CommandLine = compareLines(f.Want, f.Got)
			break
		}
	}
	return v
}

// summary is the node's situation in one sentence.
func summary(n nodeView) string {
	switch {
	case n.State == "admitted":
		return n.ID + " is admitted: its last evidence passed the policy"
	case n.State == "pending" && !n.Approved && len(n.Findings) == 0:
		return n.ID + " waits for an operator: quorate node approve " + n.ID
	case n.State == "pending" && n.LastEvidence == nil:
		return n.ID + " is approved and has sent no evidence yet: is quorate-agent running there?"
	case len(n.Findings) > 0:
		f := n.Findings[0]
		title := f.Message
		if known, ok := verdict.Lookup(f.Check); ok && title == "" {
			title = known.Title
		}
		return fmt.Sprintf("%s is %s: %s", n.ID, n.State, title)
	}
	return fmt.Sprintf("%s is %s%s", n.ID, n.State, because(n))
}

// compareLines finds the arguments that only one of two command lines has.
func compareLines(accepted, found string) *commandLineView {
	return &commandLineView{Accepted: accepted, Found: found, Added: without(found, accepted), Missing: without(accepted, found)}
}

// without returns the words of a that b has fewer of, in a's order.
func without(a, b string) []string {
	left := map[string]int{}
	for _, word := range strings.Fields(b) {
		left[word]++
	}
	out := []string{}
	for _, word := range strings.Fields(a) {
		if left[word]--; left[word] < 0 {
			out = append(out, word)
		}
	}
	return out
}

func (c *cli) printExplanation(v explainView, now time.Time) {
	n := v.Node
	fmt.Fprintf(c.out, "%s is %s, since %s (%s)\n", c.paint(bold, n.ID), c.paint(stateStyle(n.State), n.State), stamp(n.Changed), ago(n.Changed, now))
	c.printBackground(n, now)
	if len(n.Findings) == 0 {
		c.say("\n%s.", v.Summary)
	}
	for i, f := range n.Findings {
		if i == 0 {
			fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "What happened"))
		} else if i == 1 {
			fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "Also found"))
		} else {
			fmt.Fprintln(c.out)
		}
		c.findingBlock("  ", f)
		if f.Check == verdict.BootCommandLine && v.CommandLine != nil {
			c.printLines(v.CommandLine)
		}
	}
	c.printDifferences(v)
	c.printNext(n)
}

func (c *cli) printBackground(n nodeView, now time.Time) {
	l := labels{c, "", 13}
	l.row("last evidence", fmt.Sprintf("%s, TPM boot epoch %s", ago(n.LastEvidence, now), n.Epoch))
	l.row("policy", n.Policy)
	if !n.Approved {
		l.paint("approved", yellow, "no")
	}
	if !n.Connected {
		l.paint("connected", yellow, "no: its agent has no session")
	}
}

// printLines shows both command lines and marks what differs under the found one.
func (c *cli) printLines(v *commandLineView) {
	fmt.Fprintf(c.out, "\n  %s\n", c.paint(bold, "The command lines"))
	l := labels{c, "    ", 8}
	l.row("accepted", v.Accepted)
	l.row("found", v.Found)
	if marks := marksUnder(v.Found, v.Added); marks != "" {
		fmt.Fprintf(c.out, "    %8s  %s\n", "", c.paint(red, marks))
	}
	l.paint("added", red, strings.Join(v.Added, " "))
	l.paint("missing", red, strings.Join(v.Missing, " "))
}

// marksUnder puts ^ under the last occurrence of each added word of a line.
func marksUnder(line string, added []string) string {
	line = verdict.Quote(line)
	marks := []rune(strings.Repeat(" ", utf8.RuneCountInString(line)))
	for _, word := range added {
		at := strings.LastIndex(" "+line+" ", " "+word+" ")
		if at < 0 {
			continue
		}
		start := utf8.RuneCountInString(line[:at])
		for i := range utf8.RuneCountInString(word) {
			marks[start+i] = '^'
		}
	}
	return strings.TrimRight(string(marks), " ")
}

func (c *cli) printDifferences(v explainView) {
	if len(v.Differences) == 0 {
		return
	}
	fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "Compared with the last accepted boot"))
	remedy := ""
	for _, d := range v.Differences {
		l := labels{c, "  ", 8}
		c.say("  %s: %s", d.Where, d.What)
		l.row("accepted", d.Accepted)
		l.row("found", d.Found)
		if remedy == "" {
			remedy = d.Remedy
		}
	}
	labels{c, "  ", 8}.row("remedy", remedy)
}

func (c *cli) printNext(n nodeView) {
	if len(n.Findings) == 0 {
		return
	}
	fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "Next"))
	c.say("  quorate explain %s", n.Findings[0].Check)
	if n.Evidence != "" {
		c.say("  quorate evidence get %s --out evidence.json && quorate policy explain evidence.json", n.ID)
	}
}
