package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

const appraiseLong = `Appraise judges an evidence file with a policy, as a verifier would judge a node
that it had never seen: is the evidence authentic and for this consortium's
ledger, and does the policy accept everything that was booted and run? It works
offline and changes nothing; use it to try a policy before it is approved.

Exit code 0: admitted. 1: denied, with every finding.`

func (c *cli) appraiseCommand() *cobra.Command {
	var dir, path string
	var at instant
	cmd := &cobra.Command{
		Use:     "appraise --policy DIR --evidence FILE",
		Short:   "Judge evidence with a policy, offline",
		Long:    appraiseLong,
		Example: "  quorate appraise --consortium consortium.yaml --policy ./policy --evidence evidence.json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || path == "" {
				return usagef("see: quorate appraise --help", "appraise needs --policy DIR and --evidence FILE")
			}
			consortium, err := c.readConsortium()
			if err != nil {
				return err
			}
			set, _, err := loadPolicy(dir)
			if err != nil {
				return err
			}
			file, err := readEvidence(path)
			if err != nil {
				return err
			}
			if err := belongs(consortium, file.Record); err != nil {
				return err
			}
			v, err := appraise.Alone(set, file, at.or(file.Record.At))
			if err != nil {
				return refused(err, "")
			}
			if err := c.show(v, func() { c.printVerdict(v) }); err != nil {
				return err
			}
			return decided(v)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "policy", "", "policy `folder`")
	f.StringVar(&path, "evidence", "", "evidence `file`")
	f.Var(&at, "time", "judge as of this `time` (RFC 3339); default: when the evidence was judged")
	return shaped(cmd, verdict.Verdict{})
}

// belongs checks that evidence was made for this consortium's ledger and one of
// its verifiers.
func belongs(consortium *admission.Consortium, r *evidence.Record) error {
	ours := fmt.Sprintf("ledger %s of %s, genesis %v", consortium.Ledger.ID, consortium.Name, consortium.Ledger.Genesis)
	theirs := fmt.Sprintf("ledger %s of %s, genesis %v", r.ChainID, r.Consortium, admission.Digest(r.Genesis))
	if ours != theirs {
		return refused(fmt.Errorf("the evidence is for %s; the consortium file is of %s", theirs, ours), "use the consortium file of that ledger")
	}
	if _, known := consortium.Verifier(r.Verifier); !known {
		return refused(fmt.Errorf("the evidence answers the verifier %q, which the consortium does not have", r.Verifier), "")
	}
	return nil
}
