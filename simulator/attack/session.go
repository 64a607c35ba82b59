package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/papertpm"
)

// liar is an enrolled host that may answer otherwise than it is.
type liar struct {
	*paperhost.Host
	run *run
}

// certificate is self-signed with the node key.
func (l *liar) certificate() (*tls.Certificate, error) {
	key, ok := l.NodeKey.Signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("attack: the node key is not ECDSA")
	}
	return selfSigned(key)
}

// session is one Attest stream.
type session struct {
	conn     *grpc.ClientConn
	stream   pb.AttestationService_AttestClient
	exporter [binding.ExporterSize]byte
	host     *liar
}

// Close hangs up.
func (s *session) Close() error { return s.conn.Close() }

// open opens a session and says hello.
func (l *liar) open(ctx context.Context) (*session, error) {
	s, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.send(&pb.AttestRequest{Step: &pb.AttestRequest_Hello{Hello: l.hello()}}); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (l *liar) connect(ctx context.Context) (*session, error) {
	own, err := l.certificate()
	if err != nil {
		return nil, err
	}
	conn, err := l.run.dial(l.run.verifier.Attest, own)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, host: l}
	if s.stream, err = pb.NewAttestationServiceClient(conn).Attest(ctx); err == nil {
		s.exporter, err = exporter(s.stream.Context())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (l *liar) hello() *pb.Hello {
	digest := sha256.Sum256(l.Log.Bytes())
	return &pb.Hello{
		ProtocolVersion: 1, NodeId: l.ID, BootId: l.BootID, Banks: []string{"sha256"}, BootLogDigest: digest[:], AgentVersion: "attack",
	}
}

// send sends a message. Of a stream that ended already, receiving says why.
func (s *session) send(m *pb.AttestRequest) error {
	if err := s.stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *session) challenge() (*pb.Challenge, error) {
	m, err := s.stream.Recv()
	if err != nil {
		return nil, err
	}
	c := m.GetChallenge()
	if c == nil || len(c.Nonce) != binding.NonceSize {
		return nil, fmt.Errorf("attack: no challenge to answer: %v", m)
	}
	return c, nil
}

// lie is what an answer has of falsehood. The zero lie is the truth.
type lie struct {
	own   func(*binding.Challenge) // before the quote names it
	bind  func(*binding.Quote)     // before the TPM signs
	alter func(*papertpm.Attest)   // before the TPM signs
	after func(*pb.Evidence) error // when everything is signed
	last  *pb.Evidence             // what is sent in place of any answer
}

// evidence answers a challenge.
func (s *session) evidence(c *pb.Challenge, l lie) (*pb.Evidence, error) {
	own := binding.Challenge{
		Verifier: s.host.run.verifier.Name, Nonce: [32]byte(c.Nonce), Exporter: s.exporter, Beacon: binding.Beacon{Height: c.BeaconHeight},
	}
	copy(own.Beacon.Hash[:], c.BeaconHash)
	if l.own != nil {
		l.own(&own)
	}
	ask := paperhost.Ask{Ledger: s.host.run.ledger, Challenges: []binding.Challenge{own}, Bind: l.bind, Alter: l.alter}
	for _, pcr := range c.Pcrs {
		ask.PCRs = append(ask.PCRs, int(pcr))
	}
	a, err := s.host.Answer(ask)
	if err != nil {
		return nil, err
	}
	e := message(a, c)
	if l.after != nil {
		err = l.after(e)
	}
	return e, err
}

// message is the answer as far as the challenge asks for it.
func message(a paperhost.Answer, c *pb.Challenge) *pb.Evidence {
	e := &pb.Evidence{
		Quote: a.Quote, Signature: a.Signature, PcrValues: a.PCRValues, BootLogDigest: a.BootLogDigest[:], BootId: a.BootID,
		Ima: a.IMA[min(c.ImaOffset, uint64(len(a.IMA))):],
	}
	for _, x := range a.Challenges {
		m := &pb.AnsweredChallenge{Verifier: x.Verifier, Nonce: x.Nonce[:], Exporter: x.Exporter[:], BeaconHeight: x.Beacon.Height}
		if x.Beacon != (binding.Beacon{}) {
			m.BeaconHash = x.Beacon.Hash[:]
		}
		e.Challenges = append(e.Challenges, m)
	}
	if c.WantBootLog {
		e.BootLog = a.BootLog
	}
	return e
}

// rounds is how often an answer is repeated that the verifier takes for an accident
// of timing.
const rounds = 6

// tell answers with the lie until the verifier believes or refuses it for good.
func (s *session) tell(l lie) (*pb.Verdict, error) {
	var v *pb.Verdict
	for range rounds {
		c, err := s.challenge()
		if err != nil {
			return nil, err
		}
		e, err := s.evidence(c, l)
		if err != nil {
			return nil, err
		}
		if l.last != nil {
			e = l.last
		}
		if err := s.send(&pb.AttestRequest{Step: &pb.AttestRequest_Evidence{Evidence: e}}); err != nil {
			return nil, err
		}
		m, err := s.stream.Recv()
		if err != nil {
			return nil, err
		}
		if v = m.GetVerdict(); v == nil {
			return nil, fmt.Errorf("attack: no verdict: %v", m)
		}
		if !v.Retryable || l.last != nil {
			break
		}
	}
	return v, nil
}

// answerOf is a verdict as an answer.
func answerOf(v *pb.Verdict) answer {
	if v.Decision == "admitted" {
		return answer{text: "the verdict is: admitted"}
	}
	a := answer{by: []string{}}
	for _, f := range v.Findings {
		if f.Severity == "deny" {
			a.by = append(a.by, f.Check)
		}
		if a.text == "" {
			a.text = fmt.Sprintf("%s: got %s, want %s", f.Message, f.Got, f.Want)
		}
	}
	if len(a.by) == 0 {
		a.by = []string{"denied without a finding"}
	}
	return a
}
