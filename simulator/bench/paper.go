package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// paperNode is a node of the fleet: a host with keys on paper that speaks the
// protocol of the agent.
type paperNode struct {
	*host
	id       string
	source   net.IP // own address to dial from
	ledger   binding.Ledger
	verifier admission.Verifier
}

// dial connects to one of the verifier's addresses and checks its pinned key.
func (n *paperNode) dial(address string, own *tls.Certificate) (*grpc.ClientConn, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: n.verifier.Name, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // no CA: VerifyConnection compares the pinned key instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 || sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != [32]byte(n.verifier.TLSKey) {
				return errors.New("bench: the server does not have the verifier's key")
			}
			return nil
		},
	}
	if own != nil {
		config.Certificates = []tls.Certificate{*own}
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: n.source}}
	const window = 64 << 10 // as the agent has it
	return grpc.NewClient("passthrough:///"+address, grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))
}

// exporter returns what binds a proof to the stream's connection.
func exporter(stream context.Context) (value [binding.ExporterSize]byte, err error) {
	p, ok := peer.FromContext(stream)
	if !ok {
		return value, errors.New("bench: stream has no connection")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return value, errors.New("bench: connection is not TLS")
	}
	raw, err := info.State.ExportKeyingMaterial(binding.ExporterLabel, nil, len(value))
	copy(value[:], raw)
	return value, err
}

// enroll enrols the node with a join token.
func (n *paperNode) enroll(ctx context.Context, token string, vendor *vendorca.CA) error {
	certificate, err := vendor.Issue(n.node.EK.Signer.Public(), vendorca.DefaultDevice, vendorca.Plain)
	if err != nil {
		return err
	}
	conn, err := n.dial(n.verifier.Enroll, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewEnrollmentServiceClient(conn).Enroll(ctx)
	if err != nil {
		return err
	}
	start := &pb.EnrollStart{
		ProtocolVersion: 1, JoinToken: token, NodeId: n.id, EkCertificate: certificate, Intermediates: [][]byte{vendor.Intermediate},
		EkPublic: n.node.EK.Bytes(), AkPublic: n.node.AK.Bytes(), NodeKeyPublic: n.node.NodeKey.Bytes(), ConsensusKey: n.node.ConsensusKey(),
	}
	if err := stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Start{Start: start}}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	proof, err := n.prove(stream.Context(), answer.GetChallenge())
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.EnrollRequest{Step: &pb.EnrollRequest_Proof{Proof: proof}}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// prove answers an enrolment's challenge.
func (n *paperNode) prove(stream context.Context, c *pb.EnrollChallenge) (*pb.EnrollProof, error) {
	value, err := exporter(stream)
	if err != nil {
		return nil, err
	}
	certification := binding.Certification{
		Ledger: n.ledger, Verifier: n.verifier.Name, Node: n.id, AKName: n.node.AK.Name(), NodeKey: n.node.NodeKey.SPKIDigest(),
		ConsensusKey: n.node.ConsensusKey(), Nonce: [32]byte(c.GetNonce()), Exporter: value,
	}
	var extra [3][32]byte
	for i, purpose := range []binding.Purpose{binding.PurposeAKCreation, binding.PurposeNodeKey, binding.PurposeConsensusKey} {
		if extra[i], err = certification.QualifyingData(purpose); err != nil {
			return nil, err
		}
	}
	creation := n.node.AKCreation()
	p := &pb.EnrollProof{AkCreationData: creation.Bytes(), ConsensusKeySignature: ed25519.Sign(n.node.Consensus, extra[2][:])}
	if p.Secret, err = n.node.Activate(c.GetCredentialBlob(), c.GetEncryptedSecret()); err != nil {
		return nil, err
	}
	if p.AkCreationAttest, p.AkCreationSignature, err = n.node.Sign(n.node.CertifyCreation(creation, extra[0][:])); err != nil {
		return nil, err
	}
	p.NodeKeyAttest, p.NodeKeySignature, err = n.node.Sign(n.node.Certify(n.node.NodeKey, extra[1][:]))
	return p, err
}

// certificate is self-signed with the node key.
func (n *paperNode) certificate() (*tls.Certificate, error) {
	key, ok := n.node.NodeKey.Signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("bench: the node key is not ECDSA")
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(50, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// paperHost is a host of the fleet. All hosts boot alike, and have other keys.
func paperHost(like *host, seed string) *host {
	own := *like
	own.node = papertpm.NewNode(seed)
	own.node.PCRs = like.node.PCRs
	return &own
}

// round is what one challenge and its answer took and brought.
type round struct {
	in, out  int           // bytes of messages, to and from the node
	latency  time.Duration // from challenge to verdict, without the time to make the quote
	steady   bool          // no boot log and no new IMA entries were asked for
	decision string
	bundle   []byte // admission and proof, if they came
}

// attest holds a session until ctx ends or heard returns false.
func (n *paperNode) attest(ctx context.Context, heard func(round) bool) error {
	certificate, err := n.certificate()
	if err != nil {
		return err
	}
	conn, err := n.dial(n.verifier.Attest, certificate)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewAttestationServiceClient(conn).Attest(ctx)
	if err != nil {
		return err
	}
	s := &paperSession{paperNode: n, stream: stream, log: n.log.Bytes(), list: n.list.Bytes()}
	if s.exporter, err = exporter(stream.Context()); err != nil {
		return err
	}
	if err := s.hello(); err != nil {
		return err
	}
	for {
		r, err := s.round()
		if err != nil {
			return fmt.Errorf("%s: %w", n.id, err)
		}
		if !heard(r) {
			return nil
		}
	}
}
