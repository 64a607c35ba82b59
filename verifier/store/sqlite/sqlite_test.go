package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store { return open(t, filepath.Join(dir, "quorate.db")) })
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestA148_DamagedRowDeniesOneNode: whatever somebody writes into one row, the
// other nodes keep working and that node is refused.
func TestA148_DamagedRowDeniesOneNode(t *testing.T) {
	for name, damage := range map[string]string{
		"garbage":         "UPDATE nodes SET record = x'00ff' WHERE id = ?",
		"empty":           "UPDATE nodes SET record = x'' WHERE id = ?",
		"other type":      `UPDATE nodes SET record = CAST('{"state":7}' AS BLOB) WHERE id = ?`,
		"unknown field":   `UPDATE nodes SET record = CAST(json_set(CAST(record AS TEXT), '$.extra', 1) AS BLOB) WHERE id = ?`,
		"state column":    "UPDATE nodes SET state = 'admitted' WHERE id = ?",
		"both states":     `UPDATE nodes SET state = 'admitted', record = CAST(json_set(CAST(record AS TEXT), '$.state', 'admitted') AS BLOB) WHERE id = ?`,
		"host column":     "UPDATE nodes SET host_id = 'x' WHERE id = ?",
		"key column":      "UPDATE nodes SET ak_name = x'77' WHERE id = ?",
		"version column":  "UPDATE nodes SET version = -1 WHERE id = ?",
		"index column":    "UPDATE nodes SET journal_index = 999 WHERE id = ?",
		"record of other": "UPDATE nodes SET record = (SELECT record FROM nodes WHERE id <> ?1) WHERE id = ?1",
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "q.db"))
			defer s.Close()
			var recs [2]node.Record
			for i := range recs {
				var err error
				if recs[i], err = s.CreateNode(t.Context(), storetest.NewRecord(t, i)); err != nil {
					t.Fatal(err)
				}
			}
			victim, healthy := recs[0], recs[1]
			if _, err := s.write.Exec(damage, victim.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Node(t.Context(), victim.ID); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("damaged row: %v", err)
			}
			if _, err := s.UpdateNode(t.Context(), victim); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("update of the damaged row: %v", err)
			}
			list, err := s.Nodes(t.Context())
			if err != nil || len(list.Records) != 1 || len(list.Damaged) != 1 || list.Damaged[0].ID != victim.ID {
				t.Errorf("list: %+v, %v", list, err)
			}
			if _, err := s.UpdateNode(t.Context(), healthy); err != nil {
				t.Errorf("twin, the other node: %v", err)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte("this is not a database, and long enough to be looked at closely by anyone who wonders"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), garbage); err == nil {
		t.Error("opened garbage")
	}
	newer := filepath.Join(dir, "newer.db")
	s := open(t, newer)
	if _, err := s.write.Exec("PRAGMA user_version = 2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), newer); err == nil {
		t.Error("opened a newer schema")
	}
}

func TestFilesArePrivateAndPathsAreLiteral(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20e", "q.db")
	s := open(t, path)
	defer s.Close()
	if err := s.SetMeta(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", filepath.Base(p), info.Mode().Perm())
		}
	}
}

func TestDurabilitySettings(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "q.db"))
	defer s.Close()
	for _, db := range []*sql.DB{s.write, s.read} {
		for pragma, want := range map[string]string{"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "PRAGMA foreign_keys": "1"} {
			var got string
			if err := db.QueryRow(pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s, %v; want %s", pragma, got, err, want)
			}
		}
	}
}

func TestClosedStoreFails(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "q.db"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNode(t.Context(), storetest.NewRecord(t, 1)); err == nil {
		t.Error("a closed store took a record")
	}
	if _, err := s.Nodes(t.Context()); err == nil {
		t.Error("a closed store listed nodes")
	}
}

func BenchmarkUpdateNode(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "q.db"))
	defer s.Close()
	rec, err := s.CreateNode(b.Context(), storetest.NewRecord(b, 1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if rec, err = s.UpdateNode(b.Context(), rec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSavePositions100(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "q.db"))
	defer s.Close()
	positions := make([]store.Position, 100)
	for i := range positions {
		rec, err := s.CreateNode(b.Context(), storetest.NewRecord(b, i))
		if err != nil {
			b.Fatal(err)
		}
		positions[i] = store.Position{Node: rec.ID, Data: make([]byte, 48)}
	}
	for b.Loop() {
		if err := s.SavePositions(b.Context(), positions); err != nil {
			b.Fatal(err)
		}
	}
}
