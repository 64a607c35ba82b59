package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// ErrIllegal means that an entry says something that cannot have happened after
// the entries before it.
var ErrIllegal = errors.New("journal: entry contradicts the history before it")

// Projector brings a store up to date with the journal. Entries take effect in a
// store after they are in the journal, so a store may lag after a crash, and is
// made again from nothing the same way.
type Projector struct {
	Store     store.Store
	Admission note.Verifier                         // the verifier's admission key
	Blob      func(digest [32]byte) ([]byte, error) // reads the archive

	journal *Reader // where CatchUp reads
}

// CatchUp applies every entry that the store may lack and remembers how far it
// got. It first checks that the journal extends what the store remembers.
// Starting with an empty store it rebuilds everything. It returns how many
// entries it read.
func (p Projector) CatchUp(ctx context.Context, r *Reader) (uint64, error) {
	cursor, err := p.Store.Cursor(ctx)
	if err != nil {
		return 0, err
	}
	if err := r.Extends(ctx, Tree(cursor)); err != nil {
		return 0, err
	}
	tree, err := r.Tree(ctx)
	if err != nil {
		return 0, err
	}
	p.journal = r
	read := uint64(0)
	r.read(ctx, tree, cursor.Size, func(e Entry, failed error) bool {
		if err = failed; err == nil {
			err = p.Apply(ctx, e)
			read++
		}
		return err == nil
	})
	if err != nil || read == 0 {
		return read, err
	}
	return read, p.Store.SaveCursor(ctx, store.Cursor(tree))
}

// Apply brings one entry's effect into the store. Applying an entry again
// changes nothing. Entries of one node are applied in order. ErrIllegal means
// that the journal and the store do not belong together, or that somebody wrote
// to the journal what the life cycle does not allow.
func (p Projector) Apply(ctx context.Context, e Entry) error {
	body, err := Parse(e.Data)
	if err == nil {
		err = p.apply(ctx, e.Index, body)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return nil
}

func (p Projector) apply(ctx context.Context, index uint64, body Body) error {
	if _, first := body.(Genesis); first != (index == 0) {
		return fmt.Errorf("%w: the genesis entry is the first and only the first", ErrIllegal)
	}
	switch b := body.(type) {
	case Genesis:
		return p.Store.SetMeta(ctx, "genesis", []byte(b.Consortium))
	case Invitation:
		return ignore(p.Store.CreateInvite(ctx, store.Invite{
			Token: b.Token, Node: b.Node, Role: b.Role, PreApproved: b.PreApproved, By: b.By, Created: b.At, NotAfter: b.NotAfter,
		}), store.ErrExists)
	case Change:
		return p.change(ctx, index, b)
	case Admission:
		return p.admission(ctx, index, b)
	case Policy:
		return p.policy(ctx, b)
	case PolicyApproval:
		_, err := p.Store.ApprovePolicy(ctx, b.Digest, store.PolicyApproval{Operator: b.Operator, Member: b.Member, Note: []byte(b.Note), At: b.At})
		return err
	case PolicyActivation:
		return ignore(p.Store.ActivatePolicy(ctx, b.Role, b.Digest), store.ErrRollback)
	case Roster:
		return p.roster(ctx, b)
	case Grant:
		return p.grant(ctx, index, b)
	}
	return fmt.Errorf("%w: %T", ErrIllegal, body)
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

func (p Projector) change(ctx context.Context, index uint64, c Change) error {
	if !c.Invite.IsZero() {
		_, err := p.Store.ConsumeInvite(ctx, c.Invite, c.Node.ID, c.At)
		if err := ignore(ignore(err, store.ErrUsed), store.ErrExpired); err != nil {
			return err
		}
	}
	stored, err := p.Store.Node(ctx, c.Node.ID)
	switch {
	case errors.Is(err, store.ErrNotFound) && c.Kind == TypeEnrolment:
		return p.enrol(ctx, index, c.Node)
	case err != nil:
		return err
	case stored.JournalIndex >= index:
		return nil
	}
	before, err := p.before(ctx, stored, c.Kind, c.Node.JournalIndex)
	if err != nil {
		return err
	}
	if err := legal(before, c); err != nil {
		return err
	}
	c.Node.JournalIndex, c.Node.Version = index, stored.Version
	_, err = p.Store.UpdateNode(ctx, c.Node)
	return err
}

func (p Projector) enrol(ctx context.Context, index uint64, rec node.Record) error {
	if rec.State != node.Pending || rec.JournalIndex != 0 {
		return fmt.Errorf("%w: %s is enrolled as %s after entry %d", ErrIllegal, rec.ID, rec.State, rec.JournalIndex)
	}
	rec.JournalIndex = index
	_, err := p.Store.CreateNode(ctx, rec)
	return err
}

// grant changes nothing in a store. It must have been given to an admitted node,
// for the key that it enrolled with.
func (p Projector) grant(ctx context.Context, index uint64, g Grant) error {
	stored, err := p.Store.Node(ctx, g.Node)
	if err != nil {
		return fmt.Errorf("%w: grant: %w", ErrIllegal, err)
	}
	if stored.JournalIndex >= index {
		return nil
	}
	then, err := p.before(ctx, stored, TypeGrant, g.Follows)
	if err != nil {
		return err
	}
	if then.State != node.Admitted || then.ConsensusKey != g.ConsensusKey {
		return fmt.Errorf("%w: a grant to %s, %s with the key %q, for %q", ErrIllegal, g.Node, then.State, then.ConsensusKey, g.ConsensusKey)
	}
	return nil
}

// before returns the record that the entry of a kind was made from, by the index of
// the change that it follows: the stored one, or an older one if the verifier never
// knew of what is stored.
func (p Projector) before(ctx context.Context, stored node.Record, kind Type, base uint64) (node.Record, error) {
	if base == stored.JournalIndex {
		return stored, nil
	}
	if p.journal == nil || base > stored.JournalIndex {
		return node.Record{}, fmt.Errorf("%w: %s of %s follows entry %d, the store is at %d", ErrIllegal, kind, stored.ID, base, stored.JournalIndex)
	}
	raw, err := p.journal.Entry(ctx, base)
	if err != nil {
		return node.Record{}, err
	}
	body, err := Parse(raw)
	if err != nil {
		return node.Record{}, err
	}
	earlier, ok := body.(Change)
	if !ok || earlier.Node.ID != stored.ID {
		return node.Record{}, fmt.Errorf("%w: %s of %s follows entry %d, which is none of its changes", ErrIllegal, kind, stored.ID, base)
	}
	return earlier.Node, nil
}

// arrows lists, per kind of change, the states it may lead to and the states it
// may not come from, beside Retired, which nothing leaves.
var arrows = map[Type]struct{ to, notFrom []node.State }{
	TypeApproval:   {to: []node.State{node.Pending}, notFrom: []node.State{node.Admitted, node.Late, node.Suspended, node.Quarantined}},
	TypeVerdict:    {to: []node.State{node.Pending, node.Admitted, node.Suspended, node.Quarantined}},
	TypeSuspension: {to: []node.State{node.Suspended}, notFrom: []node.State{node.Quarantined}},
	TypeResumption: {to: []node.State{node.Pending, node.Quarantined}, notFrom: []node.State{node.Pending, node.Admitted, node.Late}},
	TypeRetirement: {to: []node.State{node.Retired}},
	TypeQuarantine: {to: []node.State{node.Quarantined}},
}

// legal checks a change against the record before it.
func legal(before node.Record, c Change) error {
	rule, known := arrows[c.Kind]
	switch {
	case !before.Identity.Equal(c.Node.Identity):
		return fmt.Errorf("%w: %s of %s changes the node's identity", ErrIllegal, c.Kind, c.Node.ID)
	case !known || before.State == node.Retired || slices.Contains(rule.notFrom, before.State) || !slices.Contains(rule.to, c.Node.State):
		return fmt.Errorf("%w: %s of %s from %s to %s", ErrIllegal, c.Kind, c.Node.ID, before.State, c.Node.State)
	case c.Kind == TypeVerdict && before.State != node.Pending && c.Node.State == node.Pending:
		return fmt.Errorf("%w: a verdict returns %s from %s to pending", ErrIllegal, c.Node.ID, before.State)
	case c.Kind == TypeVerdict && before.State == node.Quarantined && c.Node.State != node.Quarantined:
		return fmt.Errorf("%w: a verdict lifts the quarantine of %s", ErrIllegal, c.Node.ID)
	case c.Kind == TypeVerdict && c.Node.State == node.Admitted && *c.Decision != verdict.Admitted:
		return fmt.Errorf("%w: %s is admitted by a verdict that denies", ErrIllegal, c.Node.ID)
	case c.Kind == TypeVerdict && before.State == node.Suspended && c.Node.State == node.Admitted &&
		(before.LatchedBy != "" || c.Node.Epoch.Compare(before.LatchEpoch) <= 0):
		return fmt.Errorf("%w: a verdict ends the suspension of %s before its latch", ErrIllegal, c.Node.ID)
	}
	return nil
}

func (p Projector) admission(ctx context.Context, index uint64, a Admission) error {
	if _, err := note.Open(a.Note, note.VerifierList(p.Admission)); err != nil {
		return fmt.Errorf("%w: admission: %w", ErrIllegal, err)
	}
	if err := p.Store.RaiseSerial(ctx, a.Statement.Serial); err != nil {
		return err
	}
	rec, err := p.Store.Node(ctx, a.Statement.Node)
	if err != nil {
		return err
	}
	if rec.AdmissionIndex >= index {
		return nil
	}
	rec.Serial, rec.NotAfter, rec.AdmissionIndex = a.Statement.Serial, a.Statement.NotAfter, index
	_, err = p.Store.UpdateNode(ctx, rec)
	return err
}

func (p Projector) policy(ctx context.Context, b Policy) error {
	set := store.PolicySet{Digest: b.Digest, Name: b.Name, Version: b.Version, Roles: b.Roles}
	var err error
	if set.Policy, err = p.Blob(b.Policy); err != nil {
		return fmt.Errorf("policy %s: %w", b.Name, err)
	}
	for _, digest := range b.Manifests {
		manifest, err := p.Blob(digest)
		if err != nil {
			return fmt.Errorf("policy %s: manifest: %w", b.Name, err)
		}
		set.Manifests = append(set.Manifests, manifest)
	}
	return p.Store.PutPolicy(ctx, set)
}

func (p Projector) roster(ctx context.Context, b Roster) error {
	signed, err := p.Blob(b.Digest)
	if err != nil {
		return fmt.Errorf("roster %d: %w", b.Number, err)
	}
	return ignore(p.Store.SaveRoster(ctx, store.Roster{Number: b.Number, Note: signed}), store.ErrRollback)
}
