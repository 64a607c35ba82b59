// Package storetest is the contract of store.Store as a test suite. Every
// implementation runs it.
package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
)

// Open opens a store in a folder. Opening the same folder again after Close
// finds what was stored before.
type Open func(t *testing.T, dir string) store.Store

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

// Run checks an implementation against the contract.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, *suite){
		"CreateAndFind":               createAndFind,
		"TestA042_IdentityIsFixed":    identityIsFixed,
		"TestA043_OneTPMOneNode":      oneTPMOneNode,
		"TestA151_Tombstones":         tombstones,
		"UpdateIsOptimistic":          updateIsOptimistic,
		"InvalidRecords":              invalidRecords,
		"TestA012_InviteOnce":         inviteOnce,
		"InviteFailures":              inviteFailures,
		"Policies":                    policies,
		"TestA183_PolicyRollback":     policyRollback,
		"Positions":                   positions,
		"Serials":                     serials,
		"Rosters":                     rosters,
		"TestA177_CursorNeverShrinks": cursor,
		"Meta":                        meta,
		"TestA147_HostileStrings":     hostileStrings,
		"ConcurrentEnrolments":        concurrentEnrolments,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{t: t, dir: t.TempDir(), open: open}
			s.Store = open(t, s.dir)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, s)
		})
	}
}

type suite struct {
	store.Store
	t    *testing.T
	dir  string
	open Open
}

// reopen closes the store and opens it again: what is found then was durable.
func (s *suite) reopen() {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.Store = s.open(s.t, s.dir)
}

// NewRecord returns a valid record of a node whose identity is made from n.
func NewRecord(t testing.TB, n int) node.Record {
	t.Helper()
	key := node.Digest{0xff, byte(n >> 8), byte(n)}
	rec, err := node.New(node.Identity{
		ID: fmt.Sprintf("org-a/validator-%04d", n), Role: "validator", HostID: fmt.Sprintf("%064x", n+1), EKCertificate: key,
		AK: []byte{1, byte(n)}, AKName: []byte{2, byte(n >> 8), byte(n)}, NodeKey: key, NodeKeyPublic: []byte{3},
		TPMClass: "virtual", TPMVendor: "SIM", TPMTest: true,
	}, []string{"org-a/ana"}, 1, "", now)
	if err != nil {
		t.Fatal(err)
	}
	rec.JournalIndex = uint64(n) + 1
	return rec
}

func create(t *testing.T, s *suite, n int) node.Record {
	t.Helper()
	rec, err := s.CreateNode(t.Context(), NewRecord(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func next(t *testing.T, rec node.Record, e node.Event) node.Record {
	t.Helper()
	rec, err := node.Next(rec, e, now)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// race runs f n times at once and returns how many returned nil.
func race(n int, f func(i int) error) (won int64, others []error) {
	var wins atomic.Int64
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if errs[i] = f(i); errs[i] == nil {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			others = append(others, err)
		}
	}
	return wins.Load(), others
}

func inviteFor(token byte) store.Invite {
	return store.Invite{Token: node.Digest{token}, Node: "org-a/validator-1", Role: "validator", PreApproved: true,
		By: "org-a/ana", Created: now, NotAfter: now.Add(time.Hour)}
}

func inviteOnce(t *testing.T, s *suite) {
	inv := inviteFor(1)
	ok(t, "create", s.CreateInvite(t.Context(), inv))
	wantError(t, "same token", s.CreateInvite(t.Context(), inv), store.ErrExists)
	won, others := race(50, func(int) error {
		_, err := s.ConsumeInvite(t.Context(), inv.Token, inv.Node, now)
		return err
	})
	if won != 1 {
		t.Errorf("%d of 50 consumed one invitation", won)
	}
	for _, err := range others {
		wantError(t, "loser", err, store.ErrUsed)
	}
	s.reopen()
	stored, err := s.Invite(t.Context(), inv.Token)
	ok(t, "read", err)
	if inv.Used = now; stored != inv {
		t.Errorf("stored %+v, want %+v", stored, inv)
	}
	_, err = s.ConsumeInvite(t.Context(), inv.Token, inv.Node, now)
	wantError(t, "after a restart", err, store.ErrUsed)
}

func inviteFailures(t *testing.T, s *suite) {
	inv := inviteFor(1)
	ok(t, "create", s.CreateInvite(t.Context(), inv))
	_, err := s.ConsumeInvite(t.Context(), node.Digest{2}, inv.Node, now)
	wantError(t, "unknown token", err, store.ErrNotFound)
	_, err = s.ConsumeInvite(t.Context(), inv.Token, "org-a/other", now)
	wantError(t, "another node", err, store.ErrNotFound)
	_, err = s.ConsumeInvite(t.Context(), inv.Token, inv.Node, inv.NotAfter.Add(time.Second))
	wantError(t, "too late", err, store.ErrExpired)
	_, err = s.Invite(t.Context(), node.Digest{2})
	wantError(t, "read unknown", err, store.ErrNotFound)
	used, err := s.ConsumeInvite(t.Context(), inv.Token, inv.Node, inv.NotAfter)
	ok(t, "twin: in time", err)
	if !used.PreApproved || used.By != inv.By || !used.Used.Equal(inv.NotAfter) {
		t.Errorf("consumed %+v", used)
	}
}

func hostileStrings(t *testing.T, s *suite) {
	for i, hostile := range []string{"' OR 1=1 --", `"; DROP TABLE nodes; --`, "%", "_", "\x00", strings.Repeat("a", 1<<16), "?1", ":id"} {
		create(t, s, i)
		_, err := s.Node(t.Context(), hostile)
		wantError(t, "node "+hostile[:1], err, store.ErrNotFound)
		_, err = s.NodeByHost(t.Context(), hostile)
		wantError(t, "host "+hostile[:1], err, store.ErrNotFound)
		_, err = s.ActivePolicy(t.Context(), hostile)
		wantError(t, "role "+hostile[:1], err, store.ErrNotFound)
		ok(t, "meta", s.SetMeta(t.Context(), hostile, []byte(hostile)))
		value, err := s.Meta(t.Context(), hostile)
		ok(t, "meta", err)
		if string(value) != hostile {
			t.Errorf("%q came back as %q", hostile, value)
		}
	}
	list, err := s.Nodes(t.Context())
	ok(t, "list", err)
	if len(list.Records) != 8 {
		t.Errorf("%d of 8 nodes left", len(list.Records))
	}
}

func meta(t *testing.T, s *suite) {
	_, err := s.Meta(t.Context(), "k")
	wantError(t, "absent", err, store.ErrNotFound)
	ok(t, "set", s.SetMeta(t.Context(), "k", []byte{0, 1}))
	ok(t, "set again", s.SetMeta(t.Context(), "k", nil))
	s.reopen()
	value, err := s.Meta(t.Context(), "k")
	ok(t, "get", err)
	if len(value) != 0 {
		t.Errorf("value %x", value)
	}
}
