package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

func (c *cli) evidenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Fetch, show and verify the evidence behind decisions",
		Long: `An evidence file holds everything that one decision was made from, and the
decision: quote, logs, keys, challenge, history, time. With it and the policy,
anyone can make the decision again and must come to the same.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.evidenceGet(), c.evidenceShow(), c.evidenceVerify())
	return cmd
}

// fetchedView is what `evidence get` prints.
type fetchedView struct {
	File   string `json:"file"`
	Bytes  int    `json:"bytes"`
	Node   string `json:"node"`
	Record string `json:"record" doc:"digest of the record, as nodes and journals name it"`
}

func (c *cli) evidenceGet() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "get NODE|DIGEST --out FILE",
		Short:   "Fetch archived evidence: a node's last, or that of a digest",
		Example: "  quorate evidence get org-a/validator-4 --out evidence.json\n  quorate evidence get sha256:… --out evidence.json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("for example: --out evidence.json", "no --out file")
			}
			var raw []byte
			err := c.online(cmd, "fetching evidence from", func(ctx context.Context, s *session) (err error) {
				raw, err = fetchRaw(ctx, s, args[0])
				return err
			})
			if err != nil {
				return err
			}
			file, err := evidence.ParseFile(raw)
			if err != nil {
				return refused(err, "does this quorate have the verifier's version?")
			}
			if err := os.WriteFile(out, raw, 0o644); err != nil {
				return unknown(err, "")
			}
			v := fetchedView{File: out, Bytes: len(raw), Node: file.Record.Node, Record: recordDigest(file.Record)}
			return c.show(v, func() {
				c.say("%s: %d bytes of evidence of %s.\nNext: quorate evidence verify %s", v.File, v.Bytes, v.Node, v.File)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` to write")
	return shaped(cmd, fetchedView{})
}

func recordDigest(r *evidence.Record) string {
	text, err := r.Marshal()
	if err != nil {
		return ""
	}
	return evidence.Sum(text).String()
}

// evidenceView is what `evidence show` prints.
type evidenceView struct {
	Record     string            `json:"record" doc:"digest of the record"`
	Node       string            `json:"node"`
	At         time.Time         `json:"at" doc:"time of the decision"`
	Consortium string            `json:"consortium"`
	Ledger     string            `json:"ledger"`
	Genesis    evidence.Digest   `json:"genesis"`
	Verifier   string            `json:"verifier"`
	NodeKey    evidence.Digest   `json:"nodeKey"`
	TPM        appraise.TPM      `json:"tpm"`
	PCRs       map[string]string `json:"pcrs" doc:"values sent, in hex"`
	BootLog    evidence.Digest   `json:"bootLog"`
	BootBytes  int               `json:"bootLogBytes"`
	IMAFrom    uint64            `json:"imaFrom" doc:"first entry of the IMA list that this evidence brought"`
	IMABytes   int               `json:"imaBytes"`
	PolicySet  evidence.Digest   `json:"policySet" doc:"policy that was applied; empty if none"`
	Verdict    verdict.Verdict   `json:"verdict" doc:"as recorded"`
}

func (c *cli) evidenceShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show what an evidence file holds and what was decided",
		Long: `Show prints what an evidence file says. It verifies nothing but the form; use
evidence verify for that.`,
		Example: "  quorate evidence show evidence.json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			v, err := evidenceOf(file)
			if err != nil {
				return refused(err, "")
			}
			return c.show(v, func() { c.printEvidence(v) })
		},
	}
	return shaped(cmd, evidenceView{})
}

func evidenceOf(file *evidence.File) (evidenceView, error) {
	r := file.Record
	history, err := appraise.Recorded(r)
	v := evidenceView{
		Record: recordDigest(r), Node: r.Node, At: r.At, Consortium: r.Consortium, Ledger: r.ChainID, Genesis: r.Genesis,
		Verifier: r.Verifier, NodeKey: r.NodeKey, TPM: history.TPM, PCRs: map[string]string{}, BootLog: r.BootLog,
		BootBytes: len(file.Blobs[r.BootLog]), IMAFrom: r.IMAStart.Entries, IMABytes: len(file.Blobs[r.IMA]),
		PolicySet: r.PolicySet, Verdict: r.Verdict,
	}
	for i, value := range r.PCRValues {
		if i < len(r.PCRs) {
			v.PCRs[fmt.Sprint(r.PCRs[i])] = fmt.Sprintf("%x", value)
		}
	}
	return v, err
}

func (c *cli) printEvidence(v evidenceView) {
	l := labels{c, "", 11}
	l.paint("node", bold, v.Node)
	l.row("judged", fmt.Sprintf("%s by %s", stamp(&v.At), v.Verifier))
	l.row("ledger", fmt.Sprintf("%s of %s, genesis %v", v.Ledger, v.Consortium, v.Genesis))
	l.row("record", v.Record)
	l.row("node key", v.NodeKey.String())
	l.row("TPM", fmt.Sprintf("%s %s %s", v.TPM.Class, v.TPM.Vendor, v.TPM.Model))
	l.row("boot log", fmt.Sprintf("%v, %d bytes", v.BootLog, v.BootBytes))
	l.row("IMA list", fmt.Sprintf("%d bytes from entry %d", v.IMABytes, v.IMAFrom))
	fmt.Fprintln(c.out)
	c.printVerdict(v.Verdict)
}

// printVerdict prints a decision with its findings.
func (c *cli) printVerdict(v verdict.Verdict) {
	c.printDecision(v)
	for _, f := range v.Findings {
		fmt.Fprintln(c.out)
		c.findingBlock("  ", f)
	}
}

// verifyView is what `evidence verify` prints.
type verifyView struct {
	Node      string           `json:"node"`
	At        time.Time        `json:"at" doc:"time of the decision"`
	Authentic bool             `json:"authentic"`
	Refusal   *verdict.Finding `json:"refusal,omitempty" doc:"why it is not authentic"`
	Recorded  verdict.Verdict  `json:"recorded"`
	Again     *verdict.Verdict `json:"again,omitempty" doc:"the decision made again, if the policy was at hand"`
	Same      *bool            `json:"same,omitempty" doc:"both verdicts agree in every field but wording"`
}

const evidenceVerifyLong = `Verify checks evidence again, offline: the quote's signature by the recorded key,
its binding to node, ledger and challenge, and the logs against the quoted PCRs.
With --policy it also makes the recorded decision again, with the recorded history
and time, and compares the verdicts; they must be the same, but for the wording of
messages and remedies.

It takes from the record which key the node enrolled: the journal says whether it
did (quorate journal show).

Exit code 0: authentic, and the verdict the same. 1: not. A refusal that is
recorded for evidence that is not authentic counts as the same verdict.`

func (c *cli) evidenceVerify() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "verify FILE",
		Short:   "Verify evidence offline, and make its decision again",
		Long:    evidenceVerifyLong,
		Example: "  quorate policy show --out policy\n  quorate evidence verify evidence.json --policy policy",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readEvidence(args[0])
			if err != nil {
				return err
			}
			v, err := verifyEvidence(file, dir)
			if err != nil {
				return err
			}
			if err := c.show(v, func() { c.printVerified(v) }); err != nil {
				return err
			}
			if v.Same != nil && *v.Same || v.Same == nil && v.Authentic {
				return nil
			}
			return answered{exitRefused}
		},
	}
	cmd.Flags().StringVar(&dir, "policy", "", "policy `folder` that was applied")
	return shaped(cmd, verifyView{})
}

func verifyEvidence(file *evidence.File, dir string) (verifyView, error) {
	v := verifyView{Node: file.Record.Node, At: file.Record.At, Recorded: file.Record.Verdict}
	_, err := file.Verify()
	var no *verdict.Refusal
	switch {
	case err == nil:
		v.Authentic = true
	case errors.As(err, &no):
		v.Refusal = &no.Finding
	default:
		return v, refused(err, "")
	}
	var set *policy.Set
	if dir != "" {
		if set, _, err = loadPolicy(dir); err != nil {
			return v, err
		}
	} else if !file.Record.PolicySet.IsZero() {
		return v, nil // without its policy, the decision cannot be made again
	}
	again, err := appraise.Again(set, file)
	if err != nil {
		return v, refused(err, "quorate policy show --out DIR saves the policy in force")
	}
	same := reflect.DeepEqual(canonical(again), canonical(v.Recorded))
	v.Again, v.Same = &again, &same
	return v, nil
}

// canonical makes a verdict that was read from JSON and one that was just made
// comparable: no list is the same as an empty one, and what a check says for
// people may have been worded otherwise by the release that decided.
func canonical(v verdict.Verdict) verdict.Verdict {
	if len(v.Passed) == 0 {
		v.Passed = nil
	}
	v.Findings = append([]verdict.Finding(nil), v.Findings...)
	for i := range v.Findings {
		v.Findings[i].Message, v.Findings[i].Remedy = "", ""
	}
	v.At = v.At.UTC()
	return v
}

func (c *cli) printVerified(v verifyView) {
	if v.Authentic {
		fmt.Fprintf(c.out, "%s: evidence of %s, judged %s\n", c.paint(green, "AUTHENTIC"), c.paint(bold, v.Node), stamp(&v.At))
	} else {
		fmt.Fprintf(c.out, "%s: evidence of %s\n", c.paint(red, "NOT AUTHENTIC"), c.paint(bold, v.Node))
		c.findingBlock("  ", *v.Refusal)
	}
	switch {
	case v.Same == nil:
		c.say("Recorded as %s by policy %s. Give --policy DIR to make the decision again.", v.Recorded.Decision, orNone(v.Recorded.Policy))
	case *v.Same:
		c.say("Decided again: the same verdict, %s.", v.Again.Decision)
	default:
		fmt.Fprintf(c.out, "%s\n", c.paint(red, "Decided again: ANOTHER VERDICT than recorded."))
		c.say("\nRecorded:")
		c.printVerdict(v.Recorded)
		c.say("\nAgain:")
		c.printVerdict(*v.Again)
	}
}
