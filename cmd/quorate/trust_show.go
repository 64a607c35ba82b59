package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/trust"
)

// rootDetail is what `trust show` prints.
type rootDetail struct {
	rootView
	Serial    string           `json:"serial" doc:"hex"`
	Signature string           `json:"signature" doc:"algorithm of its signature"`
	KeyUsage  []string         `json:"keyUsage"`
	MaxPath   string           `json:"maxPath" doc:"CA certificates allowed below it: a number, any, or none for a certificate that is no CA"`
	KeyID     string           `json:"subjectKeyId,omitempty" doc:"hex"`
	SPKI      admission.Digest `json:"spki" doc:"SHA-256 of its SubjectPublicKeyInfo"`
	Problems  []string         `json:"problems" doc:"why it is no vendor's root"`
	TestName  string           `json:"testName,omitempty" doc:"the word in its names that tells a software TPM or a test"`
}

func (c *cli) trustShow() *cobra.Command {
	var in string
	cmd := &cobra.Command{
		Use:   "show FILE|DIGEST",
		Short: "Show one root, and whether it may be one",
		Long: `Show reads a certificate, from a file or by its SHA-256 from a bundle, and prints
what to compare with the vendor's own word, and what keeps it from being a root.

Exit code 0: it may be a vendor's root. 1: it is none, or not one certificate.`,
		Example: "  quorate trust show infineon.crt\n  quorate trust show sha256:… --in trust",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, err := findRoot(args[0], in)
			if err != nil {
				return err
			}
			v := detailOf(root, time.Now())
			if err := c.show(v, func() { c.printDetail(v) }); err != nil {
				return err
			}
			if len(v.Problems) > 0 {
				return answered{exitRefused}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&in, "in", "", "`folder` of the bundle that has the digest")
	return shaped(cmd, rootDetail{})
}

// findRoot reads a root from its file, or from a bundle by its digest.
func findRoot(which, in string) (trust.Root, error) {
	if !strings.HasPrefix(which, "sha256:") {
		cert, err := readCertificate(which)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return trust.Root{}, unknown(err, "")
		}
		if err != nil {
			return trust.Root{}, refused(err, "a file holds one certificate, DER or PEM")
		}
		return trust.Root{File: which, Parsed: cert}, nil
	}
	digest, err := admission.ParseDigest(which)
	if err != nil {
		return trust.Root{}, usage(err, "quorate trust list FOLDER prints the digests")
	}
	if in == "" {
		return trust.Root{}, usagef("for example: --in trust", "a digest needs the bundle's folder")
	}
	bundle, err := readBundle(in)
	if err != nil {
		return trust.Root{}, err
	}
	for _, r := range bundle.Roots {
		if trust.Fingerprint(r.Parsed) == digest {
			r.File = filepath.Join(in, r.File)
			return r, nil
		}
	}
	return trust.Root{}, refused(fmt.Errorf("%s has no root %v", in, digest), "quorate trust list "+in)
}

func detailOf(r trust.Root, now time.Time) rootDetail {
	cert := r.Parsed
	return rootDetail{
		rootView: rootOf(r, now), Serial: cert.SerialNumber.Text(16), Signature: cert.SignatureAlgorithm.String(),
		KeyUsage: keyUsages(cert.KeyUsage), MaxPath: maxPath(cert), KeyID: hex.EncodeToString(cert.SubjectKeyId),
		SPKI: sha256.Sum256(cert.RawSubjectPublicKeyInfo), Problems: append([]string{}, trust.Problems(cert, now)...),
		TestName: trust.TestName(cert),
	}
}

func maxPath(cert *x509.Certificate) string {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return "none"
	case cert.MaxPathLen > 0 || cert.MaxPathLenZero:
		return strconv.Itoa(cert.MaxPathLen)
	}
	return "any"
}

// usageNames are the names of RFC 5280, by bit.
var usageNames = []string{
	"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement",
	"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

func keyUsages(usage x509.KeyUsage) []string {
	list := []string{}
	for i, name := range usageNames {
		if usage&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}

func (c *cli) printDetail(v rootDetail) {
	c.printRoot(v.rootView)
	l := labels{c, "  ", 9}
	l.row("from", stamp(&v.From))
	l.row("serial", v.Serial)
	l.row("signature", v.Signature+", by "+v.Signed)
	l.row("key usage", strings.Join(v.KeyUsage, ", "))
	l.row("CAs below", v.MaxPath)
	l.row("key id", v.KeyID)
	l.row("spki", v.SPKI.String())
	if v.TestName != "" {
		l.paint("note", yellow, fmt.Sprintf("named like a software TPM's or a test's root (%q)", v.TestName))
	}
	for _, problem := range v.Problems {
		l.paint("no root", red, problem)
	}
}
