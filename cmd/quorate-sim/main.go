// Command quorate-sim runs Quorate against simulators: software TPMs, recorded
// and real boots. It is for demonstrations, tests and measurements, and is
// never part of a host, a verifier or a ledger node.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/internal/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(program.Report(os.Stderr, "quorate-sim", false, newRoot().ExecuteContext(ctx), failed))
}

// failed is how a demonstration, a measurement or a test ends that did not come out
// as it should.
func failed(err error) program.Failure { return program.Failure{Err: err, Code: program.Refused} }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorate-sim",
		Short:         "Quorate with simulated and virtual hosts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(program.FlagError)
	root.AddCommand(attackCommand(), benchCommand(), catalogueCommand(), demoCommand(), ledgerCommand(), mutateCommand(), realbootCommand())
	return root
}
