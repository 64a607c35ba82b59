package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

// maxSecretFile bounds a token or key file, in bytes.
const maxSecretFile = 16 << 10

type joinFlags struct {
	tokens       []string
	tokenFile    string
	consensusKey string
	signer       bool
}

func newJoin(o *host.Flags) *cobra.Command {
	var j joinFlags
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Bind this host's TPM to its node id, once per verifier",
		Long: `join enrols this host's TPM with the verifiers that a join token is given for.
An operator makes tokens with ` + "`quorate node invite`" + `; each works once, at one
verifier. Where the consortium has several verifiers, write tokens as
VERIFIER=TOKEN, one per line in --token-file or one per --token.

The verifier must show the key that the consortium file pins before anything is
sent to it. Tokens and the consensus key are used and not stored.`,
		Example: `  quorate-agent join --token-file token.txt
  quorate-agent join --token-file - < token.txt
  quorate-agent join --token-file tokens.txt --signer
  quorate-agent join --token-file tokens.txt --consensus-key ~/.cometbft/config/priv_validator_key.json`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return j.run(cmd, o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&j.tokens, "token", nil, "join token, or VERIFIER=TOKEN (seen by other users in the process list; prefer --token-file)")
	f.StringVar(&j.tokenFile, "token-file", "", "file with one token per line; - is standard input")
	f.BoolVar(&j.signer, "signer", false, "have the running `quorate-agent signer` prove that this node holds its key")
	f.StringVar(&j.consensusKey, "consensus-key", "", "CometBFT priv_validator_key.json, to prove that this node holds the key")
	return cmd
}

func (j *joinFlags) run(cmd *cobra.Command, o *host.Flags) error {
	cfg, err := o.Member(cmd)
	if err != nil {
		return err
	}
	given, err := j.given(cmd.InOrStdin())
	if err != nil {
		return program.Wrong(err, "")
	}
	consensus, err := readConsensusKey(j.consensusKey)
	if err != nil {
		return program.Wrong(err, "")
	}
	if j.signer && consensus != nil {
		return program.Wrongf("", "--signer and --consensus-key are two keys; give one")
	}
	dev, err := host.OpenTPM(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	defer dev.Close()
	a, err := agent.New(cfg, dev, program.Logger(cmd.ErrOrStderr(), false))
	if err != nil {
		return program.Wrong(err, "")
	}
	tokens, err := assign(given, a.Consortium())
	if err != nil {
		return program.Wrong(err, "")
	}
	options := agent.JoinOptions{Tokens: tokens, ConsensusKey: consensus}
	if j.signer {
		if options.Prover, err = possession.Find(cmd.Context(), cfg.StateDir); err != nil {
			return err
		}
	}
	results, err := a.Join(cmd.Context(), options)
	printJoin(cmd.OutOrStdout(), cfg, o.JSON, results)
	return err
}

// given collects tokens from flags and file.
func (j *joinFlags) given(stdin io.Reader) ([]string, error) {
	list := j.tokens
	if j.tokenFile != "" {
		data, err := readSmall(j.tokenFile, stdin)
		if err != nil {
			return nil, err
		}
		list = append(list, strings.Fields(string(data))...)
	}
	if len(list) == 0 {
		return nil, errors.New("no join token: ask an operator for one (`quorate node invite`) and give it with --token-file")
	}
	return list, nil
}

func readSmall(path string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxSecretFile+1))
	if err == nil && len(data) > maxSecretFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxSecretFile)
	}
	return data, err
}

// assign finds the verifier of each token. A token is sent to one verifier
// only, so one without a name needs a consortium of one.
func assign(given []string, c *admission.Consortium) (map[string]string, error) {
	tokens := map[string]string{}
	for _, text := range given {
		name, token, named := strings.Cut(text, "=")
		if _, known := c.Verifier(name); !named || !known {
			if len(c.Verifiers) != 1 {
				return nil, fmt.Errorf("the consortium has %d verifiers: write tokens as VERIFIER=TOKEN", len(c.Verifiers))
			}
			name, token = c.Verifiers[0].Name, text
		}
		if _, twice := tokens[name]; twice {
			return nil, fmt.Errorf("two tokens for verifier %s", name)
		}
		tokens[name] = token
	}
	return tokens, nil
}

// readConsensusKey reads CometBFT's key file.
func readConsensusKey(path string) (ed25519.PrivateKey, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readSmall(path, strings.NewReader(""))
	if err != nil {
		return nil, err
	}
	var file struct {
		PrivKey struct {
			Type  string `json:"type"`
			Value []byte `json:"value"`
		} `json:"priv_key"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if file.PrivKey.Type != "tendermint/PrivKeyEd25519" || len(file.PrivKey.Value) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%s: not an Ed25519 consensus key of CometBFT", path)
	}
	return ed25519.PrivateKey(file.PrivKey.Value), nil
}

func printJoin(w io.Writer, cfg agent.Config, asJSON bool, results []agent.Enrolment) {
	if asJSON {
		if results == nil {
			results = []agent.Enrolment{}
		}
		program.PrintJSON(w, results)
		return
	}
	for _, r := range results {
		fmt.Fprintf(w, "%s: enrolled with %s, host %s, %s\n", cfg.Node, r.Verifier, r.HostID, r.State)
		if r.Message != "" {
			fmt.Fprintf(w, "  %s\n", r.Message)
		}
		if r.State == "pending" {
			fmt.Fprintf(w, "  An operator has to approve it: quorate node approve %s\n", cfg.Node)
		}
	}
	if len(results) > 0 {
		fmt.Fprintln(w, "Next: quorate-agent run")
	}
}
