// Quorate-verifier checks the evidence of a consortium's hosts, records what it
// decided, and signs admissions.
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/internal/program"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return program.Report(stderr, "quorate-verifier", c.json, root.ExecuteContext(ctx), classify)
}

// classify tells a file that is not there from one that is not acceptable.
func classify(err error) program.Failure {
	if errors.Is(err, fs.ErrNotExist) {
		return program.Failure{Err: err, Code: program.Unknown, Hint: "quorate-verifier init writes a configuration; --config says where it is"}
	}
	return program.Failure{Err: err, Code: program.Refused}
}

// cli is what every command has.
type cli struct{ json bool }

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate-verifier",
		Short: "Check hosts' TPM evidence, record every decision, sign admissions",
		Long: `quorate-verifier checks the TPM evidence of a consortium's hosts against its
policy, writes every decision into a transparency log before it has any effect,
and signs the admissions that the ledger checks.

A first start:

  quorate-verifier init --dir DIR --name NAME --member MEMBER --ledger-id ID --genesis sha256:...
  quorate-verifier run --config DIR/verifier.yaml

Exit codes: 0 good, 1 refused or failed, 2 wrong command line, 3 could not tell.`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.ArbitraryArgs, RunE: program.Group,
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON")
	root.SetFlagErrorFunc(program.FlagError)
	root.AddCommand(c.initCommand(), c.runCommand(), c.rebuildCommand())
	return root
}
