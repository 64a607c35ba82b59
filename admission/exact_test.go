package admission_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/admission"
)

// refusedFor fails unless err is the check's refusal of exactly this value.
func refusedFor(t *testing.T, err error, check admission.CheckID, got string) {
	t.Helper()
	var r *admission.Refusal
	if !errors.As(err, &r) || r.Check != check || r.Got != got {
		t.Errorf("%v\nwant %s for %q", err, check, got)
	}
}

func TestDigestText(t *testing.T) {
	type holder struct{ D admission.Digest }
	d := admission.Digest(sha256.Sum256(nil))
	text, err := json.Marshal(holder{d})
	if err != nil || string(text) != `{"D":"`+d.String()+`"}` {
		t.Errorf("%s, %v", text, err)
	}
	var again holder
	if err := json.Unmarshal(text, &again); err != nil || again.D != d {
		t.Errorf("%v, %v", again, err)
	}
	for _, bad := range []string{"", "sha256:", d.String()[1:], d.String() + "0", d.String()[:70], strings.ToUpper(d.String()), "sha512:" + d.String()[7:], "sha256:" + zeros + "0:", "sha256:" + zeros + "0/", "sha256:" + zeros + "0`", "sha256:" + zeros + "0g"} {
		if got, err := admission.ParseDigest(bad); err == nil || !got.IsZero() || !strings.Contains(err.Error(), "is not a digest like") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
		if err := again.D.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if got, err := admission.ParseDigest("sha256:" + zeros + "af"); err != nil || got[31] != 0xaf {
		t.Errorf("%v, %v", got, err)
	}
}

// The first and last character of every range is allowed, the ones beside are not.
func TestCharacters(t *testing.T) {
	for c := range 256 {
		s := "x" + string([]byte{byte(c)}) + "x"
		lower, upper, digit := c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if got, want := admission.ValidLabel(s), lower || digit || c == '-'; got != want {
			t.Errorf("label %q: %v", s, got)
		}
		if got, want := admission.ValidToken(s), lower || upper || digit || c == '-' || c == '.' || c == '_'; got != want {
			t.Errorf("token %q: %v", s, got)
		}
		host := zeros + "0" + string([]byte{byte(c)})
		if got, want := admission.ValidHostID(host), digit || c >= 'a' && c <= 'f'; got != want {
			t.Errorf("host %q: %v", host, got)
		}
		first := s[1:2] + "x"
		if got, want := admission.ValidToken(first), lower || upper || digit; got != want {
			t.Errorf("token %q: %v", first, got)
		}
	}
	for n, want := range map[int]bool{0: false, 1: true, 63: true, 64: true, 65: false} {
		if admission.ValidToken(strings.Repeat("a", n)) != want {
			t.Errorf("token of %d", n)
		}
		if admission.ValidLabel(strings.Repeat("a", n)) != (want && n < 64) {
			t.Errorf("label of %d", n)
		}
	}
	if admission.ValidNodeID("a") || admission.ValidNodeID("a/") || !admission.ValidNodeID("a/b") {
		t.Error("node id")
	}
}

func TestConsensusKeyText(t *testing.T) {
	public := key("consensus").Public().(ed25519.PublicKey)
	text := admission.FormatConsensusKey(public)
	if got, err := admission.ParseConsensusKey(text); err != nil || !bytes.Equal(got, public) {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range []string{
		"", text[8:], "rsa:" + text[8:], text[:len(text)-1], text + "\n", text[:20] + "\n" + text[20:], admission.FormatConsensusKey(make(ed25519.PublicKey, 31)), admission.FormatConsensusKey(make(ed25519.PublicKey, 33)), text + "x",
	} {
		if got, err := admission.ParseConsensusKey(bad); err == nil || got != nil {
			t.Errorf("%q: %x", bad, got)
		}
	}
}

// Bundles hold up to sixteen admissions, and say which one is at fault.
func TestBundleBounds(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	proof := n.item(0, nil).Proof
	var items []admission.Item
	for i := range admission.MaxItems + 1 {
		s := n.statement(0)
		s.Verifier = fmt.Sprintf("v%02d.example", i)
		signer, _ := noteKey(s.Verifier, "")
		items = append(items, admission.Item{Admission: mustSign(t, s, signer), Proof: proof})
	}
	full, err := admission.NewBundle(items[:admission.MaxItems]...)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := admission.ParseBundle(full.Marshal()); err != nil || len(b.Items) != admission.MaxItems {
		t.Errorf("%d admissions: %v", len(b.Items), err)
	}
	b, err := admission.NewBundle(items...)
	refusedFor(t, err, admission.Malformed, "17 admissions")
	if b.Items != nil {
		t.Error("a bundle beside an error")
	}
	_, err = admission.NewBundle()
	refusedFor(t, err, admission.Malformed, "0 admissions")
	b, err = admission.ParseBundle(admission.Bundle{Items: items}.Marshal())
	refusedFor(t, err, admission.Malformed, "more admissions")
	if b.Items != nil {
		t.Error("a bundle beside an error")
	}
	for size, got := range map[int]string{admission.MaxBundle: strings.Repeat(`\x00`, 17), admission.MaxBundle + 1: "262145 bytes"} {
		_, err := admission.ParseBundle(make([]byte, size))
		refusedFor(t, err, admission.Malformed, got)
	}
	items[1].Proof = []byte("x")
	for _, bad := range [][]admission.Item{items[:2], {items[0], {Admission: []byte("x"), Proof: proof}}} {
		_, err := admission.NewBundle(bad...)
		_, errParse := admission.ParseBundle(admission.Bundle{Items: bad}.Marshal())
		for _, err := range []error{err, errParse} {
			var r *admission.Refusal
			if !errors.As(err, &r) || !strings.HasPrefix(r.Where, "admission 2") {
				t.Errorf("%v", err)
			}
		}
	}
}

func TestStatementSizes(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	for size, got := range map[int]string{admission.MaxStatement: "no signature block", admission.MaxStatement + 1: "4097 bytes"} {
		item := admission.Item{Admission: make([]byte, size)}
		_, err := item.UntrustedStatement()
		refusedFor(t, err, admission.Malformed, got)
		_, err = n.VerifyItem(item, n.want(), now)
		refusedFor(t, err, admission.Malformed, got)
	}
}

func TestVerifyItemGivesTheAdmission(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	a, err := n.VerifyItem(n.item(0, nil), n.want(), now)
	if err != nil || a == nil || a.Node() != "org-b/validator-1" || len(a.Statements()) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	s := n.statement(0)
	for offset, want := range map[time.Duration]bool{-admission.MaxSkew - 1: false, -admission.MaxSkew: true, 0: true, 24*time.Hour - 1: true, 24 * time.Hour: false} {
		if a.ValidAt(s.NotBefore.Add(offset)) != want {
			t.Errorf("valid at %s: %v", offset, !want)
		}
	}
}

// The times of a bundle are those in which all its admissions stand, whichever
// comes first.
func TestTimesOfABundle(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 2})
	for _, first := range []int{0, 1} {
		var items []admission.Item
		for i := range 2 {
			items = append(items, n.item(i, func(s *admission.Statement) {
				s.NotBefore, s.NotAfter = now, now.Add(2*time.Hour)
				if i == first {
					s.NotBefore, s.NotAfter = now.Add(time.Second), now.Add(time.Hour)
				}
			}))
		}
		a := n.accept(marshal(t, items...))
		if !a.NotBefore().Equal(now.Add(time.Second)) || !a.NotAfter().Equal(now.Add(time.Hour)) {
			t.Errorf("%v to %v", a.NotBefore(), a.NotAfter())
		}
	}
}

// How many there are is looked at before any of them.
func TestThresholdComesFirst(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 2})
	s := n.statement(0)
	s.Verifier = "stranger.example"
	stranger, _ := noteKey(s.Verifier, "")
	b := marshal(t, admission.Item{Admission: mustSign(t, s, stranger), Proof: n.item(0, nil).Proof})
	_, err := n.VerifyBundle(b, n.want(), now)
	refusedFor(t, err, admission.Threshold, "1")
	lenient := *n.Consortium
	lenient.Threshold = 0
	_, err = lenient.VerifyBundle(n.bundle(nil), n.want(), now)
	wantRefusal(t, err, admission.Unpinned)
	lenient.Threshold = 1
	if _, err := lenient.VerifyBundle(n.bundle(nil), n.want(), now); err != nil {
		t.Error(err)
	}
}

// A tree may have 2^48 entries; what is said of a proof names both numbers.
func TestTreeSizes(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	for size, got := range map[int64]string{1 << 48: "index 11 of 281474976710656", 1<<48 + 1: "a tree of 281474976710657 entries"} {
		text := torchwood.Checkpoint{Origin: n.journals[0].origin, Tree: tlog.Tree{N: size}}.String()
		proof := torchwood.FormatProof(11, tlog.RecordProof{{1}}, signNote(t, text, n.journals[0].signer))
		_, err := n.VerifyItem(admission.Item{Admission: n.sign(0, n.statement(0)), Proof: proof}, n.want(), now)
		refusedFor(t, err, admission.NotLogged, got)
	}
}

// A cosignature counts from MaxSkew before the admission begins to MaxSkew from
// now, both included.
func TestCosignatureTimes(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 1, w: 1})
	for offset, want := range map[time.Duration]bool{-31 * time.Second: false, -30 * time.Second: true, 30 * time.Second: true, 31 * time.Second: false} {
		n.witnesses[0].at = now.Add(offset)
		if _, err := n.VerifyItem(n.item(0, nil), n.want(), now); (err == nil) != want {
			t.Errorf("%s: %v", offset, err)
		}
	}
}

// A witness may have the name of a log: its key tells them apart.
func TestWitnessNamedLikeTheLog(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 1, w: 1})
	c := *n.Consortium
	n.witnesses[0].name = n.names[0] + "/journal"
	c.Witnesses.Keys = []string{n.witnesses[0].vkey()}
	n.Consortium = parse(t, &c)
	n.accept(n.bundle(nil))
	msg := n.sign(0, n.statement(0))
	index := n.journals[0].append(t, msg)
	_, err := n.VerifyItem(admission.Item{Admission: msg, Proof: n.journals[0].proof(t, index, n.journals[0].signer)}, n.want(), now)
	refusedFor(t, err, admission.TooFewWitnesses, "0")
}

// A log policy wants the origin, the log key and the witnesses, all three.
func TestLogPolicyWantsAll(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 2, w: 1})
	j := n.journals[0]
	policy, ok := n.LogPolicy(n.names[0])
	if !ok {
		t.Fatal("no policy")
	}
	if _, _, err := torchwood.VerifyCheckpoint(j.checkpoint(t, j.signer, n.witnesses[1]), policy); err != nil {
		t.Error(err)
	}
	for name, signers := range map[string][]note.Signer{"no witness": {j.signer}, "no log": {n.witnesses[0], n.witnesses[1]}} {
		if _, _, err := torchwood.VerifyCheckpoint(j.checkpoint(t, signers...), policy); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	j.origin = "other"
	if _, _, err := torchwood.VerifyCheckpoint(j.checkpoint(t, j.signer, n.witnesses[1]), policy); err == nil {
		t.Error("another origin: accepted")
	}
}

func TestFindsTheFirstVerifier(t *testing.T) {
	n := twoOfTwo(t)
	for _, name := range n.names {
		if v, ok := n.Verifier(name); !ok || v.Name != name {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if key, ok := n.AdmissionKey("nobody"); ok || key != nil {
		t.Error("a key of nobody")
	}
	if (admission.Operator{Key: "x"}).Name() != "" {
		t.Error("a name of no key")
	}
}

// failing is a signer that cannot.
type failing struct{ note.Signer }

func (failing) Sign([]byte) ([]byte, error) { return nil, errors.New("no hardware") }

func TestSigningSaysWhy(t *testing.T) {
	n := twoOfTwo(t)
	list := n.verifyRoster(n.roster(1, nil), nil).Roster()
	broken := list
	broken.Number = 0
	for name, sign := range map[string]func(note.Signer) ([]byte, error){
		"statement": n.statement(0).Sign, "roster": list.Sign,
	} {
		if msg, err := sign(failing{n.signers[0]}); msg != nil || err == nil || !strings.HasPrefix(err.Error(), "admission: signing: ") {
			t.Errorf("%s: %q, %v", name, msg, err)
		}
		if msg, err := sign(n.signers[1]); msg != nil || err == nil || !strings.Contains(err.Error(), "cannot sign for verifier") {
			t.Errorf("%s of another: %q, %v", name, msg, err)
		}
	}
	for _, fails := range []func() ([]byte, error){broken.Marshal, func() ([]byte, error) { return broken.Sign(n.signers[0]) }} {
		if msg, err := fails(); msg != nil {
			t.Errorf("%q", msg)
		} else {
			refusedFor(t, err, admission.Malformed, "0")
		}
	}
}

// Signing sorts a copy.
func TestSigningChangesNothing(t *testing.T) {
	n := twoOfTwo(t)
	list := n.verifyRoster(n.roster(1, nil), nil).Roster()
	slices.Reverse(list.Admitted)
	list.Barred[0].Reason = "a\nb"
	if _, err := list.Sign(n.signers[0]); err != nil {
		t.Fatal(err)
	}
	if list.Admitted[0].Node < list.Admitted[1].Node || list.Barred[0].Reason != "a\nb" {
		t.Errorf("%+v", list)
	}
}

// Lists have up to 200,000 nodes each, a roster 64 MiB.
func TestRosterBounds(t *testing.T) {
	n := twoOfTwo(t)
	list := n.verifyRoster(n.roster(1, nil), nil).Roster()
	admitted, barred := list.Admitted[0], list.Barred[0]
	list.Admitted, list.Barred = nil, nil
	for i := range 200_000 {
		admitted.Node, barred.Node = fmt.Sprintf("org-a/a%06d", i), fmt.Sprintf("org-a/b%06d", i)
		admitted.Host = fmt.Sprintf("%064x", i)
		admitted.NodeKey[0], admitted.NodeKey[1], admitted.NodeKey[2] = byte(i), byte(i>>8), byte(i>>16)
		list.Admitted, list.Barred = append(list.Admitted, admitted), append(list.Barred, barred)
	}
	onlyAdmitted, onlyBarred := list, list
	onlyAdmitted.Barred, onlyBarred.Admitted = nil, nil
	if _, err := onlyAdmitted.Marshal(); err != nil {
		t.Error(err)
	}
	text, err := onlyBarred.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := admission.ParseRoster(text); err != nil || len(r.Barred) != 200_000 {
		t.Errorf("%d, %v", len(r.Barred), err)
	}
	onlyAdmitted.Admitted = append(list.Admitted, admitted)
	_, err = onlyAdmitted.Marshal()
	refusedFor(t, err, admission.Malformed, "200001")
	onlyBarred.Barred = append(list.Barred, barred)
	_, err = onlyBarred.Marshal()
	refusedFor(t, err, admission.Malformed, "200001")
	_, err = admission.ParseRoster(bytes.Replace(append(text, '\n'), []byte("barred: 200000"), []byte("barred: 200001"), 1))
	refusedFor(t, err, admission.Malformed, "200001")
	for size, got := range map[int]string{admission.MaxRoster: "end of text", admission.MaxRoster + 1: "67108865 bytes"} {
		_, err := admission.ParseRoster(make([]byte, size))
		refusedFor(t, err, admission.Malformed, got)
		_, err = n.VerifyRoster(make([]byte, size), n.rosterWant(nil), now)
		if got == "end of text" {
			got = "no signature block"
		}
		refusedFor(t, err, admission.Malformed, got)
	}
}

// What is said of two rosters names both numbers and times.
func TestRosterTexts(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 1})
	latest := n.verifyRoster(n.roster(110, nil), nil)
	_, err := n.VerifyRoster(n.roster(99, nil), n.rosterWant(latest), now)
	var r *admission.Refusal
	if !errors.As(err, &r) || r.Got != "number 99 of 2026-11-22T16:00:00Z" || r.Want != "number 110 of 2026-11-22T16:00:00Z, or later" {
		t.Errorf("%v", err)
	}
	_, err = n.VerifyRoster(n.roster(110, func(r *admission.Roster) { r.Barred = nil }), n.rosterWant(latest), now)
	if !errors.As(err, &r) || r.Check != admission.RosterFork || r.Want != "the text seen before as number 110" {
		t.Errorf("%v", err)
	}
	a := n.accept(marshal(t, n.item(0, nil)))
	empty := n.verifyRoster(n.roster(111, func(r *admission.Roster) { r.Admitted = nil }), latest)
	refusedFor(t, admission.CheckAgainstRoster(a, empty), admission.NotListed, "not on roster 111")
	for _, bad := range []error{admission.CheckAgainstRoster(nil, latest), admission.CheckAgainstRoster(&admission.Admission{}, latest), admission.CheckAgainstRoster(a, nil)} {
		wantRefusal(t, bad, admission.Unpinned)
	}
}

// A roster is of the verifier that was asked for, as is the last one seen.
func TestRosterOfAnotherVerifier(t *testing.T) {
	n := newNetwork(t, options{verifiers: 2, k: 1})
	list := n.verifyRoster(n.roster(1, nil), nil).Roster()
	text, err := list.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := n.rosterWant(nil)
	want.Verifier = n.names[1]
	_, err = n.VerifyRoster(signNote(t, string(text), n.signers[1]), want, now)
	refusedFor(t, err, admission.BadSignature, n.names[0])
	_, err = n.VerifyRoster([]byte("x"), want, now)
	refusedFor(t, err, admission.Malformed, "no signature block")
	_, err = n.VerifyRoster(signNote(t, "x\n", n.signers[1]), want, now)
	refusedFor(t, err, admission.Malformed, "x")
	_, err = n.VerifyRoster(signNote(t, string(text), n.signers[0]), want, now)
	refusedFor(t, err, admission.BadSignature, n.names[0])

	list.Verifier = n.names[1]
	second, err := list.Sign(n.signers[1])
	if err != nil {
		t.Fatal(err)
	}
	want.Last = n.verifyRoster(n.roster(1, nil), nil)
	_, err = n.VerifyRoster(second, want, now)
	refusedFor(t, err, admission.RosterRollback, n.names[1])
}

// An admission is compared with rosters of its own consortium and ledger only.
func TestRosterOfAnotherNetwork(t *testing.T) {
	n, other := newNetwork(t, options{verifiers: 1, k: 1}), newNetwork(t, options{verifiers: 1, k: 1, id: "example-2"})
	a := n.accept(n.bundle(nil))
	refusedFor(t, admission.CheckAgainstRoster(a, other.verifyRoster(other.roster(1, nil), nil)), admission.OtherLedger, "example-net example-2")
	c := *n.Consortium
	c.Name = "other-net"
	renamed := *n
	renamed.Consortium = parse(t, &c)
	refusedFor(t, admission.CheckAgainstRoster(a, renamed.verifyRoster(renamed.roster(1, nil), nil)), admission.OtherLedger, "other-net example-1")
}

func TestConsortiumSize(t *testing.T) {
	for size, want := range map[int]string{admission.MaxConsortium: "the file is empty", admission.MaxConsortium + 1: "262145 bytes, at most 262144"} {
		var problems *admission.ConsortiumError
		if _, err := admission.ParseConsortium(bytes.Repeat([]byte("#"), size)); !errors.As(err, &problems) || problems.Problems[0] != want {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestNewBundleSaysWhich(t *testing.T) {
	n := twoOfTwo(t)
	b, err := admission.NewBundle(n.item(0, nil), admission.Item{Admission: []byte("x")})
	var r *admission.Refusal
	if !errors.As(err, &r) || r.Where != "admission 2" || b.Items != nil {
		t.Errorf("%+v, %v", b, err)
	}
}

// One member with one verifier is a consortium.
func TestSmallestConsortium(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	c := *n.Consortium
	c.Members = c.Members[:1]
	if len(parse(t, &c).Members) != 1 {
		t.Error("members")
	}
}

// Serial numbers have 64 bits.
func TestLargestSerial(t *testing.T) {
	n := twoOfTwo(t)
	r := n.verifyRoster(n.roster(1, func(r *admission.Roster) { r.Admitted[0].Serial = 1<<64 - 1 }), nil)
	if got := r.Roster().Admitted[1].Serial; got != 1<<64-1 {
		t.Errorf("got %d", got)
	}
}
