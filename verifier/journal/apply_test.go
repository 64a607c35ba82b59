package journal

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/verifier/archive"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/store/sqlite"
	"github.com/quorate/quorate/verifier/verdict"
)

// service does what a verifier does: journal first, then store.
type service struct {
	t       *testing.T
	j       *Journal
	store   *sqlite.Store
	archive *archive.Archive
	signer  note.Signer
	project Projector
}

func newService(t *testing.T) *service {
	_, cfg := keys(t)
	signer, verifier := admissionKey(t)
	a, err := archive.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, j: openJournal(t, t.TempDir(), cfg), store: openStore(t), archive: a, signer: signer}
	s.project = Projector{Store: s.store, Admission: verifier, Blob: a.Get}
	return s
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "q.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *service) log(b Body) uint64 {
	s.t.Helper()
	index, err := s.j.Append(s.t.Context(), format(s.t, b))
	if err != nil {
		s.t.Fatal(err)
	}
	return index
}

func (s *service) blob(data string) node.Digest {
	s.t.Helper()
	digest, err := s.archive.Put([]byte(data))
	if err != nil {
		s.t.Fatal(err)
	}
	return digest
}

func (s *service) next(rec node.Record, e node.Event) node.Record {
	s.t.Helper()
	rec, err := node.Next(rec, e, now)
	if err != nil {
		s.t.Fatal(err)
	}
	return rec
}

// change writes a change and returns the record as of its entry.
func (s *service) change(kind Type, rec node.Record, decision *verdict.Decision) node.Record {
	s.t.Helper()
	rec.JournalIndex = s.log(Change{Kind: kind, At: now, Node: rec, Decision: decision})
	return rec
}

var (
	admitted, denied = verdict.Admitted, verdict.Denied
	goodProof        = node.Proof{Epoch: verdict.Epoch{Reset: 4}, Clock: node.Clock{Milliseconds: 100}, Evidence: node.Digest{8}, Policy: "validators"}
	badProof         = node.Proof{Epoch: verdict.Epoch{Reset: 4}, Clock: node.Clock{Milliseconds: 200}, Evidence: node.Digest{9}, Policy: "validators",
		Findings: []verdict.Finding{{Check: "runtime.ima-unlisted", Got: "/tmp/x"}}}
)

// story writes a small history into the journal only, and returns the two nodes
// as they are at its end.
func (s *service) story() (suspended, approved node.Record) {
	s.log(Genesis{At: now, Verifier: verifierName, Consortium: "file"})
	s.log(Policy{At: now, Digest: node.Digest{1}, Name: "validators", Version: 2, Roles: []string{"validator"}, Policy: s.blob("policy"), Manifests: []node.Digest{s.blob("manifest")}})
	s.log(PolicyApproval{At: now, Digest: node.Digest{1}, Operator: "org-a/ana", Member: "org-a", Note: "note"})
	s.log(PolicyActivation{At: now, Digest: node.Digest{1}, Role: "validator"})
	s.log(Invitation{At: now, Token: node.Digest{5}, Node: "org-a/validator-1", Role: "validator", By: "org-a/ana", NotAfter: now.Add(time.Hour)})
	one, two := newNode(s.t, "org-a/validator-1", 1), newNode(s.t, "org-a/validator-2", 2)
	one.JournalIndex = s.log(Change{Kind: TypeEnrolment, At: now, Invite: node.Digest{5}, Node: one})
	two = s.change(TypeEnrolment, two, nil)
	one = s.next(one, node.Approved{By: "org-a/ana"})
	one = s.change(TypeApproval, one, nil)
	two = s.next(two, node.Approved{By: "org-a/ana"})
	two = s.change(TypeApproval, two, nil)
	one = s.next(one, node.Passed{Proof: goodProof, LateAfter: time.Minute})
	one = s.change(TypeVerdict, one, &admitted)
	index := s.log(signedAdmission(s.t, s.signer, one, 7))
	one = s.next(one, node.Issued{Serial: 7, NotAfter: now.Add(time.Hour), Index: index})
	s.log(Roster{At: now, Number: 1, Digest: s.blob("roster")})
	one = s.next(one, node.Refused{Proof: badProof, Authentic: true})
	one = s.change(TypeVerdict, one, &denied)
	return one, two
}

func sameButVersion(a, b node.Record) bool {
	a.Version, b.Version = 0, 0
	return reflect.DeepEqual(a, b)
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	s := newService(t)
	suspended, approved := s.story()
	read, err := s.project.CatchUp(t.Context(), s.j.Reader)
	if err != nil || read != 13 {
		t.Fatalf("read %d, %v", read, err)
	}
	for _, want := range []node.Record{suspended, approved} {
		got, err := s.store.Node(t.Context(), want.ID)
		if err != nil || !sameButVersion(got, want) {
			t.Errorf("rebuilt %+v, %v\nwant %+v", got, err, want)
		}
		if err := s.j.Justify(t.Context(), got); err != nil {
			t.Error(err)
		}
	}
	checkRest(t, s)
	if read, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil || read != 0 {
		t.Errorf("again: read %d, %v", read, err)
	}
}

func checkRest(t *testing.T, s *service) {
	t.Helper()
	set, err := s.store.ActivePolicy(t.Context(), "validator")
	if err != nil || string(set.Policy) != "policy" || len(set.Manifests) != 1 || set.Version != 2 {
		t.Errorf("policy %+v, %v", set, err)
	}
	if inv, err := s.store.Invite(t.Context(), node.Digest{5}); err != nil || !inv.Used.Equal(now) {
		t.Errorf("invitation %+v, %v", inv, err)
	}
	if n, err := s.store.NextSerial(t.Context()); err != nil || n != 8 {
		t.Errorf("next serial %d, %v", n, err)
	}
	if r, err := s.store.LastRoster(t.Context()); err != nil || r.Number != 1 || string(r.Note) != "roster" {
		t.Errorf("roster %+v, %v", r, err)
	}
	if genesis, err := s.store.Meta(t.Context(), "genesis"); err != nil || string(genesis) != "file" {
		t.Errorf("genesis %q, %v", genesis, err)
	}
	tree, err := s.j.Tree(t.Context())
	if cursor, err2 := s.store.Cursor(t.Context()); err != nil || err2 != nil || Tree(cursor) != tree {
		t.Errorf("cursor %+v, %v, %v", cursor, err, err2)
	}
}

// TestA186_CatchUpAfterCrash stops the store at every point of the history, and
// applies everything once more from there: the end is the same.
func TestA186_CatchUpAfterCrash(t *testing.T) {
	t.Parallel()
	s := newService(t)
	suspended, _ := s.story()
	var entries []Entry
	for e, err := range s.j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	for lag := range entries {
		s.store = openStore(t)
		s.project.Store = s.store
		for _, e := range entries[:lag] {
			if err := s.project.Apply(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
			t.Fatalf("after %d entries: %v", lag, err)
		}
		if got, err := s.store.Node(t.Context(), suspended.ID); err != nil || !sameButVersion(got, suspended) {
			t.Errorf("after %d entries: %+v, %v", lag, got, err)
		}
	}
	checkRest(t, s)
}

// TestA177_StoreRemembers: a journal that is behind the store does not pass.
func TestA177_StoreRemembers(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.story()
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	other := newService(t)
	other.story()
	if _, err := s.project.CatchUp(t.Context(), other.j.Reader); !errors.Is(err, ErrRolledBack) {
		t.Errorf("another journal: %v", err)
	}
}

// TestA181_EditedRow: a record that the journal does not justify is noticed.
func TestA181_EditedRow(t *testing.T) {
	t.Parallel()
	s := newService(t)
	suspended, approved := s.story()
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	rec, err := s.store.Node(t.Context(), suspended.ID)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.store.Node(t.Context(), approved.ID)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*node.Record){
		"state":          func(r *node.Record) { r.State = node.Admitted },
		"host":           func(r *node.Record) { r.HostID = other.HostID },
		"AK":             func(r *node.Record) { r.AK = []byte("mine") },
		"node key":       func(r *node.Record) { r.NodeKey = node.Digest{77} },
		"role":           func(r *node.Record) { r.Role = "king" },
		"approvals":      func(r *node.Record) { r.Approvals = []string{"org-a/eve"} },
		"latch":          func(r *node.Record) { r.LatchEpoch = verdict.Epoch{} },
		"unknown node":   func(r *node.Record) { r.ID = "org-a/ghost" },
		"other node's":   func(r *node.Record) { r.JournalIndex = other.JournalIndex },
		"no change":      func(r *node.Record) { r.JournalIndex = 0 },
		"no such entry":  func(r *node.Record) { r.JournalIndex = 999 },
		"an admission's": func(r *node.Record) { r.JournalIndex = r.AdmissionIndex },
	} {
		edited := rec
		edit(&edited)
		if err := s.j.Justify(t.Context(), edited); !errors.Is(err, ErrUnjustified) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for e, err := range s.j.Read(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		body, err := Parse(e.Data)
		c, ok := body.(Change)
		if err != nil || !ok || c.Node.ID != rec.ID || e.Index == rec.JournalIndex {
			continue
		}
		old := c.Node
		old.JournalIndex = e.Index
		if err := s.j.Justify(t.Context(), old); !errors.Is(err, ErrUnjustified) {
			t.Errorf("the row as of entry %d put back: %v", e.Index, err)
		}
	}
	if err := s.j.Justify(t.Context(), rec); err != nil {
		t.Errorf("twin: %v", err)
	}
}

// TestUnacknowledgedChange: the verifier was told that appending a refusal had
// failed, and went on from what it knew. The refusal appeared nevertheless.
func TestUnacknowledgedChange(t *testing.T) {
	t.Parallel()
	s := newService(t)
	_, approved := s.story()
	passed := s.change(TypeVerdict, s.next(approved, node.Passed{Proof: goodProof, LateAfter: time.Minute}), &admitted)
	s.change(TypeVerdict, s.next(passed, node.Refused{Proof: badProof, Authentic: true}), &denied) // lost
	again := s.next(passed, node.Passed{Proof: goodProof, LateAfter: time.Minute})
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	if got, err := s.store.Node(t.Context(), approved.ID); err != nil || got.State != node.Suspended {
		t.Errorf("a restart before the next change: %s, %v", got.State, err)
	}
	want := s.change(TypeVerdict, again, &admitted)
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	got, err := s.store.Node(t.Context(), approved.ID)
	if err != nil || !sameButVersion(got, want) {
		t.Errorf("after the next change: %+v, %v", got, err)
	}
	if err := s.j.Justify(t.Context(), got); err != nil {
		t.Error(err)
	}
}

// TestIllegalEntries: a journal that says what the life cycle does not allow is
// not turned into a store.
func TestIllegalEntries(t *testing.T) {
	t.Parallel()
	s := newService(t)
	suspended, approved := s.story()
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	passed := s.next(approved, node.Passed{Proof: goodProof, LateAfter: time.Minute})
	foreign := passed
	foreign.Role = "king"
	unlatched := suspended
	unlatched.State = node.Admitted
	pending := s.next(suspended, node.Resumed{By: "org-a/ana", Reason: "ok"})
	stranger := newNode(t, "org-a/stranger", 9)
	otherSigner, _ := admissionKey(t)
	for name, b := range map[string]Body{
		"second genesis":          Genesis{At: now},
		"admitted though denied":  Change{Kind: TypeVerdict, At: now, Decision: &denied, Node: passed},
		"admitted by an operator": Change{Kind: TypeResumption, At: now, Node: passed},
		"admitted by approval":    Change{Kind: TypeApproval, At: now, Node: passed},
		"another identity":        Change{Kind: TypeVerdict, At: now, Decision: &admitted, Node: foreign},
		"before its latch":        Change{Kind: TypeVerdict, At: now, Decision: &admitted, Node: unlatched},
		"pending by a verdict":    Change{Kind: TypeVerdict, At: now, Decision: &denied, Node: pending},
		"enrolled twice":          Change{Kind: TypeEnrolment, At: now, Node: approved},
		"enrolled as admitted":    Change{Kind: TypeEnrolment, At: now, Node: asEnrolled(passed)},
		"follows nothing":         Change{Kind: TypeVerdict, At: now, Decision: &admitted, Node: following(passed, 0)},
		"follows another's":       Change{Kind: TypeVerdict, At: now, Decision: &admitted, Node: following(passed, suspended.JournalIndex)},
		"never enrolled":          Change{Kind: TypeRetirement, At: now, Node: stranger},
		"foreign signature":       signedAdmission(t, otherSigner, approved, 9),
	} {
		err := s.project.Apply(t.Context(), Entry{Index: 100, Data: format(t, b)})
		if !errors.Is(err, ErrIllegal) && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]Body{
		"twin, a pass":    Change{Kind: TypeVerdict, At: now, Decision: &admitted, Node: passed},
		"twin, a release": Change{Kind: TypeResumption, At: now, Node: pending},
	} {
		if err := s.project.Apply(t.Context(), Entry{Index: 101, Data: format(t, b)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func following(rec node.Record, index uint64) node.Record {
	rec.JournalIndex = index
	return rec
}

func asEnrolled(rec node.Record) node.Record {
	rec.ID, rec.JournalIndex = "org-a/new", 0
	return rec
}

// A grant changes nothing in the store. One to a node that was not admitted, for
// another key, or that follows none of the node's changes cannot have been given.
func TestGrantsInTheJournal(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.log(Genesis{At: now, Verifier: verifierName, Consortium: "file"})
	rec := newNode(t, "org-a/validator-1", 1)
	rec = s.change(TypeEnrolment, rec, nil)
	rec = s.change(TypeApproval, s.next(rec, node.Approved{By: "org-a/ana"}), nil)
	pending := rec
	rec = s.change(TypeVerdict, s.next(rec, node.Passed{Proof: goodProof, LateAfter: time.Minute}), &admitted)
	good := Grant{At: now, Node: rec.ID, ConsensusKey: rec.ConsensusKey, Nonce: []byte{1}, Seconds: 60, Follows: rec.JournalIndex}
	index := s.log(good)
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); err != nil {
		t.Fatal(err)
	}
	before, err := s.store.Node(t.Context(), rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(g Grant, index uint64) error {
		return s.project.Apply(t.Context(), Entry{Index: index, Data: format(t, g)})
	}
	if err := apply(good, index); err != nil {
		t.Errorf("again: %v", err)
	}
	if after, err := s.store.Node(t.Context(), rec.ID); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("a grant changed the record: %+v, %v", after, err)
	}
	projector := s.project
	projector.journal = s.j.Reader
	for name, spoil := range map[string]func(*Grant){
		"unknown node":       func(g *Grant) { g.Node = "org-a/nobody" },
		"another key":        func(g *Grant) { g.ConsensusKey = "ed25519:BBBB" },
		"before it passed":   func(g *Grant) { g.Follows = pending.JournalIndex },
		"after what follows": func(g *Grant) { g.Follows = rec.JournalIndex + 1 },
		"no change":          func(g *Grant) { g.Follows = 0 },
	} {
		bad := good
		spoil(&bad)
		if err := projector.Apply(t.Context(), Entry{Index: index + 1, Data: format(t, bad)}); !errors.Is(err, ErrIllegal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	suspended := s.change(TypeVerdict, s.next(rec, node.Refused{Proof: badProof, Authentic: true}), &denied)
	good.Follows = suspended.JournalIndex
	s.log(good)
	if _, err := s.project.CatchUp(t.Context(), s.j.Reader); !errors.Is(err, ErrIllegal) {
		t.Errorf("a grant to a suspended node: %v", err)
	}
}
