package attack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/paperhost"
)

// enrolment is one Enroll stream that got a challenge.
type enrolment struct {
	target
	conn      *grpc.ClientConn
	stream    pb.EnrollmentService_EnrollClient
	challenge *pb.EnrollChallenge
	host      *paperhost.Host
}

// Close hangs up.
func (e *enrolment) Close() error { return e.conn.Close() }

// start is the host's honest first message, with the token.
func (r *run) start(h *paperhost.Host) *pb.EnrollStart {
	return &pb.EnrollStart{
		ProtocolVersion: 1, JoinToken: r.Token, NodeId: h.ID, EkCertificate: h.EKCertificate, Intermediates: h.Intermediates,
		EkPublic: h.EK.Bytes(), AkPublic: h.AK.Bytes(), NodeKeyPublic: h.NodeKey.Bytes(), ConsensusKey: h.ConsensusKey(),
	}
}

// enrol begins an enrolment. An error is the verifier's refusal, or no answer.
func (t target) enrol(ctx context.Context, h *paperhost.Host, start *pb.EnrollStart) (*enrolment, error) {
	conn, err := t.dial(t.verifier.Enroll, nil)
	if err != nil {
		return nil, err
	}
	e := &enrolment{target: t, conn: conn, host: h}
	if err := e.begin(ctx, start); err != nil {
		_ = conn.Close() // the refusal counts
		return nil, err
	}
	return e, nil
}

func (e *enrolment) begin(ctx context.Context, start *pb.EnrollStart) (err error) {
	if e.stream, err = pb.NewEnrollmentServiceClient(e.conn).Enroll(ctx); err != nil {
		return err
	}
	// A stream that ended already says EOF here; Recv says why.
	if err := e.stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m, err := e.stream.Recv()
	if err != nil {
		return err
	}
	if e.challenge = m.GetChallenge(); e.challenge == nil || len(e.challenge.Nonce) != binding.NonceSize {
		return fmt.Errorf("attack: no challenge to answer: %v", m)
	}
	return nil
}

// certification is what this enrolment's proofs are bound to.
func (e *enrolment) certification() (binding.Certification, error) {
	value, err := exporter(e.stream.Context())
	return e.host.Certification(binding.Certification{
		Ledger: e.ledger, Verifier: e.verifier.Name, Nonce: [32]byte(e.challenge.Nonce), Exporter: value,
	}), err
}

// proof answers the challenge as the host's TPM would, for what bind makes of the
// binding.
func (e *enrolment) proof(bind func(*binding.Certification)) (*pb.EnrollProof, error) {
	secret, err := e.host.Activate(e.challenge.CredentialBlob, e.challenge.EncryptedSecret)
	if err != nil {
		return nil, err
	}
	c, err := e.certification()
	if err != nil {
		return nil, err
	}
	bind(&c)
	p, err := e.host.Prove(c)
	return &pb.EnrollProof{
		Secret: secret, AkCreationData: p.CreationData, AkCreationAttest: p.CreationAttest, AkCreationSignature: p.CreationSignature,
		NodeKeyAttest: p.NodeKeyAttest, NodeKeySignature: p.NodeKeySignature, ConsensusKeySignature: p.ConsensusSignature,
	}, err
}

// finish sends the proof. An error is the verifier's refusal, or no answer.
func (e *enrolment) finish(proof *pb.EnrollProof) (*pb.EnrollResult, error) {
	if err := e.stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Proof{Proof: proof}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m, err := e.stream.Recv()
	if err == nil && m.GetResult() == nil {
		err = fmt.Errorf("attack: no result: %v", m)
	}
	return m.GetResult(), err
}
