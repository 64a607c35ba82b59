package agent

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
)

// maxMessage bounds one message in either direction, in bytes.
const maxMessage = 4 << 20

// window is how much a peer may send before it is read, in bytes.
const window = 64 << 10

// keepaliveEvery is longer than the shortest interval that gRPC servers allow
// by default; the TCP keep-alive of the system notices a dead peer sooner.
const keepaliveEvery = 6 * time.Minute

// ErrPin reports a server that does not have the key which the consortium file
// pins for it. Nothing was sent to it.
var ErrPin = errors.New("agent: server does not have the verifier's pinned key")

// dial makes a connection to one of a verifier's addresses. The server must
// prove, within the handshake, the key that the consortium file pins; before
// that it learns nothing but the verifier's name. With a certificate the
// connection is mutual.
func dial(v admission.Verifier, address string, own *tls.Certificate) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig(v, own))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: 20 * time.Second}),
		grpc.WithStaticStreamWindowSize(window), // gRPC then sends no ping with each message to find out
		grpc.WithStaticConnWindowSize(window),   // how much is on its way
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, fmt.Errorf("agent: dial %s: %w", v.Name, err)
	}
	return conn, nil
}

// tlsConfig verifies by pin alone: names and dates in a self-signed certificate
// say nothing.
func tlsConfig(v admission.Verifier, own *tls.Certificate) *tls.Config {
	cfg := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ServerName:             v.Name,
		InsecureSkipVerify:     true, // replaced by VerifyConnection, which runs for every connection
		SessionTicketsDisabled: true,
		VerifyConnection:       func(cs tls.ConnectionState) error { return checkPin(cs, v) },
	}
	if own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return cfg
}

func checkPin(cs tls.ConnectionState, v admission.Verifier) error {
	if cs.DidResume || len(cs.PeerCertificates) == 0 || v.TLSKey.IsZero() {
		return fmt.Errorf("%w: %s", ErrPin, v.Name)
	}
	got := admission.Digest(sha256.Sum256(cs.PeerCertificates[0].RawSubjectPublicKeyInfo))
	if got != v.TLSKey {
		return fmt.Errorf("%w: %s has %s, the consortium file says %s", ErrPin, v.Name, got, v.TLSKey)
	}
	return nil
}

// exporter returns the value that only the two ends of the stream's connection
// know. A proof over it cannot be relayed over another connection.
func exporter(stream context.Context) ([binding.ExporterSize]byte, error) {
	var out [binding.ExporterSize]byte
	p, ok := peer.FromContext(stream)
	if !ok {
		return out, errors.New("agent: stream has no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return out, errors.New("agent: connection is not TLS")
	}
	value, err := info.State.ExportKeyingMaterial(binding.ExporterLabel, nil, len(out))
	if err != nil {
		return out, fmt.Errorf("agent: TLS exporter: %w", err)
	}
	copy(out[:], value)
	return out, nil
}
