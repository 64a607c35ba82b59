// Quorate-gate stands beside a ledger and lets nobody have power, or a link,
// whose host has no standing admission.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
)

// Exit codes, the same for every command.
const (
	exitGood    = 0
	exitRefused = 1 // the ledger or a check said no
	exitUsage   = 2 // wrong flags, arguments or files
	exitUnknown = 3 // could not tell: no contact, no such file
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
	return c.report(root.ExecuteContext(ctx))
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
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("quorate-gate --help lists the commands", "unknown command %q", args[0])
			}
			return cmd.Help()
		},
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON value instead of text")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("more: "+cmd.CommandPath()+" --help", "%v", err)
	})
	root.AddCommand(c.cometbftCommand(), c.submitCommand(), c.carryCommand(), c.statusCommand(), c.commandCommand(), c.adoptCommand(), c.watchCommand())
	return root
}

// failure is an error with its exit code and what the person can do about it.
type failure struct {
	error
	code int
	hint string
}

func (f failure) Unwrap() error { return f.error }

func usagef(hint, format string, args ...any) error {
	return failure{fmt.Errorf(format, args...), exitUsage, hint}
}

func unknown(err error, hint string) error { return failure{err, exitUnknown, hint} }

// answered ends a command that has printed its answer, which is no.
type answered struct{}

func (answered) Error() string { return "refused" }

// errorView is an error as --json prints it on standard error.
type errorView struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Exit  int    `json:"exit"`
}

// report prints the error that ended the command and returns its exit code.
func (c *cli) report(err error) int {
	switch {
	case err == nil:
		return exitGood
	case errors.Is(err, answered{}):
		return exitRefused
	}
	f := classify(err)
	if c.json {
		printJSON(c.err, errorView{f.Error(), f.hint, f.code})
		return f.code
	}
	fmt.Fprintf(c.err, "quorate-gate: %v\n", f.error)
	if f.hint != "" {
		fmt.Fprintf(c.err, "hint: %s\n", f.hint)
	}
	return f.code
}

func classify(err error) failure {
	var f failure
	var no *admission.Refusal
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &no):
		return failure{err, exitRefused, no.Remedy}
	case errors.Is(err, context.Canceled):
		return failure{errors.New("interrupted"), exitUnknown, ""}
	}
	return failure{err, exitUnknown, ""}
}

// printJSON writes one value, indented. The types it is given always encode.
func printJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(w, err)
	}
}

// printLine writes one value on one line. The types it is given always encode.
func printLine(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(w, err)
	}
}

// exactly wants n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usagef("more: "+cmd.CommandPath()+" --help", "%d arguments, want %d; usage: %s", len(args), n, cmd.UseLine())
	}
}
