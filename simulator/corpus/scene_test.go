package corpus_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// All cases play on one day, on one ledger, with one verifier.
var (
	afternoon = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	ledger    = binding.Ledger{Consortium: "corpus", ChainID: "corpus-1", Genesis: sha256.Sum256([]byte("genesis"))}
	quoted    = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
)

const (
	verifierName = "org-a.verifier.corpus"
	nodeName     = "org-a/validator-1"
	otherName    = "org-b.verifier.corpus"
)

// scene is one host and the verifier that judges it. A new one is honest, and the
// policy is learned from it; a case changes something afterwards.
type scene struct {
	t         testing.TB
	node      *papertpm.Node
	log       *bootlog.Log  // nil for a genuine boot
	list      *bootlog.List // likewise
	raw       evidence.Raw
	want      evidence.Expected
	nonces    byte
	history   appraise.History
	earlier   []evidence.Digest // parts of the IMA list before raw.IMA
	blobs     map[evidence.Digest][]byte
	policy    *policy.Policy // nil: there is none
	manifests []*policy.Manifest
	at        time.Time
}

// compose boots a simulated machine.
func compose(boot bootlog.Boot) func(testing.TB) *scene {
	return func(t testing.TB) *scene {
		s := newScene(t)
		s.boot(boot.Log())
		s.answer()
		s.learn()
		return s
	}
}

// genuine is a machine that booted for real: its log, its IMA list and the values
// of its PCRs. Only the TPM that signs them is paper. commandLine is given for
// chains whose log holds only its digest.
func genuine(chain, commandLine string) func(testing.TB) *scene {
	return func(t testing.TB) *scene {
		s := newScene(t)
		s.raw.BootLog = recorded(t, "eventlog/testdata/genuine/"+chain+".log")
		s.raw.IMA = recorded(t, "ima/testdata/"+chain+".ima")
		for i, text := range strings.Fields(string(recorded(t, "ima/testdata/"+chain+".pcrs"))) {
			value, err := hex.DecodeString(text)
			if err != nil || len(value) != sha256.Size {
				t.Fatalf("PCR %d: %q, %v", i, text, err)
			}
			s.node.PCRs[i] = [32]byte(value)
		}
		s.answer()
		s.learn(commandLine)
		return s
	}
}

func recorded(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../../verifier/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{t: t, node: papertpm.NewNode("corpus"), at: afternoon, blobs: map[evidence.Digest][]byte{}}
	s.history.TPM = appraise.TPM{Class: "virtual", Vendor: "IBM", Model: "swtpm"}
	ak, err := evidence.ParseAK(s.node.AK.Bytes())
	s.must(err)
	s.want = evidence.Expected{
		Ledger: ledger, Verifier: verifierName, Node: nodeName, AK: ak, NodeKey: s.node.NodeKey.SPKIDigest(),
		ConsensusKey: s.node.ConsensusKey(), Bank: eventlog.SHA256, PCRs: quoted,
	}
	s.raw.BootID = bootID(1)
	s.challenge()
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func bootID(n byte) string { return "00000000-0000-4000-8000-00000000000" + string('0'+n) }

// challenge is a new challenge of the verifier over a connection of its own.
func (s *scene) challenge() {
	s.nonces++
	s.want.Challenge = binding.Challenge{
		Verifier: verifierName,
		Nonce:    sha256.Sum256([]byte{'n', s.nonces}), Exporter: sha256.Sum256([]byte{'e', s.nonces}),
	}
}

// boot makes the machine go through a boot; init runs, and then the programs.
func (s *scene) boot(log *bootlog.Log, programs ...string) {
	s.log, s.node.PCRs = log, log.PCRs()
	s.list = bootlog.NewList(s.node.PCRs)
	s.list.Replay(&s.node.PCRs)
	s.raw.BootLog, s.raw.IMA = log.Bytes(), nil
	s.run(append([]string{"/usr/lib/systemd/systemd", "/usr/bin/cometbft"}, programs...)...)
}

// run starts programs; each one's content is its path.
func (s *scene) run(programs ...string) {
	for _, p := range programs {
		s.measure(bootlog.FileEntry(p, sha256.Sum256([]byte(p))))
	}
}

// measure adds an entry to the IMA list, of which the next answer carries what
// the verifier does not have.
func (s *scene) measure(e bootlog.Entry) {
	one := &bootlog.List{Entries: []bootlog.Entry{e}}
	one.Replay(&s.node.PCRs)
	s.list.Entries = append(s.list.Entries, e)
	s.raw.IMA = s.list.Bytes()[s.want.IMA.Bytes:]
}

// answer quotes what the machine is now.
func (s *scene) answer(others ...binding.Challenge) {
	s.raw.Challenges = append([]binding.Challenge{s.want.Challenge}, others...)
	s.raw.BootLogDigest = sha256.Sum256(s.raw.BootLog)
	s.raw.PCRValues = s.node.PCRs.Values(quoted...)
	s.sign(s.node.Quote(s.qualifying(s.question()), quoted...))
}

// question is what an honest quote is made for.
func (s *scene) question() binding.Quote {
	return binding.Quote{
		Ledger: ledger, Node: nodeName, AKName: s.node.AK.Name(), NodeKey: s.node.NodeKey.SPKIDigest(),
		ConsensusKey: s.node.ConsensusKey(), BootLog: s.raw.BootLogDigest, Challenges: s.raw.Challenges,
	}
}

func (s *scene) qualifying(q binding.Quote) []byte {
	s.t.Helper()
	data, err := q.QualifyingData()
	s.must(err)
	return data[:]
}

func (s *scene) sign(a papertpm.Attest) {
	s.t.Helper()
	var err error
	s.raw.Quote, s.raw.Signature, err = s.node.Sign(a)
	s.must(err)
}

// learn makes the policy that admits what the machine has shown.
func (s *scene) learn(commandLines ...string) {
	s.t.Helper()
	v, err := evidence.Verify(s.raw, s.want)
	s.must(err)
	lesson := appraise.Lesson{Name: "validators", Version: 1, Publisher: "corpus", Roles: []string{"validator"}, CommandLines: commandLines}
	s.policy, s.manifests, err = appraise.Learn(lesson, []appraise.Sample{{Evidence: v, TPM: s.history.TPM}}, s.at)
	s.must(err)
}

func (s *scene) set() *policy.Set {
	s.t.Helper()
	if s.policy == nil {
		return nil
	}
	set, err := policy.NewSet(s.policy, s.manifests)
	s.must(err)
	return set
}

// pass lets the verifier judge what was answered, and remember what it remembers
// of evidence that passed. Then some time goes by and it asks again.
func (s *scene) pass() {
	s.t.Helper()
	v, err := evidence.Verify(s.raw, s.want)
	s.must(err)
	result, next := appraise.Next(s.set(), v, s.history, s.at)
	if result.Decision != verdict.Admitted {
		s.t.Fatalf("the twin is refused: %+v", result.Findings)
	}
	part := v.IMA().Bytes()
	s.blobs[evidence.Sum(part)] = part
	s.earlier = append(s.earlier, evidence.Sum(part))
	s.history, s.want.Previous, s.want.KnownLog, s.want.IMA = next, v.Clock(), v.KnownLog(), v.IMA().End
	s.raw.IMA = nil
	s.at = s.at.Add(30 * time.Second)
	s.node.Clock += 30_000
	s.challenge()
}

// file judges the evidence as a verifier does, and exports it.
func (s *scene) file() *evidence.File {
	s.t.Helper()
	set := s.set()
	verified, err := evidence.Verify(s.raw, s.want)
	var result verdict.Verdict
	var refusal *verdict.Refusal
	switch {
	case err == nil:
		result = appraise.Appraise(set, verified, s.history, s.at)
	case errors.As(err, &refusal):
		s.dropLogs(refusal)
		result = verdict.Verdict{At: s.at, Findings: []verdict.Finding{refusal.Finding}}
		if set != nil {
			result.Policy = set.String()
		}
	default:
		s.t.Fatal(err)
	}
	r, blobs := evidence.NewRecord(s.raw, s.want, verified, s.at)
	if s.want.IMA.Entries > 0 {
		r.IMAEarlier = s.earlier
	}
	if r.History, err = json.Marshal(s.history); err != nil {
		s.t.Fatal(err)
	}
	if r.Verdict = result; set != nil {
		r.PolicySet = set.Digest()
	}
	f := &evidence.File{Record: r, Blobs: blobs}
	for _, d := range r.IMAEarlier {
		f.Blobs[d] = s.blobs[d]
	}
	return f
}

// dropLogs leaves out logs that have nothing to do with the refusal, as a verifier does.
func (s *scene) dropLogs(refusal *verdict.Refusal) {
	bare := s.raw
	bare.BootLog, bare.IMA = nil, nil
	var same *verdict.Refusal
	if _, err := evidence.Verify(bare, s.want); errors.As(err, &same) && same.Finding == refusal.Finding {
		s.raw = bare
	}
}

// manifest returns the learned manifest of a part: boot, secure-boot, runtime, …
func (s *scene) manifest(part string) *policy.Manifest {
	s.t.Helper()
	for _, m := range s.manifests {
		if m.Name == "validators-"+part {
			return m
		}
	}
	s.t.Fatalf("no manifest of %s", part)
	return nil
}

// unlist takes the entries with the text in path or comment out of a manifest.
func (s *scene) unlist(part, text string) {
	s.t.Helper()
	m := s.manifest(part)
	var kept []policy.Entry
	for _, e := range m.Entries {
		if !strings.Contains(e.Path+e.Comment, text) {
			kept = append(kept, e)
		}
	}
	if len(kept) == len(m.Entries) {
		s.t.Fatalf("%s does not list %s", m.Name, text)
	}
	m.Entries = kept
}

// forge changes text in a log, and leaves the digests as they are.
func (s *scene) forge(from, to string) {
	s.t.Helper()
	if len(from) != len(to) || !bytes.Contains(s.raw.BootLog, []byte(from)) {
		s.t.Fatalf("the log does not hold %q", from)
	}
	s.raw.BootLog = bytes.Replace(s.raw.BootLog, []byte(from), []byte(to), 1)
}
