// Package store is what a verifier remembers: nodes, invitations, policies and
// positions. It is a projection of the journal: losing it costs a rebuild, not a
// decision.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/verifier/node"
)

// Errors of every Store. Callers use errors.Is.
var (
	// ErrNotFound means that there is no such thing. Nothing was changed.
	ErrNotFound = errors.New("store: not found")
	// ErrExists means that a unique field is taken: node id for ever; host id, AK
	// name and node key among nodes that are not retired; tokens and digests.
	ErrExists = errors.New("store: exists already")
	// ErrConflict means that the stored version is not the expected one: somebody
	// else was faster. Read again, decide again.
	ErrConflict = errors.New("store: changed by someone else")
	// ErrIdentity means that an update would change what enrolment fixed.
	ErrIdentity = errors.New("store: a node's identity never changes")
	// ErrUsed means that an invitation was consumed before.
	ErrUsed = errors.New("store: invitation used already")
	// ErrExpired means that an invitation is past its time.
	ErrExpired = errors.New("store: invitation expired")
	// ErrRollback means that something would go back: a policy version, a roster
	// number, the remembered size of the journal.
	ErrRollback = errors.New("store: refuses to go back")
	// ErrCorrupt means that a stored row cannot be trusted. It concerns that row
	// only; whoever it is about is denied.
	ErrCorrupt = errors.New("store: damaged row")
)

// Store keeps a verifier's state. Every implementation passes storetest.
//
// Durability: when a method returns nil, its effect survives a crash of the
// process and of the machine. When it returns an error the effect did not
// happen, except after a context ended or the connection broke, when it may
// have. Every method is one atomic transaction.
//
// Concurrency: all methods may be called from many goroutines, and from several
// processes where the implementation says so. They are linearisable. Returned
// values share no memory with the store.
//
// Errors wrap the sentinels above; any other error means that the store itself
// failed, and callers must then admit nobody.
type Store interface {
	NodeStore
	InviteStore
	PolicyStore
	ProgressStore
	// Close waits for running calls and releases everything.
	Close() error
}

// NodeStore keeps node records.
type NodeStore interface {
	// CreateNode stores a new record as version 1 and returns it so. ErrExists if
	// its id was ever used, or if a node that is not retired has its host id, AK
	// name or node key.
	CreateNode(ctx context.Context, rec node.Record) (node.Record, error)
	// UpdateNode replaces the record whose version is rec.Version and returns it
	// with the next version. ErrNotFound, ErrConflict, or ErrIdentity; ErrExists
	// never, since a retired node does not return.
	UpdateNode(ctx context.Context, rec node.Record) (node.Record, error)
	// Node finds a record by node id, retired ones too. ErrNotFound, ErrCorrupt.
	Node(ctx context.Context, id string) (node.Record, error)
	// NodeByKey finds the record in service with this node key.
	NodeByKey(ctx context.Context, key node.Digest) (node.Record, error)
	// NodeByHost finds the record in service with this host id.
	NodeByHost(ctx context.Context, hostID string) (node.Record, error)
	// Predecessor returns the id of the retired node that had this host id last,
	// or "" if there is none.
	Predecessor(ctx context.Context, hostID string) (string, error)
	// Nodes returns every record, sorted by id. Damaged rows are listed apart and
	// spoil nothing else.
	Nodes(ctx context.Context) (Listing, error)
}

// Listing is every node, as far as its row can be trusted.
type Listing struct {
	Records []node.Record
	Damaged []RowError
}

// RowError says which row is damaged, and how. It wraps ErrCorrupt.
type RowError struct {
	ID     string // primary key of the row
	Reason string
}

// Error names the row.
func (e *RowError) Error() string { return fmt.Sprintf("store: damaged row %q: %s", e.ID, e.Reason) }

// Unwrap makes errors.Is(err, ErrCorrupt) true.
func (e *RowError) Unwrap() error { return ErrCorrupt }

// Invite lets one host enrol under one node id. The token itself is never stored.
type Invite struct {
	Token       node.Digest // SHA-256 of the join token
	Node        string      // node id it is for
	Role        string
	PreApproved bool      // the inviter's approval counts at enrolment
	By          string    // operator who invited
	Created     time.Time // UTC
	NotAfter    time.Time // UTC
	Used        time.Time // when it was consumed; zero if it was not
}

// InviteStore keeps invitations.
type InviteStore interface {
	// CreateInvite stores an unused invitation. ErrExists if the token is known.
	CreateInvite(ctx context.Context, inv Invite) error
	// Invite finds an invitation by the hash of its token, used or not.
	Invite(ctx context.Context, token node.Digest) (Invite, error)
	// ConsumeInvite marks an invitation used. Of any number of concurrent calls
	// exactly one succeeds; the others get ErrUsed. ErrNotFound if the token is
	// unknown or for another node, ErrExpired if now is after its NotAfter.
	ConsumeInvite(ctx context.Context, token node.Digest, nodeID string, now time.Time) (Invite, error)
}

// PolicySet is a policy with its manifests, as approved. Contents are immutable.
type PolicySet struct {
	Digest    node.Digest // of the set
	Name      string
	Version   uint64   // the policy's own version, at least 1
	Roles     []string // roles it applies to
	Policy    []byte   // canonical YAML
	Manifests [][]byte // canonical YAML
}

// PolicyApproval is one operator's approval of a set.
type PolicyApproval struct {
	Operator string // "<member>/<person>"
	Member   string
	Note     []byte // signed note over the set's digest
	At       time.Time
}

// PolicyStore keeps policies and who approved them.
type PolicyStore interface {
	// PutPolicy stores a set. Storing the same set again changes nothing;
	// ErrExists if the digest is known with other contents.
	PutPolicy(ctx context.Context, set PolicySet) error
	// Policy finds a set by digest.
	Policy(ctx context.Context, digest node.Digest) (PolicySet, error)
	// ApprovePolicy adds an approval; an operator's second one changes nothing.
	// It returns all approvals of the set, oldest first. ErrNotFound.
	ApprovePolicy(ctx context.Context, digest node.Digest, a PolicyApproval) ([]PolicyApproval, error)
	// PolicyApprovals returns all approvals of the set, oldest first; none if the
	// set is unknown.
	PolicyApprovals(ctx context.Context, digest node.Digest) ([]PolicyApproval, error)
	// ActivatePolicy makes the set the one for a role. ErrRollback unless its
	// version is higher than every version that was ever active for the role;
	// activating the active set again changes nothing. ErrNotFound.
	ActivatePolicy(ctx context.Context, role string, digest node.Digest) error
	// ActivePolicy returns the set for a role. ErrNotFound if none was activated.
	ActivePolicy(ctx context.Context, role string) (PolicySet, error)
}

// Position is where a node's verified logs end: a small blob whose meaning is
// the service's. Losing one costs the node a full replay, nothing else.
type Position struct {
	Node string
	Data []byte // at most MaxPosition bytes
}

// MaxPosition bounds a position, in bytes.
const MaxPosition = 4096

// Cursor is how much of the journal the store reflects, and the tree it was.
type Cursor struct {
	Size uint64   // entries
	Root [32]byte // root hash of the tree of that size
}

// Roster is the last roster that was signed.
type Roster struct {
	Number uint64
	Note   []byte
}

// ProgressStore keeps counters and places.
type ProgressStore interface {
	// SavePositions stores all positions in one transaction, replacing older ones
	// of the same nodes. A node that does not exist is skipped.
	SavePositions(ctx context.Context, positions []Position) error
	// Positions returns every position.
	Positions(ctx context.Context) ([]Position, error)
	// NextSerial returns a number that no call returned before, higher than all
	// earlier ones, starting with 1.
	NextSerial(ctx context.Context) (uint64, error)
	// RaiseSerial makes later serials higher than n.
	RaiseSerial(ctx context.Context, n uint64) error
	// SaveRoster remembers a roster. ErrRollback unless its number is higher.
	SaveRoster(ctx context.Context, r Roster) error
	// LastRoster returns the last roster. ErrNotFound if there was none.
	LastRoster(ctx context.Context) (Roster, error)
	// SaveCursor remembers a tree of the journal. ErrRollback if it is smaller
	// than the one remembered, or of equal size with another root.
	SaveCursor(ctx context.Context, c Cursor) error
	// Cursor returns the last cursor; the zero Cursor if there was none.
	Cursor(ctx context.Context) (Cursor, error)
	// SetMeta stores a small value under a name.
	SetMeta(ctx context.Context, key string, value []byte) error
	// Meta returns a value. ErrNotFound.
	Meta(ctx context.Context, key string) ([]byte, error)
}
