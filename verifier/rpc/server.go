// Package rpc speaks gRPC for a verifier: it converts, limits, authenticates and
// authorises, and decides nothing. What a call does is in package verifier.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
)

// window is how many bytes a peer may send before they are read: of one stream,
// and of all streams of its connection.
const window = 256 << 10

// Server serves one verifier on two listeners: enrolment with server TLS and a
// join token, and everything else with mutual TLS.
type Server struct {
	service *verifier.Service
	limits  verifier.Limits
	log     *slog.Logger
	health  *health.Server
	sources *buckets

	attest, enroll *grpc.Server
}

// New prepares the two gRPC servers. The certificate's key is the one that the
// consortium file pins.
func New(service *verifier.Service, certificate tls.Certificate, limits verifier.Limits, log *slog.Logger) *Server {
	s := &Server{
		service: service, limits: limits, log: log, health: health.NewServer(),
		sources: newBuckets(limits.EnrollPerHour, time.Hour),
	}
	s.attest = grpc.NewServer(append(s.options(mutualTLS(certificate)),
		grpc.InTapHandle(s.tapAuth), grpc.UnaryInterceptor(s.unaryAuth), grpc.StreamInterceptor(s.streamAuth))...)
	pb.RegisterAttestationServiceServer(strictly{s.attest}, &attestation{server: s})
	pb.RegisterAdmissionServiceServer(strictly{s.attest}, &admissions{server: s})
	pb.RegisterAdministrationServiceServer(strictly{s.attest}, &administration{server: s})
	grpc_health_v1.RegisterHealthServer(s.attest, s.health)

	s.enroll = grpc.NewServer(s.options(serverTLS(certificate))...)
	pb.RegisterEnrollmentServiceServer(strictly{s.enroll}, &enrollment{server: s})
	grpc_health_v1.RegisterHealthServer(s.enroll, s.health)
	return s
}

// serverTLS is TLS 1.3 without session tickets: a resumed session would skip the
// look at the peer's key.
func serverTLS(certificate tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}
}

// mutualTLS asks for a client certificate. The handshake proves possession of
// its key; authorize decides, at every call, what the key may do.
func mutualTLS(certificate tls.Certificate) *tls.Config {
	config := serverTLS(certificate)
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) != 1 {
			return errors.New("want exactly one client certificate")
		}
		return nil
	}
	return config
}

func (s *Server) options(config *tls.Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(config)),
		grpc.ForceServerCodecV2(strictCodec{}),
		grpc.MaxRecvMsgSize(s.limits.MessageBytes),
		grpc.MaxSendMsgSize(s.limits.MessageBytes),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(s.limits.Handshake),
		// Windows that do not grow: gRPC then sends no ping with each message to
		// find out how much is on its way.
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: s.limits.Idle, Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second}),
	}
}

// Serve answers on both listeners until the context ends, then drains for a few
// seconds and stops. It closes the listeners.
func (s *Server) Serve(ctx context.Context, attest, enroll net.Listener) error {
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.attest.Serve(s.bounded(attest)) })
	group.Go(func() error { return s.enroll.Serve(s.bounded(enroll)) })
	group.Go(func() error {
		<-ctx.Done()
		s.health.Shutdown()
		stop(s.attest)
		stop(s.enroll)
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func (s *Server) bounded(l net.Listener) net.Listener {
	return newLimitListener(l, s.limits.Connections, s.limits.PerSource)
}

// stop waits a little for calls to end. Sessions do not end by themselves, so
// they are cut; agents come back by themselves.
func stop(server *grpc.Server) {
	done := make(chan struct{})
	go func() { server.GracefulStop(); close(done) }()
	select {
	case <-done:
	case <-time.After(500 * time.Millisecond):
		server.Stop()
		<-done
	}
}

// malformed refuses a message whose form is wrong before anything looks at it.
func malformed(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, "session.malformed: "+format, args...)
}
