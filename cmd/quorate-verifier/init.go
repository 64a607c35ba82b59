package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/verifier"
)

func (c *cli) initCommand() *cobra.Command {
	var setup verifier.Setup
	var genesis string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write keys, configuration, consortium file and an example policy",
		Long: `Init writes what a verifier needs to start: private keys (mode 0600), a commented
configuration, a consortium file with this verifier and one operator, a folder
for TPM vendor roots, and an example policy. It never overwrites anything.`,
		Example: `  quorate-verifier init --dir /var/lib/quorate --name verifier.org-a.example \
      --member org-a --ledger-id example-1 --genesis sha256:<64 hex digits>`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			digest, err := admission.ParseDigest(genesis)
			if err != nil {
				return program.Wrong(fmt.Errorf("--genesis: %w", err), "sha256sum of the ledger's genesis document, with sha256: before it")
			}
			setup.Genesis = digest
			created, err := verifier.Init(setup)
			if err != nil {
				return err
			}
			if c.json {
				program.PrintJSON(cmd.OutOrStdout(), createdView{created.Config, created.Consortium, created.OperatorKey, created.Policy, created.Trust, created.Roots})
				return nil
			}
			tellNext(cmd, setup, created)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&setup.Dir, "dir", "quorate", "folder to write into")
	flags.StringVar(&setup.Name, "name", "", "name of this verifier, like a host name")
	flags.StringVar(&setup.Member, "member", "", "member of the consortium who runs it")
	flags.StringVar(&setup.Operator, "operator", "admin", "name of the first operator")
	flags.StringVar(&setup.Consortium, "consortium", "example-net", "name of the consortium")
	flags.StringVar(&setup.LedgerID, "ledger-id", "", "id of the ledger (chain id)")
	flags.StringVar(&genesis, "genesis", "", "digest of the ledger's genesis document, sha256:...")
	flags.StringVar(&setup.Attest, "attest", "127.0.0.1:7600", "address for agents and operators")
	flags.StringVar(&setup.Enroll, "enroll", "127.0.0.1:7601", "address for enrolment")
	flags.StringVar(&setup.Trust, "trust", "", "folder with TPM vendor roots to copy")
	flags.BoolVar(&setup.Test, "test", false, "a test network: accept test roots, and say so in every admission")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"name", "member", "ledger-id", "genesis"} {
			if !cmd.Flags().Changed(name) {
				return program.Wrongf("more: "+cmd.CommandPath()+" --help", "--%s is missing", name)
			}
		}
		return nil
	}
	return cmd
}

// createdView is what init prints with --json: the files that it wrote.
type createdView struct {
	Config      string `json:"config"`
	Consortium  string `json:"consortium"`
	OperatorKey string `json:"operatorKey"`
	Policy      string `json:"policy"`
	Trust       string `json:"trust"`
	Roots       int    `json:"roots"` // TPM vendor roots in it
}

func tellNext(cmd *cobra.Command, s verifier.Setup, c *verifier.Created) {
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, "Wrote")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{c.Config, "configuration, with comments"},
		{c.Consortium, "what every agent, verifier and ledger node pins"},
		{c.OperatorKey, fmt.Sprintf("the operator %s/%s; keep it with the person, not on this host", s.Member, s.Operator)},
		{c.Policy, "an example policy"},
		{c.Trust, fmt.Sprintf("TPM vendor roots: %d now", c.Roots)},
	} {
		fmt.Fprintf(table, "  %s\t%s\n", row[0], row[1])
	}
	_ = table.Flush() // to the terminal
	fmt.Fprintln(out, "\nNext")
	step := 1
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "  %d. "+format+"\n", append([]any{step}, args...)...)
		step++
	}
	if c.Roots == 0 {
		say("quorate trust import VENDOR-ROOT --class CLASS --into %s, and put the line\n     that it prints into %s, before the verifier's first start", c.Trust, c.Consortium)
	}
	say("quorate-verifier run --config %s", c.Config)
	say("export QUORATE_CONSORTIUM=%s QUORATE_KEY=%s", c.Consortium, c.OperatorKey)
	say("quorate node invite %s/NODE           a join token for a host", s.Member)
	say("on the host: quorate-agent join --token TOKEN, then quorate-agent run")
	say("quorate node approve %s/NODE", s.Member)
	say("quorate policy learn %s/NODE --out policy, read it, quorate policy approve policy", s.Member)
}
