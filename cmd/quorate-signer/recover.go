package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

// maxRosterFile bounds a roster's file.
const maxRosterFile = admission.MaxRoster

type recoverFlags struct {
	conditions
	file, private string
	rosters       []string
	longest       time.Duration
	first         int64
}

func newSignerRecover(o *host.Flags) *cobra.Command {
	var r recoverFlags
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Move a lost host's consensus key to this host",
		Long: `recover seals a key to this host's TPM that was another's, from the recovery file
that was written when the key was made. It does so only when the other host can no
longer sign, so that the key never signs on two:

  1. Retire the old node at the verifiers: quorate node retire.
  2. Wait until its last admission has ended, and twelve hours more, for which it may
     have signed for a frozen ledger. Its signer refuses from then on, also if the
     host still runs somewhere, cut off from everybody.
  3. Fetch rosters of as many members' verifiers as the consortium's threshold:
     quorate admission roster --out FILE. They must be signed within the last hour.
  4. Run this, with a first height above the chain's present one.
  5. Have this host's state approved, start the signer, and join as a new node:
     quorate-agent join --signer. Verifiers take a key again only after 1.

--longest is the longest admission that the verifiers' policy gives (admissionFor);
without it the longest possible is assumed. The recovery key's private half should
leave its safe for this command alone.`,
		Example: `  quorate-agent signer recover --file recovery.json --key recovery.pem --authority authority.pub.pem \
    --roster a.roster --roster b.roster --longest 1h --first-height 181000`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd, o) },
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&r.file, "file", "", "the recovery file; required")
	f.StringVar(&r.private, "key", "", "PEM file with the private half of the recovery key; required")
	f.StringArrayVar(&r.rosters, "roster", nil, "signed roster file; repeat it for several verifiers")
	f.DurationVar(&r.longest, "longest", admission.MaxValidity, "longest admission that the policy gives")
	f.Int64Var(&r.first, "first-height", 0, "first height that the key may sign here; required")
	return cmd
}

func (r *recoverFlags) run(cmd *cobra.Command, o *host.Flags) error {
	data, err := readFile("--file", r.file)
	if err != nil {
		return program.Wrong(err, "")
	}
	private, err := readPrivatePEM(r.private)
	if err != nil {
		return program.Wrong(err, "")
	}
	recovery, err := seal.ParseRecovery(data)
	if err != nil {
		return err
	}
	proof := signer.Proof{Longest: r.longest, First: r.first}
	for _, path := range r.rosters {
		roster, err := readAtMost(path, maxRosterFile)
		if err != nil {
			return program.Wrong(err, "")
		}
		proof.Rosters = append(proof.Rosters, roster)
	}
	return seals(o, cmd, r.conditions, func(ctx context.Context, cfg agent.Config, dev *device.Device, c signer.Conditions) (*seal.Key, *seal.Recovery, error) {
		return signer.Recover(ctx, cfg, dev, c, recovery, private, proof, time.Now())
	})
}

func newSignerRotate(o *host.Flags) *cobra.Command {
	var c conditions
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Put a new key in the place of the present one",
		Long: `rotate makes a new sealed key and keeps the old one aside, sealed, in the signer's
directory. Stop the signer first. To verifiers and ledger the new key is another
validator: retire the old node, join with --signer under a new node id, and have the
ledger move the power.`,
		Example: `  quorate-agent signer rotate --authority authority.pub.pem`,
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return seals(o, cmd, c, signer.Rotate)
		},
	}
	c.flags(cmd)
	return cmd
}

func newSignerRaise(o *host.Flags) *cobra.Command {
	var first int64
	cmd := &cobra.Command{
		Use:   "raise",
		Short: "Set the first height to sign, when the signing state was lost",
		Long: `raise is for a signer that refuses to start with seal.rollback, because its signing
state is older than what the TPM counted, and the newest is lost. With it you vouch
that the key has signed nothing at that height or above: take one that the chain
has yet to reach. It never lowers what the state has. Stop the signer first.`,
		Example: `  quorate-agent signer raise --first-height 181000`,
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if first < 1 {
				return program.Wrongf("", "--first-height is not set: a height that the chain has yet to reach")
			}
			cfg, err := o.Load(cmd)
			if err != nil {
				return err
			}
			dev, err := host.OpenTPM(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			defer dev.Close()
			if err := signer.Raise(cmd.Context(), cfg, dev, first); err != nil {
				return err
			}
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), map[string]int64{"firstHeight": first})
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The key signs from height %d on.\n", first)
			return nil
		},
	}
	cmd.Flags().Int64Var(&first, "first-height", 0, "first height that the key may sign; required")
	return cmd
}
