package verifier

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/enroll"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// approvalsNeeded is how many operators approve an enrolment. A TPM that a
// retired node had takes two, see node.New.
const approvalsNeeded = 1

// Enrollment is one attempt between its challenge and its proof. It is good for
// one proof, on the connection that it began on.
type Enrollment struct {
	service *Service
	invite  store.Invite
	request EnrollRequest
	ek      *enroll.EK
	ak      *enroll.AK
	node    *enroll.NodeKey
	secret  []byte
	binding binding.Certification
}

// BeginEnrollment checks the token and everything that the host says of its TPM,
// cheap things first, and makes a challenge that only that TPM can answer.
// Nothing is recorded yet.
func (s *Service) BeginEnrollment(ctx context.Context, r EnrollRequest, exporter [32]byte) (*Enrollment, EnrollChallenge, error) {
	invite, err := s.checkToken(ctx, r)
	if err != nil {
		return nil, EnrollChallenge{}, err
	}
	e := &Enrollment{service: s, invite: invite, request: r}
	if err := e.checkKeys(); err != nil {
		return nil, EnrollChallenge{}, err
	}
	if err := s.checkFree(ctx, r.Node, e.ek.HostID); err != nil {
		return nil, EnrollChallenge{}, err
	}
	e.binding = binding.Certification{
		Ledger: s.ledger(), Verifier: s.self.Name, Node: r.Node, AKName: e.ak.Name(), NodeKey: e.node.Digest(),
		ConsensusKey: r.ConsensusKey, Exporter: exporter,
	}
	challenge, err := e.challenge()
	return e, challenge, err
}

// checkToken finds the invitation. A wrong token and a token for another node
// look the same from outside.
func (s *Service) checkToken(ctx context.Context, r EnrollRequest) (store.Invite, error) {
	refuse := func(got string) error {
		return verdict.Refuse(verdict.SessionToken, "enrolment", got, "a token from an operator")
	}
	if !admission.ValidNodeID(r.Node) || !s.consortium.HasMember(admission.NodeMember(r.Node)) {
		return store.Invite{}, fmt.Errorf("%w: node id %q is not <member>/<name> of this consortium", ErrInvalid, verdict.Quote(r.Node))
	}
	invite, err := s.store.Invite(ctx, tokenHash(r.Token))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && invite.Node != r.Node:
		return store.Invite{}, refuse("an unknown token")
	case err != nil:
		return store.Invite{}, err
	case !invite.Used.IsZero():
		return store.Invite{}, refuse("a token that was used before")
	case s.now().After(invite.NotAfter):
		return store.Invite{}, refuse("a token that expired at " + invite.NotAfter.String())
	}
	return invite, nil
}

func (e *Enrollment) checkKeys() (err error) {
	s, r := e.service, e.request
	if r.ConsensusKey != "" {
		if _, err := admission.ParseConsensusKey(r.ConsensusKey); err != nil {
			return verdict.Refuse(verdict.EnrollConsensusKey, "enrolment", err.Error(), "ed25519:<base64> or none")
		}
	}
	if s.trust == nil {
		return fmt.Errorf("%w: this verifier trusts no TPM vendor yet", ErrConflict)
	}
	if e.ek, err = s.trust.VerifyEK(r.EKCertificate, r.Intermediates, s.now()); err != nil {
		return err
	}
	if err = e.ek.CheckPublic(r.EKPublic); err != nil {
		return err
	}
	if e.ak, err = enroll.CheckAK(r.AKPublic); err != nil {
		return err
	}
	e.node, err = enroll.CheckNodeKey(r.NodeKeyPublic)
	return err
}

// checkFree makes sure that neither the node id nor the TPM is taken.
func (s *Service) checkFree(ctx context.Context, id, hostID string) error {
	if _, err := s.store.Node(ctx, id); !errors.Is(err, store.ErrNotFound) {
		return taken(err, "node id "+id+" was used before; node ids are never used twice")
	}
	rec, err := s.store.NodeByHost(ctx, hostID)
	if !errors.Is(err, store.ErrNotFound) {
		return taken(err, "this TPM is enrolled as node "+rec.ID+"; retire that node first")
	}
	return nil
}

func taken(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", store.ErrExists, text)
}

func (e *Enrollment) challenge() (EnrollChallenge, error) {
	e.secret = make([]byte, enroll.SecretSize)
	if _, err := io.ReadFull(rand.Reader, e.secret); err != nil {
		return EnrollChallenge{}, err
	}
	if _, err := io.ReadFull(rand.Reader, e.binding.Nonce[:]); err != nil {
		return EnrollChallenge{}, err
	}
	blob, encrypted, err := enroll.MakeCredential(rand.Reader, e.ek, e.ak, e.secret)
	return EnrollChallenge{CredentialBlob: blob, EncryptedSecret: encrypted, Nonce: e.binding.Nonce}, err
}

// Finish checks the answer and records the node. A second call is refused: a
// wrong answer burns the attempt.
func (e *Enrollment) Finish(ctx context.Context, p EnrollProof) (EnrollResult, error) {
	secret := e.secret
	e.secret = nil
	if len(secret) == 0 || subtle.ConstantTimeCompare(secret, p.Secret) != 1 {
		return EnrollResult{}, verdict.Refuse(verdict.EnrollActivation, "enrolment", "another secret", "the secret that only the TPM with this EK and AK can decrypt")
	}
	if err := enroll.CheckCreation(e.ak, e.binding, p.AKCreationData, p.AKCreationAttest, p.AKCreationSignature); err != nil {
		return EnrollResult{}, err
	}
	if err := enroll.CheckCertify(e.ak, e.node, e.binding, p.NodeKeyAttest, p.NodeKeySignature); err != nil {
		return EnrollResult{}, err
	}
	if err := enroll.CheckConsensusKey(e.binding, p.ConsensusKeySignature); err != nil {
		return EnrollResult{}, err
	}
	rec, err := e.service.record(ctx, e)
	if err != nil {
		return EnrollResult{}, err
	}
	return enrollResult(rec), nil
}

func enrollResult(rec node.Record) EnrollResult {
	r := EnrollResult{State: "pending", HostID: rec.HostID, Message: "enrolled; " + rec.Reason + ": quorate node approve " + rec.ID}
	if rec.Approved() {
		r.State, r.Message = "approved", "enrolled and approved; start the agent: quorate-agent run"
	}
	return r
}

// record writes the enrolment. Of two for one TPM, one id, one key or one token
// exactly one is in the journal. Once it began, it does not stop because the host
// hung up.
func (s *Service) record(ctx context.Context, e *Enrollment) (node.Record, error) {
	release, err := s.claims.take(ctx, e.names()...)
	if err != nil {
		return node.Record{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return node.Record{}, err
	}
	ctx, cancel := unhurried(ctx)
	defer cancel()
	if err := s.resolve(ctx); err != nil {
		return node.Record{}, err
	}
	if err := s.checkStillFree(ctx, e); err != nil {
		return node.Record{}, err
	}
	rec, err := s.newRecord(ctx, e)
	if err != nil {
		return node.Record{}, err
	}
	if _, err := s.keepBlob(e.request.EKCertificate); err != nil {
		return node.Record{}, err
	}
	err = s.commit(ctx, journal.Change{Kind: journal.TypeEnrolment, At: s.stamp(), By: e.invite.By, Invite: e.invite.Token, Node: rec})
	s.doubt.raise(err) // before the names are free again
	if err != nil {
		return node.Record{}, err
	}
	return s.welcome(ctx, rec.ID)
}

// names are all that the enrolment takes.
func (e *Enrollment) names() []string {
	names := []string{
		"id " + e.request.Node, "tpm " + e.ek.HostID, "token " + tokenHash(e.request.Token).String(),
		"ak " + hex.EncodeToString(e.ak.Name()), "key " + node.Digest(e.node.Digest()).String(),
	}
	if e.request.ConsensusKey != "" {
		names = append(names, "consensus "+e.request.ConsensusKey)
	}
	return names
}

// checkStillFree repeats, with nobody else taking these names, what may have
// changed since the attempt began: the token, the node id, the TPM, its keys and the consensus key.
func (s *Service) checkStillFree(ctx context.Context, e *Enrollment) (err error) {
	if e.invite, err = s.checkToken(ctx, e.request); err != nil {
		return err
	}
	if err := s.checkFree(ctx, e.request.Node, e.ek.HostID); err != nil {
		return err
	}
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		rec := l.rec
		l.mu.Unlock()
		if rec.State == node.Retired {
			continue
		}
		if rec.NodeKey == e.node.Digest() || bytes.Equal(rec.AKName, e.ak.Name()) {
			return fmt.Errorf("%w: these keys are enrolled as node %s", store.ErrExists, rec.ID)
		}
		if key := e.request.ConsensusKey; key != "" && rec.ConsensusKey == key { // two hosts with one key sign twice
			return fmt.Errorf("%w: this consensus key is enrolled as node %s; retire that node first", store.ErrExists, rec.ID)
		}
	}
	return nil
}

// welcome takes a recorded node into service.
func (s *Service) welcome(ctx context.Context, id string) (node.Record, error) {
	stored, err := s.store.Node(ctx, id)
	if err != nil {
		return node.Record{}, err
	}
	if s.policies.forRole(stored.Role) == nil {
		if err := s.loadPolicy(ctx, stored.Role); err != nil {
			return node.Record{}, err
		}
	}
	l, err := newLive(stored, position{})
	if err != nil {
		return node.Record{}, err
	}
	if !s.nodes.addNew(l) {
		return stored, nil // adopt came first
	}
	s.log.Info("enrolled", "node", stored.ID, "host", stored.HostID, "class", stored.TPMClass, "vendor", stored.TPMVendor)
	return stored, nil
}

func (s *Service) newRecord(ctx context.Context, e *Enrollment) (node.Record, error) {
	predecessor, err := s.store.Predecessor(ctx, e.ek.HostID)
	if err != nil {
		return node.Record{}, err
	}
	var approvals []string
	if e.invite.PreApproved {
		approvals = []string{e.invite.By}
	}
	return node.New(node.Identity{
		ID: e.request.Node, Role: e.invite.Role, HostID: e.ek.HostID, EKCertificate: sha256.Sum256(e.request.EKCertificate),
		AK: e.ak.Public(), AKName: e.ak.Name(), NodeKey: e.node.Digest(), NodeKeyPublic: e.node.Public(),
		ConsensusKey: e.request.ConsensusKey, TPMClass: string(e.ek.Class), TPMVendor: e.ek.Vendor, TPMModel: e.ek.Model,
		TPMTest: e.ek.Test,
	}, approvals, approvalsNeeded, predecessor, s.now())
}
