package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/verdict"
)

// Exit codes, the same for every command.
const (
	exitGood    = 0
	exitRefused = 1 // a check or a verifier said no
	exitUsage   = 2 // wrong flags, arguments or files
	exitUnknown = 3 // could not tell: no contact, no such file
)

// failure is an error with its exit code and what the person can do about it.
type failure struct {
	error
	code int
	hint string
}

func (f failure) Unwrap() error { return f.error }

// usage is a mistake in what the person wrote.
func usage(err error, hint string) error { return failure{err, exitUsage, hint} }

func usagef(hint, format string, args ...any) error { return usage(fmt.Errorf(format, args...), hint) }

// refused is a no whose reason the error tells.
func refused(err error, hint string) error { return failure{err, exitRefused, hint} }

// unknown is an answer that could not be had.
func unknown(err error, hint string) error { return failure{err, exitUnknown, hint} }

// answered ends a command that has printed its answer, which is no.
type answered struct{ code int }

func (a answered) Error() string { return fmt.Sprintf("exit code %d", a.code) }

// errorView is an error as --json prints it on standard error.
type errorView struct {
	Error string `json:"error" doc:"what went wrong, one line or several"`
	Hint  string `json:"hint,omitempty" doc:"what to do about it"`
	Exit  int    `json:"exit" doc:"the exit code"`
}

// report prints the error that ended the command and returns its exit code.
func (c *cli) report(err error) int {
	if err == nil {
		return exitGood
	}
	if said := (answered{}); errors.As(err, &said) {
		return said.code
	}
	f := classify(err)
	text := printable(f.Error())
	if c.json {
		raw, err := json.Marshal(errorView{Error: text, Hint: f.hint, Exit: f.code})
		if err == nil {
			fmt.Fprintf(c.err, "%s\n", escapeJSON(raw))
		}
		return f.code
	}
	fmt.Fprintf(c.err, "quorate: %s\n", text)
	if f.hint != "" {
		fmt.Fprintf(c.err, "hint: %s\n", printable(f.hint))
	}
	return f.code
}

// classify finds the exit code and the hint of an error.
func classify(err error) failure {
	var f failure
	var no *verdict.Refusal
	var not *admission.Refusal
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &no):
		return failure{err, exitRefused, hintOf(no.Remedy, string(no.Check))}
	case errors.As(err, &not):
		return failure{err, exitRefused, hintOf(not.Remedy, string(not.Check))}
	case errors.Is(err, journal.ErrInconsistent), errors.Is(err, journal.ErrRolledBack):
		return failure{err, exitRefused, "keep a copy of what you were given, and ask the verifier's member about it"}
	case errors.Is(err, context.Canceled):
		return failure{errors.New("interrupted"), exitUnknown, ""}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return failure{err, exitUnknown, ""}
	}
	if s, ok := status.FromError(err); ok {
		return fromStatus(s)
	}
	return failure{err, exitUnknown, ""}
}

// hintOf is a check's remedy and where to read more.
func hintOf(remedy, check string) string {
	return strings.TrimPrefix(strings.TrimSuffix(remedy, ".")+"; more: quorate explain "+check, "; ")
}

// fromStatus tells a verifier's no from no answer.
func fromStatus(s *status.Status) failure {
	err := errors.New(s.Message())
	switch s.Code() {
	case codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.InvalidArgument:
		return failure{err, exitRefused, ""}
	case codes.Unauthenticated:
		return failure{err, exitRefused, "the consortium file must list your key; --key or QUORATE_KEY says which key is used"}
	case codes.PermissionDenied:
		return failure{err, exitRefused, "the role of your key in the consortium file does not allow this; ask an operator with the role admin"}
	case codes.Unavailable:
		return failure{err, exitUnknown, "is the verifier running, and its attest address in the consortium file reachable from here?"}
	case codes.DeadlineExceeded:
		return failure{err, exitUnknown, "give it longer with --timeout 5m"}
	}
	return failure{err, exitUnknown, ""}
}

// exactly wants n arguments and says what they are called otherwise.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

// between wants from least to most arguments; most < 0 is any number.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		what := "too few arguments"
		if len(args) > least {
			what = fmt.Sprintf("unexpected argument %q", args[most])
		}
		return usagef("more: "+cmd.CommandPath()+" --help", "%s; usage: %s", what, cmd.UseLine())
	}
}
