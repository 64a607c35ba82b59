// Package operator connects a member's person or robot to a verifier: mutual TLS
// with the operator's key, and the verifier's key pinned by the consortium file.
package operator

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/quorate/quorate/admission"
)

// maxMessage bounds one message from a verifier, in bytes.
const maxMessage = 64 << 20

// Key is an operator's Ed25519 key. It signs approvals as a note signer and
// authenticates TLS connections.
type Key struct {
	note.Signer
	private ed25519.PrivateKey
}

// ReadKey reads a key file in the note signer format. A file that group or
// others can read is refused.
func ReadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("operator key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("operator key: %s has mode %04o; run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("operator key: %w", err)
	}
	key, err := ParseKey(strings.TrimSuffix(string(raw), "\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// ParseKey parses "PRIVATE+KEY+<name>+<hash>+<base64 of algorithm and seed>".
func ParseKey(text string) (*Key, error) {
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, fmt.Errorf("not a note signer key: %w", err)
	}
	parts := strings.Split(text, "+")
	raw, err := base64.StdEncoding.DecodeString(strings.Join(parts[4:], "+"))
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("not an Ed25519 note signer key")
	}
	return &Key{Signer: signer, private: ed25519.NewKeyFromSeed(raw[1:])}, nil
}

// Certificate returns a self-signed TLS certificate of the key. Verifiers look at
// its public key only.
func (k *Key) Certificate() (tls.Certificate, error) {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: k.Name()},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, k.private.Public(), crypto.Signer(k.private))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("operator certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.private}, nil
}

// TLS returns the client's side of mutual TLS 1.3 with a verifier: the operator's
// certificate, and nothing of the verifier's but its pinned key.
func (k *Key) TLS(v admission.Verifier) (*tls.Config, error) {
	certificate, err := k.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // no CA: VerifyConnection compares the pinned key instead
		VerifyConnection:   func(state tls.ConnectionState) error { return checkPin(state, v) },
	}, nil
}

func checkPin(state tls.ConnectionState, v admission.Verifier) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the verifier sent no certificate")
	}
	got := admission.Digest(sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo))
	if got != v.TLSKey {
		return fmt.Errorf("the server at %s has TLS key %v, the consortium file pins %v for %s", v.Attest, got, v.TLSKey, v.Name)
	}
	return nil
}

// Dial returns a connection to the verifier's mutual-TLS address. It connects at
// the first call.
func (k *Key) Dial(v admission.Verifier) (*grpc.ClientConn, error) {
	config, err := k.TLS(v)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+v.Attest,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}))
}
