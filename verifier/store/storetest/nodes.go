package storetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

func createAndFind(t *testing.T, s *suite) {
	rec := create(t, s, 7)
	if rec.Version != 1 {
		t.Errorf("version %d, want 1", rec.Version)
	}
	s.reopen()
	for what, find := range map[string]func() (node.Record, error){
		"id":   func() (node.Record, error) { return s.Node(t.Context(), rec.ID) },
		"key":  func() (node.Record, error) { return s.NodeByKey(t.Context(), rec.NodeKey) },
		"host": func() (node.Record, error) { return s.NodeByHost(t.Context(), rec.HostID) },
	} {
		got, err := find()
		ok(t, "by "+what, err)
		if !reflect.DeepEqual(got, rec) {
			t.Errorf("by %s: %+v\nwant %+v", what, got, rec)
		}
	}
	_, err := s.Node(t.Context(), "org-a/unknown")
	wantError(t, "unknown id", err, store.ErrNotFound)
	_, err = s.NodeByKey(t.Context(), node.Digest{9})
	wantError(t, "unknown key", err, store.ErrNotFound)
	_, err = s.NodeByHost(t.Context(), "")
	wantError(t, "unknown host", err, store.ErrNotFound)
	create(t, s, 3)
	list, err := s.Nodes(t.Context())
	ok(t, "list", err)
	if len(list.Records) != 2 || list.Records[0].ID > list.Records[1].ID || len(list.Damaged) != 0 {
		t.Errorf("listed %+v", list)
	}
}

func identityIsFixed(t *testing.T, s *suite) {
	rec := create(t, s, 1)
	_, err := s.CreateNode(t.Context(), rec)
	wantError(t, "same node again", err, store.ErrExists)
	for what, change := range map[string]func(*node.Record){
		"host":     func(r *node.Record) { r.HostID = NewRecord(t, 99).HostID },
		"AK":       func(r *node.Record) { r.AK = []byte{7} },
		"AK name":  func(r *node.Record) { r.AKName = []byte{7} },
		"node key": func(r *node.Record) { r.NodeKey = node.Digest{7} },
		"role":     func(r *node.Record) { r.Role = "observer" },
	} {
		changed := rec
		change(&changed)
		_, err := s.UpdateNode(t.Context(), changed)
		wantError(t, what, err, store.ErrIdentity)
	}
	got, err := s.Node(t.Context(), rec.ID)
	ok(t, "read", err)
	if !reflect.DeepEqual(got, rec) {
		t.Error("a refused update left a trace")
	}
	_, err = s.UpdateNode(t.Context(), rec)
	ok(t, "twin: nothing of the identity changed", err)
}

func oneTPMOneNode(t *testing.T, s *suite) {
	first := create(t, s, 1)
	for what, share := range map[string]func(*node.Record){
		"id":       func(r *node.Record) { r.ID = first.ID },
		"host":     func(r *node.Record) { r.HostID = first.HostID },
		"AK name":  func(r *node.Record) { r.AKName = first.AKName },
		"node key": func(r *node.Record) { r.NodeKey = first.NodeKey },
	} {
		second := NewRecord(t, 2)
		share(&second)
		_, err := s.CreateNode(t.Context(), second)
		wantError(t, what, err, store.ErrExists)
	}
	create(t, s, 2) // twin: shares nothing
}

func tombstones(t *testing.T, s *suite) {
	old := create(t, s, 1)
	if id, err := s.Predecessor(t.Context(), old.HostID); err != nil || id != "" {
		t.Errorf("predecessor %q, %v while the node is in service", id, err)
	}
	_, err := s.UpdateNode(t.Context(), next(t, old, node.RetiredByOperator{By: "org-a/ana", Reason: "sold"}))
	ok(t, "retire", err)
	again := NewRecord(t, 1)
	_, err = s.CreateNode(t.Context(), again)
	wantError(t, "the retired id", err, store.ErrExists)
	id, err := s.Predecessor(t.Context(), old.HostID)
	ok(t, "predecessor", err)
	if id != old.ID {
		t.Errorf("predecessor %q, want %q", id, old.ID)
	}
	_, err = s.NodeByKey(t.Context(), old.NodeKey)
	wantError(t, "key of a retired node", err, store.ErrNotFound)
	_, err = s.NodeByHost(t.Context(), old.HostID)
	wantError(t, "host of a retired node", err, store.ErrNotFound)
	again.ID = "org-a/returned"
	_, err = s.CreateNode(t.Context(), again)
	ok(t, "the TPM under a new id", err)
	got, err := s.NodeByHost(t.Context(), old.HostID)
	ok(t, "by host", err)
	if got.ID != again.ID {
		t.Errorf("host belongs to %s", got.ID)
	}
	if got, err := s.Node(t.Context(), old.ID); err != nil || got.State != node.Retired {
		t.Errorf("tombstone: %s, %v", got.State, err)
	}
}

func updateIsOptimistic(t *testing.T, s *suite) {
	rec := create(t, s, 1)
	won, others := race(20, func(int) error {
		_, err := s.UpdateNode(t.Context(), rec)
		return err
	})
	if won != 1 {
		t.Errorf("%d of 20 updates from one version won", won)
	}
	for _, err := range others {
		wantError(t, "loser", err, store.ErrConflict)
	}
	unknown := NewRecord(t, 2)
	_, err := s.UpdateNode(t.Context(), unknown)
	wantError(t, "unknown node", err, store.ErrNotFound)
	rec.Version++
	rec = next(t, rec, node.Passed{Proof: node.Proof{Epoch: verdict.Epoch{Reset: 4}, Evidence: node.Digest{1}, Policy: "p",
		Findings: []verdict.Finding{{Check: "boot.image", Severity: verdict.Warn}}}, LateAfter: time.Minute})
	rec.JournalIndex = 44
	updated, err := s.UpdateNode(t.Context(), rec)
	ok(t, "update", err)
	s.reopen()
	got, err := s.Node(t.Context(), rec.ID)
	ok(t, "read", err)
	if rec.Version++; !reflect.DeepEqual(got, rec) || !reflect.DeepEqual(updated, rec) {
		t.Errorf("stored %+v\nwant %+v", got, rec)
	}
}

func invalidRecords(t *testing.T, s *suite) {
	bad := NewRecord(t, 1)
	bad.State = node.Admitted // without evidence
	if _, err := s.CreateNode(t.Context(), bad); err == nil {
		t.Error("stored an admitted node without evidence")
	}
	rec := create(t, s, 1)
	rec.State = node.Admitted
	if _, err := s.UpdateNode(t.Context(), rec); err == nil {
		t.Error("updated to admitted without evidence")
	}
}

func concurrentEnrolments(t *testing.T, s *suite) {
	won, others := race(20, func(i int) error {
		rec := NewRecord(t, 500)
		rec.ID = NewRecord(t, i).ID
		_, err := s.CreateNode(t.Context(), rec)
		return err
	})
	if won != 1 {
		t.Errorf("one TPM became %d nodes", won)
	}
	for _, err := range others {
		wantError(t, "loser", err, store.ErrExists)
	}
}
