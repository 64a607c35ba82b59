package storetest

import (
	"reflect"
	"testing"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

func policySet(n byte, version uint64) store.PolicySet {
	return store.PolicySet{Digest: node.Digest{n}, Name: "validators", Version: version, Roles: []string{"validator"},
		Policy: []byte("policy: quorate/v1\n"), Manifests: [][]byte{{n}, []byte("two")}}
}

func policies(t *testing.T, s *suite) {
	set := policySet(1, 1)
	ok(t, "put", s.PutPolicy(t.Context(), set))
	ok(t, "put again", s.PutPolicy(t.Context(), set))
	other := set
	other.Policy = []byte("other")
	wantError(t, "other contents", s.PutPolicy(t.Context(), other), store.ErrExists)
	_, err := s.ActivePolicy(t.Context(), "validator")
	wantError(t, "none active", err, store.ErrNotFound)
	a := store.PolicyApproval{Operator: "org-a/ana", Member: "org-a", Note: []byte("note"), At: now}
	b := store.PolicyApproval{Operator: "org-b/cy", Member: "org-b", Note: []byte("note"), At: now}
	_, err = s.ApprovePolicy(t.Context(), node.Digest{9}, a)
	wantError(t, "approve unknown", err, store.ErrNotFound)
	for range 2 {
		all, err := s.ApprovePolicy(t.Context(), set.Digest, a)
		ok(t, "approve", err)
		if len(all) != 1 {
			t.Errorf("one operator counts %d times", len(all))
		}
	}
	all, err := s.ApprovePolicy(t.Context(), set.Digest, b)
	ok(t, "approve", err)
	if !reflect.DeepEqual(all, []store.PolicyApproval{a, b}) {
		t.Errorf("approvals %+v", all)
	}
	kept, err := s.PolicyApprovals(t.Context(), set.Digest)
	ok(t, "approvals", err)
	if !reflect.DeepEqual(kept, []store.PolicyApproval{a, b}) {
		t.Errorf("kept approvals %+v", kept)
	}
	if none, err := s.PolicyApprovals(t.Context(), node.Digest{9}); err != nil || len(none) != 0 {
		t.Errorf("approvals of an unknown policy: %v, %v", none, err)
	}
	wantError(t, "activate unknown", s.ActivatePolicy(t.Context(), "validator", node.Digest{9}), store.ErrNotFound)
	ok(t, "activate", s.ActivatePolicy(t.Context(), "validator", set.Digest))
	s.reopen()
	got, err := s.ActivePolicy(t.Context(), "validator")
	ok(t, "active", err)
	if !reflect.DeepEqual(got, set) {
		t.Errorf("active %+v\nwant %+v", got, set)
	}
	got, err = s.Policy(t.Context(), set.Digest)
	ok(t, "get", err)
	if !reflect.DeepEqual(got, set) {
		t.Errorf("stored %+v", got)
	}
	_, err = s.Policy(t.Context(), node.Digest{9})
	wantError(t, "get unknown", err, store.ErrNotFound)
}

func policyRollback(t *testing.T, s *suite) {
	v4, v5, five, v6 := policySet(4, 4), policySet(5, 5), policySet(55, 5), policySet(6, 6)
	for _, set := range []store.PolicySet{v4, v5, five, v6} {
		ok(t, "put", s.PutPolicy(t.Context(), set))
	}
	ok(t, "v5", s.ActivatePolicy(t.Context(), "validator", v5.Digest))
	s.reopen()
	wantError(t, "v4 after v5", s.ActivatePolicy(t.Context(), "validator", v4.Digest), store.ErrRollback)
	wantError(t, "another v5", s.ActivatePolicy(t.Context(), "validator", five.Digest), store.ErrRollback)
	ok(t, "v5 again", s.ActivatePolicy(t.Context(), "validator", v5.Digest))
	ok(t, "v4 for another role", s.ActivatePolicy(t.Context(), "observer", v4.Digest))
	ok(t, "twin: v6", s.ActivatePolicy(t.Context(), "validator", v6.Digest))
	if got, err := s.ActivePolicy(t.Context(), "validator"); err != nil || got.Version != 6 {
		t.Errorf("active %d, %v", got.Version, err)
	}
}

func positions(t *testing.T, s *suite) {
	one, two := create(t, s, 1), create(t, s, 2)
	ok(t, "none", s.SavePositions(t.Context(), nil))
	ok(t, "save", s.SavePositions(t.Context(), []store.Position{{Node: one.ID, Data: []byte("old")}, {Node: "org-a/gone", Data: []byte("x")}, {Node: two.ID, Data: []byte("2")}}))
	ok(t, "replace", s.SavePositions(t.Context(), []store.Position{{Node: one.ID, Data: []byte("1")}}))
	tooLong := make([]byte, store.MaxPosition+1)
	if err := s.SavePositions(t.Context(), []store.Position{{Node: two.ID, Data: []byte("3")}, {Node: one.ID, Data: tooLong}}); err == nil {
		t.Error("saved a position over the limit")
	}
	s.reopen()
	got, err := s.Positions(t.Context())
	ok(t, "read", err)
	if want := []store.Position{{Node: one.ID, Data: []byte("1")}, {Node: two.ID, Data: []byte("2")}}; !reflect.DeepEqual(got, want) {
		t.Errorf("positions %s, want %s", got, want)
	}
}

func serials(t *testing.T, s *suite) {
	seen := make([]uint64, 20)
	won, _ := race(len(seen), func(i int) (err error) {
		seen[i], err = s.NextSerial(t.Context())
		return err
	})
	distinct := map[uint64]bool{}
	for _, n := range seen {
		distinct[n] = n >= 1 && n <= 20
	}
	if won != 20 || len(distinct) != 20 {
		t.Errorf("serials %v", seen)
	}
	s.reopen()
	ok(t, "lower", s.RaiseSerial(t.Context(), 3))
	if n, err := s.NextSerial(t.Context()); err != nil || n != 21 {
		t.Errorf("serial %d, %v; want 21", n, err)
	}
	ok(t, "raise", s.RaiseSerial(t.Context(), 100))
	if n, err := s.NextSerial(t.Context()); err != nil || n != 101 {
		t.Errorf("serial %d, %v; want 101", n, err)
	}
}

func rosters(t *testing.T, s *suite) {
	_, err := s.LastRoster(t.Context())
	wantError(t, "none", err, store.ErrNotFound)
	ok(t, "first", s.SaveRoster(t.Context(), store.Roster{Number: 1, Note: []byte("one")}))
	ok(t, "third", s.SaveRoster(t.Context(), store.Roster{Number: 3, Note: []byte("three")}))
	s.reopen()
	for _, n := range []uint64{1, 2, 3} {
		wantError(t, "older", s.SaveRoster(t.Context(), store.Roster{Number: n, Note: []byte("other")}), store.ErrRollback)
	}
	got, err := s.LastRoster(t.Context())
	ok(t, "last", err)
	if got.Number != 3 || string(got.Note) != "three" {
		t.Errorf("last roster %d %q", got.Number, got.Note)
	}
}

func cursor(t *testing.T, s *suite) {
	if c, err := s.Cursor(t.Context()); err != nil || c != (store.Cursor{}) {
		t.Errorf("first cursor %v, %v", c, err)
	}
	ok(t, "empty tree", s.SaveCursor(t.Context(), store.Cursor{Root: [32]byte{0xe3}}))
	five := store.Cursor{Size: 5, Root: [32]byte{5}}
	ok(t, "grow", s.SaveCursor(t.Context(), five))
	ok(t, "again", s.SaveCursor(t.Context(), five))
	s.reopen()
	wantError(t, "shrink", s.SaveCursor(t.Context(), store.Cursor{Size: 4, Root: [32]byte{4}}), store.ErrRollback)
	wantError(t, "fork", s.SaveCursor(t.Context(), store.Cursor{Size: 5, Root: [32]byte{6}}), store.ErrRollback)
	if c, err := s.Cursor(t.Context()); err != nil || c != five {
		t.Errorf("cursor %v, %v", c, err)
	}
	ok(t, "twin: grow on", s.SaveCursor(t.Context(), store.Cursor{Size: 6, Root: [32]byte{6}}))
}
