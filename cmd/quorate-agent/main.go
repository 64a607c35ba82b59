// Command quorate-agent runs on a mining or validator host. It proves to the
// verifiers of a consortium, with the host's TPM, which machine this is, what it
// booted and what it has run since.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

// memoryLimit makes the collector work harder rather than let the agent, which
// shares its host with the ledger node, grow beyond 30 MiB resident.
const memoryLimit = 14 << 20

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := &host.Flags{}
	root := newRoot(flags)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return program.Report(stderr, "quorate-agent", flags.JSON, root.ExecuteContext(ctx), classify)
}

// classify tells a verifier's no from no answer.
func classify(err error) program.Failure {
	if no := (*agent.RefusedError)(nil); errors.As(err, &no) {
		return program.Failure{Err: err, Code: program.Refused}
	}
	return program.Failure{Err: err, Code: program.Unknown}
}

func newRoot(o *host.Flags) *cobra.Command {
	root := &cobra.Command{
		Use:   "quorate-agent",
		Short: "Prove this host to the verifiers of a Quorate consortium",
		Long: `quorate-agent proves, with this host's TPM, which machine this is, what it
booted and what it has run since. It dials the verifiers that the consortium
file names and listens nowhere. Private keys never leave the TPM.

A first day with it:

  quorate-agent inspect                        see what this host would send
  quorate node invite org-a/validator-1        on an operator's machine: prints a join token
  quorate-agent join --token-file token.txt    bind this TPM to the node id
  quorate-agent run                            answer challenges (run it as a service)
  quorate-agent status                         what the verifiers decided, and why

Exit codes: 0 good, 1 refused, 2 wrong usage, 3 could not tell.`,
		Args:          cobra.ArbitraryArgs,
		RunE:          program.Group,
		Version:       agent.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	o.Add(root)
	root.AddCommand(newJoin(o), newRun(o), newStatus(o), newInspect(o), newExec(o), newSigner())
	return root
}
