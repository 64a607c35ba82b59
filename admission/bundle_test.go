package admission_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/weigh"
)

func twoOfTwo(t testing.TB) *network {
	return newNetwork(t, options{verifiers: 2, k: 2, witnesses: 2, w: 2})
}

func TestVerifyBundle(t *testing.T) {
	n := newNetwork(t, options{verifiers: 3, k: 2, witnesses: 3, w: 2})
	a := n.accept(n.bundle(nil))
	s := n.statement(0)
	if a.Node() != s.Node || a.Host() != s.Host || a.Role() != s.Role || a.NodeKey() != s.NodeKey || a.ConsensusKey() != s.ConsensusKey || a.Test() {
		t.Errorf("got %+v", a)
	}
	if len(a.Statements()) != 3 || !a.NotBefore().Equal(now.Add(2*time.Second)) || !a.NotAfter().Equal(s.NotAfter) {
		t.Errorf("got %d statements, valid from %v to %v", len(a.Statements()), a.NotBefore(), a.NotAfter())
	}
	if !a.ValidAt(now) || a.ValidAt(s.NotAfter) || (&admission.Admission{}).ValidAt(now) {
		t.Error("ValidAt")
	}
}

func TestOneVerifierWithoutWitnesses(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	n.accept(n.bundle(nil))
	if _, err := n.VerifyItem(n.item(0, nil), n.want(), now); err != nil {
		t.Error(err)
	}
}

func TestA163_ResultValidTooLong(t *testing.T) {
	n := twoOfTwo(t)
	b := n.bundle(nil)
	end := n.accept(b).NotAfter()
	if _, err := n.VerifyBundle(b, n.want(), end.Add(-time.Second)); err != nil {
		t.Fatalf("twin, a second before the end: %v", err)
	}
	_, err := n.VerifyBundle(b, n.want(), end)
	wantRefusal(t, err, admission.Expired)
	_, err = n.VerifyBundle(b, n.want(), end.Add(time.Second))
	wantRefusal(t, err, admission.Expired)

	s := n.statement(0)
	s.NotAfter = s.NotBefore.Add(admission.MaxValidity)
	if _, err := s.Sign(n.signers[0]); err != nil {
		t.Fatalf("twin, the longest lifetime: %v", err)
	}
	s.NotAfter = s.NotAfter.Add(time.Second)
	_, err = s.Sign(n.signers[0])
	wantRefusal(t, err, admission.Malformed)

	// The earliest end of the k counts.
	short := n.item(1, func(s *admission.Statement) { s.NotAfter = now.Add(time.Hour) })
	if got := n.accept(marshal(t, n.item(0, nil), short)).NotAfter(); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("ends at %v", got)
	}
}

func TestA164_StatementFromTheFuture(t *testing.T) {
	for offset, ok := range map[time.Duration]bool{
		-10 * time.Minute: true, 0: true, 30 * time.Second: true, 31 * time.Second: false, 10 * time.Minute: false,
	} {
		n := newNetwork(t, options{verifiers: 2, k: 2})
		b := n.bundle(func(s *admission.Statement) { s.NotBefore = now.Add(offset) })
		if ok {
			n.accept(b)
		} else {
			n.refuse(b, admission.NotYet)
		}
	}
}

func TestA167_AttestedButNotAMember(t *testing.T) {
	n := twoOfTwo(t)
	n.accept(n.bundle(nil))
	b := n.bundle(func(s *admission.Statement) { s.Node = "org-x/validator-1" })
	want := n.want()
	want.Node = ""
	_, err := n.VerifyBundle(b, want, now)
	wantRefusal(t, err, admission.NotMember)
}

func TestA168_BundleAsBearerToken(t *testing.T) {
	n := twoOfTwo(t)
	b := n.bundle(nil)
	n.accept(b)
	other := admission.FormatConsensusKey(key("other").Public().(ed25519.PublicKey))
	for name, c := range map[string]struct {
		want  func(*admission.Want)
		check admission.CheckID
	}{
		"node key":      {func(w *admission.Want) { w.NodeKey[0] ^= 1 }, admission.OtherNodeKey},
		"consensus key": {func(w *admission.Want) { w.ConsensusKey = other }, admission.OtherConsensusKey},
		"node":          {func(w *admission.Want) { w.Node = "org-b/validator-2" }, admission.OtherNode},
		"role":          {func(w *admission.Want) { w.Role = "full-node" }, admission.OtherRole},
		"nothing":       {func(w *admission.Want) { *w = admission.Want{} }, admission.Unbound},
		"no keys":       {func(w *admission.Want) { *w = admission.Want{Role: "validator", Node: "org-b/validator-1"} }, admission.Unbound},
		"no role":       {func(w *admission.Want) { w.Role = "" }, admission.Unbound},
	} {
		want := n.want()
		c.want(&want)
		_, err := n.VerifyBundle(b, want, now)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantRefusal(t, err, c.check)
	}
	for _, want := range []admission.Want{
		{Role: "validator", NodeKey: n.want().NodeKey}, {Role: "validator", ConsensusKey: n.want().ConsensusKey},
	} { // either key is enough
		if _, err := n.VerifyBundle(b, want, now); err != nil {
			t.Error(err)
		}
	}
	none := n.bundle(func(s *admission.Statement) { s.ConsensusKey = "" })
	n.refuse(none, admission.OtherConsensusKey)
}

// Notes have one algorithm and name their key; there is no header in which a
// sender could choose otherwise.
func TestA169_KeyChosenBySender(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	good := n.item(0, nil)
	n.accept(marshal(t, good))
	s := n.statement(0)

	impostor, _ := noteKey(n.names[0], "impostor") // same name, other key
	n.refuse(marshal(t, n.logged(0, mustSign(t, s, impostor))), admission.BadSignature)

	s.Verifier = "stranger.example-net"
	stranger, _ := noteKey(s.Verifier, "")
	n.refuse(marshal(t, n.logged(0, mustSign(t, s, stranger))), admission.UnknownVerifier)

	text, _, _ := bytes.Cut(good.Admission, []byte("\n\n"))
	_, err := n.VerifyItem(n.logged(0, signNote(t, string(text)+"\n", n.signers[0], n.journals[0].signer)), n.want(), now)
	wantRefusal(t, err, admission.Malformed)

	huge := append(bytes.Repeat([]byte("."), 100_000), good.Admission...)
	_, err = n.VerifyItem(admission.Item{Admission: huge, Proof: good.Proof}, n.want(), now)
	wantRefusal(t, err, admission.Malformed)
}

func mustSign(t testing.TB, s admission.Statement, signer note.Signer) []byte {
	t.Helper()
	msg, err := s.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// A log key cannot admit, whatever it signs.
func TestLogKeySignsAdmission(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	text, err := n.statement(0).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	item := n.logged(0, signNote(t, string(text), n.journals[0].signer))
	_, err = n.VerifyItem(item, n.want(), now)
	wantRefusal(t, err, admission.UnknownVerifier)

	skey := renamed(n.names[0], n.journals[0].signer) // the log key under the verifier's name
	item = n.logged(0, signNote(t, string(text), skey))
	_, err = n.VerifyItem(item, n.want(), now)
	wantRefusal(t, err, admission.BadSignature)
}

// renamedSigner signs with a key under another name.
type renamedSigner struct {
	note.Signer
	name string
}

func renamed(name string, s note.Signer) note.Signer { return renamedSigner{s, name} }
func (r renamedSigner) Name() string                 { return r.name }

func TestA170_OneVerifierKeyIsNotEnough(t *testing.T) {
	n := newNetwork(t, options{verifiers: 3, k: 2})
	one := n.item(0, nil)
	n.accept(marshal(t, one, n.item(1, nil)))
	n.refuse(marshal(t, one), admission.Threshold)

	_, err := admission.NewBundle(one, one)
	wantRefusal(t, err, admission.Duplicate)
	twice := admission.Bundle{Items: []admission.Item{one, n.item(0, func(s *admission.Statement) { s.Serial++ })}}
	n.refuse(twice.Marshal(), admission.Duplicate)

	// One captured key that signs under another verifier's name.
	s := n.statement(1)
	text, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	forged := n.logged(1, signNote(t, string(text), renamed(n.names[1], n.signers[0])))
	n.refuse(marshal(t, one, forged), admission.BadSignature)
	misnamed := n.logged(1, signNote(t, string(text), n.signers[0])) // right name, statement of another
	n.refuse(marshal(t, one, misnamed), admission.BadSignature)
}

// An admission says admitted or it is none: there is no field for a result.
// A member who runs two verifiers has one administrator, who could sign with both.
func TestA170_OneMemberWithTwoVerifiersIsNotEnough(t *testing.T) {
	n := newNetwork(t, options{verifiers: 3, k: 2, shared: true})
	n.accept(n.bundle(nil))
	first, last := n.item(0, nil), n.item(2, nil)
	b, err := admission.NewBundle(first, last)
	if err != nil {
		t.Fatal(err)
	}
	n.refuse(b.Marshal(), admission.Threshold)
	if b, err = admission.NewBundle(first, n.item(1, nil)); err != nil {
		t.Fatal(err)
	}
	n.accept(b.Marshal())
}

func TestA171_WarningIsNoPass(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	text, err := n.statement(0).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	n.accept(marshal(t, n.logged(0, signNote(t, string(text), n.signers[0]))))
	for _, extra := range []string{"status: warning\n", "status: none\n", "status: contraindicated\n", "\n"} {
		item := n.logged(0, signNote(t, string(text)+extra, n.signers[0]))
		_, err := n.VerifyItem(item, n.want(), now)
		wantRefusal(t, err, admission.Malformed)
	}
	header := strings.Replace(string(text), "admission/v1", "warning/v1", 1)
	_, err = n.VerifyItem(n.logged(0, signNote(t, header, n.signers[0])), n.want(), now)
	wantRefusal(t, err, admission.Malformed)
}

func TestOtherNetwork(t *testing.T) {
	n := twoOfTwo(t)
	n.accept(n.bundle(nil))
	n.refuse(n.bundle(func(s *admission.Statement) { s.Consortium = "other-net" }), admission.OtherConsortium)
	n.refuse(n.bundle(func(s *admission.Statement) { s.Ledger.ID = "example-2" }), admission.OtherLedger)
	n.refuse(n.bundle(func(s *admission.Statement) { s.Ledger.Genesis[0] ^= 1 }), admission.OtherLedger)
	n.refuse(n.bundle(func(s *admission.Statement) { s.Test = true }), admission.TestFlag)

	test := newNetwork(t, options{verifiers: 1, k: 1, test: true})
	if a := test.accept(test.bundle(nil)); !a.Test() {
		t.Error("an admission of a test network that does not say so")
	}
	test.refuse(test.bundle(func(s *admission.Statement) { s.Test = false }), admission.TestFlag)
}

func TestVerifiersDisagree(t *testing.T) {
	n := twoOfTwo(t)
	n.accept(n.bundle(nil))
	for name, change := range map[string]func(*admission.Statement){
		"host":          func(s *admission.Statement) { s.Host = hexOf("other ek") },
		"epoch":         func(s *admission.Statement) { s.Epoch.Reset++ },
		"policy":        func(s *admission.Statement) { s.Policy.Digest[0] ^= 1 },
		"policy name":   func(s *admission.Statement) { s.Policy.Name = "lenient" },
		"node key":      func(s *admission.Statement) { s.NodeKey[0] ^= 1 },
		"consensus key": func(s *admission.Statement) { s.ConsensusKey = "" },
		"node":          func(s *admission.Statement) { s.Node = "org-b/validator-2" },
	} {
		b := marshal(t, n.item(0, nil), n.item(1, change))
		want := n.want()
		want.Node = ""
		switch name { // so that the difference is not found by what the ledger wants
		case "node key":
			want.NodeKey = admission.Digest{}
		case "consensus key":
			want.ConsensusKey = ""
		}
		_, err := n.VerifyBundle(b, want, now)
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		wantRefusal(t, err, admission.Disagree)
	}
}

func TestA176_SplitView(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 3, w: 2})
	msg := n.sign(0, n.statement(0))
	index := n.journals[0].append(t, msg)
	log, w := n.journals[0].signer, n.witnesses
	proof := func(signers ...note.Signer) []byte {
		return marshal(t, admission.Item{Admission: msg, Proof: n.journals[0].proof(t, index, signers...)})
	}
	n.accept(proof(log, w[0], w[2]))
	n.refuse(proof(log, w[1]), admission.TooFewWitnesses)
	n.refuse(proof(log), admission.TooFewWitnesses)
	n.refuse(proof(w[0], w[1], w[2]), admission.Checkpoint) // witnesses alone do not make a log

	otherLog, _ := noteKey("org-b.verifier.example-net/journal", "journal")
	n.refuse(proof(otherLog, w[0], w[1]), admission.Checkpoint)
}

func TestA179_PromiseInsteadOfProof(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 1, w: 1})
	logged := n.item(0, nil)
	n.accept(marshal(t, logged))

	s := n.statement(0)
	s.Serial = 9999
	secret := n.sign(0, s)
	n.refuse(marshal(t, admission.Item{Admission: secret, Proof: logged.Proof}), admission.NotLogged)

	_, err := n.VerifyItem(admission.Item{Admission: logged.Admission}, n.want(), now)
	wantRefusal(t, err, admission.Malformed)

	moved := bytes.Replace(logged.Proof, []byte("index 5\n"), []byte("index 4\n"), 1)
	n.refuse(marshal(t, admission.Item{Admission: logged.Admission, Proof: moved}), admission.NotLogged)

	checkpoint := n.journals[0].checkpoint(t, n.cosigners(0)...)
	n.refuse(marshal(t, admission.Item{Admission: logged.Admission, Proof: torchwood.FormatProof(5, nil, checkpoint)}), admission.NotLogged)
}

// A tree near 2^63 entries would send the library into an endless loop.
func TestAbsurdTreeSize(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1})
	text := torchwood.Checkpoint{Origin: n.journals[0].origin, Tree: tlog.Tree{N: 1<<63 - 1}}.String()
	proof := torchwood.FormatProof(5, tlog.RecordProof{{1}}, signNote(t, text, n.journals[0].signer))
	n.refuse(marshal(t, admission.Item{Admission: n.sign(0, n.statement(0)), Proof: proof}), admission.NotLogged)
}

func TestA180_WitnessCounting(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 3, w: 2})
	msg := n.sign(0, n.statement(0))
	index := n.journals[0].append(t, msg)
	log, w := n.journals[0].signer, n.witnesses
	bundle := func(signers ...note.Signer) []byte {
		return marshal(t, admission.Item{Admission: msg, Proof: n.journals[0].proof(t, index, signers...)})
	}
	n.accept(bundle(log, w[0], w[1]))

	again := *w[0] // one key, two cosignatures of different times
	again.at = now.Add(time.Second)
	n.refuse(bundle(log, w[0], &again), admission.TooFewWitnesses)

	sameName := *w[1] // a pinned name with another key
	sameName.key = key("another")
	n.refuse(bundle(log, w[0], &sameName), admission.TooFewWitnesses)

	otherName := *w[0] // a pinned key under another name
	otherName.name = "witness-9.example"
	n.refuse(bundle(log, w[0], &otherName), admission.TooFewWitnesses)

	old := *w[1]
	old.at = now.Add(-time.Hour)
	n.refuse(bundle(log, w[0], &old), admission.TooFewWitnesses)
	future := *w[1]
	future.at = now.Add(time.Minute)
	n.refuse(bundle(log, w[0], &future), admission.TooFewWitnesses)

	n.refuse(bundle(log, w[0], renamedSigner{w[2], w[1].name}), admission.TooFewWitnesses)
	broken := brokenSigner{w[1]}
	n.refuse(bundle(log, w[0], broken), admission.Checkpoint)
}

// brokenSigner makes signatures that do not verify.
type brokenSigner struct{ note.Signer }

func (b brokenSigner) Sign(msg []byte) ([]byte, error) {
	return b.Signer.Sign(append([]byte("x"), msg...))
}

func TestBundleEncoding(t *testing.T) {
	n := twoOfTwo(t)
	a, b := n.item(0, nil), n.item(1, nil)
	good := marshal(t, b, a) // NewBundle sorts
	n.accept(good)
	if !bytes.Equal(good, marshal(t, a, b)) {
		t.Error("the order of the items changes the bytes")
	}
	n.refuse(admission.Bundle{Items: []admission.Item{b, a}}.Marshal(), admission.Duplicate)
	n.refuse(nil, admission.Malformed)
	n.refuse([]byte("quorate/bundle/v1\n"), admission.Malformed)
	n.refuse(append(bytes.Clone(good), '\n'), admission.Malformed)
	n.refuse(good[:len(good)-1], admission.Malformed)
	n.refuse(make([]byte, admission.MaxBundle+1), admission.Malformed)
	n.refuse(bytes.Replace(good, []byte("admission "), []byte("admission 0"), 1), admission.Malformed)
	n.refuse(bytes.Replace(good, []byte("admission "), []byte("admission +"), 1), admission.Malformed)

	for name, change := range map[string][2]string{
		"leading zero":   {"index 5\n", "index 05\n"},
		"plus":           {"index 5\n", "index +5\n"},
		"extra data":     {"index 5\n", "extra YQ==\nindex 5\n"},
		"carriage":       {"index 5\n", "index 5\r\n"},
		"another header": {"tlog-proof@v1", "tlog-proof@v2"},
	} {
		proof := bytes.Replace(a.Proof, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(proof, a.Proof) {
			t.Fatalf("%s: nothing changed", name)
		}
		n.refuse(admission.Bundle{Items: []admission.Item{{Admission: a.Admission, Proof: proof}, b}}.Marshal(), admission.Malformed)
	}
}

func TestNoConsortium(t *testing.T) {
	n := twoOfTwo(t)
	b := n.bundle(nil)
	for _, c := range []*admission.Consortium{nil, {}, {Name: n.Name, Ledger: n.Ledger, Threshold: 1, Verifiers: n.Verifiers, Members: n.Members}} {
		_, err := c.VerifyBundle(b, n.want(), now)
		wantRefusal(t, err, admission.Unpinned)
		_, err = c.VerifyItem(n.item(0, nil), n.want(), now)
		wantRefusal(t, err, admission.Unpinned)
		_, err = c.VerifyRoster(nil, admission.RosterWant{Verifier: n.names[0], MaxAge: time.Hour}, now)
		wantRefusal(t, err, admission.Unpinned)
	}
}

// Every byte of a bundle matters.
func TestAnyFlippedByteIsRefused(t *testing.T) {
	n := newNetwork(t, options{verifiers: 1, k: 1, witnesses: 1, w: 1})
	good := n.bundle(nil)
	n.accept(good)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if a, err := n.VerifyBundle(bad, n.want(), now); err == nil || a != nil {
			t.Fatalf("byte %d (%q) flipped and accepted", i, good[i])
		}
	}
}

func FuzzBundle(f *testing.F) {
	n := twoOfTwo(f)
	good := n.bundle(nil)
	seeds := [][]byte{good, n.bundle(func(s *admission.Statement) { s.ConsensusKey = "" }), good[:len(good)/2], []byte("quorate/bundle/v1\nadmission 1\nxproof 1\nx")}
	for _, s := range seeds {
		f.Add(s)
	}
	if len(seeds) == 0 || len(good) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		weigh.Bounded(t, len(b), func() { _, _ = admission.ParseBundle(b) })
		parsed, err := admission.ParseBundle(b)
		if err != nil {
			wantRefusal(t, err, admission.Malformed, admission.Duplicate)
			return
		}
		if !bytes.Equal(parsed.Marshal(), b) {
			t.Fatal("parse and print give other bytes")
		}
		if again, err := admission.NewBundle(parsed.Items...); err != nil || !bytes.Equal(again.Marshal(), b) {
			t.Fatalf("its parts do not make it again: %v", err)
		}
		_, _ = n.VerifyBundle(b, n.want(), now)
	})
}

// BenchmarkVerifyBundle compares three notes and three log proofs with the six
// Ed25519 verifications in them. The limit for the ratio is 2.
func BenchmarkVerifyBundle(b *testing.B) {
	n := newNetwork(b, options{verifiers: 3, k: 3})
	for _, j := range n.journals {
		for i := range 5000 {
			j.append(b, fmt.Append(nil, "entry", i))
		}
	}
	bundle, want := n.bundle(nil), n.want()
	n.accept(bundle)
	private, msg := key("bench"), sha256.Sum256(nil)
	public, sig := private.Public().(ed25519.PublicKey), ed25519.Sign(private, msg[:])

	var bare, ours time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if _, err := n.VerifyBundle(bundle, want, now); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		for range 6 {
			if !ed25519.Verify(public, msg[:], sig) {
				b.Fatal("signature")
			}
		}
		ours += middle.Sub(start)
		bare += time.Since(middle)
	}
	b.ReportMetric(float64(ours)/float64(bare), "ratio")
}
