package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/simulator/realboot"
)

// errNotPassed ends the command with exit code 1: the story has told why.
var errNotPassed = errors.New("realboot did not pass")

func realbootCommand() *cobra.Command {
	var o realboot.Options
	var capture string
	cmd := &cobra.Command{
		Use:   "realboot",
		Short: "Boot Debian five times under Secure Boot with a TPM, and let a verifier judge",
		Long: `Realboot boots one virtual computer five times: Debian's signed shim, GRUB and
kernel under OVMF firmware, a swtpm TPM, an ext4 root with IMA on, and the real
quorate-agent in it, which attests to a real quorate-verifier on this machine.

  1. the host joins, a policy is learned from its first boot and approved
  2. the same image again: admitted
  3. one more kernel argument: refused, and the refusal shows both command lines
  4. an unlisted program runs: suspended, with its path and digest
  5. Secure Boot off: refused, with the cause

It needs Debian packages and says which, but neither root rights nor KVM.

With --capture it asks no verifier. It boots each chain once (shim and GRUB, the
kernel's EFI stub, a unified kernel image) and writes boot log, IMA list and PCRs,
as tests of parsers keep them.`,
		Example: "  make realboot\n  quorate-sim realboot --bin bin --out demo\n  quorate-sim realboot --capture logs",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if capture != "" {
				return realboot.Capture(cmd.Context(), capture)
			}
			result, err := realboot.Run(cmd.Context(), o, cmd.OutOrStdout())
			if err == nil && !result.Passed {
				err = errNotPassed
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Bin, "bin", "bin", "folder with quorate, quorate-agent and quorate-verifier, built with CGO_ENABLED=0")
	cmd.Flags().StringVar(&o.Out, "out", "demo", "folder to write realboot.json and realboot/ into")
	cmd.Flags().StringVar(&capture, "capture", "", "folder to write the logs of one boot of each chain into, and nothing else")
	return cmd
}
