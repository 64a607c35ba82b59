package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func newSignerPredict(o *host.Flags) *cobra.Command {
	var pcrs string
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "Print this host's measured state, for approval",
		Long: `predict prints the present values of PCRs as JSON: what an approval speaks of. For a
coming update, run it on one host that has the update already, or put the values
in that a prediction tool gives, and have them approved before the others reboot.

Whoever approves must know the host to be good: a quote that a verifier admitted
is what tells.`,
		Example: `  quorate-agent signer predict > state.json
  quorate-agent signer predict --pcrs 0,2,4,7,11 > state.json`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			list, err := pcrList(pcrs)
			if err != nil {
				return program.Wrong(err, "")
			}
			dev, err := host.OpenTPM(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer dev.Close()
			banks, err := key.Banks(dev.With(cmd.Context()))
			if err != nil {
				return err
			}
			if len(banks) == 0 {
				return key.ErrBank
			}
			state, err := seal.ReadState(dev.With(cmd.Context()), banks[0], list)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(state.Marshal())
			return err
		},
	}
	cmd.Flags().StringVar(&pcrs, "pcrs", "0,2,4,7,8,9", "PCRs, ascending, from 0 to 14")
	return cmd
}

func newSignerApprove(o *host.Flags) *cobra.Command {
	var private string
	cmd := &cobra.Command{
		Use:   "approve FILE",
		Short: "Approve a measured state, as the policy authority",
		Long: `approve signs a state that ` + "`signer predict`" + ` printed, for all hosts of the
consortium's ledger, and prints the approval. It needs the consortium file and the
authority's key, and no TPM. Approvals do not end: to take one back, remove it on
the hosts and let the verifiers' policy refuse the state.`,
		Example: `  quorate-agent signer approve --consortium consortium.yaml --key authority.pem state.json > approval.json`,
		Args:    program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			authority, err := readPrivatePEM(private)
			if err != nil {
				return program.Wrong(err, "")
			}
			consortium, err := agent.ReadConsortium(cfg)
			if err != nil {
				return program.Wrong(err, "")
			}
			data, err := readSmall(args[0], cmd.InOrStdin())
			if err != nil {
				return program.Wrong(err, "")
			}
			state, err := seal.ParseState(data)
			if err != nil {
				return err
			}
			a, err := seal.Approve(authority, consortium.Ledger.ID, consortium.Ledger.Genesis.String(), state)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(a.Marshal())
			return err
		},
	}
	cmd.Flags().StringVar(&private, "key", "", "PEM file with the authority's private key; required")
	return cmd
}

func newSignerGrant(*host.Flags) *cobra.Command {
	var private string
	var valid time.Duration
	cmd := &cobra.Command{
		Use:   "grant FILE",
		Short: "Allow one more start of a signer, as the grantor",
		Long: `grant signs the request that a waiting signer left, and prints the grant. The TPM
accepts it once, for this very start, and until its time is over, which counts from
when the request was made. It does not stand for an approval: the host must also be
in an approved state.

When a signer waits, in the middle of the night: copy grant-request.json from the
signer's directory to where the grantor's key is, run this, copy the answer back
and have it accepted. Or reboot the host, which needs nobody's word.`,
		Example: `  quorate-agent signer grant --key grantor.pem grant-request.json > grant.json
  quorate-agent signer accept grant.json      on the host`,
		Args: program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			grantor, err := readPrivatePEM(private)
			if err != nil {
				return program.Wrong(err, "")
			}
			data, err := readSmall(args[0], cmd.InOrStdin())
			if err != nil {
				return program.Wrong(err, "")
			}
			request, err := seal.ParseRequest(data)
			if err != nil {
				return err
			}
			g, err := request.Sign(grantor, valid)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "granted one start of %s on %s with key %s\n", request.Node, request.Ledger, request.PublicKey)
			_, err = cmd.OutOrStdout().Write(g.Marshal())
			return err
		},
	}
	cmd.Flags().StringVar(&private, "key", "", "PEM file with the grantor's private key; required")
	cmd.Flags().DurationVar(&valid, "valid", 10*time.Minute, "how long, counted from the request")
	return cmd
}

func newSignerAccept(o *host.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "accept FILE",
		Short: "Take an approval or a grant to this host's signer",
		Long: `accept checks an approval or a grant and puts it where the signer finds it, also
while it runs. Several approvals may stand side by side, so the one for a coming
update can be accepted before the update.`,
		Example: `  quorate-agent signer accept approval.json
  quorate-agent signer accept - < grant.json`,
		Args: program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			data, err := readSmall(args[0], cmd.InOrStdin())
			if err != nil {
				return program.Wrong(err, "")
			}
			kind, err := signer.Accept(cfg, data)
			if err != nil {
				return err
			}
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), map[string]string{"accepted": kind})
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.ToUpper(kind[:1])+kind[1:]+" accepted.")
			return nil
		},
	}
}
