// Package program is what Quorate's command-line programs have in common: their
// exit codes, errors that say how to go on, JSON, and logs.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes, the same for every command of every program.
const (
	Good    = 0
	Refused = 1 // a check, a verifier or the ledger said no
	Usage   = 2 // wrong flags, arguments or files
	Unknown = 3 // could not tell: no contact, no TPM, no such file
)

// Failure is an error with its exit code and what the person can do about it.
type Failure struct {
	Err  error
	Code int
	Hint string // one line; empty if the error says it all
}

// Error is the error's text, without the hint.
func (f Failure) Error() string { return f.Err.Error() }

// Unwrap returns the error.
func (f Failure) Unwrap() error { return f.Err }

// Wrong is a mistake in what the person wrote.
func Wrong(err error, hint string) error { return Failure{err, Usage, hint} }

// Wrongf is Wrong with an error of its own.
func Wrongf(hint, format string, args ...any) error { return Wrong(fmt.Errorf(format, args...), hint) }

// Untold is an answer that could not be had.
func Untold(err error, hint string) error { return Failure{err, Unknown, hint} }

// Answered ends a command that has printed its answer, with its exit code.
type Answered int

// Error says the exit code; Report prints nothing for it.
func (a Answered) Error() string { return fmt.Sprintf("exit code %d", int(a)) }

// errorView is an error as --json prints it on standard error.
type errorView struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Exit  int    `json:"exit"`
}

// Report prints the error that ended a program's command, and returns the exit
// code. Errors that are no Failure are classified; without a classification they
// are Unknown.
func Report(w io.Writer, name string, asJSON bool, err error, classify func(error) Failure) int {
	var said Answered
	switch {
	case err == nil:
		return Good
	case errors.As(err, &said):
		return int(said)
	}
	f := failureOf(err, classify)
	if asJSON {
		PrintLine(w, errorView{f.Error(), f.Hint, f.Code})
		return f.Code
	}
	fmt.Fprintf(w, "%s: %v\n", name, f.Err)
	if f.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.Hint)
	}
	return f.Code
}

func failureOf(err error, classify func(error) Failure) (f Failure) {
	switch {
	case errors.As(err, &f):
	case errors.Is(err, context.Canceled):
		f = Failure{errors.New("interrupted"), Unknown, ""}
	case classify != nil:
		f = classify(err)
	}
	if f.Err == nil || f.Code == Good {
		f = Failure{err, Unknown, ""} // a classification that knows nothing lets nothing pass
	}
	return f
}

// PrintJSON writes one value, indented. The types it is given always encode.
func PrintJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	printWith(w, enc, v)
}

// PrintLine writes one value on one line. The types it is given always encode.
func PrintLine(w io.Writer, v any) { printWith(w, json.NewEncoder(w), v) }

func printWith(w io.Writer, enc *json.Encoder, v any) {
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(w, err)
	}
}

// Logger logs text to a terminal and JSON elsewhere.
func Logger(w io.Writer, verbose bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// Exactly wants n arguments.
func Exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == n:
			return nil
		case len(args) < n:
			return Wrongf(more(cmd), "too few arguments; usage: %s", cmd.UseLine())
		}
		return Wrongf(more(cmd), "unexpected argument %q; usage: %s", args[n], cmd.UseLine())
	}
}

// FlagError is for cobra's SetFlagErrorFunc: a wrong flag is wrong usage.
func FlagError(cmd *cobra.Command, err error) error { return Wrong(err, more(cmd)) }

// Group runs a command that only has subcommands: it shows its help, or says that
// there is no such subcommand.
func Group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return Wrongf("see: "+cmd.CommandPath()+" --help", "%s has no command %q", cmd.CommandPath(), args[0])
}

func more(cmd *cobra.Command) string { return "more: " + cmd.CommandPath() + " --help" }
