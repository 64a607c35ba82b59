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
	Accepted         *acceptedView    `json:"accepted,omitempty" doc:"how that evidence came to be accepted"`
	Differences      []differenceView `json:"differences" doc:"of the last boot to the last accepted one, in order"`
	Missing          []missingView    `json:"missing" doc:"what the policy in force would have to list"`
	Commands         []string         `json:"commands" doc:"what to run if the change was meant"`
}

// acceptedView says who accepted what ran before.
type acceptedView struct {
	At        *time.Time     `json:"at" doc:"when it was judged"`
	Policy    string         `json:"policy" doc:"that admitted it"`
	Approvals []approverView `json:"approvals" doc:"of that policy, oldest first"`
}

type approverView struct {
	Operator string     `json:"operator"`
	At       *time.Time `json:"at"`
}

// missingView is a reference value that no manifest lists.
type missingView struct {
	Check     verdict.CheckID `json:"check"`
	Kind      string          `json:"kind" doc:"of the manifest entry"`
	Found     string          `json:"found" doc:"a digest, or a path and a digest"`
	Manifests []string        `json:"manifests" doc:"in any of which it would count"`
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
findings, and every boot event that differs from the last boot that was accepted,
with who approved the policy that accepted it, and when. It names the manifests that
would have to list what is new, and the commands that would do it. Of a refused kernel
command line it shows both and marks the difference.`,
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
	v := explainView{
		Node: nodeOf(r.GetNode()), AcceptedEvidence: r.GetAcceptedEvidence(), Accepted: acceptedOf(r),
		Differences: []differenceView{}, Missing: []missingView{}, Commands: []string{},
	}
	v.Summary = summary(v.Node)
	for _, m := range r.GetMissing() {
		v.Missing = append(v.Missing, missingView{verdict.CheckID(m.GetCheck()), m.GetKind(), m.GetFound(), m.GetManifests()})
	}
	if len(v.Node.Findings) > 0 && v.Node.Evidence != "" && learnable(v.Node.Findings) {
		v.Commands = append(v.Commands, "quorate policy learn "+v.Node.ID+" --out policy", "quorate policy lint policy", "quorate policy approve policy")
	}
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

// acceptedOf says who accepted what ran before; nil if nothing was ever accepted.
func acceptedOf(r *pb.ExplainNodeResponse) *acceptedView {
	if r.GetAcceptedPolicy() == "" {
		return nil
	}
	a := &acceptedView{At: timeOf(r.GetAcceptedAt()), Policy: r.GetAcceptedPolicy(), Approvals: []approverView{}}
	for _, one := range r.GetApprovals() {
		a.Approvals = append(a.Approvals, approverView{one.GetOperator(), timeOf(one.GetAt())})
	}
	return a
}

// learnable reports whether a policy learned from the evidence would accept it: all
// that is refused is something that policies list, and nothing was forged.
func learnable(findings []verdict.Finding) bool {
	for _, f := range findings {
		layer, _, _ := strings.Cut(string(f.Check), ".")
		switch layer {
		case "boot", "firmware":
		case "secureboot", "runtime":
			switch f.Check {
			case verdict.SecureBootOff, verdict.SecureBootMode, verdict.SecureBootWeakened, verdict.RuntimeIMAViolation, verdict.RuntimeIMAMissing, verdict.RuntimeIMAGap:
				return false
			}
		default:
			return false
		}
	}
	return true
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
	c.printMissing(v)
	c.printNext(v)
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
	c.printAccepted(v.Accepted)
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

// printAccepted says who accepted the old values, and when.
func (c *cli) printAccepted(a *acceptedView) {
	if a == nil {
		return
	}
	l := labels{c, "  ", 8}
	l.row("judged", stamp(a.At)+" by "+a.Policy)
	for _, one := range a.Approvals {
		l.row("approved", one.Operator+", "+stamp(one.At))
	}
}

// printMissing says what would have to be listed, and where.
func (c *cli) printMissing(v explainView) {
	if len(v.Missing) == 0 {
		return
	}
	fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "What the policy would have to list"))
	for _, m := range v.Missing {
		c.say("  %s  %s", m.Kind, m.Found)
		c.say("    in the manifest %s", strings.Join(m.Manifests, " or "))
	}
}

func (c *cli) printNext(v explainView) {
	n := v.Node
	if len(n.Findings) == 0 {
		return
	}
	fmt.Fprintf(c.out, "\n%s\n", c.paint(bold, "Next"))
	c.say("  quorate explain %s", n.Findings[0].Check)
	if len(v.Commands) > 0 {
		c.say("  if the change was meant: %s", strings.Join(v.Commands, " && "))
		c.say("    (name nodes that boot as before beside it, to go on accepting them)")
	}
	if n.Evidence != "" {
		c.say("  quorate evidence get %s --out evidence.json && quorate policy explain evidence.json", n.ID)
	}
}
