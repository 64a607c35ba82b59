package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

// conditions are the flags of commands that seal a key.
type conditions struct {
	authority, recipient, recovery string
	grantors                       []string // PEM files, or verifier:NAME
	strict                         bool
}

func (c *conditions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.authority, "authority", "", "PEM file with the public key that approves measured states; required")
	f.StringArrayVar(&c.grantors, "grantor", nil, "who grants further starts in a boot: verifier:NAME of the consortium file, or a PEM file with a person's public key; up to seven, any one is enough; without it those starts need a reboot")
	f.StringVar(&c.recipient, "recovery-key", "", "PEM file with the public key to encrypt a copy for; without it the key has no copy")
	f.StringVar(&c.recovery, "recovery-file", "", "where to write that copy; a new file")
	f.BoolVar(&c.strict, "strict", false, "every start needs a grant, also the first after a boot")
}

func (c *conditions) read(cfg agent.Config) (out signer.Conditions, err error) {
	if c.authority == "" {
		return out, errors.New("--authority is not set: who approves measured states? An operator makes a key with `quorate-agent signer keygen`")
	}
	if out.Authority, err = readPublicPEM(c.authority); err != nil {
		return out, err
	}
	if out.Grantors, err = c.readGrantors(cfg); err != nil {
		return out, err
	}
	if (c.recipient == "") != (c.recovery == "") {
		return out, errors.New("--recovery-key and --recovery-file belong together")
	}
	if c.recipient != "" {
		if out.Recipient, err = readPublicPEM(c.recipient); err != nil {
			return out, err
		}
	}
	if out.Strict = c.strict; c.strict && len(c.grantors) == 0 {
		return out, errors.New("--strict needs --grantor: somebody has to grant every start")
	}
	if c.strict && !slices.ContainsFunc(c.grantors, func(g string) bool { return !strings.HasPrefix(g, verifierPrefix) }) {
		return out, errors.New("--strict with verifiers alone would never start: they grant to hosts that joined, and joining with this key needs a first start; name a person's key too, --grantor grantor.pub.pem")
	}
	return out, nil
}

const verifierPrefix = "verifier:"

// readGrantors reads the grantors. A verifier's key comes from the consortium file,
// which this host pins anyway.
func (c *conditions) readGrantors(cfg agent.Config) (keys []seal.PublicKey, err error) {
	for _, g := range c.grantors {
		var key seal.PublicKey
		if name, named := strings.CutPrefix(g, verifierPrefix); named {
			key, err = verifierGrantor(cfg, name)
		} else {
			key, err = readPublicPEM(g)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func verifierGrantor(cfg agent.Config, name string) (seal.PublicKey, error) {
	consortium, err := agent.ReadConsortium(cfg)
	if err != nil {
		return "", err
	}
	v, known := consortium.Verifier(name)
	if !known {
		return "", fmt.Errorf("--grantor: the consortium file has no verifier %q", name)
	}
	if v.GrantKey == "" {
		return "", fmt.Errorf("--grantor: the consortium file has no grantKey for %s, so it grants nothing; see docs/signer.md for how to make one, or name another grantor", name)
	}
	return seal.PublicKey(v.GrantKey), nil
}

func newSignerCreate(o *host.Flags) *cobra.Command {
	var c conditions
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a consensus key in this host's TPM",
		Long: `create makes an Ed25519 consensus key from the TPM's randomness and the system's,
and seals it to the TPM. The key is never on disk in clear. With --recovery-key a
copy is written that only that key's private half opens, for ` + "`signer recover`" + ` on
another host; keep it, and above all the private half, offline. Without it, a host
that is lost takes its key along.

It prints the public key. The authority approves measured states, the grantor
grants a second start in one boot, with --strict every start. A grantor is a
verifier of the consortium file that has a grantKey there: it grants while it admits
this host, and the running agent asks it. Or it is a person with a P-256 key in a PEM
file, of which only the public half is needed here. With --strict name a person too:
verifiers grant to hosts that joined, and the first start is before that.`,
		Example: `  quorate-agent signer create --authority authority.pub.pem --grantor verifier:a.verifier.example-net
  quorate-agent signer create --authority authority.pub.pem --strict --grantor verifier:a.verifier.example-net \
    --grantor verifier:b.verifier.example-net --grantor grantor.pub.pem`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return seals(o, cmd, c, func(ctx context.Context, cfg agent.Config, dev *device.Device, c signer.Conditions) (*seal.Key, *seal.Recovery, error) {
				return signer.Create(ctx, cfg, dev, c)
			})
		},
	}
	c.flags(cmd)
	return cmd
}

func newSignerImport(o *host.Flags) *cobra.Command {
	var c conditions
	var key, state string
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Seal a node's existing consensus key",
		Long: `import seals the key of a CometBFT node to this host's TPM, and takes over its
signing state. Stop the node first. Afterwards destroy every copy of the key file,
backups too: the TPM can vouch for its own copy only.`,
		Example: `  quorate-agent signer import --authority authority.pub.pem \
    --key ~/.cometbft/config/priv_validator_key.json --state ~/.cometbft/data/priv_validator_state.json`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := readFile("--key", key)
			if err != nil {
				return program.Wrong(err, "")
			}
			private, err := signer.ParseKeyFile(file)
			if err != nil {
				return program.Wrongf("", "%s: %w", key, err)
			}
			data, err := readFile("--state", state)
			if err != nil {
				return program.Wrong(err, "")
			}
			return seals(o, cmd, c, func(ctx context.Context, cfg agent.Config, dev *device.Device, c signer.Conditions) (*seal.Key, *seal.Recovery, error) {
				return signer.Import(ctx, cfg, dev, c, private, data)
			})
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&key, "key", "", "CometBFT's priv_validator_key.json; required")
	cmd.Flags().StringVar(&state, "state", "", "CometBFT's priv_validator_state.json; required")
	return cmd
}

// seals runs a command that makes a sealed key, and prints its public half.
func seals(o *host.Flags, cmd *cobra.Command, c conditions, fn func(context.Context, agent.Config, *device.Device, signer.Conditions) (*seal.Key, *seal.Recovery, error)) error {
	cfg, err := o.Load(cmd)
	if err != nil {
		return err
	}
	chosen, err := c.read(cfg)
	if err != nil {
		return program.Wrong(err, "")
	}
	dev, err := host.OpenTPM(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer dev.Close()
	key, recovery, err := fn(cmd.Context(), cfg, dev, chosen)
	if recovery != nil {
		err = errors.Join(err, writeNew(c.recovery, recovery.Marshal()))
	}
	if err != nil {
		return err
	}
	if o.JSON {
		program.PrintJSON(cmd.OutOrStdout(), key.Terms)
		return nil
	}
	fmt.Fprintf(cmd.OutOrStdout(), "sealed for %s on %s\npublic key: %s\n", key.Terms.Node, key.Terms.Ledger, key.Terms.PublicKey)
	fmt.Fprintln(cmd.OutOrStdout(), "Next: quorate-agent signer predict, and have the state approved")
	return nil
}

func newSignerKeygen(o *host.Flags) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make an authority's or grantor's key",
		Long: `keygen makes a P-256 key, writes it to FILE and its public half to FILE with
.pub.pem in place of .pem. Keep FILE off the hosts: who has it can approve any state.`,
		Example: `  quorate-agent signer keygen authority.pem`,
		Args:    program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			public := strings.TrimSuffix(args[0], ".pem") + ".pub.pem"
			if err := writeKeyPair(args[0], public); err != nil {
				return err
			}
			if o.JSON {
				program.PrintJSON(cmd.OutOrStdout(), map[string]string{"private": args[0], "public": public})
				return nil
			}
			fmt.Fprintf(cmd.OutOrStdout(), "private key: %s\npublic key:  %s\n", args[0], public)
			return nil
		},
	}
}

func writeKeyPair(private, public string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writeNew(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return err
	}
	return writeNew(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// writeNew writes a file that must not be there.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func readPEM(path, kind string) ([]byte, error) {
	data, err := readSmall(path, strings.NewReader(""))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != kind || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%s: no single PEM block %q", path, kind)
	}
	return block.Bytes, nil
}

func readPublicPEM(path string) (seal.PublicKey, error) {
	der, err := readPEM(path, "PUBLIC KEY")
	if err != nil {
		return "", err
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	key, ok := any.(*ecdsa.PublicKey)
	if !ok {
		return "", fmt.Errorf("%s: not a P-256 key", path)
	}
	return seal.NewPublicKey(key)
}

func readPrivatePEM(path string) (*ecdsa.PrivateKey, error) {
	if path == "" {
		return nil, errors.New("--key is not set: the PEM file with the private key")
	}
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s: not a P-256 key", path)
	}
	return key, nil
}
