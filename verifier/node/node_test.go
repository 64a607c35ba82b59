package node

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

var start = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

func identity() Identity {
	return Identity{
		ID: "org-a/validator-1", Role: "validator", HostID: strings.Repeat("8c", 32), EKCertificate: Digest{1},
		AK: []byte{2}, AKName: []byte{3}, NodeKey: Digest{4}, NodeKeyPublic: []byte{5}, TPMClass: "discrete", TPMVendor: "STM",
	}
}

func pending(t testing.TB, approvals ...string) Record {
	t.Helper()
	rec, err := New(identity(), approvals, 1, "", start)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func pass(reset uint32, clock uint64) Passed {
	return Passed{Proof: Proof{
		Epoch: verdict.Epoch{Reset: reset}, Clock: Clock{Milliseconds: clock}, Evidence: Digest{byte(reset), byte(clock), 9}, Policy: "validators",
	}, LateAfter: 90 * time.Second}
}

func refusal(reset uint32, clock uint64) Refused {
	p := pass(reset, clock).Proof
	p.Findings = []verdict.Finding{{Check: "runtime.ima-unlisted", Got: "/tmp/x"}}
	return Refused{Proof: p, Authentic: true}
}

func apply(t testing.TB, rec Record, now time.Time, events ...Event) Record {
	t.Helper()
	for _, e := range events {
		next, err := Next(rec, e, now)
		if err != nil {
			t.Fatalf("%s, %T: %v", rec.State, e, err)
		}
		if err := next.Validate(); err != nil {
			t.Fatalf("%s, %T made an invalid record: %v", rec.State, e, err)
		}
		rec = next
	}
	return rec
}

func wantRefusal(t *testing.T, rec Record, e Event, now time.Time, check verdict.CheckID) {
	t.Helper()
	next, err := Next(rec, e, now)
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) || refusal.Check != check {
		t.Errorf("%s, %T: error %v, want %s", rec.State, e, err, check)
	}
	if !reflect.DeepEqual(next, rec) {
		t.Errorf("%s, %T: refused and changed the record", rec.State, e)
	}
}

// in returns a record in each state, with epoch 4/0 and clock 100.
func in(t testing.TB, s State) Record {
	admitted := apply(t, pending(t, "org-a/ana"), start, pass(4, 100))
	switch s {
	case Pending:
		return pending(t)
	case Late:
		return apply(t, admitted, start.Add(91*time.Second), Tick{})
	case Suspended:
		return apply(t, admitted, start, refusal(4, 100))
	case Retired:
		return apply(t, admitted, start, RetiredByOperator{"org-a/ana", "sold"})
	case Quarantined:
		return apply(t, admitted, start, CloneSign{"two sessions"})
	}
	return admitted
}

func TestTransitions(t *testing.T) {
	refused := State(99)
	now := start.Add(time.Minute)
	for _, row := range []struct {
		event Event
		want  [6]State // in the order of States
	}{
		{Approved{"org-a/ana"}, [6]State{Pending, refused, refused, refused, refused, refused}},
		{pass(4, 200), [6]State{Pending, Admitted, Admitted, Suspended, refused, Quarantined}},
		{pass(5, 1), [6]State{Pending, Admitted, Admitted, Admitted, refused, Quarantined}},
		{refusal(4, 200), [6]State{Pending, Suspended, Suspended, Suspended, refused, Quarantined}},
		{Tick{}, [6]State{Pending, Admitted, Late, Suspended, Retired, Quarantined}},
		{Issued{1, now.Add(time.Hour), 7}, [6]State{refused, Admitted, refused, refused, refused, refused}},
		{SuspendedByOperator{"org-a/bo", "why"}, [6]State{Suspended, Suspended, Suspended, Suspended, refused, refused}},
		{Resumed{"org-a/bo", "why"}, [6]State{refused, refused, refused, Pending, refused, Quarantined}},
		{RetiredByOperator{"org-a/bo", "why"}, [6]State{Retired, Retired, Retired, Retired, refused, Retired}},
		{CloneSign{"why"}, [6]State{Quarantined, Quarantined, Quarantined, Quarantined, refused, Quarantined}},
	} {
		for i, s := range States() {
			rec := in(t, s)
			next, err := Next(rec, row.event, now)
			if got := next.State; (err != nil) != (row.want[i] == refused) || err == nil && got != row.want[i] {
				t.Errorf("%s, %+v: %s, %v; want %s", s, row.event, got, err, row.want[i])
			}
		}
	}
}

// TestA150_RefusalIsLatched: no order of events turns a refusal into standing,
// except a pass in a later epoch or an operator. TestA149's property rides along:
// status never exceeds the last good proof.
func TestA150_RefusalIsLatched(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 150))
	for range 4000 {
		walk(t, rng)
	}
}

func walk(t *testing.T, rng *rand.Rand) {
	rec, now := pending(t, "org-a/ana"), start
	var latch *verdict.Epoch // epoch of a refusal that nothing has cleared since
	reset, clock := uint32(4), uint64(100)
	operators := []string{"org-a/ana", "org-a/bo"}
	for range 30 {
		now = now.Add(time.Duration(rng.IntN(120)) * time.Second)
		if rng.IntN(6) == 0 {
			reset, clock = reset+1, 0
		}
		clock += uint64(rng.IntN(1000))
		who := operators[rng.IntN(2)]
		events := []Event{pass(reset, clock), pass(reset, clock), refusal(reset, clock), Tick{}, Approved{who},
			SuspendedByOperator{who, "r"}, Resumed{who, "r"}, CloneSign{"c"}, Issued{rec.Serial + 1, now.Add(time.Hour), 3}}
		e := events[rng.IntN(len(events))]
		before := rec
		next, err := Next(rec, e, now)
		if err != nil {
			continue
		}
		rec = next
		if err := rec.Validate(); err != nil {
			t.Fatalf("%T: %v", e, err)
		}
		switch e := e.(type) {
		case Refused:
			if before.State == Admitted || before.State == Late || before.State == Suspended {
				epoch := e.Epoch
				latch = &epoch
			}
		case Resumed:
			if rec.State == Pending {
				latch = nil
			}
			if rec.State == Admitted {
				t.Fatal("an operator's release admitted without evidence")
			}
		case Passed:
			if latch != nil && e.Epoch.Compare(*latch) > 0 && rec.State == Admitted {
				latch = nil
			}
		}
		if latch != nil && rec.State != Suspended && rec.State != Quarantined {
			t.Fatalf("%T: refusal in %s ended as %s", e, latch, rec.State)
		}
		if before.State == Suspended && before.LatchedBy != "" && rec.State == Admitted {
			t.Fatalf("%T undid an operator's suspension", e)
		}
		if before.State == Quarantined && rec.State != Quarantined {
			if _, ok := e.(Resumed); !ok || len(before.Releases) != 1 {
				t.Fatalf("%T lifted a quarantine with releases %v", e, before.Releases)
			}
		}
		if Status(rec, now) == Admitted && (now.After(rec.FreshUntil) || now.Sub(rec.LastPass) > 91*time.Second) {
			t.Fatal("admitted without a fresh proof")
		}
	}
}

// TestA149_StatusExpiresAlone: with no event at all a node stops counting.
func TestA149_StatusExpiresAlone(t *testing.T) {
	rec := in(t, Admitted)
	if got := Status(rec, start.Add(90*time.Second)); got != Admitted {
		t.Errorf("within lateAfter: %s", got)
	}
	later := start.Add(91 * time.Second)
	if got := Status(rec, later); got != Late {
		t.Errorf("after lateAfter: %s", got)
	}
	var refusal *verdict.Refusal
	if err := Admissible(rec, later); !errors.As(err, &refusal) || refusal.Check != verdict.NodeLate {
		t.Errorf("admissible after lateAfter: %v", err)
	}
	if got := Status(rec, start.Add(-2*time.Minute)); got != Late {
		t.Errorf("with a clock set back: %s", got)
	}
	for _, s := range []State{Pending, Late, Suspended, Retired, Quarantined} {
		if err := Admissible(in(t, s), start); err == nil {
			t.Errorf("%s is admissible", s)
		}
	}
	if err := Admissible(rec, start); err != nil {
		t.Errorf("admitted and fresh: %v", err)
	}
}

// TestA151_RetireAndReturn: a TPM that served before needs two approvals.
func TestA151_RetireAndReturn(t *testing.T) {
	rec, err := New(identity(), []string{"org-a/ana"}, 1, "org-a/old", start)
	if err != nil {
		t.Fatal(err)
	}
	rec = apply(t, rec, start, pass(4, 1))
	if rec.State != Pending || rec.Predecessor != "org-a/old" {
		t.Errorf("one approval sufficed: %s", rec.State)
	}
	wantRefusal(t, rec, Approved{"org-a/ana"}, start, verdict.NodeOperator)
	rec = apply(t, rec, start, Approved{"org-b/cy"}, pass(4, 2))
	if rec.State != Admitted {
		t.Errorf("two approvals did not suffice: %s", rec.Reason)
	}
	for _, e := range []Event{pass(9, 1), Resumed{"org-a/ana", "x"}, Approved{"org-c/d"}, CloneSign{}} {
		wantRefusal(t, in(t, Retired), e, start, verdict.NodeRetired)
	}
}

// TestA044_CountersGoBack: evidence that one TPM cannot give after what it gave.
func TestA044_CountersGoBack(t *testing.T) {
	for name, e := range map[string]Event{"epoch": pass(3, 900), "clock": pass(4, 99), "refused": refusal(3, 900)} {
		if got := apply(t, in(t, Admitted), start, e); got.State != Quarantined {
			t.Errorf("%s back: %s", name, got.State)
		}
	}
	for name, e := range map[string]Event{"twin, same clock": pass(4, 100), "twin, clock restarts with the epoch": pass(5, 1)} {
		if got := apply(t, in(t, Admitted), start, e); got.State != Admitted {
			t.Errorf("%s: %s: %s", name, got.State, got.Reason)
		}
	}
	unsigned := refusal(3, 1)
	unsigned.Authentic = false
	got := apply(t, in(t, Admitted), start, unsigned)
	if got.State != Suspended || got.Epoch != (verdict.Epoch{Reset: 4}) {
		t.Errorf("counters of evidence that is not authentic were believed: %s %s", got.State, got.Epoch)
	}
}

func TestQuarantineNeedsTwoOperators(t *testing.T) {
	rec := apply(t, in(t, Quarantined), start, Resumed{"org-a/ana", "found it"})
	wantRefusal(t, rec, Resumed{"org-a/ana", "again"}, start, verdict.NodeOperator)
	wantRefusal(t, rec, Resumed{"org-b/cy", ""}, start, verdict.NodeOperator)
	if again := apply(t, rec, start, CloneSign{"once more"}, Resumed{"org-b/cy", "ok"}); again.State != Quarantined {
		t.Error("a release from before a new doubt counted")
	}
	rec = apply(t, rec, start, Resumed{"org-b/cy", "me too"})
	if rec.State != Pending {
		t.Fatalf("two operators: %s", rec.State)
	}
	if rec = apply(t, rec, start, pass(1, 1)); rec.State != Admitted {
		t.Errorf("a cleared TPM cannot return: %s", rec.Reason)
	}
}

func TestRefusalBeforeFirstAdmission(t *testing.T) {
	rec := apply(t, pending(t, "org-a/ana"), start, refusal(4, 1))
	if rec.State != Pending || !strings.Contains(rec.Reason, "runtime.ima-unlisted") {
		t.Errorf("never admitted and refused: %s, %q", rec.State, rec.Reason)
	}
	rec = apply(t, in(t, Suspended), start, Resumed{"org-a/ana", "mended"}, refusal(4, 101))
	if rec.State != Suspended {
		t.Errorf("resumed and refused again: %s", rec.State)
	}
}

func TestIssued(t *testing.T) {
	rec := apply(t, in(t, Admitted), start, Issued{7, start.Add(time.Hour), 12})
	if rec.Serial != 7 || rec.AdmissionIndex != 12 || !rec.NotAfter.Equal(start.Add(time.Hour)) {
		t.Errorf("not recorded: %+v", rec)
	}
	wantRefusal(t, rec, Issued{7, start.Add(time.Hour), 13}, start, verdict.NodeTransition)
	wantRefusal(t, rec, Issued{8, start, 13}, start, verdict.NodeTransition)
	wantRefusal(t, rec, Issued{8, start.Add(3 * time.Hour), 13}, start.Add(2*time.Hour), verdict.NodeLate)
}

func TestNextDoesNotTouchItsArgument(t *testing.T) {
	rec := in(t, Quarantined)
	rec.Releases = append(make([]string, 0, 8), "org-a/ana")
	before, _ := json.Marshal(rec)
	if _, err := Next(rec, Resumed{"org-b/cy", "x"}, start); err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(rec); string(before) != string(after) || rec.Releases[:2][1] != "" {
		t.Error("Next changed the record it was given")
	}
}

func TestRecordJSON(t *testing.T) {
	for _, s := range States() {
		rec := in(t, s)
		raw, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		var back Record
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(rec, back) {
			t.Errorf("%s: %s\nread back as %+v", s, raw, back)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, damage := range map[string]func(*Record){
		"no id":               func(r *Record) { r.ID = "" },
		"host id":             func(r *Record) { r.HostID = strings.ToUpper(r.HostID) },
		"class":               func(r *Record) { r.TPMClass = "magic" },
		"no AK":               func(r *Record) { r.AK = nil },
		"state":               func(r *Record) { r.State = 6 },
		"no approvals needed": func(r *Record) { r.Required = 0 },
		"unapproved":          func(r *Record) { r.Approvals = nil },
		"operator twice":      func(r *Record) { r.Approvals = []string{"a", "a"} },
		"never passed":        func(r *Record) { r.LastPass = time.Time{} },
		"no evidence":         func(r *Record) { r.Accepted = Digest{} },
	} {
		rec := in(t, Admitted)
		damage(&rec)
		if rec.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := in(t, Admitted).Validate(); err != nil {
		t.Errorf("undamaged: %v", err)
	}
}

func TestTrim(t *testing.T) {
	warn := verdict.Finding{Check: "a", Severity: verdict.Warn, Got: strings.Repeat("w", 4000)}
	deny := verdict.Finding{Check: "b", Got: strings.Repeat("d", 4000)}
	kept, omitted := Trim([]verdict.Finding{warn, warn, warn, deny, deny, deny})
	if len(kept) != 4 || omitted != 2 || kept[2].Check != "b" || kept[3].Check != "a" {
		t.Errorf("kept %d, omitted %d", len(kept), omitted)
	}
	if again, _ := Trim(kept); !reflect.DeepEqual(again, kept) {
		t.Error("trimming twice differs")
	}
}

func FuzzDigest(f *testing.F) {
	seeds := []string{"", "sha256:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("ab", 32), "sha256:" + strings.Repeat("AB", 32), "sha1:00"}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDigest(s); err == nil && d.String() != s {
			t.Errorf("%q read as %q", s, d)
		}
	})
}

func TestChecksAreDocumented(t *testing.T) {
	for _, id := range []verdict.CheckID{verdict.NodeNotApproved, verdict.NodeUnproven, verdict.NodeLate, verdict.NodeSuspended,
		verdict.NodeQuarantined, verdict.NodeRetired, verdict.NodeTransition, verdict.NodeOperator} {
		c, ok := verdict.Lookup(id)
		if !ok || slices.Contains([]string{c.Title, c.Protects, c.Got, c.Want, c.Remedy}, "") {
			t.Errorf("%s is not described", id)
		}
	}
}
