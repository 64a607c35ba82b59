package agent

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm/tpm2"
	"google.golang.org/grpc"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/measure"
	"github.com/quorate/quorate/proto/binding"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// Bounds of one session, in bytes and time.
const (
	imaPart       = 1 << 20 // of the IMA list in one message
	defaultAnswer = 60 * time.Second
	lastPCR       = 23
)

// errBootChanged ends a session whose Hello announced another boot.
var errBootChanged = errors.New("agent: this is another boot than when the session began")

// ErrChallenge reports a challenge that the agent does not answer.
var ErrChallenge = errors.New("agent: challenge refused")

// session is one Attest stream with one verifier.
type session struct {
	verifier admission.Verifier
	node     string
	quoter   *quoter
	source   measure.Source
	verdict  func(*quoratev1.Verdict) // told of every verdict
	opened   func()                   // told once the verifier has answered

	stream   grpc.BidiStreamingClient[quoratev1.AttestRequest, quoratev1.AttestResponse]
	exporter [binding.ExporterSize]byte
	bootLog  [sha256.Size]byte // as announced
	bootID   string
}

// run holds the session until it ends, which is always an error.
func (s *session) run(ctx context.Context, own *tls.Certificate, banks []string) error {
	conn, err := dial(s.verifier, s.verifier.Attest, own)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.stream, err = quoratev1.NewAttestationServiceClient(conn).Attest(ctx); err != nil {
		return rpcError(s.verifier.Name, err)
	}
	if s.exporter, err = exporter(s.stream.Context()); err != nil {
		return err
	}
	if err := s.hello(banks); err != nil {
		return err
	}
	s.quoter.joined()
	defer s.quoter.left()
	return s.serve(ctx)
}

func (s *session) hello(banks []string) error {
	log, err := readBootLog(s.source)
	if err != nil {
		return err
	}
	imaSize, err := s.source.IMASize()
	if err != nil {
		return err
	}
	s.bootLog, s.bootID = sha256.Sum256(log), s.source.ReadBootID()
	return s.send(&quoratev1.AttestRequest{Step: &quoratev1.AttestRequest_Hello{Hello: &quoratev1.Hello{
		ProtocolVersion: protocolVersion,
		NodeId:          s.node,
		BootId:          s.bootID,
		Banks:           banks,
		BootLogDigest:   s.bootLog[:],
		BootLogSize:     uint64(len(log)),
		ImaSize:         imaSize,
		AgentVersion:    Version,
	}}})
}

// send reports why the stream ended when it did.
func (s *session) send(m *quoratev1.AttestRequest) error {
	err := s.stream.Send(m)
	if errors.Is(err, io.EOF) {
		_, err = s.stream.Recv()
	}
	if err != nil {
		return rpcError(s.verifier.Name, err)
	}
	return nil
}

func (s *session) serve(ctx context.Context) error {
	for first := true; ; first = false {
		m, err := s.stream.Recv()
		if err != nil {
			return rpcError(s.verifier.Name, err)
		}
		if first {
			s.opened()
		}
		switch {
		case m.GetChallenge() != nil:
			err = s.answer(ctx, m.GetChallenge())
		case m.GetVerdict() != nil:
			s.verdict(m.GetVerdict())
		default:
			err = fmt.Errorf("agent: %s sent a message of no known kind", s.verifier.Name)
		}
		if err != nil {
			return err
		}
	}
}

// answer sends the evidence that a challenge asks for, in time or not at all.
func (s *session) answer(ctx context.Context, c *quoratev1.Challenge) error {
	challenge, bank, err := s.check(c)
	if err != nil {
		return err
	}
	within := time.Duration(c.GetAnswerWithinMs()) * time.Millisecond
	if within == 0 {
		within = defaultAnswer
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	a, err := s.quoter.ask(ctx, challenge, bank, c.GetPcrs())
	if err != nil {
		return fmt.Errorf("agent: no answer to %s: %w", s.verifier.Name, err)
	}
	if a.digest != s.bootLog || s.source.ReadBootID() != s.bootID {
		return errBootChanged
	}
	return s.sendEvidence(c, a)
}

// check refuses challenges that ask for a weaker proof than the protocol's.
func (s *session) check(c *quoratev1.Challenge) (binding.Challenge, tpm2.TPMAlgID, error) {
	bad := func(why string) (binding.Challenge, tpm2.TPMAlgID, error) {
		return binding.Challenge{}, 0, fmt.Errorf("%w: %s", ErrChallenge, why)
	}
	if len(c.GetNonce()) != binding.NonceSize || [32]byte(c.GetNonce()) == [32]byte{} {
		return bad("nonce is not 32 fresh bytes")
	}
	if len(c.GetPcrs()) == 0 {
		return bad("no PCRs asked for")
	}
	for i, p := range c.GetPcrs() {
		if p > lastPCR || i > 0 && p <= c.GetPcrs()[i-1] {
			return bad("PCRs are not ascending numbers up to 23")
		}
	}
	if n := len(c.GetBeaconHash()); n != 0 && n != 32 {
		return bad("block hash is not 32 bytes")
	}
	bank, err := key.ParseBank(c.GetBank())
	if err != nil {
		return binding.Challenge{}, 0, err
	}
	out := binding.Challenge{
		Verifier: s.verifier.Name, Nonce: [32]byte(c.GetNonce()), Exporter: s.exporter,
		Beacon: binding.Beacon{Height: c.GetBeaconHeight()},
	}
	copy(out.Beacon.Hash[:], c.GetBeaconHash())
	return out, bank, nil
}

// sendEvidence reads the IMA list only now, after the quote: the kernel writes
// an entry before it extends the PCR, so the list holds at least all that the
// quote covers.
func (s *session) sendEvidence(c *quoratev1.Challenge, a answer) error {
	list, err := s.source.OpenIMA(c.GetImaOffset())
	if err != nil {
		return err
	}
	defer list.Close()
	first := make([]byte, min(list.Size, imaPart))
	if _, err := io.ReadFull(list, first); err != nil {
		return fmt.Errorf("agent: IMA list: %w", err)
	}
	e := evidence(a, s.bootID)
	if c.GetWantBootLog() {
		e.BootLog = a.bootLog
	}
	e.Ima, e.ImaMore = first, list.Size-uint64(len(first))
	if err := s.send(&quoratev1.AttestRequest{Step: &quoratev1.AttestRequest_Evidence{Evidence: e}}); err != nil {
		return err
	}
	return s.sendIMA(list, first, e.ImaMore)
}

func evidence(a answer, bootID string) *quoratev1.Evidence {
	e := &quoratev1.Evidence{
		Quote: a.quote.Attest, Signature: a.quote.Signature, PcrValues: a.quote.PCRs,
		BootLogDigest: a.digest[:], BootId: bootID,
	}
	for _, c := range a.challenges {
		answered := &quoratev1.AnsweredChallenge{
			Verifier: c.Verifier, Nonce: c.Nonce[:], Exporter: c.Exporter[:], BeaconHeight: c.Beacon.Height,
		}
		if c.Beacon.Hash != [32]byte{} {
			answered.BeaconHash = c.Beacon.Hash[:]
		}
		e.Challenges = append(e.Challenges, answered)
	}
	return e
}

// sendIMA sends the rest of the list in parts, all through one buffer: a message
// is encoded when Send returns.
func (s *session) sendIMA(list io.Reader, buffer []byte, more uint64) error {
	for more > 0 {
		part := buffer[:min(more, uint64(len(buffer)))]
		if _, err := io.ReadFull(list, part); err != nil {
			return fmt.Errorf("agent: IMA list: %w", err)
		}
		chunk := &quoratev1.AttestRequest_ImaChunk{ImaChunk: &quoratev1.ImaChunk{Data: part}}
		if err := s.send(&quoratev1.AttestRequest{Step: chunk}); err != nil {
			return err
		}
		more -= uint64(len(part))
	}
	return nil
}
