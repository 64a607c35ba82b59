package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// signerProgram is the program behind `quorate-agent signer`.
const signerProgram = "quorate-signer"

func newSigner() *cobra.Command {
	return &cobra.Command{
		Use:   "signer",
		Short: "Sign for a CometBFT node while verifiers admit this host",
		Long: `signer is the node's remote signer, with a consensus key that is sealed to this
host's TPM. It is the program quorate-signer, which stands beside quorate-agent, and
takes the same configuration: the agent of a host without a validator needs none of
a ledger's code.`,
		Example: `  quorate-agent signer --help
  quorate-agent signer create --authority authority.pub.pem
  quorate-agent signer --address unix:///run/cometbft/signer.sock`,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := findSigner()
			if err != nil {
				return err
			}
			return syscall.Exec(path, append([]string{signerProgram}, args...), os.Environ())
		},
	}
}

// findSigner looks beside this program, then in the PATH.
func findSigner() (string, error) {
	if own, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(own), signerProgram)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(signerProgram)
	if err != nil {
		return "", fmt.Errorf("%w\nInstall %s beside quorate-agent", err, signerProgram)
	}
	return path, nil
}
