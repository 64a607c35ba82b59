package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/verdict"
)

func (c *cli) eventlogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eventlog",
		Short: "Read and compare measured boot logs",
		Long: `A boot log is what firmware and boot loaders say they measured into the TPM. The
kernel hands it out as /sys/kernel/security/tpm0/binary_bios_measurements. Alone
it proves nothing; with a quote it does.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.eventlogShow(), c.eventlogDiff())
	return cmd
}

// eventView is one event of a boot log.
type eventView struct {
	Index       int    `json:"index"`
	Offset      int    `json:"offset" doc:"byte of the log where it starts"`
	PCR         uint32 `json:"pcr"`
	Type        string `json:"type"`
	Digest      string `json:"digest" doc:"in the bank shown"`
	Description string `json:"description" doc:"in words; claimed by the log"`
}

// logView is what `eventlog show` prints.
type logView struct {
	Profile  string                       `json:"profile,omitempty" doc:"boot chain, if the log is a complete boot"`
	Bank     string                       `json:"bank" doc:"of the events' digests"`
	Banks    map[string]map[string]string `json:"banks" doc:"replayed value of every PCR, in hex, by algorithm and number; of sha1 too, which no verifier reads"`
	Events   []eventView                  `json:"events"`
	Facts    *eventlog.Facts              `json:"facts,omitempty" doc:"what the log proves if a quote agrees"`
	Oddities []string                     `json:"oddities"`
	Problem  *verdict.Finding             `json:"problem,omitempty" doc:"why it is no complete boot"`
}

const eventlogShowLong = `Show reads a boot log with the verifier's own strict parser and tells the boot
stage by stage: what ran, in which PCR, and whether a text was measured or is only
claimed. It replays the PCRs of every bank and names what is unusual.

Exit code 0: a complete boot. 1: malformed, and at which byte and why; or
well-formed, but not a boot that a verifier would accept.`

func (c *cli) eventlogShow() *cobra.Command {
	var events bool
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Tell a boot log's story, stage by stage",
		Long:  eventlogShowLong,
		Example: `  quorate eventlog show /sys/kernel/security/tpm0/binary_bios_measurements
  quorate eventlog show boot.log --json | jq '.banks.sha256'`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := readLog(args[0])
			if err != nil {
				return err
			}
			v, err := logOf(log)
			if err != nil {
				return err
			}
			err = c.show(v, func() { c.printLog(v, events || v.Facts == nil) })
			if err == nil && v.Problem != nil {
				err = answered{exitRefused}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&events, "events", false, "also print every event")
	return shaped(cmd, logView{})
}

// banks are the banks that can be quoted, in the order in which they are tried.
var banks = []eventlog.Alg{eventlog.SHA256, eventlog.SHA384, eventlog.SHA512}

// readLog parses a log with the first bank that it has.
func readLog(path string) (*eventlog.Log, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, unknown(err, "")
	}
	var first error
	for _, bank := range banks {
		log, err := eventlog.Parse(raw, bank, eventlog.DefaultLimits)
		if err == nil {
			return log, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("%s: %w", path, first)
}

func logOf(log *eventlog.Log) (logView, error) {
	v := logView{Bank: log.Bank().String(), Banks: map[string]map[string]string{}, Events: []eventView{}, Oddities: []string{}}
	for _, alg := range append([]eventlog.Alg{eventlog.SHA1}, banks...) {
		if bank := log.ReplayOther(alg); bank != nil {
			v.Banks[alg.String()] = pcrsOf(bank)
		}
	}
	for _, e := range log.Events() {
		v.Events = append(v.Events, eventView{e.Index, e.Offset, e.PCR, e.Type.String(), hex.EncodeToString(e.Digest), eventlog.Describe(e)})
	}
	facts, err := log.Facts(nil)
	var no *verdict.Refusal
	switch {
	case err == nil:
		v.Facts, v.Profile = facts, string(facts.Profile)
		v.Oddities = append(v.Oddities, facts.Oddities...)
	case errors.As(err, &no):
		v.Problem = &no.Finding
	default:
		return v, err
	}
	return v, nil
}

func pcrsOf(bank *eventlog.Bank) map[string]string {
	values := map[string]string{}
	for pcr := range eventlog.NumPCRs {
		values[fmt.Sprint(pcr)] = hex.EncodeToString(bank.Value(pcr))
	}
	return values
}

// diffView is what `eventlog diff` prints.
type diffView struct {
	Same        bool                  `json:"same"`
	Differences []eventlog.Difference `json:"differences"`
}

func (c *cli) eventlogDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Name every event that differs between two boots",
		Long: `Diff compares what two boots measured, event by event and PCR by PCR, and names
every difference in words, the first one first. Only digests are compared: boots
without differences have the same PCR values.

Exit code 0: no difference. 1: they differ, or one is malformed.`,
		Example: "  quorate eventlog diff good.log bad.log",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := readLog(args[0])
			if err != nil {
				return err
			}
			b, err := readLog(args[1])
			if err != nil {
				return err
			}
			v := diffView{Differences: append([]eventlog.Difference{}, eventlog.Diff(a, b)...)}
			v.Same = len(v.Differences) == 0
			if err := c.show(v, func() { c.printDiff(v, args) }); err != nil {
				return err
			}
			if !v.Same {
				return answered{exitRefused}
			}
			return nil
		},
	}
	return shaped(cmd, diffView{})
}

func (c *cli) printDiff(v diffView, names []string) {
	if v.Same {
		c.say("The two boots measured the same.")
		return
	}
	c.say("%s; the first one explains most:", count(len(v.Differences), "difference", "differences"))
	for _, d := range v.Differences {
		c.say("\n%s: %s", d.Where, d.What)
		l := labels{c, "  ", max(len(names[0]), len(names[1]))}
		l.row(names[0], d.A)
		l.row(names[1], d.B)
	}
}
