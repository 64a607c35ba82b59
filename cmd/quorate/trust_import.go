package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/verifier/enroll"
	"github.com/quorate/quorate/verifier/trust"
)

// importOptions are the flags of `trust import`.
type importOptions struct {
	class string
	test  bool
	into  string
}

// importView is what `trust import` prints.
type importView struct {
	Into     string     `json:"into"`
	Imported []rootView `json:"imported"`
	Skipped  []string   `json:"skipped" doc:"in folders: what is not named like a certificate"`
	pinView
}

func (c *cli) trustImport() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import FILE|DIR... --class CLASS --into FOLDER",
		Short: "Check vendors' root certificates and put them into a bundle",
		Long: `Import copies vendors' root certificates, DER or PEM, one per file, into a trust
bundle. Of a folder it takes the files ending in .pem, .crt, .cer or .der.

Each must be a CA that may issue certificates, valid now, with a strong key, and
not be in the bundle already. What is named like a software TPM or a test is
refused without --test; with it, roots count only for a consortium with
test: true. If one certificate is refused, none is imported.

It prints the bundle's new digest and the line for the consortium file.`,
		Example: `  quorate trust import infineon.crt st.pem --class discrete --into trust
  quorate trust import vendor-roots/ --class firmware --into trust --consortium consortium.yaml`,
		Args: between(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := c.importRoots(o, args, time.Now())
			if err != nil {
				return err
			}
			return c.show(v, func() { c.printImport(v) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.class, "class", "", "`class` of the TPMs below these roots: discrete, firmware or virtual")
	f.BoolVar(&o.test, "test", false, "roots of software TPMs, for test consortiums only")
	f.StringVar(&o.into, "into", "", "`folder` of the bundle; made if it is not there")
	return shaped(cmd, importView{})
}

// importRoots checks every certificate before it writes one.
func (c *cli) importRoots(o importOptions, args []string, now time.Time) (importView, error) {
	v := importView{Into: o.into, Imported: []rootView{}, Skipped: []string{}}
	if err := o.check(); err != nil {
		return v, err
	}
	files, skipped, err := certificateFiles(args)
	if err != nil {
		return v, err
	}
	v.Skipped = append(v.Skipped, skipped...)
	bundle := &trust.Bundle{}
	if _, err := os.Lstat(o.into); !errors.Is(err, fs.ErrNotExist) {
		if bundle, err = readBundle(o.into); err != nil {
			return v, err
		}
	}
	added, err := o.judge(bundle, files, now)
	if err != nil {
		return v, err
	}
	if v.pinView, err = c.pin(bundle); err != nil {
		return v, err
	}
	for _, r := range added {
		v.Imported = append(v.Imported, rootOf(r, now))
	}
	return v, install(o.into, added, bundle)
}

func (o importOptions) check() error {
	if !slices.Contains(trust.Classes(), enroll.Class(o.class)) {
		return usagef("--class discrete (a chip of its own), firmware (in the CPU or chipset) or virtual (a hypervisor's)", "%q is no TPM class", o.class)
	}
	if o.into == "" {
		return usagef("for example: --into trust", "no --into folder")
	}
	return nil
}

// certificateFiles lists the files to import. An argument that is a file is
// taken whatever it is called.
func certificateFiles(args []string) (files, skipped []string, err error) {
	for _, arg := range args {
		if !isDir(arg) {
			files = append(files, arg)
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, nil, unknown(err, "")
		}
		for _, e := range entries {
			path := filepath.Join(arg, e.Name())
			ending := strings.ToLower(filepath.Ext(path))
			if isDir(path) || !slices.Contains([]string{".pem", ".crt", ".cer", ".der"}, ending) {
				skipped = append(skipped, path)
				continue
			}
			files = append(files, path)
		}
	}
	if len(files) == 0 {
		return nil, nil, usagef("files ending in .pem, .crt, .cer or .der are taken; name others one by one", "no certificate in %s", strings.Join(args, ", "))
	}
	return files, skipped, nil
}

// judge adds the certificates of the files to the bundle, in memory. It refuses
// all of them if it refuses one, and says everything that is wrong with each.
func (o importOptions) judge(bundle *trust.Bundle, files []string, now time.Time) ([]trust.Root, error) {
	var added []trust.Root
	var problems []string
	from := map[[32]byte]string{}
	for _, path := range files {
		cert, err := readCertificate(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil, unknown(err, "nothing was imported")
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		for _, problem := range o.problems(cert, now) {
			problems = append(problems, path+": "+problem)
		}
		if first, twice := from[trust.Fingerprint(cert)]; twice {
			problems = append(problems, path+": the same certificate as "+first)
			continue
		}
		from[trust.Fingerprint(cert)] = path
		root, err := bundle.Add(enroll.Class(o.class), o.test, cert)
		if err != nil {
			problems = append(problems, path+": "+err.Error())
		}
		added = append(added, root)
	}
	if len(problems) > 0 {
		return nil, refused(errors.New("nothing was imported:\n  "+strings.Join(problems, "\n  ")), "leave these files out, or get the right ones from the vendor; quorate trust show FILE reads one")
	}
	return added, nil
}

func (o importOptions) problems(cert *x509.Certificate, now time.Time) []string {
	list := trust.Problems(cert, now)
	if word := trust.TestName(cert); word != "" && !o.test {
		list = append(list, fmt.Sprintf("named like a software TPM's or a test's root (%q), which --test imports", word))
	}
	return list
}

// readCertificate reads a file with one certificate. Errors name the file.
func readCertificate(path string) (*x509.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > trust.MaxFile {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, trust.MaxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, trust.MaxFile+1))
	if err != nil {
		return nil, err
	}
	cert, err := trust.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// install writes the roots beside their names, renames them when all are on
// disk, and reads the bundle again: it must be the one that was judged. If
// anything fails, what was written is removed. If the machine stops in the
// middle, the bundle has a digest that no consortium file pins, and verifiers
// refuse it.
func install(dir string, added []trust.Root, want *trust.Bundle) (err error) {
	var written []string
	defer func() {
		for _, path := range written {
			if err != nil {
				_ = os.Remove(path) // a leftover changes the digest and is listed
			}
		}
	}()
	temps := make([]string, len(added))
	for i, r := range added {
		if temps[i], err = writeBeside(filepath.Join(dir, r.File), trust.Encode(r.Parsed)); err != nil {
			return unknown(err, "nothing was imported")
		}
		written = append(written, temps[i])
	}
	for i, r := range added {
		target := filepath.Join(dir, r.File)
		if _, err = os.Lstat(target); err == nil {
			err = fmt.Errorf("%s: %w", target, fs.ErrExist)
			return unknown(err, "nothing was imported; is this file as it should be?")
		}
		if err = os.Rename(temps[i], target); err != nil {
			return unknown(err, "nothing was imported")
		}
		written = append(written, target)
	}
	got, err := readBundle(dir)
	if err == nil && got.Digest() != want.Digest() {
		err = unknown(fmt.Errorf("%s changed while it was written", dir), "nothing was imported; try again")
	}
	return err
}

// writeBeside writes a file that is to be renamed to target, and returns its
// name. The name does not count in a bundle.
func writeBeside(target string, text []byte) (string, error) {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".import-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(f.Name()) // the write's error is the one to tell
		return "", err
	}
	return f.Name(), nil
}

func (c *cli) printImport(v importView) {
	c.say("Imported %s into %s:\n", count(len(v.Imported), "root", "roots"), v.Into)
	for _, r := range v.Imported {
		r.File = filepath.Join(v.Into, r.File)
		c.printRoot(r)
		c.say("")
	}
	for _, path := range v.Skipped {
		c.say("Skipped: %s", path)
	}
	c.printPin(v.pinView)
}
