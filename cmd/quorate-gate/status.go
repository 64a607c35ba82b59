package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
)

func (c *cli) statusCommand() *cobra.Command {
	var node string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who has power, what they should have, until when, and why",
		Long: `status asks a gated node for every validator's desired and effective power, the
admission behind it and its end, whose lapse is held back since verifiers are down, and
whether the set is frozen.

Exit code 0: a quorum stands, and nobody is held. 1: the set is frozen, or somebody is
held: ring an alarm. 3: no answer.`,
		Example: "  quorate-gate status --node http://127.0.0.1:26657",
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return c.status(ctx, node)
		},
	}
	cmd.Flags().StringVar(&node, "node", "http://127.0.0.1:26657", "`URL` of a node's RPC server")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "how `long` to wait")
	return cmd
}

func (c *cli) status(ctx context.Context, node string) error {
	client, err := rpchttp.New(node, "/websocket")
	if err != nil {
		return program.Wrongf("", "--node: %v", err)
	}
	res, err := client.ABCIQuery(ctx, cometbft.PathStatus, nil)
	if err == nil && res.Response.IsErr() {
		err = errors.New(res.Response.Log)
	}
	var s power.Status
	if err == nil {
		err = json.Unmarshal(res.Response.Value, &s)
	}
	if err != nil {
		return program.Untold(err, "is the node running behind a gate, and its RPC server at "+node+"?")
	}
	if c.json {
		program.PrintJSON(c.out, s)
	} else {
		c.printStatus(s)
	}
	if s.Frozen > 0 || s.Held > 0 {
		return program.Answered(program.Refused)
	}
	return nil
}

func (c *cli) printStatus(s power.Status) {
	fmt.Fprintf(c.out, "height %d, %s, total power %d, of which %d may lapse now\n", s.Height, s.Time.Format(time.RFC3339), s.Total, s.MayLapse)
	if s.Frozen > 0 {
		fmt.Fprintf(c.out, "FROZEN since height %d: fewer than a quorum can prove themselves; only renewals count\n", s.Frozen)
	}
	if s.Held > 0 {
		fmt.Fprintf(c.out, "HELD: power %d stays although its admissions ended; a quorum of verifiers was seen last %s\n", s.Held, when(s.Quorum))
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nKEY\tNODE\tDESIRED\tEFFECTIVE\tREASON")
	for _, v := range s.Validators {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", v.Key, v.Node, v.Desired, v.Effective, v.Reason)
	}
	fmt.Fprintln(w, "\nNODE\tROLE\tSTANDS\tENDS\tHOST")
	for _, n := range s.Nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.16s…\n", n.Node, n.Role, stands(n), n.Ends.Format(time.RFC3339), n.Host)
	}
	fmt.Fprintln(w, "\nMEMBER\tPOWER\tSHARE\tCAP")
	for _, m := range s.Members {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", m.Member, m.Power, percent(uint64(m.PerMille)), percent(m.Cap))
	}
	for _, r := range s.Retired {
		fmt.Fprintf(w, "retired\t%s\t\t%s\t\n", r.What, r.Ends.Format(time.RFC3339))
	}
	_ = w.Flush() // writes to standard output; there is nobody to tell
}

func stands(n power.NodeStatus) string {
	if n.Held {
		return "held"
	}
	return strconv.FormatBool(n.Stands)
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Format(time.RFC3339)
}

// percent prints a share, and a cap that does not bind as none.
func percent(perMille uint64) string {
	if perMille == 0 {
		return "none"
	}
	return fmt.Sprintf("%d.%d %%", perMille/10, perMille%10)
}
