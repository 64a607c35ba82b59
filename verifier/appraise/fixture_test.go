package appraise

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/policy"
)

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	chip   = TPM{Class: "discrete", Vendor: "IBM", Model: "paper"}
	quoted = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
)

// host is a simulated host whose evidence is signed by a paper TPM. Its evidence
// goes through evidence.Verify like any other.
type host struct {
	t     testing.TB
	node  *papertpm.Node
	log   *bootlog.Log
	raw   []byte // a recorded boot log, in place of log
	list  *bootlog.List
	ima   ima.State
	known *evidence.KnownLog
	clock evidence.Clock
	nonce byte
}

// start boots a host; alter may change the log before the TPM is extended.
func start(t testing.TB, b bootlog.Boot, alter ...bootlog.Mutation) *host {
	t.Helper()
	h := &host{t: t, node: papertpm.NewNode("host")}
	h.reboot(b, alter...)
	return h
}

func (h *host) reboot(b bootlog.Boot, alter ...bootlog.Mutation) {
	h.t.Helper()
	h.node.Reboot()
	h.log = b.Log()
	for _, m := range alter {
		if err := h.log.Mutate(m); err != nil {
			h.t.Fatal(err)
		}
	}
	h.list = bootlog.NewList(h.log.PCRs())
	h.run("/usr/sbin/init")
}

// run adds programs to the IMA list; each one's content is its path.
func (h *host) run(paths ...string) {
	for _, p := range paths {
		h.list.Entries = append(h.list.Entries, bootlog.FileEntry(p, sha256.Sum256([]byte(p))))
	}
}

// replayed is the bank that a log leads to.
func replayed(t testing.TB, log []byte) (pcrs papertpm.PCRs) {
	t.Helper()
	parsed, err := eventlog.Parse(log, eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	bank := parsed.Replay()
	for i := range pcrs {
		copy(pcrs[i][:], bank.Value(i))
	}
	return pcrs
}

func (h *host) measure(e bootlog.Entry) { h.list.Entries = append(h.list.Entries, e) }

// verified answers a challenge with everything the verifier does not have yet.
func (h *host) verified() *evidence.Verified {
	h.t.Helper()
	raw, want := h.evidence()
	v, err := evidence.Verify(raw, want)
	if err != nil {
		h.t.Fatalf("evidence is not authentic: %v", err)
	}
	h.ima, h.known, h.clock = v.IMA().End, v.KnownLog(), v.Clock()
	return v
}

// whole is verified with the IMA list from its first entry.
func (h *host) whole() *evidence.Verified {
	h.ima = ima.State{}
	return h.verified()
}

func (h *host) evidence() (evidence.Raw, evidence.Expected) {
	h.nonce++
	log := h.raw
	if log == nil {
		log, h.node.PCRs = h.log.Bytes(), h.log.PCRs()
	} else {
		h.node.PCRs = replayed(h.t, log)
	}
	h.list.Replay(&h.node.PCRs)
	challenge := binding.Challenge{Verifier: "v.example", Nonce: [32]byte{h.nonce}, Exporter: [32]byte{7}}
	ledger := binding.Ledger{Consortium: "example", ChainID: "example-1", Genesis: [32]byte{1}}
	q := binding.Quote{
		Ledger: ledger, Node: "org-a/validator-1", AKName: h.node.AK.Name(), NodeKey: h.node.NodeKey.SPKIDigest(),
		ConsensusKey: h.node.ConsensusKey(), BootLog: sha256.Sum256(log), Challenges: []binding.Challenge{challenge},
	}
	extra, err := q.QualifyingData()
	if err != nil {
		h.t.Fatal(err)
	}
	attest, signature, err := h.node.Sign(h.node.Quote(extra[:], quoted...))
	if err != nil {
		h.t.Fatal(err)
	}
	ak, err := evidence.ParseAK(h.node.AK.Bytes())
	if err != nil {
		h.t.Fatal(err)
	}
	from := h.ima
	if from.Epoch.Reset != h.node.Reset {
		from = ima.State{}
	}
	return evidence.Raw{
			Quote: attest, Signature: signature, PCRValues: h.node.PCRs.Values(quoted...), Challenges: q.Challenges,
			BootLogDigest: q.BootLog, BootLog: log, IMA: h.list.Bytes()[from.Bytes:],
		}, evidence.Expected{
			Ledger: ledger, Verifier: challenge.Verifier, Node: q.Node, AK: ak, NodeKey: q.NodeKey, ConsensusKey: q.ConsensusKey,
			Challenge: challenge, Bank: eventlog.SHA256, PCRs: quoted, KnownLog: h.known, IMA: from, Previous: h.clock,
		}
}

// lesson is how tests call what they learn.
var lesson = Lesson{Name: "validators", Version: 1, Publisher: "example", Roles: []string{"validator"}}

// learned is the policy that the host's present state teaches.
func learned(t testing.TB, h *host) (*policy.Policy, []*policy.Manifest) {
	t.Helper()
	p, manifests, err := Learn(lesson, []Sample{{h.whole(), chip}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return p, manifests
}

func compile(t testing.TB, p *policy.Policy, manifests []*policy.Manifest) *policy.Set {
	t.Helper()
	set, err := policy.NewSet(p, manifests)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// debianSet is learned from a Debian host that ran init and an agent.
func debianSet(t testing.TB) *policy.Set {
	h := start(t, bootlog.Debian())
	h.run("/usr/bin/agent")
	p, manifests := learned(t, h)
	return compile(t, p, manifests)
}
