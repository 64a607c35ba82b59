// Quorate-verifier checks the evidence of a consortium's hosts, records what it
// decided, and signs admissions.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitRefused = 1 // the configuration, a key or the journal is not acceptable
	exitUsage   = 2 // the command line is wrong
)

// errUsage marks errors of the command line.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "quorate-verifier: %v\nRun `quorate-verifier --help` for the commands.\n", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintf(os.Stderr, "quorate-verifier: %v\n", err)
		os.Exit(exitRefused)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate-verifier",
		Short: "Check hosts' TPM evidence, record every decision, sign admissions",
		Long: `quorate-verifier checks the TPM evidence of a consortium's hosts against its
policy, writes every decision into a transparency log before it has any effect,
and signs the admissions that the ledger checks.

A first start:

  quorate-verifier init --dir DIR --name NAME --member MEMBER --ledger-id ID --genesis sha256:...
  quorate-verifier run --config DIR/verifier.yaml

Exit codes: 0 good, 1 refused or failed, 2 wrong command line.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(initCommand(), runCommand(), rebuildCommand())
	return root
}

// noArgs refuses positional arguments as a usage error.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
	}
	return nil
}
