package program

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestReport(t *testing.T) {
	no := errors.New("no")
	refuse := func(error) Failure { return Failure{no, Refused, "ask"} }
	for _, row := range []struct {
		name     string
		err      error
		classify func(error) Failure
		json     bool
		code     int
		text     string
	}{
		{"nothing", nil, refuse, false, Good, ""},
		{"an answer", Answered(Refused), refuse, false, Refused, ""},
		{"wrong usage", Wrongf("more: x --help", "what is %q", "y"), refuse, false, Usage, "x: what is \"y\"\nhint: more: x --help\n"},
		{"classified", errors.New("other"), refuse, false, Refused, "x: no\nhint: ask\n"},
		{"unclassified", no, nil, false, Unknown, "x: no\n"},
		{"classified as good", no, func(error) Failure { return Failure{} }, false, Unknown, "x: no\n"},
		{"interrupted", context.Canceled, refuse, false, Unknown, "x: interrupted\n"},
		{"JSON", Untold(no, "wait"), refuse, true, Unknown, `{"error":"no","hint":"wait","exit":3}` + "\n"},
	} {
		var out strings.Builder
		if code := Report(&out, "x", row.json, row.err, row.classify); code != row.code || out.String() != row.text {
			t.Errorf("%s: code %d, %q", row.name, code, out.String())
		}
	}
}

func TestArguments(t *testing.T) {
	one := &cobra.Command{Use: "one FILE", Args: Exactly(1)}
	root := &cobra.Command{Use: "x"}
	root.AddCommand(one)
	for text, args := range map[string][]string{
		"too few arguments; usage: x one FILE":       {},
		`unexpected argument "b"; usage: x one FILE`: {"a", "b"},
	} {
		var f Failure
		if err := one.Args(one, args); !errors.As(err, &f) || f.Error() != text || f.Code != Usage || f.Hint != "more: x one --help" {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := one.Args(one, []string{"a"}); err != nil {
		t.Error(err)
	}
	var f Failure
	if err := Group(root, []string{"two"}); !errors.As(err, &f) || f.Code != Usage || f.Error() != `x has no command "two"` {
		t.Error(err)
	}
	if err := FlagError(one, errors.New("no flag")); !errors.As(err, &f) || f.Code != Usage {
		t.Error(err)
	}
}
