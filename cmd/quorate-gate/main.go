// Quorate-gate stands beside a ledger and lets nobody have power, or a link,
// whose host has no standing admission.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/cmd/internal/program"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{out: stdout, err: stderr}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return program.Report(stderr, "quorate-gate", c.json, root.ExecuteContext(ctx), classify)
}

// cli is what every command has.
type cli struct {
	json     bool
	out, err io.Writer
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate-gate",
		Short: "Let nobody have power on a ledger without a standing admission",
		Long: `quorate-gate stands beside a ledger. For CometBFT it runs between a node and
its application, neither of which changes: the application says what power its
validators should have, and the gate lets consensus hear of it only while their
hosts are admitted. For any other ledger, quorate-gate watch says which nodes may
be peers.

A first chain with it:

  quorate-gate cometbft --listen unix://gate.sock --app unix://app.sock --consortium consortium.yaml --data gate
  cometbft node --proxy_app unix://gate.sock
  quorate-gate submit validator-1.bundle
  quorate-gate status

Exit codes: 0 good, 1 refused, 2 wrong command line or file, 3 could not tell.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.ArbitraryArgs,
		RunE: program.Group,
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON value instead of text")
	root.SetFlagErrorFunc(program.FlagError)
	root.AddCommand(c.cometbftCommand(), c.submitCommand(), c.carryCommand(), c.statusCommand(), c.commandCommand(), c.adoptCommand(), c.watchCommand())
	return root
}

// classify finds the exit code and the hint of an error.
func classify(err error) program.Failure {
	if no := (*admission.Refusal)(nil); errors.As(err, &no) {
		return program.Failure{Err: err, Code: program.Refused, Hint: no.Remedy}
	}
	return program.Failure{Err: err, Code: program.Unknown}
}
