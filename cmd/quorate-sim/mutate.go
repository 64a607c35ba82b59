package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/mutate"
)

// mutateOptions say which packages are tried and where the results go.
type mutateOptions struct {
	module, results, write string
	survivors              bool
}

func mutateCommand() *cobra.Command {
	var o mutateOptions
	cmd := &cobra.Command{
		Use:   "mutate [package ...]",
		Short: "Would the tests notice a check that got lost?",
		Long: `Mutate changes the packages that decide, one condition, statement, constant or
result at a time, and runs the tests that reach the change. What no test notices is
a survivor. Without arguments it tries the whole core, which takes half an hour and more.

Results are kept by package, so that one package can be tried again: with --survivors
only what was neither killed the last time nor is listed as equivalent. The report covers all results that are kept.
The exit code is 1 if a package or the core is below its bound, or if the list of
equivalent mutants names one that does not exist or does not survive.`,
		Example: "  quorate-sim mutate verifier/evidence\n  quorate-sim mutate --survivors verifier/evidence\n  make mutation",
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	cmd.Flags().StringVar(&o.module, "module", ".", "folder of the module")
	cmd.Flags().StringVar(&o.results, "results", "bin/mutation.json", "file that keeps the results")
	cmd.Flags().StringVar(&o.write, "write", "", "file to write the report into, for example docs/mutation.md")
	cmd.Flags().BoolVar(&o.survivors, "survivors", false, "try only mutants that the kept results do not list as killed or explained")
	return cmd
}

func (o mutateOptions) run(cmd *cobra.Command, packages []string) error {
	report, err := o.load()
	if err != nil {
		return err
	}
	if len(packages) == 0 {
		packages = mutate.Core
	}
	for _, path := range packages {
		var known map[string]mutate.Outcome
		if o.survivors {
			known = report.Settled(path, mutate.Equivalents())
		}
		results, err := mutate.Run(cmd.Context(), o.module, path, known, progress(cmd.ErrOrStderr()))
		if err != nil {
			return err
		}
		report.Put(path, results)
		if err := o.save(report); err != nil {
			return err
		}
	}
	return o.finish(cmd, report)
}

// progress tells of survivors as they are found.
func progress(w io.Writer) func(mutate.Result) {
	return func(r mutate.Result) {
		if !r.Outcome.Killed() {
			fmt.Fprintf(w, "%s:%d: %s (%s)\n", r.File, r.Line, r.Change, r.Outcome)
		}
	}
}

func (o mutateOptions) load() (*mutate.Report, error) {
	report := &mutate.Report{}
	kept, err := os.ReadFile(o.results)
	if errors.Is(err, fs.ErrNotExist) {
		return report, nil
	}
	if err != nil {
		return nil, err
	}
	return report, json.Unmarshal(kept, report)
}

func (o mutateOptions) save(report *mutate.Report) error {
	kept, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.results, kept, 0o644)
}

func (o mutateOptions) finish(cmd *cobra.Command, report *mutate.Report) error {
	report.Explain(mutate.Equivalents())
	if o.write == "" {
		report.Table(cmd.OutOrStdout())
		return report.Err()
	}
	file, err := os.Create(o.write)
	if err != nil {
		return err
	}
	report.Write(file)
	return errors.Join(file.Close(), report.Err())
}
