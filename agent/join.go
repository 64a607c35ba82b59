package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/proto/binding"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// enrollTimeout bounds one enrolment: the TPM may generate an RSA key in it.
const enrollTimeout = 5 * time.Minute

// JoinOptions say with whom to enrol.
type JoinOptions struct {
	Tokens       map[string]string  // join token by verifier name; at least one
	ConsensusKey ed25519.PrivateKey // the ledger node's key, to prove its possession; nil if it has none
	Prover       Prover             // proves possession of a key that is held elsewhere, in place of ConsensusKey
}

// Prover holds the ledger node's consensus key. It gets the whole certification,
// not bytes to sign, so that it signs nothing that it does not understand.
type Prover interface {
	// ConsensusKey returns the public half, "ed25519:<base64>".
	ConsensusKey() string
	// Prove signs the certification's qualifying data for consensus keys.
	Prove(ctx context.Context, c binding.Certification) ([]byte, error)
}

// keyFile proves with a key that is at hand.
type keyFile ed25519.PrivateKey

func (k keyFile) ConsensusKey() string {
	return admission.FormatConsensusKey(ed25519.PrivateKey(k).Public().(ed25519.PublicKey))
}

func (k keyFile) Prove(_ context.Context, c binding.Certification) ([]byte, error) {
	qualifying, err := c.QualifyingData(binding.PurposeConsensusKey)
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(ed25519.PrivateKey(k), qualifying[:]), nil
}

// prover returns who proves possession of the consensus key, nil if there is
// none.
func (o JoinOptions) prover() Prover {
	if o.Prover == nil && o.ConsensusKey != nil {
		return keyFile(o.ConsensusKey)
	}
	return o.Prover
}

// Enrolment is one verifier's answer.
type Enrolment struct {
	Verifier string `json:"verifier"`
	State    string `json:"state"`  // "pending" until an operator approves, or "approved"
	HostID   string `json:"hostId"` // hex SHA-256 of the EK's SubjectPublicKeyInfo
	Message  string `json:"message,omitempty"`
}

// RefusedError is a verifier's refusal, as opposed to a failure to ask it.
type RefusedError struct {
	Verifier string
	Code     string // gRPC status code
	Reason   string // the verifier's words, printable
}

// Error names verifier, code and reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("verifier %s refused (%s): %s", e.Verifier, e.Code, e.Reason)
}

// rpcError turns a status into a RefusedError when it is the verifier's "no".
func rpcError(verifier string, err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("verifier %s: %w", verifier, err)
	}
	switch st.Code() {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition,
		codes.AlreadyExists, codes.NotFound, codes.Aborted, codes.OutOfRange:
		return &RefusedError{verifier, st.Code().String(), printable(st.Message())}
	}
	return fmt.Errorf("verifier %s: %s: %s", verifier, st.Code(), printable(st.Message()))
}

// Join enrols this host's TPM with every verifier that a token is given for, in
// the order of their names. It returns the answers so far also with an error.
func (a *Agent) Join(ctx context.Context, o JoinOptions) ([]Enrolment, error) {
	if err := a.checkTokens(o.Tokens); err != nil {
		return nil, err
	}
	if _, err := a.banks(ctx); err != nil {
		return nil, err
	}
	st, err := openState(a.cfg.StateDir)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	id, err := a.joinIdentity(st, o)
	if err != nil {
		return nil, err
	}
	keys, err := a.openKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	defer keys.Close()
	id.AKName, id.NodeKey = hex.EncodeToString(keys.AKName()), nodeKeyText(keys)
	j := joining{agent: a, state: st, id: id, keys: keys, consensus: o.prover()}
	return j.all(ctx, o.Tokens)
}

func (a *Agent) checkTokens(tokens map[string]string) error {
	if len(tokens) == 0 {
		return errors.New("agent: no join token")
	}
	for name := range tokens {
		if _, ok := a.consortium.Verifier(name); !ok {
			return fmt.Errorf("agent: join token for %q: no such verifier in consortium %s", name, a.consortium.Name)
		}
	}
	return nil
}

// joinIdentity returns the identity to enrol: the one of an earlier join, which
// must be this node's, or a new one.
func (a *Agent) joinIdentity(st *state, o JoinOptions) (identity, error) {
	consensus := ""
	if p := o.prover(); p != nil {
		consensus = p.ConsensusKey()
	}
	id, err := st.identity()
	if errors.Is(err, ErrNotJoined) {
		return identity{Node: a.cfg.Node, ConsensusKey: consensus}, nil
	}
	if err != nil {
		return id, err
	}
	if id.Node != a.cfg.Node || id.ConsensusKey != consensus {
		return id, fmt.Errorf("agent: this host joined before as %s (consensus key %q); node and consensus key never change",
			id.Node, id.ConsensusKey)
	}
	return id, nil
}

// joining is one run of Join.
type joining struct {
	agent     *Agent
	state     *state
	id        identity
	keys      *key.Keys
	consensus Prover // nil if the node has no consensus key
}

func (j *joining) all(ctx context.Context, tokens map[string]string) ([]Enrolment, error) {
	ek, err := j.agent.openEK(ctx, j.keys)
	if err != nil {
		return nil, err
	}
	defer ek.Close()
	var done []Enrolment
	var errs []error
	for _, v := range j.agent.consortium.Verifiers {
		token, ok := tokens[v.Name]
		if !ok {
			continue
		}
		result, err := j.one(ctx, v, token, ek)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		done = append(done, result)
	}
	return done, errors.Join(errs...)
}

// one enrols with one verifier, remembering before the question that it was
// asked.
func (j *joining) one(ctx context.Context, v admission.Verifier, token string, ek *key.EK) (Enrolment, error) {
	if !slices.ContainsFunc(j.id.Verifiers, func(e enrolled) bool { return e.Name == v.Name }) {
		j.id.set(v.Name, "asked")
	}
	if err := j.state.WriteJSON(identityFile, j.id); err != nil {
		return Enrolment{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	result, err := j.enroll(ctx, v, token, ek)
	if err != nil {
		return Enrolment{}, err
	}
	j.id.set(v.Name, result.State)
	return result, j.state.WriteJSON(identityFile, j.id)
}

func (j *joining) enroll(ctx context.Context, v admission.Verifier, token string, ek *key.EK) (Enrolment, error) {
	conn, err := dial(v, v.Enroll, nil)
	if err != nil {
		return Enrolment{}, err
	}
	defer conn.Close()
	stream, err := quoratev1.NewEnrollmentServiceClient(conn).Enroll(ctx)
	if err != nil {
		return Enrolment{}, rpcError(v.Name, err)
	}
	if err := stream.Send(j.start(token, ek)); err != nil {
		return Enrolment{}, rpcError(v.Name, streamError(stream.RecvMsg(new(quoratev1.EnrollResponse)), err))
	}
	answer, err := stream.Recv()
	if err != nil {
		return Enrolment{}, rpcError(v.Name, err)
	}
	proof, err := j.prove(ctx, v, stream.Context(), answer.GetChallenge(), ek)
	if err != nil {
		return Enrolment{}, fmt.Errorf("verifier %s: %w", v.Name, err)
	}
	if err := stream.Send(&quoratev1.EnrollRequest{Step: &quoratev1.EnrollRequest_Proof{Proof: proof}}); err != nil {
		return Enrolment{}, rpcError(v.Name, streamError(stream.RecvMsg(new(quoratev1.EnrollResponse)), err))
	}
	if answer, err = stream.Recv(); err != nil {
		return Enrolment{}, rpcError(v.Name, err)
	}
	return enrolment(v, answer.GetResult(), ek)
}

// streamError returns why a stream ended: a failed Send says only that it did.
func streamError(received, sent error) error {
	if received != nil {
		return received
	}
	return sent
}

func (j *joining) start(token string, ek *key.EK) *quoratev1.EnrollRequest {
	return &quoratev1.EnrollRequest{Step: &quoratev1.EnrollRequest_Start{Start: &quoratev1.EnrollStart{
		ProtocolVersion: protocolVersion,
		JoinToken:       token,
		NodeId:          j.id.Node,
		EkCertificate:   ek.Certificate,
		Intermediates:   ek.Intermediates,
		EkPublic:        ek.Public,
		AkPublic:        j.keys.AKPublic(),
		NodeKeyPublic:   j.keys.NodeKeyPublic(),
		ConsensusKey:    j.id.ConsensusKey,
	}}}
}

// prove answers the challenge: the activated secret, and the certifications of
// both keys over this verifier's nonce and this connection.
func (j *joining) prove(ctx context.Context, v admission.Verifier, stream context.Context, c *quoratev1.EnrollChallenge, ek *key.EK) (*quoratev1.EnrollProof, error) {
	certification, err := j.certification(v, stream, c)
	if err != nil {
		return nil, err
	}
	proof := &quoratev1.EnrollProof{}
	if proof.Secret, err = ek.Activate(ctx, c.GetCredentialBlob(), c.GetEncryptedSecret()); err != nil {
		return nil, err
	}
	qualifying, err := certification.QualifyingData(binding.PurposeAKCreation)
	if err != nil {
		return nil, err
	}
	creation, err := j.keys.CertifyCreation(ctx, qualifying)
	if err != nil {
		return nil, err
	}
	proof.AkCreationData, proof.AkCreationAttest = creation.CreationData, creation.Attest
	proof.AkCreationSignature = creation.Signature
	if qualifying, err = certification.QualifyingData(binding.PurposeNodeKey); err != nil {
		return nil, err
	}
	node, err := j.keys.CertifyNodeKey(ctx, qualifying)
	if err != nil {
		return nil, err
	}
	proof.NodeKeyAttest, proof.NodeKeySignature = node.Attest, node.Signature
	if j.consensus != nil {
		if proof.ConsensusKeySignature, err = j.consensus.Prove(stream, certification); err != nil {
			return nil, err
		}
	}
	return proof, nil
}

func (j *joining) certification(v admission.Verifier, stream context.Context, c *quoratev1.EnrollChallenge) (binding.Certification, error) {
	if c == nil || len(c.GetNonce()) != binding.NonceSize {
		return binding.Certification{}, errors.New("challenge without a nonce of 32 bytes")
	}
	tlsValue, err := exporter(stream)
	if err != nil {
		return binding.Certification{}, err
	}
	return binding.Certification{
		Ledger: j.agent.ledger(), Verifier: v.Name, Node: j.id.Node,
		AKName: j.keys.AKName(), NodeKey: j.keys.NodeKeyDigest(), ConsensusKey: j.id.ConsensusKey,
		Nonce: [32]byte(c.GetNonce()), Exporter: tlsValue,
	}, nil
}

func enrolment(v admission.Verifier, r *quoratev1.EnrollResult, ek *key.EK) (Enrolment, error) {
	if r == nil || r.GetState() != "pending" && r.GetState() != "approved" {
		return Enrolment{}, fmt.Errorf("verifier %s: enrolment ended without a result", v.Name)
	}
	if r.GetHostId() != ek.HostID {
		return Enrolment{}, fmt.Errorf("verifier %s: recorded host %q, this host is %s", v.Name, printable(r.GetHostId()), ek.HostID)
	}
	return Enrolment{v.Name, r.GetState(), r.GetHostId(), printable(r.GetMessage())}, nil
}

// openEK loads the endorsement key whose template counts for this TPM.
func (a *Agent) openEK(ctx context.Context, keys *key.Keys) (*key.EK, error) {
	t, err := chooseTemplate(ctx, a.dev, a.cfg.TPMClass, a.consortium.Endorsement.Templates)
	if err != nil {
		return nil, err
	}
	ek, err := keys.OpenEK(ctx, t)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: this TPM carries no certificate for its %s key, so no verifier can tell that it is genuine", err, t)
	}
	return ek, err
}
