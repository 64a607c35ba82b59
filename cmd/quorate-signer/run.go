package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func newSigner(o *host.Flags) *cobra.Command {
	var over agent.SignerConfig
	cmd := &cobra.Command{
		Use: "quorate-signer",
		// People call it through the agent, and read its help there.
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "quorate-agent signer"},
		Short:       "Sign for a CometBFT node while verifiers admit this host",
		Long: `signer keeps a CometBFT node's consensus key sealed to this host's TPM and is the
node's remote signer: it dials the node's priv_validator_laddr. The TPM releases
the key only in a measured state that the policy authority approved, once in a
boot. The signer signs only while verifiers admit the host; meanwhile it refuses
with an error and stays connected, so that the chain goes on without this vote.

It reads what ` + "`quorate-agent run`" + ` keeps in the state directory, and never double
signs: CometBFT's own signing state lies beside the key.

A first day with it:

  quorate-agent signer keygen authority.pem                  an operator, once for the consortium
  quorate-agent signer create --authority authority.pub.pem  on the host
  quorate-agent signer predict > state.json                  on the host, booted as it should be
  quorate-agent signer approve --key authority.pem state.json > approval.json
  quorate-agent signer accept approval.json                  on the host
  quorate-agent signer --address unix:///run/node/signer.sock
  quorate-agent join --signer --token-file token.txt         proves possession of the key

A second start in one boot needs a grant or a reboot: see signer grant --help.

Exit codes: 0 good, 1 refused, 2 wrong usage, 3 could not tell.`,
		Example: `  quorate-agent signer --address unix:///run/cometbft/signer.sock --caller cometbft
  quorate-agent signer --address tcp://10.0.0.5:26659 --caller 5f1b0f0d2c8e6d7f00c4a9b3e2d1c0ffee123456`,
		Args:          program.Exactly(0),
		RunE:          func(cmd *cobra.Command, _ []string) error { return runSigner(cmd, o, over) },
		Version:       agent.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := cmd.Flags()
	f.StringVar(&over.Address, "address", "", "override signer.address: the node's priv_validator_laddr, unix:///path or tcp://host:port")
	f.StringArrayVar(&over.Callers, "caller", nil, "override signer.callers: a user (unix) or node id (tcp) that may use the key")
	cmd.AddCommand(newSignerCreate(o), newSignerImport(o), newSignerStatus(o), newSignerPredict(o), newSignerApprove(o),
		newSignerGrant(o), newSignerAccept(o), newSignerKeygen(o), newSignerRotate(o), newSignerRaise(o), newSignerRecover(o))
	return cmd
}

func runSigner(cmd *cobra.Command, o *host.Flags, over agent.SignerConfig) error {
	cfg, err := o.Load(cmd)
	if err != nil {
		return err
	}
	link := signer.Link{Address: cfg.Signer.Address, Callers: cfg.Signer.Callers}
	if over.Address != "" {
		link.Address = over.Address
	}
	if len(over.Callers) > 0 {
		link.Callers = over.Callers
	}
	log := program.Logger(cmd.ErrOrStderr(), false)
	if err := seal.LockProcess(); err != nil {
		log.Warn("memory may be swapped out", "error", err)
	}
	dev, err := host.OpenTPM(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer dev.Close()
	s, err := signer.New(cfg, link, dev, log)
	if err != nil {
		return program.Wrong(err, "")
	}
	return s.Run(cmd.Context())
}

func newSignerStatus(o *host.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the key, and whether it signs or why not",
		Long: `status reads what the running signer last wrote and asks nobody.

Exit code 0: signing. 1: refusing. 3: not running.`,
		Example: `  quorate-agent signer status --json`,
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			st, err := signerStatus(cfg)
			if err != nil {
				return err
			}
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), st)
			} else {
				printSigner(cmd.OutOrStdout(), st)
			}
			switch {
			case st.Signing:
				return nil
			case st.Running && st.Refusal != nil:
				return program.Answered(program.Refused)
			}
			return program.Answered(program.Unknown)
		},
	}
}

// signerStatus is the last status, or that of a key that never signed.
func signerStatus(cfg agent.Config) (signer.Status, error) {
	st, err := signer.ReadStatus(cfg)
	if !errors.Is(err, fs.ErrNotExist) {
		return st, err
	}
	key, err := signer.ReadKey(cfg)
	if err != nil {
		return st, err
	}
	return signer.Status{PublicKey: key.Terms.PublicKey}, nil
}

func printSigner(w io.Writer, st signer.Status) {
	fmt.Fprintf(w, "public key: %s\n", st.PublicKey)
	switch {
	case !st.Running:
		fmt.Fprintln(w, "not running; start it with `quorate-agent signer`")
	case st.Signing:
		fmt.Fprintf(w, "signing since %s\n", st.Since.Format(time.RFC3339))
	default:
		fmt.Fprintf(w, "refusing since %s\n", st.Since.Format(time.RFC3339))
	}
	if r := st.Refusal; r != nil {
		for _, line := range []struct{ label, text string }{{"check", string(r.Check)}, {"got", r.Got}, {"want", r.Want}, {"remedy", r.Remedy}} {
			if line.text != "" {
				fmt.Fprintf(w, "  %-7s %s\n", line.label, line.text)
			}
		}
	}
}

// pcrList reads "0,2,4".
func pcrList(text string) ([]uint32, error) {
	var list []uint32
	for _, field := range strings.Split(text, ",") {
		var n uint32
		if _, err := fmt.Sscanf(field, "%d", &n); err != nil || fmt.Sprint(n) != field {
			return nil, fmt.Errorf("PCRs %q: write numbers with commas, like 0,2,4,7", text)
		}
		list = append(list, n)
	}
	return list, nil
}
