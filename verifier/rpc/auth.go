package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// role is what an authenticated key may be. Roles come from the key alone, never
// from a request.
type role string

const (
	roleAgent   role = "agent"
	roleAdmin   role = role(admission.RoleAdmin)
	roleAuditor role = role(admission.RoleAuditor)
	roleGate    role = role(admission.RoleGate)
)

// caller is who made a call: an enrolled node or a member's operator.
type caller struct {
	role     role
	node     string // node id, for agents
	operator admission.Operator
	key      [32]byte // SHA-256 of the TLS key's SubjectPublicKeyInfo
	exporter [32]byte // TLS exporter of the connection
}

// permitted is the whole of authorisation on the listener with mutual TLS: a
// method that is not here is refused for everybody.
var permitted = map[string][]role{
	pb.AttestationService_Attest_FullMethodName: {roleAgent},
	pb.AttestationService_Grant_FullMethodName:  {roleAgent},

	pb.AdmissionService_GetRoster_FullMethodName:    {roleAdmin, roleAuditor, roleGate, roleAgent},
	pb.AdmissionService_Watch_FullMethodName:        {roleAdmin, roleAuditor, roleGate},
	pb.AdmissionService_GetAdmission_FullMethodName: {roleAdmin, roleAuditor, roleGate},

	pb.AdministrationService_ListNodes_FullMethodName:     {roleAdmin, roleAuditor},
	pb.AdministrationService_GetNode_FullMethodName:       {roleAdmin, roleAuditor},
	pb.AdministrationService_ExplainNode_FullMethodName:   {roleAdmin, roleAuditor},
	pb.AdministrationService_InviteNode_FullMethodName:    {roleAdmin},
	pb.AdministrationService_ApproveNode_FullMethodName:   {roleAdmin},
	pb.AdministrationService_SuspendNode_FullMethodName:   {roleAdmin},
	pb.AdministrationService_ResumeNode_FullMethodName:    {roleAdmin},
	pb.AdministrationService_RetireNode_FullMethodName:    {roleAdmin},
	pb.AdministrationService_ApprovePolicy_FullMethodName: {roleAdmin},
	pb.AdministrationService_GetPolicy_FullMethodName:     {roleAdmin, roleAuditor},
	pb.AdministrationService_GetEvidence_FullMethodName:   {roleAdmin, roleAuditor},
	pb.AdministrationService_ReadJournal_FullMethodName:   {roleAdmin, roleAuditor},
	pb.AdministrationService_GetStatus_FullMethodName:     {roleAdmin, roleAuditor},

	"/grpc.health.v1.Health/Check": {roleAdmin, roleAuditor, roleGate, roleAgent},
	"/grpc.health.v1.Health/Watch": {roleAdmin, roleAuditor, roleGate},
}

type callerKey struct{}

// callerOf returns who the authorisation interceptor let in.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// authorize identifies the peer by its TLS key and checks the method against
// permitted. It runs on every call, so a retired node or a removed operator is
// out at its next call, however old its connection is.
func (s *Server) authorize(ctx context.Context, method string) (context.Context, error) {
	roles, known := permitted[method]
	if !known {
		return nil, status.Error(codes.Unimplemented, "unknown method")
	}
	c, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if r == c.role {
			return context.WithValue(ctx, callerKey{}, c), nil
		}
	}
	return nil, status.Errorf(codes.PermissionDenied, "a key with the role %q may not call %s", c.role, method)
}

func (s *Server) identify(ctx context.Context) (caller, error) {
	state, ok := tlsState(ctx)
	if !ok || len(state.PeerCertificates) == 0 {
		return caller{}, status.Error(codes.Unauthenticated, "no client certificate")
	}
	exporter, err := exporterOf(state)
	if err != nil {
		return caller{}, status.Error(codes.Unauthenticated, "no TLS exporter on this connection")
	}
	c := caller{key: sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo), exporter: exporter}
	if o, ok := s.service.Consortium().Operator(c.key); ok {
		c.role, c.operator = role(o.Role), o
		return c, nil
	}
	node, err := s.service.NodeByKey(ctx, c.key)
	if err != nil {
		return caller{}, status.Error(codes.Unauthenticated,
			"this key is neither an enrolled node's nor an operator's of the consortium file")
	}
	c.role, c.node = roleAgent, node
	return c, nil
}

func tlsState(ctx context.Context) (*tls.ConnectionState, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return &info.State, ok
}

func exporterOf(state *tls.ConnectionState) ([32]byte, error) {
	material, err := state.ExportKeyingMaterial(binding.ExporterLabel, nil, binding.ExporterSize)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(material), nil
}

// tapAuth refuses a call before any of its message is read, so that a stranger
// cannot make the verifier hold a message. The interceptors authorise once more
// and tell the handler who calls.
func (s *Server) tapAuth(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, known := permitted[info.FullMethodName]; !known {
		return ctx, nil // gRPC itself knows what to say of a method that does not exist
	}
	_, err := s.authorize(ctx, info.FullMethodName)
	return ctx, err
}

func (s *Server) unaryAuth(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.authorize(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.limits.RequestTimeout)
	defer cancel()
	return next(ctx, req)
}

func (s *Server) streamAuth(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.authorize(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return next(srv, &authorizedStream{ServerStream: stream, ctx: ctx})
}

type authorizedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context carries the caller.
func (s *authorizedStream) Context() context.Context { return s.ctx }
