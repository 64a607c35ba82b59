package rpc

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

type attestation struct {
	pb.UnimplementedAttestationServiceServer
	server *Server
}

// Attest holds a node's session: hello, then challenge, evidence and verdict for
// as long as both sides stay.
func (a *attestation) Attest(stream pb.AttestationService_AttestServer) error {
	ctx := stream.Context()
	who := callerOf(ctx)
	first, err := receive(stream, nil, time.Now().Add(a.server.limits.RequestTimeout))
	if err != nil {
		return a.server.statusOf(err)
	}
	hello, err := helloOf(first)
	if err != nil {
		return err
	}
	if hello.Node != who.node {
		return status.Errorf(codes.PermissionDenied, "session.identity: this key belongs to node %q, not %q", who.node, verdict.Quote(hello.Node))
	}
	session, err := a.server.service.OpenSession(ctx, hello, who.key, who.exporter)
	if err != nil {
		return a.server.statusOf(err)
	}
	defer session.Close()
	for {
		if err := a.round(stream, session); err != nil {
			return a.server.statusOf(err)
		}
	}
}

// round is one challenge and its answer.
func (a *attestation) round(stream pb.AttestationService_AttestServer, session *verifier.Session) error {
	challenge, err := session.Next(stream.Context())
	if err != nil {
		return err
	}
	if err := stream.Send(attestChallenge(challenge)); err != nil {
		return err
	}
	// An answer that is too late is told so; one that never comes ends the session.
	message, err := receive(stream, session, time.Now().Add(challenge.AnswerWithin+a.server.limits.RequestTimeout))
	if err != nil {
		return err
	}
	raw, more, err := rawEvidence(message)
	if err != nil {
		return err
	}
	outcome, err := session.Judge(stream.Context(), raw, more, chunks(stream, session, a.server.limits.RequestTimeout))
	if err != nil {
		return err
	}
	return stream.Send(&pb.AttestResponse{Step: &pb.AttestResponse_Verdict{Verdict: verdictMessage(outcome)}})
}

// Grant lets the calling node's TPM release its sealed key, if it is admitted now.
func (a *attestation) Grant(ctx context.Context, request *pb.GrantRequest) (*pb.GrantResponse, error) {
	if n := len(request.Nonce); n < binding.MinGrantNonce || n > binding.MaxGrantNonce {
		return nil, malformed("a nonce of %d bytes, want %d to %d", n, binding.MinGrantNonce, binding.MaxGrantNonce)
	}
	if len(request.ConsensusKey) > 128 {
		return nil, malformed("a consensus key of %d bytes", len(request.ConsensusKey))
	}
	grant, err := a.server.service.Grant(ctx, callerOf(ctx).node, verifier.GrantRequest{
		ConsensusKey: request.ConsensusKey, Nonce: request.Nonce, Valid: time.Duration(request.Seconds) * time.Second,
	})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.GrantResponse{Seconds: grant.Seconds, Signature: grant.Signature}, nil
}

func helloOf(m *pb.AttestRequest) (verifier.Hello, error) {
	h := m.GetHello()
	if h == nil {
		return verifier.Hello{}, malformed("the first message is not a hello")
	}
	if h.ProtocolVersion != protocolVersion {
		return verifier.Hello{}, wrongVersion(h.ProtocolVersion)
	}
	digest, err := optionalDigest("boot_log_digest", h.BootLogDigest)
	if err != nil {
		return verifier.Hello{}, err
	}
	if len(h.BootId) > 64 || len(h.AgentVersion) > 64 || len(h.Banks) > 8 || tooLong(h.Banks, 16) {
		return verifier.Hello{}, malformed("a field of the hello is too long")
	}
	return verifier.Hello{
		Node: h.NodeId, BootID: h.BootId, Banks: h.Banks, BootLog: digest,
		BootLogSize: h.BootLogSize, IMASize: h.ImaSize, Version: h.AgentVersion,
	}, nil
}

func attestChallenge(c verifier.Challenge) *pb.AttestResponse {
	m := &pb.Challenge{
		Nonce: c.Nonce[:], Bank: c.Bank, WantBootLog: c.WantBootLog, ImaOffset: c.IMAOffset,
		AnswerWithinMs: uint32(c.AnswerWithin.Milliseconds()),
	}
	for _, pcr := range c.PCRs {
		m.Pcrs = append(m.Pcrs, uint32(pcr))
	}
	if c.Beacon != (binding.Beacon{}) {
		m.BeaconHeight, m.BeaconHash = c.Beacon.Height, c.Beacon.Hash[:]
	}
	return &pb.AttestResponse{Step: &pb.AttestResponse_Challenge{Challenge: m}}
}

// rawEvidence converts an Evidence message. Only sizes are looked at here.
func rawEvidence(m *pb.AttestRequest) (evidence.Raw, uint64, error) {
	e := m.GetEvidence()
	if e == nil {
		return evidence.Raw{}, 0, malformed("want evidence after a challenge")
	}
	if len(e.Challenges) > binding.MaxChallenges || len(e.BootId) > 64 || tooLong(e.PcrValues, 64) {
		return evidence.Raw{}, 0, malformed("a field of the evidence is too long")
	}
	digest, err := optionalDigest("boot_log_digest", e.BootLogDigest)
	if err != nil {
		return evidence.Raw{}, 0, err
	}
	raw := evidence.Raw{
		Quote: e.Quote, Signature: e.Signature, PCRValues: e.PcrValues, BootLogDigest: digest,
		BootLog: e.BootLog, IMA: e.Ima, BootID: e.BootId,
	}
	for _, c := range e.Challenges {
		answered, err := answeredChallenge(c)
		if err != nil {
			return evidence.Raw{}, 0, err
		}
		raw.Challenges = append(raw.Challenges, answered)
	}
	return raw, e.ImaMore, nil
}

func answeredChallenge(c *pb.AnsweredChallenge) (binding.Challenge, error) {
	if len(c.Nonce) != binding.NonceSize || len(c.Exporter) != binding.ExporterSize || len(c.Verifier) > 253 {
		return binding.Challenge{}, malformed("an answered challenge has a nonce of %d and an exporter of %d bytes, want 32 each",
			len(c.Nonce), len(c.Exporter))
	}
	hash, err := optionalDigest("beacon_hash", c.BeaconHash)
	if err != nil {
		return binding.Challenge{}, err
	}
	return binding.Challenge{
		Verifier: c.Verifier, Nonce: [32]byte(c.Nonce), Exporter: [32]byte(c.Exporter),
		Beacon: binding.Beacon{Height: c.BeaconHeight, Hash: hash},
	}, nil
}

// tooLong reports whether an element has more bytes than allowed.
func tooLong[T ~string | ~[]byte](list []T, limit int) bool {
	return slices.ContainsFunc(list, func(e T) bool { return len(e) > limit })
}

func optionalDigest(name string, b []byte) (d [32]byte, err error) {
	if len(b) != 0 && len(b) != len(d) {
		return d, malformed("%s has %d bytes, want 32 or none", name, len(b))
	}
	copy(d[:], b)
	return d, nil
}

func verdictMessage(o verifier.Outcome) *pb.Verdict {
	return &pb.Verdict{
		Decision: o.Decision.String(), State: o.State, Findings: findingMessages(o.Findings), Retryable: o.Retryable,
		Admission: o.Admission, AdmissionProof: o.Proof,
	}
}
