package verifier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/archive"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/store/sqlite"
)

// RebuildReport says what Rebuild did.
type RebuildReport struct {
	Entries uint64
	Nodes   int
	Kept    string // where the old database is, or empty
}

// Rebuild makes the database again from journal and archive alone. The journal is
// verified first; the new database takes the old one's place only when it is
// complete, and the old one is kept beside it. The verifier must not be running.
func Rebuild(ctx context.Context, config *Config, log *slog.Logger) (*RebuildReport, error) {
	projector, reader, err := rebuildSources(config)
	if err != nil {
		return nil, err
	}
	lock, err := journal.Lock(journalPath(config))
	if err != nil {
		return nil, fmt.Errorf("stop the verifier first: %w", err)
	}
	defer lock.Close()
	log.Info("verifying the journal")
	if _, err := reader.Verify(ctx); err != nil {
		return nil, err
	}
	if err := extendsOld(ctx, config, reader, log); err != nil {
		return nil, err
	}
	fresh := databasePath(config) + ".new"
	if err := removeDatabase(fresh); err != nil {
		return nil, err
	}
	report, err := fill(ctx, projector, reader, fresh)
	if err != nil {
		return nil, errors.Join(err, removeDatabase(fresh))
	}
	report.Kept, err = replaceDatabase(databasePath(config), fresh, time.Now())
	return report, err
}

// extendsOld refuses a journal that lacks entries which the old database remembers:
// rebuilding must not be the way to make a rolled-back history the real one. A
// database that cannot be read any more remembers nothing.
func extendsOld(ctx context.Context, config *Config, reader *journal.Reader, log *slog.Logger) error {
	if _, err := os.Stat(databasePath(config)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	old, err := sqlite.Open(ctx, databasePath(config))
	if err != nil {
		log.Warn("the old database cannot be read; whether the journal was rolled back is for its witnesses to say", "error", err)
		return nil
	}
	cursor, err := old.Cursor(ctx)
	if err == nil {
		err = reader.Extends(ctx, journal.Tree(cursor))
	}
	return errors.Join(err, old.Close())
}

func rebuildSources(config *Config) (journal.Projector, *journal.Reader, error) {
	raw, err := os.ReadFile(config.Consortium)
	if err != nil {
		return journal.Projector{}, nil, err
	}
	consortium, err := admission.ParseConsortium(raw)
	if err != nil {
		return journal.Projector{}, nil, fmt.Errorf("%s: %w", config.Consortium, err)
	}
	self, known := consortium.Verifier(config.Name)
	if !known {
		return journal.Projector{}, nil, fmt.Errorf("the consortium file has no verifier named %q", config.Name)
	}
	logKey, err := note.NewVerifier(self.LogKey)
	if err != nil {
		return journal.Projector{}, nil, err
	}
	blobs, err := archive.Open(filepath.Join(config.Data, "archive"), archiveBlob)
	if err != nil {
		return journal.Projector{}, nil, err
	}
	key, _ := consortium.AdmissionKey(self.Name)
	return journal.Projector{Admission: key, Blob: blobs.Get}, journal.NewReader(journalPath(config), logKey), nil
}

func fill(ctx context.Context, p journal.Projector, reader *journal.Reader, path string) (report *RebuildReport, err error) {
	db, err := sqlite.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p.Store = db
	entries, err := p.CatchUp(ctx, reader)
	if err != nil {
		return nil, err
	}
	listing, err := db.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return &RebuildReport{Entries: entries, Nodes: len(listing.Records)}, nil
}

// databaseFiles are a SQLite database's own file and those of its write-ahead log.
var databaseFiles = []string{"", "-wal", "-shm"}

func removeDatabase(path string) error {
	for _, suffix := range databaseFiles {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func replaceDatabase(path, fresh string, now time.Time) (kept string, err error) {
	if _, err := os.Stat(path); err == nil {
		kept = path + ".before-" + now.UTC().Format("20060102T150405Z")
		if err := renameDatabase(path, kept); err != nil {
			return "", err
		}
	}
	return kept, renameDatabase(fresh, path)
}

func renameDatabase(from, to string) error {
	for _, suffix := range databaseFiles {
		if err := os.Rename(from+suffix, to+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
