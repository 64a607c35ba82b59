package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

// inspectTimeout bounds an inspection; a chip may take long over an RSA key.
const inspectTimeout = 3 * time.Minute

func newInspect(o *host.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect",
		Short: "Print what this host would send, without a verifier",
		Long: `inspect opens the TPM, makes the agent's keys, reads the logs, and prints what a
verifier would see: the endorsement certificate, host id, attestation key, PCR
banks and values, boot log and IMA list. It sends nothing and keeps nothing. What
is missing is listed with what mends it.

Exit code 0: nothing is missing that every verifier needs. 1: something is.
3: the TPM does not answer.`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), inspectTimeout)
			defer cancel()
			dev, err := host.OpenTPM(ctx, cfg)
			if err != nil {
				return err
			}
			defer dev.Close()
			in, err := agent.Inspect(ctx, cfg, dev)
			if err != nil {
				return err
			}
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), in)
			} else {
				printInspection(cmd.OutOrStdout(), in)
			}
			if in.Blocked() {
				return program.Answered(program.Refused)
			}
			return nil
		},
	}
}

func printInspection(w io.Writer, in *agent.Inspection) {
	row := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", label, fmt.Sprintf(format, args...))
	}
	row("node", "%s", orNone(in.Node))
	row("TPM", "%s, made by %s, firmware %s, probably %s", in.Device, in.Maker, in.Firmware, in.Class)
	row("boot epoch", "%s", in.Epoch)
	row("EK", "%s, certificate for %q", in.EK.Template, in.EK.Subject)
	row("", "issued by %q, %d intermediates in the TPM", in.EK.Issuer, in.EK.Intermediates)
	row("host id", "%s", orNone(in.EK.HostID))
	row("AK name", "%s", in.AKName)
	row("node key", "%s", in.NodeKey)
	row("PCR banks", "%s", orNone(strings.Join(in.Banks, ", ")))
	row("boot log", "%d bytes, %s", in.BootLog.Size, orNone(in.BootLog.Digest))
	row("IMA list", "%d bytes, %d entries", in.IMA.Size, in.IMA.Entries)
	for i, v := range in.PCRs {
		row(fmt.Sprintf("PCR %d", i), "%s", v)
	}
	printProblems(w, in.Problems)
}

func printProblems(w io.Writer, list []agent.Problem) {
	if len(list) == 0 {
		fmt.Fprintln(w, "\nNothing is missing.")
		return
	}
	for _, p := range list {
		kind := "note"
		if p.Blocks {
			kind = "missing"
		}
		fmt.Fprintf(w, "\n%s: %s\n  remedy: %s\n", kind, p.What, p.Remedy)
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
