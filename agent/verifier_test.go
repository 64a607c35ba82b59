package agent_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

const joinToken = "a-join-token"

// testVerifier plays a verifier: it enrols one node and checks, with nothing of
// the agent's code, that proofs are right. It issues genuine admissions.
type testVerifier struct {
	quoratev1.UnimplementedEnrollmentServiceServer
	quoratev1.UnimplementedAttestationServiceServer

	t            *testing.T
	name         string
	cert         tls.Certificate
	admissionKey note.Signer
	logKey       note.Signer
	file         admission.Verifier
	consortium   *admission.Consortium // set before serving

	challenges chan *quoratev1.Challenge // what to ask next; a nil asks for the usual
	results    chan result
	verdict    func(result) *quoratev1.Verdict // nil admits

	mu       sync.Mutex
	record   *record
	servers  []*grpc.Server
	sessions int // begun so far
	open     int // now
	serial   uint64
}

// record is what enrolment leaves.
type record struct {
	node, host, consensus string
	ak                    *ecdsa.PublicKey
	akName                []byte
	nodeKey               [32]byte
}

// result is one evidence with the verdict on it.
type result struct {
	hello    *quoratev1.Hello
	evidence *quoratev1.Evidence
	ima      []byte
	err      error
}

func newTestVerifier(t *testing.T, name string) *testVerifier {
	v := &testVerifier{
		t: t, name: name, challenges: make(chan *quoratev1.Challenge, 64), results: make(chan result, 64),
	}
	v.cert = selfSigned(t, name)
	admissionKey, admissionSigner := noteKey(t, name)
	logKey, logSigner := noteKey(t, name+"/journal")
	v.admissionKey, v.logKey = admissionSigner, logSigner
	v.file = admission.Verifier{
		Name: name, Member: "org-" + name[:1], AdmissionKey: admissionKey, LogKey: logKey,
		TLSKey: spki(t, v.cert), Attest: v.listen(true), Enroll: v.listen(false),
	}
	return v
}

func noteKey(t *testing.T, name string) (string, note.Signer) {
	t.Helper()
	secret, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return public, signer
}

func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func spki(t *testing.T, cert tls.Certificate) admission.Digest {
	t.Helper()
	parsed, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
}

// listen reserves an address and serves on it once the test verifier starts.
func (v *testVerifier) listen(mutual bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		v.t.Fatal(err)
	}
	v.serveOn(l, mutual)
	return l.Addr().String()
}

func (v *testVerifier) serveOn(l net.Listener, mutual bool) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{v.cert}, SessionTicketsDisabled: true}
	if mutual {
		cfg.ClientAuth = tls.RequireAnyClientCert
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)), grpc.MaxRecvMsgSize(4<<20))
	if mutual {
		quoratev1.RegisterAttestationServiceServer(s, v)
	} else {
		quoratev1.RegisterEnrollmentServiceServer(s, v)
	}
	v.mu.Lock()
	v.servers = append(v.servers, s)
	v.mu.Unlock()
	go s.Serve(l)
	v.t.Cleanup(s.Stop)
}

// stop ends the servers; restart serves the attest address again.
func (v *testVerifier) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.servers {
		s.Stop()
	}
	v.servers = nil
}

func (v *testVerifier) restart() {
	l, err := net.Listen("tcp", v.file.Attest)
	if err != nil {
		v.t.Fatal(err)
	}
	v.serveOn(l, true)
}

func connection(stream grpc.ServerStream) (tls.ConnectionState, error) {
	p, ok := peer.FromContext(stream.Context())
	if !ok {
		return tls.ConnectionState{}, errors.New("no peer")
	}
	return p.AuthInfo.(credentials.TLSInfo).State, nil
}

func exported(stream grpc.ServerStream) (out [32]byte, err error) {
	state, err := connection(stream)
	if err != nil {
		return out, err
	}
	value, err := state.ExportKeyingMaterial(binding.ExporterLabel, nil, 32)
	copy(out[:], value)
	return out, err
}

// Enroll plays the verifier's part of an enrolment.
func (v *testVerifier) Enroll(stream grpc.BidiStreamingServer[quoratev1.EnrollRequest, quoratev1.EnrollResponse]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	start := m.GetStart()
	if start.GetJoinToken() != joinToken {
		return status.Error(codes.PermissionDenied, "the join token is not valid\x1b[31m")
	}
	tlsValue, err := exported(stream)
	if err != nil {
		return err
	}
	secret, nonce := random32(), random32()
	r, challenge, err := prepare(start, secret, nonce)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := stream.Send(&quoratev1.EnrollResponse{Step: &quoratev1.EnrollResponse_Challenge{Challenge: challenge}}); err != nil {
		return err
	}
	if m, err = stream.Recv(); err != nil {
		return err
	}
	want := binding.Certification{
		Ledger: v.ledger(), Verifier: v.name, Node: start.GetNodeId(), AKName: r.akName, NodeKey: r.nodeKey,
		ConsensusKey: start.GetConsensusKey(), Nonce: nonce, Exporter: tlsValue,
	}
	if err := r.checkProof(m.GetProof(), secret, want); err != nil {
		v.t.Error("enrolment proof:", err)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	v.mu.Lock()
	v.record = r
	v.mu.Unlock()
	result := &quoratev1.EnrollResult{State: "pending", HostId: r.host, Message: "wait for an operator"}
	return stream.Send(&quoratev1.EnrollResponse{Step: &quoratev1.EnrollResponse_Result{Result: result}})
}

func random32() (b [32]byte) {
	rand.Read(b[:])
	return b
}

func (v *testVerifier) ledger() binding.Ledger {
	return binding.Ledger{Consortium: v.consortium.Name, ChainID: v.consortium.Ledger.ID, Genesis: v.consortium.Ledger.Genesis}
}

// prepare makes the credential for the key inside the certificate.
func prepare(s *quoratev1.EnrollStart, secret, nonce [32]byte) (*record, *quoratev1.EnrollChallenge, error) {
	cert, err := x509.ParseCertificate(s.GetEkCertificate())
	if err != nil {
		return nil, nil, err
	}
	ekPublic, err := tpm2.Unmarshal[tpm2.TPMTPublic](s.GetEkPublic())
	if err != nil {
		return nil, nil, err
	}
	ek, err := tpm2.Pub(*ekPublic)
	if err != nil {
		return nil, nil, err
	}
	if der, err := x509.MarshalPKIXPublicKey(ek); err != nil || !bytes.Equal(der, cert.RawSubjectPublicKeyInfo) {
		return nil, nil, fmt.Errorf("EK is not the certified one: %v", err)
	}
	r := &record{
		node: s.GetNodeId(), consensus: s.GetConsensusKey(),
		host: fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo)),
	}
	if r.ak, r.akName, err = parseKey(s.GetAkPublic()); err != nil {
		return nil, nil, err
	}
	node, _, err := parseKey(s.GetNodeKeyPublic())
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(node)
	if err != nil {
		return nil, nil, err
	}
	r.nodeKey = sha256.Sum256(der)
	kem, err := tpm2.ImportEncapsulationKey(ekPublic)
	if err != nil {
		return nil, nil, err
	}
	blob, encrypted, err := tpm2.CreateCredential(rand.Reader, kem, r.akName, secret[:])
	return r, &quoratev1.EnrollChallenge{CredentialBlob: blob, EncryptedSecret: encrypted, Nonce: nonce[:]}, err
}

func parseKey(raw []byte) (*ecdsa.PublicKey, []byte, error) {
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](raw)
	if err != nil {
		return nil, nil, err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := tpm2.Pub(*public)
	if err != nil {
		return nil, nil, err
	}
	return parsed.(*ecdsa.PublicKey), name.Buffer, nil
}

func (r *record) checkProof(p *quoratev1.EnrollProof, secret [32]byte, want binding.Certification) error {
	if !bytes.Equal(p.GetSecret(), secret[:]) {
		return errors.New("wrong secret")
	}
	qualifying, err := want.QualifyingData(binding.PurposeAKCreation)
	if err != nil {
		return err
	}
	creation, err := r.checkSigned(p.GetAkCreationAttest(), p.GetAkCreationSignature(), tpm2.TPMSTAttestCreation, qualifying)
	if err != nil {
		return fmt.Errorf("creation: %w", err)
	}
	info, err := creation.Attested.Creation()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(p.GetAkCreationData())
	if !bytes.Equal(info.CreationHash.Buffer, sum[:]) || !bytes.Equal(info.ObjectName.Buffer, r.akName) {
		return errors.New("creation data or name differ")
	}
	if qualifying, err = want.QualifyingData(binding.PurposeNodeKey); err != nil {
		return err
	}
	if _, err := r.checkSigned(p.GetNodeKeyAttest(), p.GetNodeKeySignature(), tpm2.TPMSTAttestCertify, qualifying); err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	return checkConsensus(p, want)
}

func checkConsensus(p *quoratev1.EnrollProof, want binding.Certification) error {
	if want.ConsensusKey == "" {
		return nil
	}
	public, err := admission.ParseConsensusKey(want.ConsensusKey)
	if err != nil {
		return err
	}
	qualifying, err := want.QualifyingData(binding.PurposeConsensusKey)
	if err != nil {
		return err
	}
	if !ed25519.Verify(public, qualifying[:], p.GetConsensusKeySignature()) {
		return errors.New("consensus key: wrong signature")
	}
	return nil
}

func (r *record) checkSigned(attest, signature []byte, kind tpm2.TPMST, qualifying [32]byte) (*tpm2.TPMSAttest, error) {
	sig, err := tpm2.Unmarshal[tpm2.TPMTSignature](signature)
	if err != nil {
		return nil, err
	}
	ec, err := sig.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(attest)
	if !ecdsa.Verify(r.ak, digest[:], new(big.Int).SetBytes(ec.SignatureR.Buffer), new(big.Int).SetBytes(ec.SignatureS.Buffer)) {
		return nil, errors.New("wrong signature")
	}
	parsed, err := tpm2.Unmarshal[tpm2.TPMSAttest](attest)
	if err != nil {
		return nil, err
	}
	if parsed.Type != kind || !bytes.Equal(parsed.ExtraData.Buffer, qualifying[:]) {
		return nil, errors.New("wrong type or qualifying data")
	}
	return parsed, nil
}
