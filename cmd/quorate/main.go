// Command quorate is for the people of a consortium: it invites, approves and
// explains nodes, writes and approves policies, and checks admissions, evidence
// and journals, with a verifier or without one.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when a release is built.
var version = "devel"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{out: stdout, err: stderr, env: os.Getenv}
	root := c.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	return c.report(err)
}

// cli is one run of the program: what every command shares.
type cli struct {
	out, err io.Writer
	env      func(string) string

	json       bool
	consortium string
	key        string
	verifier   string
	timeout    timeout
}

const rootLong = `quorate is the operator's tool of a Quorate consortium. A verifier decides which
hosts may have power on the ledger; with quorate, people invite hosts, say what
software is good, see why a host was refused, and check for themselves what the
verifier says: most commands need no verifier and no network, only files.

A first day with it:

  export QUORATE_CONSORTIUM=consortium.yaml QUORATE_KEY=operator.key
  quorate status                              how the verifier is
  quorate node invite org-a/validator-1       prints a join token for quorate-agent
  quorate policy learn org-a/validator-1 --out policy
  quorate policy approve policy               sign what was learned, after reading it
  quorate node approve org-a/validator-1
  quorate node list                           who is admitted
  quorate node explain org-a/validator-1      why it is, or is not, and what mends it

A connection needs the consortium file, which pins the verifiers' keys, and your
operator key, which it must list. ` + "`quorate-verifier init`" + ` makes both.

Exit codes: 0 good, 1 refused, 2 wrong usage, 3 could not tell.
With --json, results are JSON on standard output and errors JSON on standard
error; docs/cli.md has the shape of each.`

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorate",
		Short:         "Operate a Quorate consortium: nodes, policies, evidence, admissions, journals",
		Long:          rootLong,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(err, "see: "+cmd.CommandPath()+" --help") })
	root.SetHelpTemplate(helpTemplate)
	f := root.PersistentFlags()
	f.BoolVar(&c.json, "json", false, "print JSON")
	f.StringVar(&c.consortium, "consortium", c.env("QUORATE_CONSORTIUM"), "consortium `file` (environment: QUORATE_CONSORTIUM)")
	f.StringVar(&c.key, "key", c.env("QUORATE_KEY"), "operator key `file` (environment: QUORATE_KEY)")
	f.StringVar(&c.verifier, "verifier", c.env("QUORATE_VERIFIER"),
		"`name` of the verifier to ask (environment: QUORATE_VERIFIER; default: the only one, or your member's)")
	c.timeout = defaultTimeout
	f.Var(&c.timeout, "timeout", "give up on a verifier after this `duration`")
	root.AddCommand(
		c.nodeCommand(), c.policyCommand(), c.admissionCommand(), c.evidenceCommand(), c.appraiseCommand(),
		c.journalCommand(), c.eventlogCommand(), c.imaCommand(), c.trustCommand(), c.statusCommand(), c.explainCommand(), c.versionCommand(),
		c.docsCommand(),
	)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// helpTemplate is cobra's, and then what the command prints with --json.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}{{with index .Annotations "json"}}
With --json:
{{.}}
{{end}}`

// group runs a command that only has subcommands: it shows its help, or says
// that there is no such subcommand.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return usagef("see: "+cmd.CommandPath()+" --help", "%s has no command %q", cmd.CommandPath(), args[0])
}
