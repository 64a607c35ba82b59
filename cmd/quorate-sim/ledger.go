package main

import (
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/ledger"
)

func ledgerCommand() *cobra.Command {
	var o ledger.Options
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "A real ledger of five machines: joined, attacked, evicted, returned",
		Long: `Ledger runs three verifiers of three organisations and five machines, each with a
software TPM, a real agent, a signer with a sealed consensus key, and an unmodified
CometBFT node and application with a gate between the two. A machine without an
admission gets no power although the application grants it; with its bundle it
signs blocks; one that runs an unlisted program is out of the set within seconds,
and comes back after a reboot. It needs the Debian package swtpm, and a minute.

Exit code 0: all of it came true. 1: something did not; the logs are beside the
result.`,
		Example: "  make demo-ledger\n  quorate-sim ledger --bin bin --out demo",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return ledger.Run(cmd.Context(), o, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.Bin, "bin", "bin", "folder with the shipped programs, cometbft and abci-cli")
	cmd.Flags().StringVar(&o.Out, "out", "demo", "folder to write ledger.json into")
	return cmd
}
