package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/rpc"
)

func (c *cli) runCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve agents, operators and gates until stopped",
		Long: `Run checks the configuration, opens the journal (and refuses a history that was
rolled back), brings the database up to the journal, and serves until it gets
SIGTERM or SIGINT. It logs JSON when standard error is not a terminal.`,
		Example: "  quorate-verifier run --config /var/lib/quorate/verifier.yaml",
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), path, program.Logger(cmd.ErrOrStderr(), false))
		},
	}
	cmd.Flags().StringVar(&path, "config", "quorate/verifier.yaml", "configuration file")
	return cmd
}

func serve(ctx context.Context, path string, log *slog.Logger) (err error) {
	config, err := verifier.ReadConfig(path)
	if err != nil {
		return err
	}
	journal.LogTo(log.With("part", "tessera"))
	service, err := verifier.Open(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Close()) }()
	attest, err := net.Listen("tcp", config.Listen.Attest)
	if err != nil {
		return fmt.Errorf("listen.attest: %w", err)
	}
	enroll, err := net.Listen("tcp", config.Listen.Enroll)
	if err != nil {
		return errors.Join(fmt.Errorf("listen.enroll: %w", err), attest.Close())
	}
	log.Info("serving", "verifier", config.Name, "attest", attest.Addr().String(), "enroll", enroll.Addr().String())
	server := rpc.New(service, service.Certificate(), config.Limits, log)
	return server.Serve(ctx, attest, enroll)
}

func (c *cli) rebuildCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the database again from journal and archive",
		Long: `Rebuild verifies the whole journal, folds its entries into a new database, and
puts it in place of the old one, which is kept beside it. Stop the verifier
first. Nodes prove themselves again at their next challenge.`,
		Example: "  quorate-verifier rebuild --config /var/lib/quorate/verifier.yaml",
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := verifier.ReadConfig(path)
			if err != nil {
				return err
			}
			report, err := verifier.Rebuild(cmd.Context(), config, program.Logger(cmd.ErrOrStderr(), false))
			if err != nil {
				return err
			}
			if c.json {
				program.PrintJSON(cmd.OutOrStdout(), rebuiltView{report.Entries, report.Nodes, report.Kept})
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Rebuilt from %d journal entries: %d nodes.\nThe old database is %s.\n",
				report.Entries, report.Nodes, report.Kept)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "config", "quorate/verifier.yaml", "configuration file")
	return cmd
}

// rebuiltView is what rebuild prints with --json.
type rebuiltView struct {
	Entries uint64 `json:"entries"` // of the journal
	Nodes   int    `json:"nodes"`
	Kept    string `json:"kept"` // the old database
}
