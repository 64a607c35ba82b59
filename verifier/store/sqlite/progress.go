package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/quorate/quorate/verifier/store"
)

// SavePositions implements store.ProgressStore.
func (s *Store) SavePositions(ctx context.Context, positions []store.Position) error {
	for _, p := range positions {
		if len(p.Data) > store.MaxPosition {
			return fmt.Errorf("position of %q: %d bytes, at most %d", p.Node, len(p.Data), store.MaxPosition)
		}
	}
	return s.transaction(ctx, func(tx *sql.Tx) error {
		statement, err := tx.PrepareContext(ctx,
			"INSERT INTO positions (node, data) SELECT id, ? FROM nodes WHERE id = ? ON CONFLICT (node) DO UPDATE SET data = excluded.data")
		if err != nil {
			return translate(err)
		}
		defer statement.Close()
		for _, p := range positions {
			if _, err := statement.ExecContext(ctx, p.Data, p.Node); err != nil {
				return fmt.Errorf("position of %q: %w", p.Node, translate(err))
			}
		}
		return nil
	})
}

// Positions implements store.ProgressStore.
func (s *Store) Positions(ctx context.Context) ([]store.Position, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT node, data FROM positions ORDER BY node")
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	var all []store.Position
	for rows.Next() {
		var p store.Position
		if err := rows.Scan(&p.Node, &p.Data); err != nil {
			return nil, translate(err)
		}
		all = append(all, p)
	}
	return all, translate(rows.Err())
}

// NextSerial implements store.ProgressStore.
func (s *Store) NextSerial(ctx context.Context) (uint64, error) {
	var n int64
	err := s.transaction(ctx, func(tx *sql.Tx) error {
		return translate(tx.QueryRowContext(ctx, "UPDATE progress SET serial = serial + 1 RETURNING serial").Scan(&n))
	})
	return uint64(n), err
}

// RaiseSerial implements store.ProgressStore.
func (s *Store) RaiseSerial(ctx context.Context, n uint64) error {
	value, err := toInt(n)
	if err != nil {
		return err
	}
	_, err = s.write.ExecContext(ctx, "UPDATE progress SET serial = max(serial, ?)", value)
	return translate(err)
}

// SaveRoster implements store.ProgressStore.
func (s *Store) SaveRoster(ctx context.Context, r store.Roster) error {
	number, err := toInt(r.Number)
	if err != nil {
		return err
	}
	result, err := s.write.ExecContext(ctx,
		"UPDATE progress SET roster_number = ?, roster_note = ? WHERE roster_number IS NULL OR roster_number < ?", number, r.Note, number)
	return raised(result, err, "roster", r.Number)
}

func raised(result sql.Result, err error, what string, n uint64) error {
	if err != nil {
		return translate(err)
	}
	rows, err := result.RowsAffected()
	if err == nil && rows == 0 {
		return fmt.Errorf("%w: %s %d", store.ErrRollback, what, n)
	}
	return translate(err)
}

// LastRoster implements store.ProgressStore.
func (s *Store) LastRoster(ctx context.Context) (store.Roster, error) {
	var number sql.NullInt64
	var r store.Roster
	if err := s.read.QueryRowContext(ctx, "SELECT roster_number, roster_note FROM progress").Scan(&number, &r.Note); err != nil {
		return store.Roster{}, translate(err)
	}
	if !number.Valid {
		return store.Roster{}, fmt.Errorf("roster: %w", store.ErrNotFound)
	}
	r.Number = uint64(number.Int64)
	return r, nil
}

// SaveCursor implements store.ProgressStore.
func (s *Store) SaveCursor(ctx context.Context, c store.Cursor) error {
	size, err := toInt(c.Size)
	if err != nil {
		return err
	}
	result, err := s.write.ExecContext(ctx,
		"UPDATE progress SET journal_size = ?, journal_root = ? WHERE journal_size < ? OR (journal_size = ? AND (journal_size = 0 OR journal_root = ?))",
		size, c.Root[:], size, size, c.Root[:])
	return raised(result, err, "journal of size", c.Size)
}

// Cursor implements store.ProgressStore.
func (s *Store) Cursor(ctx context.Context) (store.Cursor, error) {
	var size int64
	var root []byte
	if err := s.read.QueryRowContext(ctx, "SELECT journal_size, journal_root FROM progress").Scan(&size, &root); err != nil {
		return store.Cursor{}, translate(err)
	}
	if size < 0 || len(root) != 32 {
		return store.Cursor{}, &store.RowError{ID: "progress", Reason: "journal cursor"}
	}
	return store.Cursor{Size: uint64(size), Root: [32]byte(root)}, nil
}

// SetMeta implements store.ProgressStore.
func (s *Store) SetMeta(ctx context.Context, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := s.write.ExecContext(ctx, "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
	return translate(err)
}

// Meta implements store.ProgressStore.
func (s *Store) Meta(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	if err := s.read.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", key).Scan(&value); err != nil {
		return nil, fmt.Errorf("meta %s: %w", key, translate(err))
	}
	return value, nil
}
