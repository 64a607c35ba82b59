package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func newStatus(o *host.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what each verifier last decided, why, and until when",
		Long: `status reads what the running agent last wrote and asks nobody. For each
verifier it shows the session, the last verdict with every finding and its
remedy, and when the admission ends.

Exit code 0: admitted. 1: refused. 3: not running, or no verdict yet.`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			status, err := agent.ReadStatus(cfg)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("no status in %s: the agent has not run here; start it with `quorate-agent run`", cfg.StateDir)
			}
			if err != nil {
				return err
			}
			now := time.Now()
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), status)
			} else {
				printStatus(cmd.OutOrStdout(), status, now)
			}
			return standingError(status.Standing(now))
		},
	}
}

func standingError(s agent.Standing) error {
	switch s {
	case agent.Admitted:
		return nil
	case agent.Refused:
		return program.Answered(program.Refused)
	}
	return program.Answered(program.Unknown)
}

func printStatus(w io.Writer, s agent.Status, now time.Time) {
	fmt.Fprintf(w, "%s: %s\n", s.Node, s.Standing(now))
	if !s.Running {
		fmt.Fprintf(w, "  the agent is not running; this is from %s\n", s.Updated.Format(time.RFC3339))
	}
	if s.Problem != "" {
		fmt.Fprintf(w, "  problem: %s\n", s.Problem)
	}
	if b := s.Bundle; b != nil {
		fmt.Fprintf(w, "  bundle: %d of %d admissions needed, ends %s (%s)\n    %s\n",
			b.Admissions, b.Needed, b.NotAfter.Format(time.RFC3339), left(b.NotAfter, now), b.Path)
	}
	for _, v := range s.Verifiers {
		printVerifier(w, v, now)
	}
}

func printVerifier(w io.Writer, v agent.VerifierStatus, now time.Time) {
	link := "not connected"
	if v.Connected {
		link = "connected"
	}
	fmt.Fprintf(w, "\n%s: %s, enrolment %s\n", v.Name, link, v.Enrolment)
	if v.Problem != "" {
		fmt.Fprintf(w, "  problem: %s\n", v.Problem)
	}
	if v.Decided != nil {
		fmt.Fprintf(w, "  last verdict: %s, node is %s (%s)\n", v.Decision, v.State, v.Decided.Format(time.RFC3339))
	}
	for _, f := range v.Findings {
		printFinding(w, f)
	}
	if a := v.Admission; a != nil {
		fmt.Fprintf(w, "  admission %d, boot epoch %s, ends %s (%s)\n",
			a.Serial, a.Epoch, a.NotAfter.Format(time.RFC3339), left(a.NotAfter, now))
	}
}

func printFinding(w io.Writer, f agent.Finding) {
	fmt.Fprintf(w, "  %s: %s\n", f.Severity, f.Check)
	for _, line := range []struct{ label, text string }{
		{"what", f.Message}, {"where", f.Where}, {"got", f.Got}, {"want", f.Want}, {"remedy", f.Remedy},
	} {
		if line.text != "" {
			fmt.Fprintf(w, "    %-7s %s\n", line.label, line.text)
		}
	}
}

// left says how much time remains.
func left(end, now time.Time) string {
	d := end.Sub(now).Round(time.Second)
	if d <= 0 {
		return "ended"
	}
	return d.String() + " left"
}
