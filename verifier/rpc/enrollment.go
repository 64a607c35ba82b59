package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
)

// protocolVersion is the one version of the contract. It is not negotiated: an
// older peer is told to upgrade.
const protocolVersion = 1

type enrollment struct {
	pb.UnimplementedEnrollmentServiceServer
	server *Server
}

// Enroll runs one enrolment: two messages each way, within the request timeout.
func (e *enrollment) Enroll(stream pb.EnrollmentService_EnrollServer) error {
	if err := e.server.admitSource(stream.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stream.Context(), e.server.limits.RequestTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.run(ctx, stream) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return status.Error(codes.DeadlineExceeded, "the enrolment took too long")
	}
}

func (e *enrollment) run(ctx context.Context, stream pb.EnrollmentService_EnrollServer) error {
	state, ok := tlsState(stream.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, "no TLS")
	}
	exporter, err := exporterOf(state)
	if err != nil {
		return status.Error(codes.Unauthenticated, "no TLS exporter on this connection")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return malformed("the first message is not a start")
	}
	if start.ProtocolVersion != protocolVersion {
		return wrongVersion(start.ProtocolVersion)
	}
	attempt, challenge, err := e.server.service.BeginEnrollment(ctx, enrollRequest(start), exporter)
	if err != nil {
		return e.server.statusOf(err)
	}
	if err := stream.Send(challengeMessage(challenge)); err != nil {
		return err
	}
	second, err := stream.Recv()
	if err != nil {
		return err
	}
	proof := second.GetProof()
	if proof == nil {
		return malformed("the second message is not a proof")
	}
	result, err := attempt.Finish(ctx, enrollProof(proof))
	if err != nil {
		return e.server.statusOf(err)
	}
	return stream.Send(&pb.EnrollResponse{Step: &pb.EnrollResponse_Result{Result: &pb.EnrollResult{
		State: result.State, HostId: result.HostID, Message: result.Message,
	}}})
}

// admitSource holds enrolment attempts per source address to the limit: each
// costs asymmetric cryptography before anything is known about the caller.
func (s *Server) admitSource(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok || !s.sources.take(sourceOf(p.Addr), time.Now()) {
		return status.Error(codes.ResourceExhausted, "too many enrolment attempts from this address; try again later")
	}
	return nil
}

func wrongVersion(got uint32) error {
	return status.Errorf(codes.FailedPrecondition,
		"session.version: the agent speaks protocol version %d, this verifier speaks %d; upgrade the older one", got, protocolVersion)
}

func enrollRequest(m *pb.EnrollStart) verifier.EnrollRequest {
	return verifier.EnrollRequest{
		Token: m.JoinToken, Node: m.NodeId, EKCertificate: m.EkCertificate, Intermediates: m.Intermediates,
		EKPublic: m.EkPublic, AKPublic: m.AkPublic, NodeKeyPublic: m.NodeKeyPublic, ConsensusKey: m.ConsensusKey,
	}
}

func challengeMessage(c verifier.EnrollChallenge) *pb.EnrollResponse {
	return &pb.EnrollResponse{Step: &pb.EnrollResponse_Challenge{Challenge: &pb.EnrollChallenge{
		CredentialBlob: c.CredentialBlob, EncryptedSecret: c.EncryptedSecret, Nonce: c.Nonce[:],
	}}}
}

func enrollProof(m *pb.EnrollProof) verifier.EnrollProof {
	return verifier.EnrollProof{
		Secret: m.Secret, AKCreationData: m.AkCreationData, AKCreationAttest: m.AkCreationAttest,
		AKCreationSignature: m.AkCreationSignature, NodeKeyAttest: m.NodeKeyAttest, NodeKeySignature: m.NodeKeySignature,
		ConsensusKeySignature: m.ConsensusKeySignature,
	}
}
