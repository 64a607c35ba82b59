package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/verdict"
)

var quotedPCRs = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

// scene is an honest host and a verifier that knows it. Tests change one thing.
type scene struct {
	t    testing.TB
	node *papertpm.Node
	log  *bootlog.Log
	list *bootlog.List
	raw  evidence.Raw
	want evidence.Expected
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, node: papertpm.NewNode("evidence")}
	s.boot(bootlog.Debian().Log(), bootlog.FileEntry("/usr/bin/ledger", sha256.Sum256([]byte("ledger"))))
	ak, err := evidence.ParseAK(s.node.AK.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	s.want = evidence.Expected{
		Ledger:   binding.Ledger{Consortium: "example-net", ChainID: "example-1", Genesis: [32]byte{1}},
		Verifier: "org-a.verifier", Node: "org-a/validator-1", AK: ak, NodeKey: s.node.NodeKey.SPKIDigest(),
		ConsensusKey: s.node.ConsensusKey(),
		Challenge:    binding.Challenge{Verifier: "org-a.verifier", Nonce: [32]byte{2}, Exporter: [32]byte{3}},
		Bank:         eventlog.SHA256, PCRs: quotedPCRs,
	}
	s.answer()
	return s
}

// boot makes the node go through a boot and the entries after it.
func (s *scene) boot(log *bootlog.Log, entries ...bootlog.Entry) {
	s.log, s.node.PCRs = log, log.PCRs()
	s.list = bootlog.NewList(s.node.PCRs, entries...)
	s.list.Replay(&s.node.PCRs)
	s.raw.BootLog, s.raw.IMA = log.Bytes(), s.list.Bytes()
	s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
	s.raw.BootID = "8c2f5d0a-0000-4000-8000-00000000000" + string(rune('0'+s.node.Reset%10))
}

// run measures one more program.
func (s *scene) run(path string) {
	e := bootlog.FileEntry(path, sha256.Sum256([]byte(path)))
	s.list.Entries = append(s.list.Entries, e)
	(&bootlog.List{Entries: []bootlog.Entry{e}}).Replay(&s.node.PCRs)
	s.raw.IMA = s.list.Bytes()
}

// qualifyingData is what the node's own key quotes.
func (s *scene) qualifyingData() []byte { return s.qualifying(s.node.AK.Name()) }

// qualifyingFor answers the open challenge with another key.
func (s *scene) qualifyingFor(ak *evidence.AK) []byte {
	s.raw.Challenges = []binding.Challenge{s.want.Challenge}
	return s.qualifying(ak.Name())
}

func (s *scene) qualifying(akName []byte) []byte {
	s.t.Helper()
	q, err := binding.Quote{
		Ledger: s.want.Ledger, Node: s.want.Node, AKName: akName, NodeKey: s.want.NodeKey,
		ConsensusKey: s.want.ConsensusKey, BootLog: s.raw.BootLogDigest, Challenges: s.raw.Challenges,
	}.QualifyingData()
	if err != nil {
		s.t.Fatal(err)
	}
	return q[:]
}

// answer makes an honest quote over what the scene holds now.
func (s *scene) answer() {
	s.t.Helper()
	s.raw.Challenges = []binding.Challenge{s.want.Challenge}
	s.sign(s.node.Quote(s.qualifyingData(), s.want.PCRs...))
	s.raw.PCRValues = s.node.PCRs.Values(s.want.PCRs...)
}

func (s *scene) sign(a papertpm.Attest) {
	s.t.Helper()
	var err error
	if s.raw.Quote, s.raw.Signature, err = s.node.Sign(a); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) verify() (*evidence.Verified, error) { return evidence.Verify(s.raw, s.want) }

// passes demands that the evidence is accepted, and remembers it as a verifier would.
func (s *scene) passes() *evidence.Verified {
	s.t.Helper()
	v, err := s.verify()
	if err != nil {
		s.t.Fatalf("the twin is refused: %v", err)
	}
	return v
}

// remember is what a verifier keeps of evidence that passed.
func (s *scene) remember(v *evidence.Verified) {
	s.want.Previous, s.want.KnownLog, s.want.IMA = v.Clock(), v.KnownLog(), v.IMA().End
	s.raw.BootLog, s.raw.IMA = nil, nil
}

func (s *scene) refused(want verdict.CheckID) *verdict.Refusal {
	s.t.Helper()
	v, err := s.verify()
	if v != nil {
		s.t.Fatalf("verified, want a refusal by %s", want)
	}
	return refusedBy(s.t, err, want)
}

func refusedBy(t testing.TB, err error, want verdict.CheckID) *verdict.Refusal {
	t.Helper()
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal by %s", err, want)
	}
	if refusal.Check != want {
		t.Fatalf("refused by %v, want %s", refusal, want)
	}
	if _, known := verdict.Lookup(want); !known {
		t.Errorf("%s is not registered", want)
	}
	return refusal
}

// each runs a case with a fresh scene.
func each(t *testing.T, name string, run func(s *scene)) {
	t.Run(name, func(t *testing.T) { run(newScene(t)) })
}

func TestHonestEvidence(t *testing.T) {
	s := newScene(t)
	v := s.passes()
	if v.Epoch() != (verdict.Epoch{Reset: 1}) || v.Firmware() != s.node.Firmware || v.Transition() != evidence.FirstEpoch {
		t.Errorf("epoch %v, firmware %x, transition %v", v.Epoch(), v.Firmware(), v.Transition())
	}
	if v.IMA().Len() != 2 || v.Node() != s.want.Node || v.BootLogDigest() != s.raw.BootLogDigest {
		t.Errorf("%d entries of %s", v.IMA().Len(), v.Node())
	}
	if got, ok := v.PCR(7); !ok || got != s.node.PCRs[7] {
		t.Errorf("PCR 7 is %x, %v", got, ok)
	}
	if v.Facts() != v.KnownLog().Facts() || v.Log() != v.KnownLog().Log() || !bytes.Equal(v.KnownLog().Bytes(), s.raw.BootLog) {
		t.Error("log, facts and known log differ")
	}
	if v.KnownLog().Digest() != s.raw.BootLogDigest || v.KnownLog().Epoch() != v.Epoch() {
		t.Error("the known log is not of this quote")
	}
}

func TestSteadyState(t *testing.T) {
	s := newScene(t)
	s.remember(s.passes())
	s.want.Challenge.Nonce = [32]byte{9}
	s.answer()
	v := s.passes()
	if v.Transition() != evidence.SameEpoch || v.IMA().Len() != 0 {
		t.Errorf("transition %v, %d entries", v.Transition(), v.IMA().Len())
	}
	s.remember(v)
	at := s.want.IMA.Bytes
	s.run("/usr/bin/new")
	s.raw.IMA = s.raw.IMA[at:]
	s.answer()
	if v := s.passes(); v.IMA().Len() != 1 || v.IMA().End.Entries != 3 {
		t.Errorf("%+v", v.IMA().End)
	}
	s.raw.IMA = nil
	s.refused(verdict.QuoteInMotion)
}

func TestOneQuoteForManyVerifiers(t *testing.T) {
	s := newScene(t)
	s.raw.Challenges = []binding.Challenge{
		{Verifier: "a", Nonce: [32]byte{7}, Exporter: [32]byte{8}}, s.want.Challenge, {Verifier: "z", Nonce: [32]byte{9}},
	}
	s.sign(s.node.Quote(s.qualifyingData(), quotedPCRs...))
	s.passes()
	slices.Reverse(s.raw.Challenges)
	s.refused(verdict.QuoteNonce)
}
