package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

const nodeColumns = "id, host_id, ak_name, node_key, state, version, journal_index, record"

// CreateNode implements store.NodeStore.
func (s *Store) CreateNode(ctx context.Context, rec node.Record) (node.Record, error) {
	rec.Version = 1
	index, raw, err := encode(rec)
	if err != nil {
		return node.Record{}, err
	}
	_, err = s.write.ExecContext(ctx,
		"INSERT INTO nodes (id, host_id, ak_name, node_key, state, version, journal_index, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		rec.ID, rec.HostID, rec.AKName, rec.NodeKey.String(), rec.State.String(), int64(rec.Version), index, raw)
	if err != nil {
		return node.Record{}, fmt.Errorf("create node %q: %w", rec.ID, translate(err))
	}
	return decode(raw)
}

// UpdateNode implements store.NodeStore.
func (s *Store) UpdateNode(ctx context.Context, rec node.Record) (node.Record, error) {
	var updated node.Record
	err := s.transaction(ctx, func(tx *sql.Tx) (err error) {
		updated, err = update(ctx, tx, rec)
		return err
	})
	if err != nil {
		return node.Record{}, fmt.Errorf("update node %q: %w", rec.ID, err)
	}
	return updated, nil
}

func update(ctx context.Context, tx *sql.Tx, rec node.Record) (node.Record, error) {
	stored, err := one(tx.QueryRowContext(ctx, "SELECT "+nodeColumns+" FROM nodes WHERE id = ?", rec.ID))
	switch {
	case err != nil:
		return node.Record{}, err
	case stored.Version != rec.Version:
		return node.Record{}, fmt.Errorf("%w: version %d, expected %d", store.ErrConflict, stored.Version, rec.Version)
	case !stored.Identity.Equal(rec.Identity):
		return node.Record{}, store.ErrIdentity
	}
	rec.Version++
	index, raw, err := encode(rec)
	if err != nil {
		return node.Record{}, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE nodes SET state = ?, version = ?, journal_index = ?, record = ? WHERE id = ?",
		rec.State.String(), int64(rec.Version), index, raw, rec.ID)
	if err != nil {
		return node.Record{}, translate(err)
	}
	return decode(raw)
}

// Node implements store.NodeStore.
func (s *Store) Node(ctx context.Context, id string) (node.Record, error) {
	rec, err := one(s.read.QueryRowContext(ctx, "SELECT "+nodeColumns+" FROM nodes WHERE id = ?", id))
	return named(rec, "node "+id, err)
}

// NodeByKey implements store.NodeStore.
func (s *Store) NodeByKey(ctx context.Context, key node.Digest) (node.Record, error) {
	rec, err := one(s.read.QueryRowContext(ctx, "SELECT "+nodeColumns+" FROM nodes WHERE node_key = ? AND state <> 'retired'", key.String()))
	return named(rec, "node key "+key.String(), err)
}

// NodeByHost implements store.NodeStore.
func (s *Store) NodeByHost(ctx context.Context, hostID string) (node.Record, error) {
	rec, err := one(s.read.QueryRowContext(ctx, "SELECT "+nodeColumns+" FROM nodes WHERE host_id = ? AND state <> 'retired'", hostID))
	return named(rec, "host "+hostID, err)
}

func named(rec node.Record, what string, err error) (node.Record, error) {
	if err != nil {
		return node.Record{}, fmt.Errorf("%s: %w", what, err)
	}
	return rec, nil
}

// Predecessor implements store.NodeStore.
func (s *Store) Predecessor(ctx context.Context, hostID string) (string, error) {
	var id string
	err := s.read.QueryRowContext(ctx,
		"SELECT id FROM nodes WHERE host_id = ? AND state = 'retired' ORDER BY journal_index DESC, id LIMIT 1", hostID).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("predecessor of host %s: %w", hostID, translate(err))
	}
	return id, nil
}

// Nodes implements store.NodeStore.
func (s *Store) Nodes(ctx context.Context) (store.Listing, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT "+nodeColumns+" FROM nodes ORDER BY id")
	if err != nil {
		return store.Listing{}, fmt.Errorf("list nodes: %w", translate(err))
	}
	defer rows.Close()
	var list store.Listing
	for rows.Next() {
		rec, err := one(rows)
		var damaged *store.RowError
		switch {
		case errors.As(err, &damaged):
			list.Damaged = append(list.Damaged, *damaged)
		case err != nil:
			return store.Listing{}, fmt.Errorf("list nodes: %w", err)
		default:
			list.Records = append(list.Records, rec)
		}
	}
	return list, translate(rows.Err())
}

type scanner interface{ Scan(...any) error }

// row is a node's row as SQLite holds it, whatever somebody may have put there.
type row struct {
	id, hostID, akName, nodeKey, state, version, index, record any
}

// one reads a node and checks that its columns agree with its record. The
// columns are what the unique indexes guard, so a record that disagrees with
// them would slip past the guard.
func one(s scanner) (node.Record, error) {
	var r row
	if err := s.Scan(&r.id, &r.hostID, &r.akName, &r.nodeKey, &r.state, &r.version, &r.index, &r.record); err != nil {
		return node.Record{}, translate(err)
	}
	rec, err := r.decode()
	if err != nil {
		return node.Record{}, &store.RowError{ID: fmt.Sprint(r.id), Reason: err.Error()}
	}
	return rec, nil
}

func (r row) decode() (node.Record, error) {
	raw, ok := r.record.([]byte)
	if !ok {
		return node.Record{}, fmt.Errorf("record is %T", r.record)
	}
	rec, err := decode(raw)
	if err != nil {
		return node.Record{}, err
	}
	akName, _ := r.akName.([]byte)
	for _, column := range []struct {
		name  string
		agree bool
	}{
		{"id", r.id == rec.ID}, {"host_id", r.hostID == rec.HostID}, {"ak_name", bytes.Equal(akName, rec.AKName)},
		{"node_key", r.nodeKey == rec.NodeKey.String()}, {"state", r.state == rec.State.String()},
		{"version", r.version == int64(rec.Version)}, {"journal_index", r.index == int64(rec.JournalIndex)},
	} {
		if !column.agree {
			return node.Record{}, fmt.Errorf("column %s disagrees with the record", column.name)
		}
	}
	return rec, nil
}

func encode(rec node.Record) (index int64, raw []byte, err error) {
	if err := rec.Validate(); err != nil {
		return 0, nil, err
	}
	if index, err = toInt(rec.JournalIndex); err != nil {
		return 0, nil, err
	}
	raw, err = json.Marshal(rec)
	return index, raw, err
}

func decode(raw []byte) (node.Record, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var rec node.Record
	if err := decoder.Decode(&rec); err != nil {
		return node.Record{}, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return node.Record{}, errors.New("data after the record")
	}
	return rec, rec.Validate()
}
