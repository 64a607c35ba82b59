// Package sqlite is the embedded store: one file, one process.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/quorate/quorate/verifier/store"
)

//go:embed schema.sql
var schema string

const schemaVersion = 1

// Store keeps a verifier's state in one SQLite file. Writes go through one
// connection, one after another; reads run beside them on snapshots.
type Store struct {
	write *sql.DB
	read  *sql.DB
}

var _ store.Store = (*Store)(nil)

// pragmas hold for every connection. WAL lets readers work while a write runs;
// FULL makes a commit survive a loss of power.
var pragmas = url.Values{
	"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "foreign_keys(1)", "trusted_schema(0)", "cache_size(-32000)"},
	"_txlock": {"immediate"},
}

const readers = 4

// Open opens the database in a file, creating it with mode 0600 if needed. It
// refuses a file that SQLite finds damaged or that a newer release wrote.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	// SQLite gives its side files the mode of the main file.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s := &Store{}
	if s.write, err = connect(path, 1); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if s.read, err = connect(path, readers); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	return s, nil
}

func connect(path string, connections int) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (s *Store) prepare(ctx context.Context) error {
	var result string
	if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return fmt.Errorf("sqlite: check: %w", err)
	}
	if result != "ok" {
		return fmt.Errorf("sqlite: the database is damaged (%s); `quorate-verifier rebuild` makes it again from the journal", result)
	}
	return s.transaction(ctx, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		switch version {
		case schemaVersion:
			return nil
		case 0:
			_, err := tx.ExecContext(ctx, schema)
			return err
		}
		return fmt.Errorf("sqlite: schema %d is not known to this release, which has %d", version, schemaVersion)
	})
}

// Close closes the database. The write-ahead log is merged into the file.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// transaction runs f and commits, or rolls everything back.
func (s *Store) transaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the first error is the one to report
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("sqlite: commit: %w", err)
	}
	return nil
}

// translate turns the database's errors into the store's.
func translate(err error) error {
	var failure *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return store.ErrNotFound
	case errors.As(err, &failure):
		switch failure.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", store.ErrExists, err)
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return fmt.Errorf("%w: %w", store.ErrNotFound, err)
		}
	}
	return fmt.Errorf("sqlite: %w", err)
}

// toInt converts a number for a column. SQLite's integers are signed.
func toInt(n uint64) (int64, error) {
	if n > math.MaxInt64 {
		return 0, fmt.Errorf("sqlite: %d exceeds 63 bits", n)
	}
	return int64(n), nil
}
