package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/cmd/internal/program"
	"github.com/quorate/quorate/simulator/attack"
)

// attackOptions are the flags of attack.
type attackOptions struct {
	consortium, verifier, node, token, vendor string
	json                                      bool
}

const attackLong = `Attack tries, against a verifier of your own, every attack that this program knows:
broken frames and encodings, guessed tokens, false TPM certificates and keys, replayed
and relayed quotes, malformed structures signed by a genuine key, altered boot logs and
IMA lists. It says what refused each, and whether that is what has to refuse it.

The verifier has to be named, so that it is never the wrong one by default. Its
addresses and its key come from the consortium file.

  without --token   only what a stranger can try: TLS, HTTP/2, encodings, guessed tokens
  with --token      also a TPM of a vendor that nobody trusts
  with --vendor     everything: the simulated host enrols, is admitted, and lies

Only a test consortium can trust the vendor. Make one beside the real one, with the
same programs, limits and policies, before its verifier's first start:

  quorate-sim attack vendor attack-vendor
  quorate trust import attack-vendor/vendor.pem --class virtual --test --into trust

To see boots refused that are well-formed and not listed, the policy has to admit the
simulated host: after a first run, quorate policy learn its node and approve that.

Nothing is flooded: all of it takes a few minutes and ends. The verifier stays as it
was, but for what a refused host leaves: a suspended node, which you retire, and
journal entries with its evidence. A verifier of the default limits takes one run an
hour from one address; limits.enrollPerHour says how many.

Exit codes: 0 everything that was tried was refused as it has to be; 1 something was
accepted, or a genuine host was not served any more; 2 wrong usage; 3 could not tell:
no answer, or a refusal that shows nothing about what was tried.`

const attackExample = `  quorate-sim attack --consortium consortium.yaml --verifier org-a.verifier.example-net
  quorate-sim attack --consortium consortium.yaml --verifier org-a.verifier.example-net \
      --node org-a/attacker --token join-… --vendor attack-vendor`

func attackCommand() *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:     "attack",
		Short:   "Try the hostile set against a verifier of your own",
		Long:    attackLong,
		Example: attackExample,
		Args:    program.Exactly(0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.consortium, "consortium", os.Getenv("QUORATE_CONSORTIUM"), "consortium `file` (environment: QUORATE_CONSORTIUM)")
	f.StringVar(&o.verifier, "verifier", "", "`name` of the verifier to attack, as the consortium file has it")
	f.StringVar(&o.token, "token", "", "join `token` of `quorate node invite`")
	f.StringVar(&o.node, "node", "", "node `id` that the token is for")
	f.StringVar(&o.vendor, "vendor", "", "`folder` of a vendor that this verifier trusts; see: quorate-sim attack vendor --help")
	f.BoolVar(&o.json, "json", false, "print JSON: verifier, result, tried, counts, missing, rows")
	cmd.AddCommand(vendorCommand())
	return cmd
}

func vendorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "vendor FOLDER",
		Short: "Make a TPM vendor for a test consortium",
		Long: `Vendor makes a folder with the secret of a made-up TPM vendor and its root
certificate. Whoever has the secret makes TPMs that are none: only a test consortium
may trust the root.`,
		Example: "  quorate-sim attack vendor attack-vendor\n  quorate trust import attack-vendor/vendor.pem --class virtual --test --into trust",
		Args:    program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := attack.NewVendor(args[0], time.Now()); err != nil {
				return program.Failure{Err: err, Code: program.Unknown, Hint: "give a folder that does not exist yet"}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "made %s\nnext: quorate trust import %s --class virtual --test --into FOLDER\n",
				args[0], filepath.Join(args[0], attack.RootName))
			return err
		},
	}
}

// options reads the files that the flags name.
func (o attackOptions) options() (attack.Options, error) {
	c, v, err := o.target()
	if err != nil {
		return attack.Options{}, err
	}
	a := attack.Options{Consortium: c, Verifier: v, Node: o.node, Token: o.token}
	switch {
	case (o.token == "") != (o.node == ""):
		return a, program.Wrongf("the token is for one node: quorate node invite NODE", "--token and --node go together")
	case o.vendor != "" && o.token == "":
		return a, program.Wrongf("quorate node invite NODE prints a token", "--vendor needs --token and --node")
	case o.node != "" && !admission.ValidNodeID(o.node):
		return a, program.Wrongf("a node id is member/name, for example "+v.Member+"/attacker", "%q is not a node id", o.node)
	case o.vendor != "":
		if a.Vendor, err = attack.ReadVendor(o.vendor); err != nil {
			return a, program.Failure{Err: err, Code: program.Unknown, Hint: "quorate-sim attack vendor FOLDER makes one"}
		}
	}
	return a, nil
}

func (o attackOptions) target() (c *admission.Consortium, v admission.Verifier, err error) {
	if o.consortium == "" {
		return nil, v, program.Wrongf("give --consortium FILE or set QUORATE_CONSORTIUM", "no consortium file")
	}
	raw, err := os.ReadFile(o.consortium)
	if err != nil {
		return nil, v, program.Failure{Err: err, Code: program.Unknown, Hint: "--consortium or QUORATE_CONSORTIUM says where the consortium file is"}
	}
	if c, err = admission.ParseConsortium(raw); err != nil {
		return nil, v, program.Wrongf("get the current consortium file from another member", "%s: %v", o.consortium, err)
	}
	v, ok := c.Verifier(o.verifier)
	if !ok {
		var names []string
		for _, each := range c.Verifiers {
			names = append(names, each.Name)
		}
		return nil, v, program.Wrongf("name the one that you want to attack: "+strings.Join(names, ", "), "the consortium file has no verifier %q", o.verifier)
	}
	return c, v, nil
}

func (o attackOptions) run(cmd *cobra.Command) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	out, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if o.token == "" {
		fmt.Fprintln(errs, "NO TOKEN: only what a stranger can try is tried; nothing is shown about TPMs, quotes, boot logs or IMA lists")
	}
	var clear func()
	options.Progress, clear = progressLine(errs)
	report, err := attack.Run(cmd.Context(), options)
	clear()
	if errors.Is(err, attack.ErrUnreachable) {
		return program.Failure{Err: err, Code: program.Unknown, Hint: "is the verifier running, and are its addresses in the consortium file reachable from here?"}
	}
	if report == nil {
		return err
	}
	return errors.Join(o.print(out, report), conclude(report, err))
}

// conclude makes the exit code of a report and the error that cut it short, if one
// did.
func conclude(report *attack.Report, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return program.Failure{Err: errors.New("stopped before everything was tried"), Code: program.Unknown}
	}
	switch report.Result() {
	case "refused":
		return err
	case "accepted":
		return program.Failure{Err: errors.New("something was accepted that has to be refused, or a genuine host is not served any more"), Code: program.Refused}
	}
	return program.Failure{Err: errors.New("not everything that was tried has an answer that shows something"), Code: program.Unknown}
}

// progressLine shows on a terminal what is being tried; the second function clears it.
func progressLine(w io.Writer) (show func(done, total int, now string), clear func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	return func(done, total int, now string) { fmt.Fprintf(w, "\r\x1b[K%d of %d  %.90s", done, total, now) },
		func() { fmt.Fprint(w, "\r\x1b[K") }
}

func (o attackOptions) print(out io.Writer, r *attack.Report) error {
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Result string `json:"result"`
			*attack.Report
		}{r.Result(), r})
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "outcome\tattempt\trefused by")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s: %s\t%s\n", row.Outcome, row.Group, row.Name, remark(row))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s: %d tried, %d refused by what has to, %d genuine ones served", r.Verifier, r.Tried, r.Counts[attack.Refused], r.Counts[attack.Passed])
	for _, bad := range []attack.Outcome{attack.Otherwise, attack.Unknown, attack.Failed, attack.Accepted} {
		if n := r.Counts[bad]; n > 0 {
			fmt.Fprintf(out, ", %d %s", n, bad)
		}
	}
	fmt.Fprintln(out)
	for _, m := range r.Missing {
		fmt.Fprintln(out, "not tried:", m)
	}
	return nil
}

// remark is what refused an attempt and, if that is not as it has to be, all that is
// known of it.
func remark(row attack.Row) string {
	if row.Outcome == attack.Refused || row.Outcome == attack.Passed {
		return row.By
	}
	return strings.Join(strings.Fields(fmt.Sprintf("%s (has to be: %s) %s", row.By, strings.Join(row.Expected, " or "), row.Detail)), " ")
}
