package verifier

import (
	"errors"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// Errors of the service beside refusals (*verdict.Refusal) and the store's.
var (
	// ErrInvalid means that a request's argument is not acceptable.
	ErrInvalid = errors.New("invalid request")
	// ErrConflict means that the request does not fit the current state.
	ErrConflict = errors.New("not possible now")
	// ErrSuperseded ends a session when the same node opened another.
	ErrSuperseded = errors.New("session.superseded: the node opened another session")
	// ErrUnavailable means that the verifier cannot record decisions just now, so
	// it makes none. What is signed already stays valid.
	ErrUnavailable = errors.New("the verifier cannot record decisions now; no admission is given until it can")
)

// EnrollRequest is what a host says of itself. Nothing of it is believed.
type EnrollRequest struct {
	Token         string // join token
	Node          string // node id
	EKCertificate []byte // DER
	Intermediates [][]byte
	EKPublic      []byte // TPMT_PUBLIC
	AKPublic      []byte // TPMT_PUBLIC
	NodeKeyPublic []byte // TPMT_PUBLIC
	ConsensusKey  string // "ed25519:<base64>" or empty
}

// EnrollChallenge can be answered only by the TPM that holds both the EK of the
// verified certificate and the AK.
type EnrollChallenge struct {
	CredentialBlob  []byte
	EncryptedSecret []byte
	Nonce           [binding.NonceSize]byte
}

// EnrollProof is the answer to an EnrollChallenge.
type EnrollProof struct {
	Secret                []byte
	AKCreationData        []byte // TPMS_CREATION_DATA
	AKCreationAttest      []byte // TPMS_ATTEST
	AKCreationSignature   []byte // TPMT_SIGNATURE
	NodeKeyAttest         []byte // TPMS_ATTEST
	NodeKeySignature      []byte // TPMT_SIGNATURE
	ConsensusKeySignature []byte
}

// EnrollResult says what state the new record is in.
type EnrollResult struct {
	State   string // "pending" or "approved"
	HostID  string
	Message string // for the person at the host
}

// Hello opens a session. Everything but the node id is a hint.
type Hello struct {
	Node        string
	BootID      string
	Banks       []string
	BootLog     [32]byte
	BootLogSize uint64
	IMASize     uint64
	Version     string
}

// Challenge asks for one quote and the parts of the logs that the verifier does
// not have yet.
type Challenge struct {
	binding.Challenge
	Bank         string
	PCRs         []int
	WantBootLog  bool
	IMAOffset    uint64
	AnswerWithin time.Duration
}

// Outcome is what became of one piece of evidence.
type Outcome struct {
	Decision  verdict.Decision
	State     string
	Findings  []verdict.Finding
	Retryable bool   // caught in motion, or too late: the next answer may pass
	Admission []byte // signed note, when one was issued
	Proof     []byte // its log proof
}

// NodeView is a node's record with what it is worth now.
type NodeView struct {
	Record    node.Record
	Status    node.State
	Connected bool
}

// Explanation tells why a node's last evidence was judged as it was.
type Explanation struct {
	Node        NodeView
	Accepted    string // digest of the last evidence that was admitted, or empty
	Differences []Difference
	Policy      string    // that admitted it, "validators sha256:…"
	Judged      time.Time // when that evidence was judged
	Approvals   []store.PolicyApproval
	Missing     []appraise.Missing // what the policy in force would have to list
}

// Difference is one boot event that differs from the last accepted boot.
type Difference struct {
	Where    string
	What     string
	Accepted string
	Found    string
	Remedy   string
}

// Invitation is what an operator asks a join token for.
type Invitation struct {
	Node       string
	Role       string // empty: validator
	Valid      time.Duration
	PreApprove bool // the inviter's approval counts at enrolment
}

// PolicyProposal is a policy with its manifests and one operator's signature.
type PolicyProposal struct {
	Policy    []byte
	Manifests [][]byte
	Approval  []byte // signed note, see ApprovalText
}

// PolicyResult says how far a policy has come.
type PolicyResult struct {
	Digest    string
	Approvals int
	Needed    int
	Active    bool
}

// PolicyFiles are an active policy's canonical files.
type PolicyFiles struct {
	Policy    []byte
	Manifests [][]byte
	Digest    string
}

// SignedRoster is a roster as relying parties get it.
type SignedRoster struct {
	Number uint64
	Note   []byte
}

// Status says how the verifier is.
type Status struct {
	Verifier    string
	Consortium  string
	Ledger      string
	Version     string
	Now         time.Time
	JournalSize uint64
	Policy      string
	States      map[node.State]int
	Sessions    int
	Alarms      []string
}
