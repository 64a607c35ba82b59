package bench

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// grpcHeader is what gRPC puts before each message, in bytes.
const grpcHeader = 5

// paperSession is one open stream of a node.
type paperSession struct {
	*paperNode
	stream    pb.AttestationService_AttestClient
	exporter  [binding.ExporterSize]byte
	log, list []byte
}

func (s *paperSession) hello() error {
	digest := sha256.Sum256(s.log)
	return s.stream.Send(&pb.AttestRequest{Step: &pb.AttestRequest_Hello{Hello: &pb.Hello{
		ProtocolVersion: 1, NodeId: s.id, Banks: []string{"sha256"}, BootLogDigest: digest[:],
		BootLogSize: uint64(len(s.log)), ImaSize: uint64(len(s.list)), AgentVersion: "bench",
	}}})
}

// round answers one challenge and waits for the verdict.
func (s *paperSession) round() (round, error) {
	asked, err := s.stream.Recv()
	if err != nil {
		return round{}, err
	}
	c := asked.GetChallenge()
	if c == nil || c.ImaOffset > uint64(len(s.list)) {
		return round{}, errors.New("no challenge that can be answered")
	}
	e, err := s.quote(c)
	if err != nil {
		return round{}, err
	}
	r := round{steady: !c.WantBootLog && c.ImaOffset == uint64(len(s.list))}
	request := &pb.AttestRequest{Step: &pb.AttestRequest_Evidence{Evidence: e}}
	start := time.Now()
	if err := s.stream.Send(request); err != nil {
		return round{}, err
	}
	answer, err := s.stream.Recv()
	if err != nil {
		return round{}, err
	}
	v := answer.GetVerdict()
	if v == nil {
		return round{}, errors.New("no verdict after evidence")
	}
	if len(v.Admission) > 0 {
		if r.bundle, err = bundleOf(v); err != nil {
			return round{}, err
		}
	}
	r.latency, r.decision = time.Since(start), v.Decision
	r.out = proto.Size(request) + grpcHeader
	r.in = proto.Size(asked) + proto.Size(answer) + 2*grpcHeader
	if v.Decision == "denied" && len(v.Findings) > 0 && v.Findings[0].Check != "policy.none" && !v.Retryable {
		return r, fmt.Errorf("refused: %v", v.Findings)
	}
	return r, nil
}

func bundleOf(v *pb.Verdict) ([]byte, error) {
	b, err := admission.NewBundle(admission.Item{Admission: v.Admission, Proof: v.AdmissionProof})
	if err != nil {
		return nil, err
	}
	return b.Marshal(), nil
}

// quote answers the challenge with what it asks for.
func (s *paperSession) quote(c *pb.Challenge) (*pb.Evidence, error) {
	pcrs := make([]int, 0, len(c.Pcrs))
	for _, pcr := range c.Pcrs {
		pcrs = append(pcrs, int(pcr))
	}
	challenge := binding.Challenge{Verifier: s.verifier.Name, Nonce: [32]byte(c.Nonce), Exporter: s.exporter}
	digest := sha256.Sum256(s.log)
	extra, err := binding.Quote{
		Ledger: s.ledger, Node: s.id, AKName: s.node.AK.Name(), NodeKey: s.node.NodeKey.SPKIDigest(),
		ConsensusKey: s.node.ConsensusKey(), BootLog: digest, Challenges: []binding.Challenge{challenge},
	}.QualifyingData()
	if err != nil {
		return nil, err
	}
	attest, signature, err := s.node.Sign(s.node.Quote(extra[:], pcrs...))
	if err != nil {
		return nil, err
	}
	e := &pb.Evidence{
		Quote: attest, Signature: signature, PcrValues: s.node.PCRs.Values(pcrs...), BootLogDigest: digest[:], Ima: s.list[c.ImaOffset:],
		Challenges: []*pb.AnsweredChallenge{{Verifier: challenge.Verifier, Nonce: challenge.Nonce[:], Exporter: challenge.Exporter[:]}},
		BootId:     "8c2f5d0a-0000-4000-8000-000000000001",
	}
	if c.WantBootLog {
		e.BootLog = s.log
	}
	return e, nil
}
