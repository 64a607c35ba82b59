package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/verifier/verdict"
)

// TestLives holds every field that each event leaves in each state, and every
// refusal with its words, against an account that was read by a person.
func TestLives(t *testing.T) {
	var out bytes.Buffer
	now := start.Add(time.Minute + 300*time.Millisecond)
	unsigned := refusal(5, 1)
	unsigned.Authentic = false
	policyless := pass(4, 200)
	policyless.Policy, policyless.Evidence = "", Digest{}
	for _, s := range States() {
		for _, e := range []Event{
			Approved{"org-b/cy"}, Approved{""}, pass(4, 200), policyless, pass(5, 1), pass(3, 900), pass(4, 99),
			Passed{Proof: pass(5, 1).Proof}, refusal(4, 200), refusal(5, 1), unsigned,
			Refused{Proof: Proof{Findings: []verdict.Finding{{Check: "a", Severity: verdict.Warn}}}},
			Tick{}, Issued{1, now.Add(time.Hour), 7}, SuspendedByOperator{"org-a/bo", "why"}, SuspendedByOperator{"", "why"},
			Resumed{"org-a/bo", "why"}, Resumed{"org-a/bo", ""}, RetiredByOperator{"org-a/bo", "why"}, RetiredByOperator{"org-a/bo", ""},
			CloneSign{"why"}, CloneSign{}, nil,
		} {
			tell(&out, in(t, s), e, now)
		}
	}
	suspended := apply(t, in(t, Admitted), start, SuspendedByOperator{"org-a/bo", "why"})
	for _, e := range []Event{pass(5, 1), refusal(5, 1), SuspendedByOperator{"org-a/ana", "again"}, Resumed{"org-a/ana", "done"}} {
		tell(&out, suspended, e, now)
	}
	account.Hold(t, "testdata/lives.txt", out.Bytes())
}

// tell writes what an event makes of a record: the fields that it changed.
func tell(out *bytes.Buffer, rec Record, e Event, now time.Time) {
	next, err := Next(rec, e, now)
	fmt.Fprintf(out, "%s, %T %+v\n", rec.State, e, e)
	if err != nil {
		fmt.Fprintf(out, "  refused: %v\n", err)
	}
	before, after := reflect.ValueOf(rec), reflect.ValueOf(next)
	for i := range before.NumField() {
		if b, a := before.Field(i).Interface(), after.Field(i).Interface(); !reflect.DeepEqual(b, a) {
			text, _ := json.Marshal(a)
			fmt.Fprintf(out, "  %s: %s\n", before.Type().Field(i).Name, text)
		}
	}
}

// Two identities differ as soon as one field does.
func TestIdentityEqual(t *testing.T) {
	if a, b := identity(), identity(); !a.Equal(b) {
		t.Error("equal identities differ")
	}
	fields := reflect.TypeFor[Identity]()
	for i := range fields.NumField() {
		a, b := identity(), identity()
		switch f := reflect.ValueOf(&b).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString(f.String() + "x")
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.SetBytes([]byte{77})
		case reflect.Array:
			f.Index(0).SetUint(77)
		default:
			t.Fatalf("%s has a kind that this test does not know", fields.Field(i).Name)
		}
		if a.Equal(b) {
			t.Errorf("another %s is the same identity", fields.Field(i).Name)
		}
	}
}

func TestNewRecord(t *testing.T) {
	rec, err := New(identity(), nil, 2, "", start.Add(300*time.Millisecond))
	if err != nil || !rec.Enrolled.Equal(start) || !rec.Changed.Equal(start) || rec.Reason != "waits for approval by 2 of 2 operators" {
		t.Errorf("%+v, %v", rec, err)
	}
	rec = apply(t, rec, start, Approved{"org-a/ana"})
	if rec.Reason != "waits for approval by 1 of 2 operators" {
		t.Error(rec.Reason)
	}
	wantRefusal(t, rec, Approved{"org-a/ana"}, start, verdict.NodeOperator)
	rec = apply(t, rec, start, Approved{"org-b/cy"})
	if rec.Reason != "approved, waits for passing evidence" {
		t.Error(rec.Reason)
	}
	wantRefusal(t, rec, Approved{"org-c/di"}, start, verdict.NodeTransition)
	if _, err := New(identity(), nil, 0, "", start); err == nil {
		t.Error("a record that needs no approval")
	}
}

func TestValidateRefusesMore(t *testing.T) {
	for name, damage := range map[string]func(*Record){
		"no role":             func(r *Record) { r.Role = "" },
		"no AK name":          func(r *Record) { r.AKName = nil },
		"no node key":         func(r *Record) { r.NodeKey = Digest{} },
		"no public area":      func(r *Record) { r.NodeKeyPublic = nil },
		"short host id":       func(r *Record) { r.HostID = r.HostID[:63] },
		"host id past f":      func(r *Record) { r.HostID = "g" + r.HostID[1:] },
		"host id before 0":    func(r *Record) { r.HostID = "/" + r.HostID[1:] },
		"host id past 9":      func(r *Record) { r.HostID = ":" + r.HostID[1:] },
		"host id before a":    func(r *Record) { r.HostID = "`" + r.HostID[1:] },
		"negative approvals":  func(r *Record) { r.Required = -1 },
		"nobody's approval":   func(r *Record) { r.Approvals = []string{""} },
		"released twice":      func(r *Record) { r.Releases = []string{"a", "a"} },
		"never enrolled":      func(r *Record) { r.Enrolled = time.Time{} },
		"never changed":       func(r *Record) { r.Changed = time.Time{} },
		"never fresh":         func(r *Record) { r.FreshUntil = time.Time{} },
		"late, never passed":  func(r *Record) { r.State, r.LastPass = Late, time.Time{} },
		"late and unapproved": func(r *Record) { r.State, r.Approvals = Late, nil },
	} {
		rec := in(t, Admitted)
		damage(&rec)
		if rec.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	rec := in(t, Admitted)
	rec.HostID = strings.Repeat("09af", 16)
	if err := rec.Validate(); err != nil {
		t.Errorf("the outermost hex digits: %v", err)
	}
	if (Record{Approvals: []string{"a"}}).Approved() {
		t.Error("approved without a number of approvals")
	}
}

// Texts of states and digests have one form each.
func TestTexts(t *testing.T) {
	for i, s := range States() {
		back, err := ParseState(s.String())
		if int(s) != i || err != nil || back != s {
			t.Errorf("%d: %s, %v", i, back, err)
		}
	}
	for _, name := range []string{"", "Pending", "state(6)"} {
		if s, err := ParseState(name); err == nil || s != Pending {
			t.Errorf("%q read as %s, %v", name, s, err)
		}
	}
	var s State
	if err := s.UnmarshalText([]byte("gone")); err == nil {
		t.Error("an unknown state was read")
	}
	for _, unknown := range []State{6, 255} {
		if text, err := unknown.MarshalText(); err == nil {
			t.Errorf("state %d is written as %s", uint8(unknown), text)
		}
	}
	good := "sha256:" + strings.Repeat("09af", 16)
	d, err := ParseDigest(good)
	if err != nil || d.String() != good {
		t.Errorf("%s, %v", d, err)
	}
	if err := d.UnmarshalText(nil); err != nil || !d.IsZero() {
		t.Errorf("no text: %s, %v", d, err)
	}
	for _, bad := range []string{"s", good[:len(good)-1], good + "0", "sha512:" + good[7:], "sha256:" + strings.ToUpper(good[7:]), "sha256:" + strings.Repeat("0", 64)} {
		if d, err := ParseDigest(bad); err == nil || !d.IsZero() {
			t.Errorf("%q read as %s", bad, d)
		}
	}
}

// Trim counts every text of a finding, and keeps exactly what fits.
func TestTrimCounts(t *testing.T) {
	full := verdict.Finding{
		Check: verdict.CheckID(strings.Repeat("c", 1000)), Where: strings.Repeat("w", 2000), Got: strings.Repeat("g", 3000),
		Want: strings.Repeat("v", 4000), Message: strings.Repeat("m", 5000), Remedy: strings.Repeat("r", MaxFindings-15000),
	}
	if kept, omitted := Trim([]verdict.Finding{full}); len(kept) != 1 || omitted != 0 {
		t.Errorf("exactly the bound: kept %d, omitted %d", len(kept), omitted)
	}
	full.Where += "x"
	if kept, omitted := Trim([]verdict.Finding{full}); len(kept) != 0 || omitted != 1 {
		t.Errorf("one byte more: kept %d, omitted %d", len(kept), omitted)
	}
}

// Why a node gets no admission is said by its own check, in words.
func TestAdmissibleSaysWhy(t *testing.T) {
	approved := apply(t, pending(t), start, Approved{"org-a/ana"})
	damaged := in(t, Admitted)
	damaged.Approvals = nil
	for _, row := range []struct {
		rec   Record
		check verdict.CheckID
		words string
	}{
		{pending(t), verdict.NodeNotApproved, "waits for approval by 1 of 1"},
		{approved, verdict.NodeUnproven, "waits for passing evidence"},
		{in(t, Late), verdict.NodeLate, "fresh until"},
		{in(t, Suspended), verdict.NodeSuspended, "runtime.ima-unlisted"},
		{in(t, Retired), verdict.NodeRetired, "sold"},
		{in(t, Quarantined), verdict.NodeQuarantined, "two sessions"},
		{damaged, verdict.NodeLate, "fresh until"},
	} {
		err := Admissible(row.rec, start)
		if r, ok := err.(*verdict.Refusal); !ok || r.Check != row.check || !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %v, want %s … %s", row.rec.State, err, row.check, row.words)
		}
	}
}

// The first evidence of a TPM is compared with nothing, and neither is the first
// one after a quarantine was lifted.
func TestFirstEvidenceIsNoClone(t *testing.T) {
	if rec := apply(t, pending(t, "org-a/ana"), start, pass(0, 0)); rec.State != Admitted {
		t.Error(rec.Reason)
	}
	lifted := apply(t, in(t, Quarantined), start, Resumed{"org-a/ana", "found"}, Resumed{"org-b/cy", "found"})
	if rec := apply(t, lifted, start, pass(0, 1)); rec.State != Admitted {
		t.Error(rec.Reason)
	}
	unclocked := apply(t, pending(t, "org-a/ana"), start, pass(4, 0)) // an epoch alone is a record
	if rec := apply(t, unclocked, start, pass(3, 5)); rec.State != Quarantined {
		t.Error("epoch went back: ", rec.State)
	}
	young := apply(t, pending(t, "org-a/ana"), start, pass(0, 50)) // and so is a clock
	if rec := apply(t, young, start, pass(0, 49)); rec.State != Quarantined {
		t.Error("clock went back: ", rec.State)
	}
}

// A suspension is measured against the highest epoch that was refused in it.
func TestLatchRises(t *testing.T) {
	rec := apply(t, in(t, Suspended), start, refusal(6, 1), pass(6, 2))
	if rec.State != Suspended || rec.LatchEpoch != (verdict.Epoch{Reset: 6}) {
		t.Errorf("%s, latched at %s", rec.State, rec.LatchEpoch)
	}
	if rec = apply(t, rec, start, pass(7, 1)); rec.State != Admitted || rec.LatchEpoch != (verdict.Epoch{}) {
		t.Errorf("%s, latched at %s", rec.State, rec.LatchEpoch)
	}
}
