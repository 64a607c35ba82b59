// Package trust reads and judges bundles of TPM vendor roots: folders of
// certificates, one folder for each class of TPM, whose digest the consortium
// file pins. What a bundle proves is decided in package enroll.
//
// The package is pure: folder and time are arguments, nothing is fetched.
package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/quorate/quorate/verifier/enroll"
)

// testPrefix marks folders of roots that sign software TPMs.
const testPrefix = "test-"

// fileSuffix is the ending of the files that count.
const fileSuffix = ".pem"

// Classes lists the classes of TPMs, as folders are named.
func Classes() []enroll.Class {
	return []enroll.Class{enroll.Discrete, enroll.Firmware, enroll.Virtual}
}

// Folder names the folder for roots of a class, within a bundle.
func Folder(class enroll.Class, test bool) string {
	if test {
		return testPrefix + string(class)
	}
	return string(class)
}

// Root is one root of a bundle with the file it was read from.
type Root struct {
	enroll.Root
	File   string // path within the bundle
	Parsed *x509.Certificate
}

// Bundle is a folder of roots as it was read.
type Bundle struct {
	Roots   []Root
	Ignored []string // files in the folders of roots that do not count, for their names
}

// ReadFS reads a bundle: <class>/*.pem, and test-<class>/*.pem for roots that
// only test networks accept. Every such file must hold PEM certificates and
// nothing else, not even a comment; .pem files elsewhere are an error. An empty
// bundle is valid and trusts nobody.
func ReadFS(folder fs.FS) (*Bundle, error) {
	b := &Bundle{}
	err := fs.WalkDir(folder, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(name, fileSuffix):
			return b.read(folder, name)
		case path.Dir(name) != ".":
			b.Ignored = append(b.Ignored, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("trust bundle: %w", err)
	}
	return b, nil
}

func (b *Bundle) read(folder fs.FS, name string) error {
	text, test := strings.CutPrefix(path.Dir(name), testPrefix)
	class := enroll.Class(text)
	if !slices.Contains(Classes(), class) {
		return fmt.Errorf("%s: want a folder named discrete, firmware or virtual, or test- and one of these", name)
	}
	rest, err := fs.ReadFile(folder, name)
	if err != nil {
		return err
	}
	for rest = bytes.TrimSpace(rest); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var cert *x509.Certificate
		if cert, rest, err = decodePEM(rest); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		root := enroll.Root{Class: class, Test: test, Certificate: cert.Raw}
		b.Roots = append(b.Roots, Root{Root: root, File: name, Parsed: cert})
	}
	return nil
}

// decodePEM reads the certificate that text begins with. encoding/pem looks for
// the next readable block; here what is not the block is an error.
func decodePEM(text []byte) (*x509.Certificate, []byte, error) {
	const begin = "-----BEGIN "
	block, rest := pem.Decode(text)
	switch {
	case !bytes.HasPrefix(text, []byte(begin)):
		return nil, nil, errors.New("something that is not a PEM block")
	case block == nil, bytes.Count(text[:len(text)-len(rest)], []byte(begin)) != 1:
		return nil, nil, errors.New("a broken PEM block")
	case block.Type != pemType:
		return nil, nil, fmt.Errorf("a PEM block %q, want %q", block.Type, pemType)
	case len(block.Headers) > 0:
		return nil, nil, errors.New("a PEM block with headers")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return cert, rest, err
}

// Enroll returns the roots as package enroll takes them.
func (b *Bundle) Enroll() []enroll.Root {
	roots := make([]enroll.Root, len(b.Roots))
	for i, r := range b.Roots {
		roots[i] = r.Root
	}
	return roots
}

// Digest names the bundle, see enroll.Digest. File names do not matter to it.
func (b *Bundle) Digest() [32]byte { return enroll.Digest(b.Enroll()) }

// Add puts a certificate into the bundle, as the file FileName in its folder. A
// certificate that is there already is refused, and so is the same CA (name and
// key) in another folder: certificates below it would lead to two kinds of
// roots, and then count as neither.
func (b *Bundle) Add(class enroll.Class, test bool, cert *x509.Certificate) (Root, error) {
	own := Root{
		Root:   enroll.Root{Class: class, Test: test, Certificate: cert.Raw},
		File:   path.Join(Folder(class, test), FileName(cert)),
		Parsed: cert,
	}
	for _, r := range b.Roots {
		if bytes.Equal(r.Certificate, cert.Raw) {
			return Root{}, fmt.Errorf("already there as %s", r.File)
		}
		sameCA := bytes.Equal(r.Parsed.RawSubject, cert.RawSubject) &&
			bytes.Equal(r.Parsed.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo)
		if sameCA && path.Dir(r.File) != path.Dir(own.File) {
			return Root{}, fmt.Errorf("the same CA is in another class: %s", r.File)
		}
	}
	b.Roots = append(b.Roots, own)
	return own, nil
}

// Check reports why a verifier would not load the bundle. An empty one loads.
func (b *Bundle) Check() error {
	if len(b.Roots) == 0 {
		return nil
	}
	templates := make(map[enroll.Class]enroll.Template)
	for _, class := range Classes() {
		templates[class] = enroll.ECCP256
	}
	_, err := enroll.NewTrust(b.Enroll(), templates, true)
	return err
}

// Fingerprint is the SHA-256 of a certificate's DER.
func Fingerprint(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.Raw) }
