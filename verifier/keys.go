package verifier

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// readSecret reads a private key file, and refuses one that group or others can
// read: a key that leaked once is not a key.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read key: %s has mode %04o; run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	return os.ReadFile(path)
}

func readSigner(path string) (note.Signer, error) {
	raw, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(strings.TrimSuffix(string(raw), "\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: not a note signer key: %w", path, err)
	}
	return signer, nil
}

// positionKey derives, from the admission key's file, the key under which
// positions are stored: who can write to the database only cannot move one.
func positionKey(path string) ([]byte, error) {
	secret, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("quorate/positions/v1"))
	return mac.Sum(nil), nil
}

func readPrivateKey(path string) (crypto.Signer, error) {
	raw, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) != 0 {
		return nil, fmt.Errorf("%s: want exactly one PKCS #8 PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: key cannot sign", path)
	}
	return signer, nil
}

// SelfSigned returns a TLS certificate for the key. Peers pin the key's
// SubjectPublicKeyInfo; name and dates in the certificate mean nothing.
func SelfSigned(key crypto.Signer, name string, now time.Time) (tls.Certificate, error) {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a TLS certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// KeyDigest returns the SHA-256 of a public key's SubjectPublicKeyInfo: the form
// in which the consortium file and the node records name keys.
func KeyDigest(public crypto.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(der), nil
}

// writeSecret writes a private key file that must not exist yet.
func writeSecret(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; keys are never overwritten", path)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
