// Command quorate-signer keeps a CometBFT node's consensus key in the host's TPM
// and signs with it while the verifiers of a consortium admit the host. It is a
// program of its own, and `quorate-agent signer` starts it, so that the agent on
// every other host carries no ledger's code.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := &host.Flags{}
	root := newRoot(flags)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return program.Report(stderr, "quorate-signer", flags.JSON, root.ExecuteContext(ctx), classify)
}

// classify tells a no of the seal from no answer.
func classify(err error) program.Failure {
	if no := (*seal.Refusal)(nil); errors.As(err, &no) {
		return program.Failure{Err: err, Code: program.Refused}
	}
	return program.Failure{Err: err, Code: program.Unknown}
}

func newRoot(o *host.Flags) *cobra.Command {
	root := newSigner(o)
	o.Add(root)
	return root
}
