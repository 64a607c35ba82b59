package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

// PutPolicy implements store.PolicyStore.
func (s *Store) PutPolicy(ctx context.Context, set store.PolicySet) error {
	version, err := toInt(set.Version)
	if err != nil {
		return err
	}
	if len(set.Manifests) == 0 {
		set.Manifests = nil // one encoding of "none"
	}
	contents, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("policy %s: %w", set.Digest, err)
	}
	return s.transaction(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, "INSERT INTO policies (digest, version, contents) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", set.Digest.String(), version, contents)
		if err != nil {
			return fmt.Errorf("policy %s: %w", set.Digest, translate(err))
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return translate(err)
		}
		var stored []byte
		if err := tx.QueryRowContext(ctx, "SELECT contents FROM policies WHERE digest = ?", set.Digest.String()).Scan(&stored); err != nil {
			return translate(err)
		}
		if !bytes.Equal(stored, contents) {
			return fmt.Errorf("policy %s: %w with other contents", set.Digest, store.ErrExists)
		}
		return nil
	})
}

// Policy implements store.PolicyStore.
func (s *Store) Policy(ctx context.Context, digest node.Digest) (store.PolicySet, error) {
	set, err := policySet(s.read.QueryRowContext(ctx, "SELECT digest, contents FROM policies WHERE digest = ?", digest.String()))
	if err != nil {
		return store.PolicySet{}, fmt.Errorf("policy %s: %w", digest, err)
	}
	return set, nil
}

// ActivePolicy implements store.PolicyStore.
func (s *Store) ActivePolicy(ctx context.Context, role string) (store.PolicySet, error) {
	set, err := policySet(s.read.QueryRowContext(ctx,
		"SELECT p.digest, p.contents FROM active a JOIN policies p ON p.digest = a.digest WHERE a.role = ?", role))
	if err != nil {
		return store.PolicySet{}, fmt.Errorf("policy for role %s: %w", role, err)
	}
	return set, nil
}

func policySet(row *sql.Row) (store.PolicySet, error) {
	var digest string
	var contents []byte
	if err := row.Scan(&digest, &contents); err != nil {
		return store.PolicySet{}, translate(err)
	}
	var set store.PolicySet
	if err := json.Unmarshal(contents, &set); err != nil {
		return store.PolicySet{}, &store.RowError{ID: digest, Reason: err.Error()}
	}
	if set.Digest.String() != digest {
		return store.PolicySet{}, &store.RowError{ID: digest, Reason: "contents are of another policy"}
	}
	return set, nil
}

// ApprovePolicy implements store.PolicyStore.
func (s *Store) ApprovePolicy(ctx context.Context, digest node.Digest, a store.PolicyApproval) ([]store.PolicyApproval, error) {
	var all []store.PolicyApproval
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx,
			"INSERT INTO approvals (digest, operator, member, note, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (digest, operator) DO NOTHING",
			digest.String(), a.Operator, a.Member, a.Note, a.At.Unix())
		if err != nil {
			return translate(err)
		}
		all, err = approvals(ctx, tx, digest)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("approve policy %s: %w", digest, err)
	}
	return all, nil
}

// PolicyApprovals implements store.PolicyStore.
func (s *Store) PolicyApprovals(ctx context.Context, digest node.Digest) (all []store.PolicyApproval, err error) {
	err = s.transaction(ctx, func(tx *sql.Tx) error {
		all, err = approvals(ctx, tx, digest)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("approvals of policy %s: %w", digest, err)
	}
	return all, nil
}

func approvals(ctx context.Context, tx *sql.Tx, digest node.Digest) ([]store.PolicyApproval, error) {
	rows, err := tx.QueryContext(ctx, "SELECT operator, member, note, at FROM approvals WHERE digest = ? ORDER BY seq", digest.String())
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var all []store.PolicyApproval
	for rows.Next() {
		var a store.PolicyApproval
		var at int64
		if err := rows.Scan(&a.Operator, &a.Member, &a.Note, &at); err != nil {
			return nil, translate(err)
		}
		a.At = time.Unix(at, 0).UTC()
		all = append(all, a)
	}
	return all, translate(rows.Err())
}

// ActivatePolicy implements store.PolicyStore.
func (s *Store) ActivatePolicy(ctx context.Context, role string, digest node.Digest) error {
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		var version, highest int64
		var current string
		if err := tx.QueryRowContext(ctx, "SELECT version FROM policies WHERE digest = ?", digest.String()).Scan(&version); err != nil {
			return translate(err)
		}
		err := tx.QueryRowContext(ctx, "SELECT digest, version FROM active WHERE role = ?", role).Scan(&current, &highest)
		switch {
		case err != nil && err != sql.ErrNoRows:
			return translate(err)
		case err == nil && current == digest.String():
			return nil
		case err == nil && version <= highest:
			return fmt.Errorf("%w: version %d after %d", store.ErrRollback, version, highest)
		}
		_, err = tx.ExecContext(ctx,
			"INSERT INTO active (role, digest, version) VALUES (?, ?, ?) ON CONFLICT (role) DO UPDATE SET digest = excluded.digest, version = excluded.version",
			role, digest.String(), version)
		return translate(err)
	})
	if err != nil {
		return fmt.Errorf("activate policy %s for %s: %w", digest, role, err)
	}
	return nil
}
