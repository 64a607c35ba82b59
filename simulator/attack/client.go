package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/verdict"
)

// target is the verifier that is attacked.
type target struct {
	ledger   binding.Ledger
	verifier admission.Verifier
}

func targetOf(o Options) target {
	c := o.Consortium
	return target{verifier: o.Verifier, ledger: binding.Ledger{Consortium: c.Name, ChainID: c.Ledger.ID, Genesis: c.Ledger.Genesis}}
}

// tls is TLS as an agent has it: nothing of the server's counts but its pinned key,
// so that nobody else is attacked. own may be nil.
func (t target) tls(own *tls.Certificate) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // no CA: VerifyConnection compares the pinned key instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != [32]byte(t.verifier.TLSKey) {
				return fmt.Errorf("the server does not have the key that the consortium file pins for %s", t.verifier.Name)
			}
			return nil
		},
	}
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	return config
}

// dial prepares a connection; it is made at the first call.
func (t target) dial(address string, own *tls.Certificate) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(t.tls(own))))
}

// healthy asks the enrolment address how the verifier is.
func (t target) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, perAttempt)
	defer cancel()
	conn, err := t.dial(t.verifier.Enroll, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the verifier says that it is %s", r.Status)
	}
	return nil
}

// strangerCertificate is that of a key which nobody enrolled.
func strangerCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return selfSigned(key)
}

func selfSigned(key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// exporter returns what binds a proof to the stream's connection.
func exporter(stream context.Context) (value [binding.ExporterSize]byte, err error) {
	p, ok := peer.FromContext(stream)
	if !ok {
		return value, errors.New("attack: stream has no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return value, errors.New("attack: connection is not TLS")
	}
	raw, err := info.State.ExportKeyingMaterial(binding.ExporterLabel, nil, len(value))
	copy(value[:], raw)
	return value, err
}

// refusalOf makes an answer of how a call ended. An error that is no answer, as when
// the verifier cannot be reached or does not answer in time, stays an error.
func refusalOf(err error) (answer, error) {
	if err == nil {
		return answer{text: "it was accepted"}, nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return answer{}, err
	}
	switch s.Code() {
	case codes.Unavailable, codes.Canceled:
		return answer{}, fmt.Errorf("no answer: %w", err)
	case codes.DeadlineExceeded:
		return answer{}, fmt.Errorf("no answer in time: %w", err)
	case codes.ResourceExhausted:
		if strings.HasPrefix(s.Message(), "too many enrolment attempts") {
			return answer{}, errLimited
		}
	}
	return answer{by: []string{checkIn(s.Message(), s.Code().String())}, text: s.Message()}, nil
}

// checkIn returns the check that a refusal names, or what to say otherwise.
func checkIn(message, otherwise string) string {
	name := message
	if end := strings.IndexAny(message, ": "); end >= 0 {
		name = message[:end]
	}
	if _, ok := verdict.Lookup(verdict.CheckID(name)); ok {
		return name
	}
	return otherwise
}

// rawBytes is a codec that sends bytes as they are.
type rawBytes struct{}

func (rawBytes) Name() string                    { return "proto" }
func (rawBytes) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (rawBytes) Unmarshal(b []byte, v any) error { return nil }

// SendRaw sends bytes as the first and only message of a method and returns how the
// call ended; nil if the server answered.
func SendRaw(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodec(rawBytes{}))
	if err != nil {
		return err
	}
	// A stream that ended already says EOF here; RecvMsg says why.
	if err := stream.SendMsg(message); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(new([]byte))
}

// raw is SendRaw on a connection of its own.
func (t target) raw(ctx context.Context, address string, own *tls.Certificate, method string, message []byte) (answer, error) {
	conn, err := t.dial(address, own)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	return refusalOf(SendRaw(ctx, conn, method, message))
}
