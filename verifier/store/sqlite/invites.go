package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

const inviteColumns = "token, node, role, pre_approved, operator, created, not_after, used"

// CreateInvite implements store.InviteStore.
func (s *Store) CreateInvite(ctx context.Context, inv store.Invite) error {
	_, err := s.write.ExecContext(ctx,
		"INSERT INTO invites (token, node, role, pre_approved, operator, created, not_after) VALUES (?, ?, ?, ?, ?, ?, ?)",
		inv.Token.String(), inv.Node, inv.Role, inv.PreApproved, inv.By, inv.Created.Unix(), inv.NotAfter.Unix())
	if err != nil {
		return fmt.Errorf("invite %q: %w", inv.Node, translate(err))
	}
	return nil
}

// Invite implements store.InviteStore.
func (s *Store) Invite(ctx context.Context, token node.Digest) (store.Invite, error) {
	inv, err := invite(s.read.QueryRowContext(ctx, "SELECT "+inviteColumns+" FROM invites WHERE token = ?", token.String()))
	if err != nil {
		return store.Invite{}, fmt.Errorf("invitation: %w", err)
	}
	return inv, nil
}

// ConsumeInvite implements store.InviteStore. The conditional update decides who
// is first; what is read afterwards only explains why another was not.
func (s *Store) ConsumeInvite(ctx context.Context, token node.Digest, nodeID string, now time.Time) (store.Invite, error) {
	var inv store.Invite
	err := s.transaction(ctx, func(tx *sql.Tx) (err error) {
		inv, err = invite(tx.QueryRowContext(ctx,
			"UPDATE invites SET used = ? WHERE token = ? AND node = ? AND used IS NULL AND not_after >= ? RETURNING "+inviteColumns,
			now.Unix(), token.String(), nodeID, now.Unix()))
		if err == nil {
			return nil
		}
		return whyNot(ctx, tx, token, nodeID, err)
	})
	if err != nil {
		return store.Invite{}, fmt.Errorf("invitation of %q: %w", nodeID, err)
	}
	return inv, nil
}

func whyNot(ctx context.Context, tx *sql.Tx, token node.Digest, nodeID string, cause error) error {
	stored, err := invite(tx.QueryRowContext(ctx, "SELECT "+inviteColumns+" FROM invites WHERE token = ? AND node = ?", token.String(), nodeID))
	switch {
	case err != nil:
		return cause
	case !stored.Used.IsZero():
		return store.ErrUsed
	}
	return store.ErrExpired
}

func invite(row *sql.Row) (store.Invite, error) {
	var inv store.Invite
	var token string
	var created, notAfter int64
	var used sql.NullInt64
	err := row.Scan(&token, &inv.Node, &inv.Role, &inv.PreApproved, &inv.By, &created, &notAfter, &used)
	if err != nil {
		return store.Invite{}, translate(err)
	}
	if inv.Token, err = node.ParseDigest(token); err != nil {
		return store.Invite{}, &store.RowError{ID: token, Reason: err.Error()}
	}
	inv.Created, inv.NotAfter = time.Unix(created, 0).UTC(), time.Unix(notAfter, 0).UTC()
	if used.Valid {
		inv.Used = time.Unix(used.Int64, 0).UTC()
	}
	return inv, nil
}
