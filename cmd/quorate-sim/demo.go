package main

import (
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/demo"
)

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Four hosts with software TPMs: admitted, refused, suspended",
		Long: `Demo starts one verifier and four simulated hosts, each with a software TPM and a
real agent. Three are admitted; the fourth booted with one more kernel argument
and is refused; then an admitted one runs an unlisted program and is suspended.
It needs the Debian package swtpm, and less than a minute.`,
		Example: "  make demo\n  quorate-sim demo --bin bin --out demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return demo.Run(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.Bin, "bin", "bin", "folder with quorate, quorate-agent and quorate-verifier")
	cmd.Flags().StringVar(&o.Out, "out", "demo", "folder to write result.json into")
	return cmd
}
