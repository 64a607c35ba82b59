package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
)

// commandView is a command as it stands in a file.
type commandView struct {
	File     string    `json:"file"`
	Action   string    `json:"action"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"notAfter"`
	Signed   []string  `json:"signed"` // operators whose signatures are under it
}

// commandFlags are what a new command is made of.
type commandFlags struct {
	consortium, key, out string
	life                 time.Duration
	number               uint64
}

func (c *cli) commandCommand() *cobra.Command {
	f := &commandFlags{}
	cmd := &cobra.Command{
		Use:   "command ACTION SUBJECT",
		Short: "Write and sign a command of the members' operators",
		Long: `command writes what operators decide about the gate into a file and signs it.
An administrator of another member signs the same file with ` + "`command sign`" + `; then
anyone submits it. The actions, their subjects, and who must sign:

  peer NODE=PEER             bind a peer id of the network to a node: its member
  release HOST               take a host out of use, so that its consensus key may
                             move to another host at once: its member
  retire-verifier NAME+HASH  end what a verifier's key signed, after the notice:
                             more than half of the members
  retire-policy DIGEST       the same for a policy: as many members as approve one
  extend LEDGER              break-glass: extend every member of the set once:
                             more than two thirds of the members`,
		Example: `  quorate-gate command --consortium consortium.yaml --key admin.key --out peer.command peer org-a/validator-1=1f2e...
  quorate-gate command --consortium consortium.yaml --key admin.key --out extend.command extend example-1
  quorate-gate command sign --consortium consortium.yaml --key other.key extend.command
  quorate-gate submit extend.command`,
		Args: program.Exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.writeCommand(f, args[0], args[1]) },
	}
	cmd.Flags().StringVar(&f.out, "out", "", "`file` to write")
	cmd.Flags().DurationVar(&f.life, "for", 24*time.Hour, "how `long` the command can be submitted, at most 7 days")
	cmd.Flags().Uint64Var(&f.number, "number", 0, "`number` of the command; a member's own commands must ascend (default: the time)")
	cmd.PersistentFlags().StringVar(&f.consortium, "consortium", "", "consortium `file`")
	cmd.PersistentFlags().StringVar(&f.key, "key", os.Getenv("QUORATE_KEY"), "operator's key `file`")
	cmd.AddCommand(c.commandSignCommand(f))
	return cmd
}

func (c *cli) commandSignCommand(f *commandFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "sign FILE",
		Short:   "Add a signature to a command that another operator wrote",
		Long:    "sign shows what the command says and adds your signature to the file.",
		Example: "  quorate-gate command sign --consortium consortium.yaml --key other.key extend.command",
		Args:    program.Exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return c.signCommand(f, args[0]) },
	}
}

// load reads the consortium file and the key.
func (f *commandFlags) load() (*admission.Consortium, *operator.Key, error) {
	if f.consortium == "" || f.key == "" {
		return nil, nil, program.Wrongf("more: quorate-gate command --help", "--consortium and --key are needed")
	}
	raw, err := os.ReadFile(f.consortium)
	if err != nil {
		return nil, nil, program.Untold(err, "")
	}
	consortium, err := admission.ParseConsortium(raw)
	if err != nil {
		return nil, nil, program.Wrongf("", "%s: %v", f.consortium, err)
	}
	key, err := operator.ReadKey(f.key)
	if err != nil {
		return nil, nil, program.Wrongf("quorate key makes one", "%v", err)
	}
	return consortium, key, nil
}

func (c *cli) writeCommand(f *commandFlags, action, subject string) error {
	consortium, key, err := f.load()
	if err != nil {
		return err
	}
	if f.out == "" {
		return program.Wrongf("for example: --out extend.command", "no --out file")
	}
	if f.number == 0 {
		f.number = uint64(time.Now().Unix())
	}
	text, err := power.Command{
		Consortium: consortium.Name, Ledger: consortium.Ledger, Action: action, Subject: subject,
		NotAfter: time.Now().Add(f.life).UTC().Truncate(time.Second), Number: f.number,
	}.Marshal()
	if err != nil {
		return program.Wrongf("quorate-gate command --help lists the actions and their subjects", "%s %s: %v", action, subject, err)
	}
	if _, err := os.Stat(f.out); !errors.Is(err, fs.ErrNotExist) {
		return program.Wrongf("give another --out", "%s is there already", f.out)
	}
	return c.saveSigned(f.out, &note.Note{Text: string(text)}, key)
}

func (c *cli) signCommand(f *commandFlags, path string) error {
	consortium, key, err := f.load()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return program.Untold(err, "")
	}
	n, err := note.Open(raw, operators(consortium))
	if err != nil {
		return program.Failure{Err: fmt.Errorf("%s: %w", path, err), Code: program.Refused, Hint: "the file must hold a command that an operator of this consortium signed"}
	}
	return c.saveSigned(path, n, key)
}

// operators are the keys of everyone who may sign commands.
func operators(c *admission.Consortium) note.Verifiers {
	var keys []note.Verifier
	for _, m := range c.Members {
		for _, o := range m.Operators {
			if key, err := note.NewVerifier(o.Key); err == nil {
				keys = append(keys, key)
			}
		}
	}
	return note.VerifierList(keys...)
}

// saveSigned writes the note with one more signature, and shows it.
func (c *cli) saveSigned(path string, n *note.Note, key *operator.Key) error {
	cmd, err := power.ParseCommand([]byte(n.Text))
	if err != nil {
		return err
	}
	signed, err := note.Sign(n, key)
	if err != nil {
		return program.Untold(err, "")
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, signed, 0o644); err != nil {
		return program.Untold(err, "")
	}
	if err := os.Rename(temporary, path); err != nil {
		return program.Untold(err, "")
	}
	view := commandView{File: path, Action: cmd.Action, Subject: cmd.Subject, NotAfter: cmd.NotAfter, Signed: []string{key.Name()}}
	for _, s := range n.Sigs {
		if s.Name != key.Name() {
			view.Signed = append(view.Signed, s.Name)
		}
	}
	if c.json {
		program.PrintJSON(c.out, view)
		return nil
	}
	fmt.Fprintf(c.out, "%s %s, until %s\nsigned by %s\nwritten to %s\n", view.Action, view.Subject, view.NotAfter.Format(time.RFC3339), strings.Join(view.Signed, ", "), path)
	return nil
}
