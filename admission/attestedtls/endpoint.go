package attestedtls

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
)

// Config is what an endpoint needs. Everything is required.
type Config struct {
	Consortium *admission.Consortium
	Role       string        // what a peer must be admitted as, "validator"
	Key        crypto.Signer // the node key, in the TPM
	// Bundle returns the node's own latest bundle. It is called for every
	// handshake and must be quick: read a file, or keep it in memory.
	Bundle func() ([]byte, error)
	// Stands is asked about every peer, at the handshake and at Recheck: does
	// its admission still stand? Compare with rosters, as
	// admission.CheckAgainstRoster does; or say nil for ExpiryAlone.
	Stands func(*admission.Admission) error
	// Report is told why a handshake failed and why a connection was ended. It
	// must not wait.
	Report func(error)
	Now    func() time.Time
}

// ExpiryAlone is a Stands for networks that follow no rosters: an admission
// stands until it ends, however short it was made.
func ExpiryAlone(*admission.Admission) error { return nil }

// Endpoint is one node's end of all its attested links. It is safe for concurrent use.
type Endpoint struct {
	config Config
	own    admission.Digest

	mu    sync.Mutex
	shown []byte // bundle that the certificate was made for
	cert  *tls.Certificate
	open  map[*Conn]struct{}
}

// New checks the configuration.
func New(c Config) (*Endpoint, error) {
	if c.Consortium == nil || c.Consortium.Digest().IsZero() || c.Role == "" || c.Key == nil || c.Bundle == nil || c.Stands == nil || c.Report == nil || c.Now == nil {
		return nil, errors.New("attestedtls: every field of Config is required, and the consortium has to come from ParseConsortium")
	}
	spki, err := x509.MarshalPKIXPublicKey(c.Key.Public())
	if err != nil {
		return nil, err
	}
	return &Endpoint{config: c, own: sha256.Sum256(spki), open: map[*Conn]struct{}{}}, nil
}

// TLS returns the configuration of one side, for packages that make their own
// connections. Such connections do not end by themselves: prefer Dial, Listener
// and Credentials.
func (e *Endpoint) TLS() *tls.Config { return e.tls(func(*admission.Admission) {}) }

// tls hands the peer's admission to keep when it is verified.
func (e *Endpoint) tls(keep func(*admission.Admission)) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // no authority and no name: VerifyConnection decides, on the peer's bundle
		VerifyConnection: func(s tls.ConnectionState) error {
			a, err := e.verify(s)
			if err == nil {
				keep(a)
			}
			return err
		},
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return e.certificate() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return e.certificate() },
	}
}

// certificate returns the certificate with the node's present bundle. The node
// key signs a new one when the bundle changed.
func (e *Endpoint) certificate() (*tls.Certificate, error) {
	bundle, err := e.config.Bundle()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cert != nil && bytes.Equal(bundle, e.shown) {
		return e.cert, nil
	}
	cert, err := certificate(e.config.Key, bundle, e.config.Now())
	if err != nil {
		return nil, err
	}
	e.cert, e.shown = cert, bytes.Clone(bundle)
	return cert, nil
}

// verify proves, in this order, that
//
//   - the session is TLS 1.3 and not a resumed one;
//   - the peer has one certificate, whose key it holds, as TLS has proved;
//   - that key is not this node's own;
//   - the certificate carries one bundle, which admits the host of that key in
//     the wanted role, now;
//   - the admission still stands.
func (e *Endpoint) verify(s tls.ConnectionState) (*admission.Admission, error) {
	if s.Version != tls.VersionTLS13 || s.DidResume || len(s.PeerCertificates) != 1 {
		return nil, refuse(NoAttestation, "session", strconv.Itoa(len(s.PeerCertificates))+" certificates", "a new session of TLS 1.3 with one certificate")
	}
	leaf := s.PeerCertificates[0]
	key := admission.Digest(sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
	if key == e.own {
		return nil, refuse(OwnKey, "certificate", key.String(), "another node's key")
	}
	bundle, err := bundleOf(leaf)
	if err != nil {
		return nil, err
	}
	a, err := e.config.Consortium.VerifyBundle(bundle, admission.Want{Role: e.config.Role, NodeKey: key}, e.config.Now())
	if err != nil {
		return nil, err
	}
	if err := e.config.Stands(a); err != nil {
		return nil, err
	}
	return a, nil
}
