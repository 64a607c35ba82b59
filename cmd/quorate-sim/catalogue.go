package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/catalogue"
)

func catalogueCommand() *cobra.Command {
	var module, file string
	cmd := &cobra.Command{
		Use:   "catalogue",
		Short: "Which test answers which attack",
		Long: `Catalogue reads the names of the module's tests and prints, for every known way
to fool an attestation, the tests that show it refused. The exit code is 1 if an
attack has no answer.`,
		Example: "  quorate-sim catalogue --write docs/attacks.md",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tests, err := catalogue.Scan(os.DirFS(module))
			if err != nil {
				return err
			}
			if err := writeCatalogue(cmd, tests, file); err != nil {
				return err
			}
			if c := catalogue.Tally(catalogue.Rows(), tests); c.Missing > 0 {
				return fmt.Errorf("%d attacks have no answer", c.Missing)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&module, "module", ".", "folder of the module whose tests are read")
	cmd.Flags().StringVar(&file, "write", "", "file to write instead of printing, for example docs/attacks.md")
	return cmd
}

func writeCatalogue(cmd *cobra.Command, tests catalogue.Tests, file string) error {
	var document bytes.Buffer
	if err := catalogue.Write(&document, tests); err != nil {
		return err
	}
	if file == "" {
		_, err := cmd.OutOrStdout().Write(document.Bytes())
		return err
	}
	return os.WriteFile(file, document.Bytes(), 0o644)
}
