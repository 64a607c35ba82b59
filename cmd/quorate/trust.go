package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/trust"
)

const trustLong = `A trust bundle is a folder of certificates: the roots of the TPM vendors whose
TPMs the consortium believes, in one folder per TPM class. The consortium file
pins the bundle's digest, so that every verifier believes the same vendors.

Get the certificates from the vendor, compare each SHA-256 with what the vendor
publishes elsewhere, and import them before the verifier's first start: its journal
begins with the consortium file, and it does not start with another one. Nothing
here uses the network.`

func (c *cli) trustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "trust", Short: "Import and look at the roots of TPM vendors", Long: trustLong,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.trustImport(), c.trustList(), c.trustShow())
	return cmd
}

// rootView is one root in short.
type rootView struct {
	Class    string           `json:"class,omitempty" doc:"discrete, firmware or virtual; absent for a file outside a bundle"`
	Test     bool             `json:"test" doc:"counts only for a consortium with test: true"`
	File     string           `json:"file"`
	Name     string           `json:"name" doc:"common name, or organisation"`
	Subject  string           `json:"subject"`
	Issuer   string           `json:"issuer"`
	Signed   string           `json:"signedBy" doc:"whose signature it bears, in words"`
	Key      string           `json:"key"`
	From     time.Time        `json:"notBefore"`
	Until    time.Time        `json:"notAfter"`
	SHA256   admission.Digest `json:"sha256" doc:"of the certificate's DER"`
	Warnings []string         `json:"warnings"`
}

func rootOf(r trust.Root, now time.Time) rootView {
	cert := r.Parsed
	return rootView{
		Class: string(r.Class), Test: r.Test, File: r.File, Name: trust.Name(cert),
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Signed: string(trust.SelfSigned(cert)),
		Key: trust.Key(cert), From: cert.NotBefore.UTC(), Until: cert.NotAfter.UTC(),
		SHA256: trust.Fingerprint(cert), Warnings: append([]string{}, trust.Warnings(cert, now)...),
	}
}

// pinView is how a bundle and a consortium file agree.
type pinView struct {
	Digest admission.Digest  `json:"digest" doc:"of the bundle"`
	Line   string            `json:"line" doc:"for the consortium file, under endorsement"`
	Pins   *admission.Digest `json:"pins,omitempty" doc:"what the consortium file pins; absent without --consortium"`
	Pinned *bool             `json:"pinned,omitempty" doc:"it pins this bundle"`
	Notes  []string          `json:"notes" doc:"why roots of this bundle would not count there"`
}

// pin compares a bundle with the consortium file, if one was given.
func (c *cli) pin(bundle *trust.Bundle) (pinView, error) {
	digest := admission.Digest(bundle.Digest())
	v := pinView{Digest: digest, Line: "roots: " + digest.String(), Notes: []string{}}
	if c.consortium == "" {
		return v, nil
	}
	consortium, err := c.readConsortium()
	if err != nil {
		return v, err
	}
	pins := consortium.Endorsement.Roots
	pinned := pins == digest
	v.Pins, v.Pinned = &pins, &pinned
	v.Notes = append(v.Notes, uncounted(consortium, bundle)...)
	return v, nil
}

// uncounted says which folders of the bundle a consortium has no use for.
func uncounted(consortium *admission.Consortium, bundle *trust.Bundle) []string {
	var notes []string
	seen := map[string]bool{}
	for _, r := range bundle.Roots {
		folder := trust.Folder(r.Class, r.Test)
		if seen[folder] {
			continue
		}
		seen[folder] = true
		if r.Test && !consortium.Test {
			notes = append(notes, folder+": the consortium is no test (test: true), TPMs below these roots are refused")
		}
		if _, ok := consortium.Endorsement.Templates[string(r.Class)]; !ok {
			notes = append(notes, folder+": endorsement.templates has no "+string(r.Class)+", TPMs below these roots are refused")
		}
	}
	return notes
}

func (c *cli) printPin(v pinView) {
	c.say("Bundle %v", v.Digest)
	for _, note := range v.Notes {
		c.say("Note: %s", note)
	}
	switch {
	case v.Pinned != nil && *v.Pinned:
		c.say("%s pins this bundle.", c.consortium)
		return
	case v.Pinned != nil:
		c.say("%s pins another one: %v", c.consortium, *v.Pins)
	}
	c.say("To make it count, every member puts this line into the consortium file:\n\nendorsement:\n  %s", v.Line)
}

// trustView is what `trust list` prints.
type trustView struct {
	Folder  string     `json:"folder"`
	Roots   []rootView `json:"roots"`
	Ignored []string   `json:"ignored" doc:"files that do not count, for their names do not end in .pem"`
	pinView
}

func (c *cli) trustList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list FOLDER",
		Short: "List the roots of a bundle, what is doubtful about them, and its digest",
		Long: `List reads a trust bundle as the verifier does and prints each root, what a person
should look at, and the bundle's digest.

Exit code 0: a verifier loads it, and the consortium file, if one is given, pins
it. 1: it does not.`,
		Example: "  quorate trust list trust\n  quorate trust list trust --consortium consortium.yaml --json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bundle, err := readBundle(args[0])
			if err != nil {
				return err
			}
			v := trustView{Folder: args[0], Roots: []rootView{}, Ignored: append([]string{}, bundle.Ignored...)}
			for _, r := range bundle.Roots {
				v.Roots = append(v.Roots, rootOf(r, time.Now()))
			}
			if v.pinView, err = c.pin(bundle); err != nil {
				return err
			}
			if err := c.show(v, func() { c.printTrust(v) }); err != nil {
				return err
			}
			if v.Pinned != nil && !*v.Pinned {
				return answered{exitRefused}
			}
			return nil
		},
	}
	return shaped(cmd, trustView{})
}

// readBundle reads a bundle that a verifier would load.
func readBundle(dir string) (*trust.Bundle, error) {
	const hint = "a bundle has folders discrete, firmware and virtual, or test- and one of these, with one PEM certificate per file"
	bundle, err := trust.ReadFS(os.DirFS(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, unknown(fmt.Errorf("%s: %w", dir, err), "")
	case err != nil:
		return nil, refused(fmt.Errorf("%s: %w", dir, err), hint)
	}
	if err := bundle.Check(); err != nil {
		return nil, refused(fmt.Errorf("%s: a verifier would not load this bundle: %w", dir, err), hint)
	}
	return bundle, nil
}

func (c *cli) printTrust(v trustView) {
	if len(v.Roots) == 0 {
		c.say("%s holds no roots: no TPM can enrol.", v.Folder)
	}
	for _, r := range v.Roots {
		r.File = filepath.Join(v.Folder, r.File)
		c.printRoot(r)
		c.say("")
	}
	for _, name := range v.Ignored {
		c.say("Ignored: %s (does not end in .pem)", filepath.Join(v.Folder, name))
	}
	c.printPin(v.pinView)
}

func (c *cli) printRoot(r rootView) {
	fmt.Fprintln(c.out, c.paint(bold, r.Name))
	l := labels{c, "  ", 9}
	class := r.Class
	if r.Test {
		class += ", for tests only"
	}
	l.row("class", class)
	l.row("subject", r.Subject)
	issuer := r.Signed
	if r.Issuer != r.Subject {
		issuer = r.Issuer
	}
	l.row("issuer", issuer)
	l.row("key", r.Key)
	l.row("not after", stamp(&r.Until))
	l.row("sha256", r.SHA256.String())
	l.row("file", r.File)
	for _, warning := range r.Warnings {
		l.paint("warning", yellow, warning)
	}
}
