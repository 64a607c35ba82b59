package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func newRun(o *host.Flags) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Answer the verifiers' challenges until stopped",
		Long: `run holds one session with every verifier that this host joined. The verifiers
choose when to challenge; the agent answers with quotes of the TPM, and keeps the
admissions it gets as a bundle in the state directory (admission.bundle), which
the ledger node shows. Verifiers, network and TPM may come and go meanwhile.

It ends with exit code 0 on SIGINT or SIGTERM.`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.Member(cmd)
			if err != nil {
				return err
			}
			dev, err := host.OpenTPM(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer dev.Close()
			a, err := agent.New(cfg, dev, program.Logger(cmd.ErrOrStderr(), verbose))
			if err != nil {
				return program.Wrong(err, "")
			}
			err = a.Run(cmd.Context())
			if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log every quote")
	return cmd
}
