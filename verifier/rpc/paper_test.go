package rpc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
)

// manyHosts lets one address enrol and connect as often as a test needs.
func manyHosts(w *world) {
	w.config.Limits.EnrollPerHour, w.config.Limits.PerSource = 10000, 1000
}

// paper is a host of the test's own making: what it sends can be anything.
type paper struct {
	*paperhost.Host
	w *world
}

// paper makes a host that is not enrolled.
func (w *world) paper(name string) *paper {
	w.t.Helper()
	h, err := paperhost.New(member+"/"+name, w.vendor, bootlog.Debian())
	must(w.t, err)
	return &paper{Host: h, w: w}
}

func (w *world) invite(id string) string {
	w.t.Helper()
	r, err := w.admin.InviteNode(w.t.Context(), &pb.InviteNodeRequest{NodeId: id, PreApprove: true})
	must(w.t, err)
	return r.JoinToken
}

// enrolled makes a host and enrols it over the wire.
func (w *world) enrolledPaper(name string) *paper {
	w.t.Helper()
	p := w.paper(name)
	must(w.t, p.enrol(w.invite(p.ID)))
	return p
}

// clientTLS is TLS as a client has it who checks nothing; certificate may be nil.
func clientTLS(certificate *tls.Certificate) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return config
}

func dial(t *testing.T, address string, config *tls.Config, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// certificate is the self-signed certificate of the host's node key.
func (p *paper) certificate() *tls.Certificate {
	p.w.t.Helper()
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, p.NodeKey.Signer.Public(), p.NodeKey.Signer)
	must(p.w.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.NodeKey.Signer}
}

// exporterAt returns the exporter of the connection that a stream runs on.
func exporterAt(t *testing.T, ctx context.Context) [32]byte {
	t.Helper()
	who, ok := peer.FromContext(ctx)
	if !ok {
		t.Fatal("no peer")
	}
	state := who.AuthInfo.(credentials.TLSInfo).State
	material, err := state.ExportKeyingMaterial(binding.ExporterLabel, nil, binding.ExporterSize)
	must(t, err)
	return [32]byte(material)
}

// enrolment is one Enroll stream.
type enrolment struct {
	stream grpc.BidiStreamingClient[pb.EnrollRequest, pb.EnrollResponse]
	host   *paper
}

func (p *paper) startMessage(token string) *pb.EnrollStart {
	return &pb.EnrollStart{
		ProtocolVersion: 1, JoinToken: token, NodeId: p.ID, EkCertificate: p.EKCertificate, Intermediates: p.Intermediates,
		EkPublic: p.EK.Bytes(), AkPublic: p.AK.Bytes(), NodeKeyPublic: p.NodeKey.Bytes(), ConsensusKey: p.ConsensusKey(),
	}
}

func (p *paper) begin(start *pb.EnrollStart) (*enrolment, *pb.EnrollChallenge, error) {
	conn := dial(p.w.t, p.w.self.Enroll, clientTLS(nil))
	stream, err := pb.NewEnrollmentServiceClient(conn).Enroll(p.w.t.Context())
	must(p.w.t, err)
	// A stream that ended already says EOF here; Recv says why.
	if err := stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Start{Start: start}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	m, err := stream.Recv()
	return &enrolment{stream, p}, m.GetChallenge(), err
}

// proof answers the challenge as the host's TPM would.
func (e *enrolment) proof(c *pb.EnrollChallenge) *pb.EnrollProof {
	t := e.host.w.t
	secret, err := e.host.Activate(c.CredentialBlob, c.EncryptedSecret)
	must(t, err)
	p, err := e.host.Prove(e.host.Certification(binding.Certification{
		Ledger: e.host.w.ledger(), Verifier: e.host.w.self.Name, Nonce: [32]byte(c.Nonce), Exporter: exporterAt(t, e.stream.Context()),
	}))
	must(t, err)
	return &pb.EnrollProof{
		Secret: secret, AkCreationData: p.CreationData, AkCreationAttest: p.CreationAttest, AkCreationSignature: p.CreationSignature,
		NodeKeyAttest: p.NodeKeyAttest, NodeKeySignature: p.NodeKeySignature, ConsensusKeySignature: p.ConsensusSignature,
	}
}

func (e *enrolment) finish(proof *pb.EnrollProof) error {
	if err := e.stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Proof{Proof: proof}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m, err := e.stream.Recv()
	if err == nil && m.GetResult() == nil {
		err = fmt.Errorf("got %v instead of a result", m)
	}
	return err
}

func (p *paper) enrol(token string) error {
	e, c, err := p.begin(p.startMessage(token))
	if err != nil {
		return err
	}
	return e.finish(e.proof(c))
}

func (w *world) ledger() binding.Ledger {
	return binding.Ledger{Consortium: w.consortium.Name, ChainID: w.consortium.Ledger.ID, Genesis: w.consortium.Ledger.Genesis}
}

// session is one Attest stream.
type session struct {
	stream grpc.BidiStreamingClient[pb.AttestRequest, pb.AttestResponse]
	host   *paper
}

// open opens a session on a connection of its own.
func (p *paper) open() *session {
	p.w.t.Helper()
	s := p.stream()
	must(p.w.t, s.send(p.hello()))
	return s
}

func (p *paper) stream() *session {
	p.w.t.Helper()
	conn := dial(p.w.t, p.w.self.Attest, clientTLS(p.certificate()))
	stream, err := pb.NewAttestationServiceClient(conn).Attest(p.w.t.Context())
	must(p.w.t, err)
	return &session{stream, p}
}

func (p *paper) hello() *pb.Hello {
	digest := sha256.Sum256(p.Log.Bytes())
	return &pb.Hello{ProtocolVersion: 1, NodeId: p.ID, BootId: p.BootID, Banks: []string{"sha256"}, BootLogDigest: digest[:]}
}

func (s *session) send(step any) error {
	m := new(pb.AttestRequest)
	switch step := step.(type) {
	case *pb.Hello:
		m.Step = &pb.AttestRequest_Hello{Hello: step}
	case *pb.Evidence:
		m.Step = &pb.AttestRequest_Evidence{Evidence: step}
	case *pb.ImaChunk:
		m.Step = &pb.AttestRequest_ImaChunk{ImaChunk: step}
	}
	return s.stream.Send(m)
}

func (s *session) challenge() *pb.Challenge {
	s.host.w.t.Helper()
	m, err := s.stream.Recv()
	must(s.host.w.t, err)
	if m.GetChallenge() == nil {
		s.host.w.t.Fatalf("got %v instead of a challenge", m)
	}
	return m.GetChallenge()
}

// evidence answers the challenge honestly.
func (s *session) evidence(c *pb.Challenge) *pb.Evidence {
	t := s.host.w.t
	t.Helper()
	own := binding.Challenge{
		Verifier: s.host.w.self.Name, Nonce: [32]byte(c.Nonce), Exporter: exporterAt(t, s.stream.Context()),
		Beacon: binding.Beacon{Height: c.BeaconHeight},
	}
	copy(own.Beacon.Hash[:], c.BeaconHash)
	ask := paperhost.Ask{Ledger: s.host.w.ledger(), Challenges: []binding.Challenge{own}}
	for _, pcr := range c.Pcrs {
		ask.PCRs = append(ask.PCRs, int(pcr))
	}
	a, err := s.host.Answer(ask)
	must(t, err)
	e := &pb.Evidence{
		Quote: a.Quote, Signature: a.Signature, PcrValues: a.PCRValues, BootLogDigest: a.BootLogDigest[:], BootId: a.BootID,
		Ima: a.IMA[min(c.ImaOffset, uint64(len(a.IMA))):],
	}
	for _, x := range a.Challenges {
		e.Challenges = append(e.Challenges, &pb.AnsweredChallenge{
			Verifier: x.Verifier, Nonce: x.Nonce[:], Exporter: x.Exporter[:],
			BeaconHeight: x.Beacon.Height, BeaconHash: x.Beacon.Hash[:],
		})
	}
	if c.WantBootLog {
		e.BootLog = a.BootLog
	}
	return e
}

func (s *session) verdict() *pb.Verdict {
	s.host.w.t.Helper()
	m, err := s.stream.Recv()
	must(s.host.w.t, err)
	if m.GetVerdict() == nil {
		s.host.w.t.Fatalf("got %v instead of a verdict", m)
	}
	return m.GetVerdict()
}

// round answers one challenge honestly.
func (s *session) round() *pb.Verdict {
	s.host.w.t.Helper()
	must(s.host.w.t, s.send(s.evidence(s.challenge())))
	return s.verdict()
}

// admitted makes the policy of the hosts to come, from a host of their kind.
func (w *world) teach() *paper {
	w.t.Helper()
	p := w.enrolledPaper("teacher")
	s := p.open()
	s.round()
	w.learn(&host{id: p.ID})
	w.eventually("the teacher to be admitted", func() bool { return s.round().Decision == "admitted" })
	return p
}

// operator adds somebody to the consortium file, for newWorld.
func operatorOf(t *testing.T, name string, role admission.Role, key **operator.Key) func(*world) {
	return func(w *world) {
		private, public, err := note.GenerateKey(rand.Reader, name)
		must(t, err)
		*key, err = operator.ParseKey(private)
		must(t, err)
		raw, err := os.ReadFile(w.config.Consortium)
		must(t, err)
		c, err := admission.ParseConsortium(raw)
		must(t, err)
		c.Members[0].Operators = append(c.Members[0].Operators, admission.Operator{Member: member, Key: public, Role: role})
		raw, err = c.Marshal()
		must(t, err)
		must(t, os.WriteFile(w.config.Consortium, raw, 0o600))
	}
}

// wantCode demands a gRPC status.
func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
