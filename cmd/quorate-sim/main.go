// Command quorate-sim runs Quorate against simulators: software TPMs, recorded
// and real boots. It is for demonstrations, tests and measurements, and is
// never part of a host, a verifier or a ledger node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(report(os.Stderr, newRoot().ExecuteContext(ctx)))
}

// Exit codes of the commands that tell more than that something went wrong.
const (
	exitRefused = 1
	exitUsage   = 2
	exitUnknown = 3 // could not tell
)

// ended is an error with its exit code and what the person can do about it.
type ended struct {
	error
	code int
	hint string
}

func (e ended) Unwrap() error { return e.error }

func usagef(hint, format string, args ...any) error {
	return ended{fmt.Errorf(format, args...), exitUsage, hint}
}

// report prints the error that ended the program and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "quorate-sim:", err)
	e := ended{code: 1}
	if errors.As(err, &e) && e.hint != "" {
		fmt.Fprintln(w, "hint:", e.hint)
	}
	return e.code
}

// noArguments is cobra.NoArgs as wrong usage.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("see: "+cmd.CommandPath()+" --help", "unexpected argument %q", args[0])
	}
	return nil
}

func oneFolder(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("see: "+cmd.CommandPath()+" --help", "want one folder, got %d arguments", len(args))
	}
	return nil
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorate-sim",
		Short:         "Quorate with simulated and virtual hosts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return ended{err, exitUsage, "see: " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(attackCommand(), benchCommand(), catalogueCommand(), demoCommand(), ledgerCommand(), mutateCommand(), realbootCommand())
	return root
}
