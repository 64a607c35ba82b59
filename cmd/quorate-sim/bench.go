package main

import (
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/bench"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Speed against the bare operations, with the gates",
		Long: `Bench measures the verifier's core, a verifier under the load of many nodes, an
admission, and the agent's memory. Each operation runs by turns with the bare
operation that it cannot do without; the table shows the ratio and its gate.
The exit code is 1 if a gate is missed.`,
		Example: "  make bench\n  quorate-sim bench --bin bin --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return bench.Run(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.Bin, "bin", "bin", "folder with quorate, quorate-agent and quorate-verifier")
	cmd.Flags().BoolVar(&o.Core, "core", false, "only what needs no other process: the functions of the core")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return cmd
}
