package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
)

func (c *cli) admissionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admission",
		Short: "Check admissions as a ledger does, and fetch rosters",
		Long: `An admission bundle is what a node shows to the ledger: the signed statements of
enough verifiers, each with the proof that it is in that verifier's public
journal. A roster is a verifier's current list of who is admitted and who is
barred. Both are checked with the consortium file alone.`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.admissionVerify(), c.admissionRoster())
	return cmd
}

// bundleView is what `admission verify` prints.
type bundleView struct {
	Admitted     bool               `json:"admitted"`
	Node         string             `json:"node,omitempty"`
	Role         string             `json:"role,omitempty"`
	Host         string             `json:"host,omitempty" doc:"host id: which TPM it is"`
	NodeKey      *admission.Digest  `json:"nodeKey,omitempty"`
	ConsensusKey string             `json:"consensusKey,omitempty"`
	Test         bool               `json:"test" doc:"of a test network"`
	NotBefore    *time.Time         `json:"notBefore,omitempty"`
	NotAfter     *time.Time         `json:"notAfter,omitempty"`
	KeyProven    bool               `json:"keyGiven" doc:"--node-key or --consensus-key was given and matches"`
	Verifiers    []string           `json:"verifiers" doc:"who admitted it"`
	Rosters      []rosterHead       `json:"rosters" doc:"rosters that list it"`
	Refusal      *admission.Refusal `json:"refusal,omitempty" doc:"why not"`
}

// rosterHead names a roster.
type rosterHead struct {
	Verifier string    `json:"verifier"`
	Number   uint64    `json:"number"`
	Issued   time.Time `json:"issued"`
}

// verifyOptions are the flags of `admission verify`.
type verifyOptions struct {
	want    admission.Want
	nodeKey string
	rosters []string
	maxAge  time.Duration
	at      instant
}

const verifyLong = `Verify checks a bundle exactly as a ledger does, offline: signatures of enough
verifiers, journal proofs, witnesses, validity, role, ledger and keys. With a
roster it also checks that the admission still stands; a suspension is named.

A bundle is not a bearer token. A ledger checks it against the key that the other
party has proven to hold: give that key with --node-key or --consensus-key.
Without one, the bundle's own claim is used, which shows only that the bundle is
genuine, and the output says so.

Exit code 0: admitted. 1: refused, with the check and its remedy.`

func (c *cli) admissionVerify() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify BUNDLE",
		Short: "Check an admission bundle offline, as a ledger does",
		Long:  verifyLong,
		Example: `  quorate admission verify admission.bundle --consortium consortium.yaml
  quorate admission roster --out roster && quorate admission verify admission.bundle --roster roster`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.verifyBundle(o, args[0])
			if err != nil {
				return err
			}
			if err := c.show(v, func() { c.printBundle(v) }); err != nil {
				return err
			}
			if !v.Admitted {
				return answered{exitRefused}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.rosters, "roster", nil, "signed roster `file`; repeat it for several verifiers")
	f.DurationVar(&o.maxAge, "roster-age", 5*time.Minute, "oldest roster that counts")
	f.StringVar(&o.want.Role, "role", "validator", "the `role` it must be for")
	f.StringVar(&o.want.Node, "node", "", "the `node` it must be for")
	f.StringVar(&o.nodeKey, "node-key", "", "`digest` of the node key that the other party holds, sha256:…")
	f.StringVar(&o.want.ConsensusKey, "consensus-key", "", "consensus `key` that the other party holds, ed25519:…")
	f.Var(&o.at, "time", "check as of this `time` (RFC 3339) instead of now")
	return shaped(cmd, bundleView{})
}

// verifyBundle checks the bundle and, for each roster, that it still stands. A
// refusal is an answer, not an error.
func (c *cli) verifyBundle(o verifyOptions, path string) (bundleView, error) {
	v := bundleView{Verifiers: []string{}, Rosters: []rosterHead{}}
	consortium, err := c.readConsortium()
	if err != nil {
		return v, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return v, unknown(err, "the agent keeps its bundle in its state directory: admission.bundle")
	}
	if err := o.identify(raw, &v); err != nil {
		return v, v.refuse(err)
	}
	a, err := consortium.VerifyBundle(raw, o.want, o.at.now())
	if err != nil {
		return v, v.refuse(err)
	}
	v.fill(a)
	for _, file := range o.rosters {
		r, err := readRoster(consortium, file, o.maxAge, o.at.now())
		if err == nil {
			err = admission.CheckAgainstRoster(a, r)
		}
		if err != nil {
			return v, v.refuse(err)
		}
		v.Rosters = append(v.Rosters, rosterHead{r.Verifier(), r.Number(), r.Issued()})
	}
	v.Admitted = true
	return v, nil
}

// identify takes the wanted keys from the flags, or the node key that the bundle
// claims.
func (o *verifyOptions) identify(raw []byte, v *bundleView) error {
	if o.nodeKey != "" {
		var err error
		if o.want.NodeKey, err = admission.ParseDigest(o.nodeKey); err != nil {
			return usage(fmt.Errorf("--node-key: %w", err), "quorate node show NODE prints a node's key")
		}
	}
	v.KeyProven = o.nodeKey != "" || o.want.ConsensusKey != ""
	if v.KeyProven {
		return nil
	}
	bundle, err := admission.ParseBundle(raw)
	if err != nil {
		return err
	}
	claimed, err := bundle.Items[0].UntrustedStatement()
	if err != nil {
		return err
	}
	o.want.NodeKey = claimed.NodeKey
	return nil
}

// refuse makes a refusal the answer; other errors stay errors.
func (v *bundleView) refuse(err error) error {
	if !errors.As(err, &v.Refusal) {
		return err
	}
	return nil
}

func (v *bundleView) fill(a *admission.Admission) {
	key, from, to := a.NodeKey(), a.NotBefore(), a.NotAfter()
	v.Node, v.Role, v.Host, v.NodeKey, v.ConsensusKey = a.Node(), a.Role(), a.Host(), &key, a.ConsensusKey()
	v.Test, v.NotBefore, v.NotAfter = a.Test(), &from, &to
	for _, s := range a.Statements() {
		v.Verifiers = append(v.Verifiers, s.Verifier)
	}
}

// readRoster reads and verifies a roster of the verifier that it names itself.
func readRoster(consortium *admission.Consortium, path string, maxAge time.Duration, now time.Time) (*admission.VerifiedRoster, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, unknown(err, "quorate admission roster --out FILE fetches one")
	}
	return verifyRoster(consortium, raw, claimedVerifier(raw), maxAge, now)
}

func verifyRoster(consortium *admission.Consortium, raw []byte, name string, maxAge time.Duration, now time.Time) (*admission.VerifiedRoster, error) {
	if maxAge <= 0 {
		return nil, usagef("for example --roster-age 5m", "--roster-age must be positive")
	}
	return consortium.VerifyRoster(raw, admission.RosterWant{Verifier: name, MaxAge: maxAge}, now)
}

// claimedVerifier is the verifier that a roster says it is of, or "".
func claimedVerifier(raw []byte) string {
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(raw, note.VerifierList()); !errors.As(err, &unverified) {
		return ""
	}
	r, err := admission.ParseRoster([]byte(unverified.Note.Text))
	if err != nil {
		return ""
	}
	return r.Verifier
}

func (c *cli) printBundle(v bundleView) {
	if v.Admitted {
		fmt.Fprintf(c.out, "%s: %s may act as %s until %s\n", c.paint(green, "ADMITTED"), c.paint(bold, v.Node), v.Role, stamp(v.NotAfter))
	} else {
		fmt.Fprintf(c.out, "%s%s\n", c.paint(red, "REFUSED"), printable(suffix(": ", v.Node)))
	}
	l := labels{c, "  ", 13}
	if r := v.Refusal; r != nil {
		c.printRefusal(r)
		return
	}
	l.row("host id", v.Host)
	l.row("node key", v.NodeKey.String())
	l.row("consensus key", v.ConsensusKey)
	for _, name := range v.Verifiers {
		l.row("admitted by", name+", signed and in its journal")
	}
	for _, r := range v.Rosters {
		l.row("roster", fmt.Sprintf("number %d of %s lists it", r.Number, r.Verifier))
	}
	if len(v.Rosters) == 0 {
		l.paint("note", yellow, "no --roster given: whether it was suspended since is not checked")
	}
	if !v.KeyProven {
		l.paint("note", yellow, "no --node-key or --consensus-key given: who showed it is not checked")
	}
	if v.Test {
		l.paint("note", yellow, "of a test network")
	}
}

func (c *cli) printRefusal(r *admission.Refusal) {
	known, _ := admission.Lookup(r.Check)
	l := labels{c, "  ", 6}
	if r.Message != "" {
		l.paint("why", red, r.Message)
	} else {
		l.paint("why", red, known.Title)
	}
	l.row("check", string(r.Check))
	l.row("where", r.Where)
	l.row("got", r.Got)
	l.row("want", r.Want)
	l.row("remedy", r.Remedy)
}

// suffix is text behind a separator, or nothing.
func suffix(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

// rosterView is what `admission roster` prints.
type rosterView struct {
	Verifier string       `json:"verifier"`
	Number   uint64       `json:"number"`
	Issued   time.Time    `json:"issued"`
	Test     bool         `json:"test"`
	Admitted []listedView `json:"admitted"`
	Barred   []barredView `json:"barred"`
	File     string       `json:"file,omitempty" doc:"where --out wrote the signed roster"`
}

// listedView is a node whose admission stands.
type listedView struct {
	Node         string           `json:"node"`
	Role         string           `json:"role"`
	Serial       uint64           `json:"serial"`
	NotAfter     time.Time        `json:"notAfter"`
	Host         string           `json:"host"`
	NodeKey      admission.Digest `json:"nodeKey"`
	ConsensusKey string           `json:"consensusKey,omitempty"`
}

// barredView is a node whose admissions no longer count.
type barredView struct {
	Node   string    `json:"node"`
	State  string    `json:"state" doc:"late, suspended, retired or quarantined"`
	Since  time.Time `json:"since"`
	Check  string    `json:"check"`
	Reason string    `json:"reason"`
}

func (c *cli) admissionRoster() *cobra.Command {
	var out string
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use:   "roster [FILE]",
		Short: "Fetch the current roster and verify it, or verify a stored one",
		Long: `Roster fetches the verifier's current roster and verifies its signature and age.
With --out it keeps the signed bytes, for admission verify --roster and for gates.
With a FILE it verifies and shows that one, offline.`,
		Example: "  quorate admission roster\n  quorate admission roster --out roster",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, raw, err := c.roster(cmd, args, maxAge)
			if err != nil {
				return err
			}
			if out != "" {
				if err := os.WriteFile(out, raw, 0o644); err != nil {
					return unknown(err, "")
				}
			}
			v := rosterOf(r)
			v.File = out
			return c.show(v, func() { c.printRoster(v) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "also write the signed roster to this `file`")
	cmd.Flags().DurationVar(&maxAge, "roster-age", 5*time.Minute, "oldest roster that counts")
	return shaped(cmd, rosterView{})
}

func (c *cli) roster(cmd *cobra.Command, args []string, maxAge time.Duration) (r *admission.VerifiedRoster, raw []byte, err error) {
	if len(args) == 1 {
		consortium, err := c.readConsortium()
		if err != nil {
			return nil, nil, err
		}
		r, err = readRoster(consortium, args[0], maxAge, time.Now())
		if err == nil {
			raw, err = os.ReadFile(args[0])
		}
		return r, raw, err
	}
	err = c.online(cmd, "asking", func(ctx context.Context, s *session) error {
		got, err := s.admissions.GetRoster(ctx, &pb.GetRosterRequest{})
		if err != nil {
			return err
		}
		raw = got.GetRoster()
		r, err = verifyRoster(s.consortium, raw, s.verifier.Name, maxAge, time.Now())
		return err
	})
	return r, raw, err
}

func rosterOf(verified *admission.VerifiedRoster) rosterView {
	r := verified.Roster()
	v := rosterView{Verifier: r.Verifier, Number: r.Number, Issued: r.Issued, Test: r.Test, Admitted: []listedView{}, Barred: []barredView{}}
	for _, n := range r.Admitted {
		v.Admitted = append(v.Admitted, listedView{n.Node, n.Role, n.Serial, n.NotAfter, n.Host, n.NodeKey, n.ConsensusKey})
	}
	for _, n := range r.Barred {
		v.Barred = append(v.Barred, barredView{n.Node, string(n.State), n.Since, n.Check, n.Reason})
	}
	return v
}

func (c *cli) printRoster(v rosterView) {
	c.say("Roster %d of %s, issued %s: %d admitted, %d barred.", v.Number, v.Verifier, stamp(&v.Issued), len(v.Admitted), len(v.Barred))
	if len(v.Admitted)+len(v.Barred) == 0 {
		return
	}
	var t table
	t.head("NODE", "STANDING", "UNTIL / SINCE", "WHY")
	for _, n := range v.Admitted {
		t.add(cell{n.Node, bold}, cell{"admitted", green}, cell{stamp(&n.NotAfter), plain}, cell{"", plain})
	}
	for _, n := range v.Barred {
		t.add(cell{n.Node, bold}, cell{n.State, stateStyle(n.State)}, cell{stamp(&n.Since), plain}, cell{n.Check + ": " + n.Reason, plain})
	}
	t.print(c)
}
