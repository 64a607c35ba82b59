package verifier

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// edit changes a node's record in the database of a stopped verifier, columns and
// all, as somebody with access to the file could.
func (b *bench) edit(h *paperhost.Host, change func(*node.Record)) {
	b.t.Helper()
	b.query(func(db *sql.DB) error {
		var raw []byte
		if err := db.QueryRow("SELECT record FROM nodes WHERE id = ?", h.ID).Scan(&raw); err != nil {
			return err
		}
		var rec node.Record
		if err := json.Unmarshal(raw, &rec); err != nil {
			return err
		}
		change(&rec)
		raw, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		_, err = db.Exec("UPDATE nodes SET record = ?, state = ?, host_id = ?, journal_index = ? WHERE id = ?",
			raw, rec.State.String(), rec.HostID, int64(rec.JournalIndex), h.ID)
		return err
	})
}

func (b *bench) query(f func(*sql.DB) error) {
	b.t.Helper()
	db, err := sql.Open("sqlite", databasePath(b.config))
	check(b.t, err)
	check(b.t, errors.Join(f(db), db.Close()))
}

// Somebody edits a row: at the next start the node is denied and an alarm names
// it; the others are served.
func TestA181_EditedRow(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*node.Record){
		"suspension lifted": func(r *node.Record) { r.State, r.Reason, r.LatchEpoch = node.Admitted, "", verdict.Epoch{} },
		"latch removed":     func(r *node.Record) { r.LatchEpoch = verdict.Epoch{} },
		"another TPM":       func(r *node.Record) { r.HostID = strings.Repeat("ab", 32) },
		"another AK":        func(r *node.Record) { r.AK = append(bytes.Clone(r.AK), 0) },
		"another key":       func(r *node.Record) { r.ConsensusKey = "" },
		"an older row":      func(r *node.Record) { r.JournalIndex-- },
		"a longer life":     func(r *node.Record) { r.NotAfter = r.NotAfter.Add(1000 * time.Hour) },
		"another admission": func(r *node.Record) { r.Serial++ },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, h := admitted(t)
			healthy := b.enrolled("validator-2")
			b.demand(healthy, b.round(healthy), verdict.Admitted, node.Admitted)
			h.Exec("/tmp/miner")
			b.demand(h, b.round(h), verdict.Denied, node.Suspended)
			b.stop()
			b.edit(h, change)
			check(t, b.start())
			b.deniedWithAlarm(h)
			b.demand(healthy, b.round(healthy), verdict.Admitted, node.Admitted)
		})
	}
}

func (b *bench) deniedWithAlarm(h *paperhost.Host) {
	b.t.Helper()
	if _, err := b.NodeByKey(b.t.Context(), h.NodeKey.SPKIDigest()); err == nil {
		b.t.Error("the node is served")
	}
	st, err := b.Status(b.t.Context())
	check(b.t, err)
	if !slices.ContainsFunc(st.Alarms, func(a string) bool { return strings.Contains(a, h.ID) && strings.Contains(a, "rebuild") }) {
		b.t.Errorf("alarms: %q", st.Alarms)
	}
	for _, n := range b.compileRoster(b.clock.now()).Admitted {
		if n.Node == h.ID {
			b.t.Error("the node is on the roster")
		}
	}
	b.stop()
	_, err = Rebuild(b.t.Context(), b.config, slog.New(slog.DiscardHandler))
	check(b.t, err)
	check(b.t, b.start())
	if _, err := b.NodeByKey(b.t.Context(), h.NodeKey.SPKIDigest()); err != nil {
		b.t.Errorf("after a rebuild: %v", err)
	}
}

// Freshness that no policy gives is cut to what it gives.
func TestA181_FreshForEver(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.stop()
	b.edit(h, func(r *node.Record) { r.FreshUntil = r.FreshUntil.AddDate(50, 0, 0) })
	check(t, b.start())
	b.clock.advance(2 * time.Minute)
	if got := b.status(h); got != node.Late {
		t.Errorf("two minutes later the node is %v", got)
	}
}

// A damaged row denies its node and nobody else.
func TestA148_DamagedRow(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	healthy := b.enrolled("validator-2")
	b.stop()
	b.query(func(db *sql.DB) error {
		_, err := db.Exec("UPDATE nodes SET record = CAST('{\"id\":1}' AS BLOB) WHERE id = ?", h.ID)
		return err
	})
	check(t, b.start())
	b.demand(healthy, b.round(healthy), verdict.Admitted, node.Admitted)
	b.deniedWithAlarm(h)
}

// A position written by somebody else would spare an IMA entry its judgement. It
// is not used; the logs are asked for again.
func TestA132_EditedPosition(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.round(h)
	before := *h.List
	h.Exec("/tmp/miner")
	b.stop()
	b.query(func(db *sql.DB) error {
		var data []byte
		if err := db.QueryRow("SELECT data FROM positions WHERE node = ?", h.ID).Scan(&data); err != nil {
			return err
		}
		var pos position
		if err := json.Unmarshal(data[32:], &pos); err != nil {
			return err
		}
		if want := uint64(len(before.Bytes())); pos.IMA.Bytes != want {
			t.Errorf("stored position %d, want %d", pos.IMA.Bytes, want)
		}
		pos.IMA = imaState{Entries: uint64(len(h.List.Entries)), Bytes: uint64(len(h.List.Bytes())), PCR10: h.PCRs[10]}
		pos.History.Judged = pos.IMA.Entries
		text, err := json.Marshal(pos)
		if err != nil {
			return err
		}
		_, err = db.Exec("UPDATE positions SET data = ? WHERE node = ?", append(data[:32:32], text...), h.ID)
		return err
	})
	check(t, b.start())
	if st, err := b.Status(t.Context()); err != nil || len(st.Alarms) == 0 {
		t.Errorf("no alarm: %v", err)
	}
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Suspended)
	found(t, out, verdict.RuntimeIMAUnlisted)
}

// records are the stored records without what a journal does not hold.
func (b *bench) records() []node.Record {
	b.t.Helper()
	listing, err := b.store.Nodes(b.t.Context())
	check(b.t, err)
	for i := range listing.Records {
		r := &listing.Records[i]
		// The journal has a node's changes, not each proof between them.
		r.Version, r.LastEvidence, r.LastPass, r.FreshUntil, r.Clock = 0, time.Time{}, time.Time{}, time.Time{}, node.Clock{}
	}
	return listing.Records
}

// The database is a projection: made again from journal and archive alone, it
// says the same, and the verifier goes on.
func TestRebuildGivesTheSame(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	bad, gone, waiting := b.enrolled("validator-2"), b.enrolled("validator-3"), b.host("validator-4")
	token := b.invite(waiting.ID)
	b.round(bad)
	bad.Exec("/tmp/miner")
	b.round(bad)
	b.round(gone)
	_, err := b.Operate(t.Context(), b.by, gone.ID, node.RetiredByOperator{By: b.by.Name(), Reason: "sold"})
	check(t, err)
	check(t, b.renewRoster(t.Context()))
	before := b.records()
	roster, err := b.Roster(t.Context())
	check(t, err)
	b.stop()
	if _, err := os.Stat(databasePath(b.config)); err != nil {
		t.Fatal(err)
	}
	check(t, removeDatabase(databasePath(b.config)))
	report, err := Rebuild(t.Context(), b.config, slog.New(slog.DiscardHandler))
	check(t, err)
	if report.Nodes != 3 || report.Kept != "" {
		t.Errorf("%+v", report)
	}
	check(t, b.start())
	if after := b.records(); !reflect.DeepEqual(before, after) {
		t.Errorf("rebuilt\n%+v\nwas\n%+v", after, before)
	}
	if again, err := b.Roster(t.Context()); err != nil || again.Number < roster.Number {
		t.Errorf("roster %d after %d: %v", again.Number, roster.Number, err)
	}
	serial := b.record(h).Serial
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	e, proof := b.begin(waiting, token)
	_, err = e.Finish(t.Context(), proof)
	check(t, err)
	b.demand(waiting, b.round(waiting), verdict.Admitted, node.Admitted)
	if got := b.record(waiting).Serial; got <= serial {
		t.Errorf("serial %d after %d", got, serial)
	}
}

func TestRebuildWhileRunning(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if _, err := Rebuild(t.Context(), b.config, slog.New(slog.DiscardHandler)); !errors.Is(err, journal.ErrInUse) {
		t.Errorf("rebuilt beneath a running verifier: %v", err)
	}
}

// flip changes one byte in the middle of every entry bundle or hash tile.
func flip(t *testing.T, root string) {
	t.Helper()
	count := 0
	check(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			return err
		}
		raw[len(raw)/2] ^= 1
		count++
		return os.WriteFile(path, raw, 0o600)
	}))
	if count == 0 {
		t.Fatalf("no files in %s", root)
	}
}

// A changed byte in the stored journal is found at the next start, and nobody is
// served on the word of it; rebuilding from it is refused.
func TestA178_FlippedByte(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"entry": "tile/entries", "hash": "tile/0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, h := admitted(t)
			b.stop()
			flip(t, filepath.Join(journalPath(b.config), part))
			if err := b.start(); err == nil {
				if _, err := b.NodeByKey(t.Context(), h.NodeKey.SPKIDigest()); err == nil {
					t.Error("served")
				}
				if st, err := b.Status(t.Context()); err == nil && len(st.Alarms) == 0 {
					t.Error("no alarm")
				}
				b.stop()
			}
			if _, err := Rebuild(t.Context(), b.config, slog.New(slog.DiscardHandler)); !errors.Is(err, journal.ErrInconsistent) {
				t.Errorf("rebuilt: %v", err)
			}
		})
	}
}

// A journal restored from an old copy is one that lacks entries the world has
// seen: nothing starts on it, and rebuilding does not make it true.
func TestA177_JournalRolledBack(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.stop()
	old := filepath.Join(t.TempDir(), "journal")
	check(t, os.CopyFS(old, os.DirFS(journalPath(b.config))))
	check(t, b.start())
	h.Exec("/tmp/miner")
	b.demand(h, b.round(h), verdict.Denied, node.Suspended)
	b.stop()
	current := journalPath(b.config) + ".current"
	check(t, os.Rename(journalPath(b.config), current))
	check(t, os.Rename(old, journalPath(b.config)))
	if err := b.start(); !errors.Is(err, journal.ErrRolledBack) {
		t.Errorf("started on a rolled-back journal: %v", err)
	}
	if _, err := Rebuild(t.Context(), b.config, slog.New(slog.DiscardHandler)); !errors.Is(err, journal.ErrRolledBack) {
		t.Errorf("rebuilt from a rolled-back journal: %v", err)
	}
	check(t, os.RemoveAll(journalPath(b.config)))
	check(t, os.Rename(current, journalPath(b.config)))
	check(t, b.start())
	if got := b.status(h); got != node.Suspended {
		t.Errorf("the twin is %v", got)
	}
}

// The consortium file is the journal's first entry: under another one, or by
// another name, the verifier does not start.
func TestA185_AnotherConsortium(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stop()
	raw, err := os.ReadFile(b.config.Consortium)
	check(t, err)
	check(t, os.WriteFile(b.config.Consortium, bytes.ReplaceAll(raw, []byte("threshold: 1"), []byte("threshold: 1\ntreshold: 1")), 0o600))
	if err := b.start(); err == nil {
		t.Error("started with an unknown key in the consortium file")
	}
	check(t, os.WriteFile(b.config.Consortium, bytes.Replace(raw, []byte("example-1"), []byte("example-2"), 1), 0o600))
	if err := b.start(); err == nil || !strings.Contains(err.Error(), "journal belongs to") {
		t.Errorf("started under another consortium file: %v", err)
	}
	check(t, os.WriteFile(b.config.Consortium, raw, 0o600))
	check(t, b.start())
}
