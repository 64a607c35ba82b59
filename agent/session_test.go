package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"filippo.io/torchwood"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// Attest plays the verifier's part of a session.
func (v *testVerifier) Attest(stream grpc.BidiStreamingServer[quoratev1.AttestRequest, quoratev1.AttestResponse]) error {
	r, err := v.identify(stream)
	if err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	v.opened()
	defer v.ended()
	hello := m.GetHello()
	for {
		var challenge *quoratev1.Challenge
		select {
		case challenge = <-v.challenges:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := v.exchange(stream, r, hello, challenge); err != nil {
			return err
		}
	}
}

func (v *testVerifier) opened() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sessions++
	v.open++
}

func (v *testVerifier) ended() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open--
}

// quiet waits until no session is open. Without it a challenge meant for the
// next agent may go to the session of one that is gone, and be lost there.
func (v *testVerifier) quiet() {
	v.t.Helper()
	eventually(v.t, v.name+" without a session", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.open == 0
	})
}

func (v *testVerifier) identify(stream grpc.ServerStream) (*record, error) {
	state, err := connection(stream)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.record == nil || sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != v.record.nodeKey {
		return nil, status.Error(codes.PermissionDenied, "unknown node key")
	}
	return v.record, nil
}

// usual is the challenge of an ordinary moment.
func usual() *quoratev1.Challenge {
	nonce := random32()
	c := &quoratev1.Challenge{Nonce: nonce[:], Bank: "sha256", WantBootLog: true, AnswerWithinMs: 20_000}
	for i := range uint32(15) {
		c.Pcrs = append(c.Pcrs, i)
	}
	return c
}

func (v *testVerifier) exchange(stream grpc.BidiStreamingServer[quoratev1.AttestRequest, quoratev1.AttestResponse], r *record, hello *quoratev1.Hello, c *quoratev1.Challenge) error {
	if c == nil {
		c = usual()
	}
	if err := stream.Send(&quoratev1.AttestResponse{Step: &quoratev1.AttestResponse_Challenge{Challenge: c}}); err != nil {
		return err
	}
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	got := result{hello: hello, evidence: m.GetEvidence()}
	if got.ima, err = receiveIMA(stream, got.evidence); err != nil {
		return err
	}
	tlsValue, err := exported(stream)
	if err != nil {
		return err
	}
	got.err = v.check(r, got.evidence, c, tlsValue)
	verdict := v.decide(r, got)
	v.results <- got
	return stream.Send(&quoratev1.AttestResponse{Step: &quoratev1.AttestResponse_Verdict{Verdict: verdict}})
}

func receiveIMA(stream grpc.BidiStreamingServer[quoratev1.AttestRequest, quoratev1.AttestResponse], e *quoratev1.Evidence) ([]byte, error) {
	list := bytes.Clone(e.GetIma())
	for more := e.GetImaMore(); more > 0; {
		m, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		part := m.GetImaChunk().GetData()
		if len(part) == 0 || uint64(len(part)) > more || len(part) > 1<<20 {
			return nil, fmt.Errorf("chunk of %d bytes with %d to come", len(part), more)
		}
		list, more = append(list, part...), more-uint64(len(part))
	}
	return list, nil
}

// check verifies the quote as section 5 of the protocol says.
func (v *testVerifier) check(r *record, e *quoratev1.Evidence, c *quoratev1.Challenge, tlsValue [32]byte) error {
	bound := binding.Quote{
		Ledger: v.ledger(), Node: r.node, AKName: r.akName, NodeKey: r.nodeKey, ConsensusKey: r.consensus,
		BootLog: [32]byte(e.GetBootLogDigest()),
	}
	own := false
	for _, a := range e.GetChallenges() {
		one := binding.Challenge{Verifier: a.GetVerifier(), Nonce: [32]byte(a.GetNonce()), Exporter: [32]byte(a.GetExporter())}
		one.Beacon.Height = a.GetBeaconHeight()
		copy(one.Beacon.Hash[:], a.GetBeaconHash())
		bound.Challenges = append(bound.Challenges, one)
		own = own || one.Verifier == v.name && bytes.Equal(one.Nonce[:], c.GetNonce()) && one.Exporter == tlsValue &&
			one.Beacon.Height == c.GetBeaconHeight()
	}
	if !own {
		return errors.New("own challenge is not answered over this connection")
	}
	qualifying, err := bound.QualifyingData()
	if err != nil {
		return err
	}
	attest, err := r.checkSigned(e.GetQuote(), e.GetSignature(), tpm2.TPMSTAttestQuote, qualifying)
	if err != nil {
		return err
	}
	info, err := attest.Attested.Quote()
	if err != nil {
		return err
	}
	if digest := sha256.Sum256(bytes.Join(e.GetPcrValues(), nil)); !bytes.Equal(info.PCRDigest.Buffer, digest[:]) {
		return errors.New("PCR values are not the quoted ones")
	}
	if sum := sha256.Sum256(e.GetBootLog()); c.GetWantBootLog() && !bytes.Equal(sum[:], e.GetBootLogDigest()) {
		return errors.New("boot log is not the announced one")
	}
	return nil
}

func (v *testVerifier) decide(r *record, got result) *quoratev1.Verdict {
	if got.err != nil {
		return &quoratev1.Verdict{Decision: "denied", State: "suspended"}
	}
	if v.verdict != nil {
		return v.verdict(got)
	}
	out := &quoratev1.Verdict{Decision: "admitted", State: "admitted"}
	var err error
	if out.Admission, out.AdmissionProof, err = v.admit(r, got); err != nil {
		v.t.Error("admit:", err)
	}
	return out
}

// admit issues an admission in a journal of its own.
func (v *testVerifier) admit(r *record, got result) (admitted, proof []byte, err error) {
	v.mu.Lock()
	v.serial++
	serial := v.serial
	v.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Second)
	s := admission.Statement{
		Consortium: v.consortium.Name, Test: v.consortium.Test, Ledger: v.consortium.Ledger,
		Node: r.node, Host: r.host, Role: "validator", ConsensusKey: r.consensus, NodeKey: r.nodeKey,
		Policy:   admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("policy"))},
		Evidence: sha256.Sum256(got.evidence.GetQuote()), Epoch: admission.Epoch{Reset: 1},
		NotBefore: now, NotAfter: now.Add(time.Hour), Verifier: v.name, Serial: serial,
	}
	if admitted, err = s.Sign(v.admissionKey); err != nil {
		return nil, nil, err
	}
	root := tlog.RecordHash(admitted)
	text := v.name + "/journal\n" + strconv.Itoa(1) + "\n" + base64.StdEncoding.EncodeToString(root[:]) + "\n"
	checkpoint, err := note.Sign(&note.Note{Text: text}, v.logKey)
	if err != nil {
		return nil, nil, err
	}
	return admitted, torchwood.FormatProof(0, nil, checkpoint), nil
}

// next returns the next result, and fails the test when none comes.
func (v *testVerifier) next() result {
	v.t.Helper()
	select {
	case r := <-v.results:
		return r
	case <-time.After(90 * time.Second):
		v.t.Fatalf("%s got no evidence", v.name)
		return result{}
	}
}
