package verifier

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// Bounds of invitations and of an operator's reasons.
const (
	maxInvitation     = 30 * 24 * time.Hour
	defaultInvitation = 24 * time.Hour
	maxReason         = 500 // bytes
	tokenBytes        = 20  // random bytes of a join token
)

// Nodes returns every node, sorted by id.
func (s *Service) Nodes(context.Context) ([]NodeView, error) {
	var views []NodeView
	for _, l := range s.nodes.all() {
		views = append(views, s.view(l))
	}
	slices.SortFunc(views, func(a, b NodeView) int { return cmp.Compare(a.Record.ID, b.Record.ID) })
	return views, nil
}

// Node returns one node.
func (s *Service) Node(_ context.Context, id string) (NodeView, error) {
	l, err := s.nodes.get(id)
	if err != nil {
		return NodeView{}, err
	}
	return s.view(l), nil
}

func (s *Service) view(l *live) NodeView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return NodeView{Record: l.rec, Status: node.Status(l.rec, s.now()), Connected: l.session != nil}
}

// Invite makes a single-use join token for a node id. Only its hash is kept.
func (s *Service) Invite(ctx context.Context, by admission.Operator, i Invitation) (token string, notAfter time.Time, err error) {
	i.Role, i.Valid = cmp.Or(i.Role, RoleValidator), cmp.Or(i.Valid, defaultInvitation)
	switch {
	case !admission.ValidNodeID(i.Node) || !s.consortium.HasMember(admission.NodeMember(i.Node)):
		return "", time.Time{}, fmt.Errorf("%w: node id %q is not <member>/<name> of this consortium", ErrInvalid, verdict.Quote(i.Node))
	case !admission.ValidLabel(i.Role):
		return "", time.Time{}, fmt.Errorf("%w: role %q", ErrInvalid, verdict.Quote(i.Role))
	case i.Valid < time.Minute || i.Valid > maxInvitation:
		return "", time.Time{}, fmt.Errorf("%w: an invitation is valid for 1m to %s", ErrInvalid, maxInvitation)
	case by.Member != admission.NodeMember(i.Node):
		return "", time.Time{}, fmt.Errorf("%w: %s invites nodes of its own member only", ErrInvalid, by.Name())
	}
	if err := s.checkFree(ctx, i.Node, ""); err != nil {
		return "", time.Time{}, err
	}
	var raw [tokenBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", time.Time{}, err
	}
	token = "join-" + strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
	notAfter = s.stamp().Add(i.Valid).Truncate(time.Second)
	return token, notAfter, s.commit(ctx, journal.Invitation{
		At: s.stamp(), Token: tokenHash(token), Node: i.Node, Role: i.Role, PreApproved: i.PreApprove, By: by.Name(), NotAfter: notAfter,
	})
}

// kindOf returns the journal entry of an operator's act, and the reason given.
func kindOf(event node.Event) (kind journal.Type, reason string) {
	switch e := event.(type) {
	case node.Approved:
		return journal.TypeApproval, ""
	case node.SuspendedByOperator:
		return journal.TypeSuspension, e.Reason
	case node.Resumed:
		return journal.TypeResumption, e.Reason
	case node.RetiredByOperator:
		return journal.TypeRetirement, e.Reason
	}
	return "", ""
}

// Operate applies an operator's act to a node: an approval, a suspension, a
// resumption or a retirement.
func (s *Service) Operate(ctx context.Context, by admission.Operator, id string, event node.Event) (NodeView, error) {
	kind, reason := kindOf(event)
	if kind == "" {
		return NodeView{}, fmt.Errorf("%w: %T is not an operator's act", ErrInvalid, event)
	}
	if len(reason) > maxReason || reason != verdict.Quote(reason) {
		return NodeView{}, fmt.Errorf("%w: a reason is one printable line of at most %d bytes", ErrInvalid, maxReason)
	}
	l, err := s.nodes.get(id)
	if err != nil {
		return NodeView{}, err
	}
	if err := s.operate(ctx, l, by, event, kind, reason); err != nil {
		return NodeView{}, err
	}
	return s.view(l), nil
}

func (s *Service) operate(ctx context.Context, l *live, by admission.Operator, event node.Event, kind journal.Type, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, err := node.Next(l.rec, event, s.now())
	if err != nil {
		return err
	}
	released := l.rec.State == node.Quarantined && next.State == node.Pending
	if err := s.change(ctx, l, journal.Change{Kind: kind, At: s.stamp(), By: by.Name(), Reason: reason, Node: next}); err != nil {
		return err
	}
	s.log.Info("operator", "node", l.rec.ID, "act", string(kind), "by", by.Name(), "state", l.rec.State.String())
	l.standing = nil
	if _, resumed := event.(node.Resumed); resumed {
		l.forgetLogs() // judge everything again
	}
	if released {
		l.pos.Clock = evidence.Clock{} // two operators vouch that the TPM's counters begin anew
	}
	if l.session == nil {
		return nil
	}
	if l.rec.State == node.Retired {
		l.session.end(node.Admissible(l.rec, s.now()))
		return nil
	}
	l.session.hurry()
	return nil
}

// Status says how the verifier is.
func (s *Service) Status(ctx context.Context) (Status, error) {
	tree, err := s.journal.Tree(ctx)
	if err != nil {
		return Status{}, err
	}
	st := Status{
		Verifier: s.self.Name, Consortium: s.consortium.Name, Ledger: s.consortium.Ledger.ID, Version: Version(),
		Now: s.now().UTC(), JournalSize: tree.Size, States: make(map[node.State]int),
	}
	if set := s.policies.forRole(RoleValidator); set != nil {
		st.Policy = set.String()
	}
	for _, l := range s.nodes.all() {
		v := s.view(l)
		st.States[v.Status]++
		if v.Connected {
			st.Sessions++
		}
	}
	s.alarmMu.Lock()
	defer s.alarmMu.Unlock()
	st.Alarms = slices.Clone(s.alarms)
	return st, nil
}

// ReadJournal returns the current checkpoint and the entries from start on, at
// most limit of them unless that is 0.
func (s *Service) ReadJournal(ctx context.Context, start, limit uint64) ([]byte, iter.Seq2[[]byte, error], error) {
	checkpoint, err := s.journal.Checkpoint(ctx)
	if err != nil {
		return nil, nil, err
	}
	return checkpoint, func(yield func([]byte, error) bool) {
		count := uint64(0)
		for entry, err := range s.journal.Read(ctx, start) {
			if limit != 0 && count >= limit {
				return
			}
			if !yield(entry.Data, err) || err != nil {
				return
			}
			count++
		}
	}, nil
}
