// Command quorate-sim runs Quorate against simulators: software TPMs, recorded
// and real boots. It is for demonstrations, tests and measurements, and is
// never part of a host, a verifier or a ledger node.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "quorate-sim:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorate-sim",
		Short:         "Quorate with simulated and virtual hosts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(benchCommand(), catalogueCommand(), demoCommand(), ledgerCommand(), mutateCommand(), realbootCommand())
	return root
}
