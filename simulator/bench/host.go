package bench

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
)

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	chip   = appraise.TPM{Class: "discrete", Vendor: "IBM", Model: "paper"}
	quoted = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
)

// host is a simulated host with keys on paper.
type host struct {
	node *papertpm.Node
	log  *bootlog.Log
	list *bootlog.List
}

// newHost boots a host that ran the programs; the content of each is its path.
func newHost(b bootlog.Boot, programs ...string) *host {
	h := &host{node: papertpm.NewNode("bench"), log: b.Log()}
	h.list = bootlog.NewList(h.log.PCRs())
	for _, p := range programs {
		h.list.Entries = append(h.list.Entries, bootlog.FileEntry(p, sha256.Sum256([]byte(p))))
	}
	h.node.PCRs = h.log.PCRs()
	h.list.Replay(&h.node.PCRs)
	return h
}

// evidence answers a challenge with all logs.
func (h *host) evidence() (raw evidence.Raw, want evidence.Expected, err error) {
	log := h.log.Bytes()
	challenge := binding.Challenge{Verifier: "v.example", Nonce: [32]byte{1}, Exporter: [32]byte{2}}
	q := binding.Quote{
		Ledger: binding.Ledger{Consortium: "example", ChainID: "example-1", Genesis: [32]byte{3}}, Node: "org-a/validator-1",
		AKName: h.node.AK.Name(), NodeKey: h.node.NodeKey.SPKIDigest(), ConsensusKey: h.node.ConsensusKey(),
		BootLog: sha256.Sum256(log), Challenges: []binding.Challenge{challenge},
	}
	extra, err := q.QualifyingData()
	if err != nil {
		return raw, want, err
	}
	attest, signature, err := h.node.Sign(h.node.Quote(extra[:], quoted...))
	if err != nil {
		return raw, want, err
	}
	ak, err := evidence.ParseAK(h.node.AK.Bytes())
	return evidence.Raw{
			Quote: attest, Signature: signature, PCRValues: h.node.PCRs.Values(quoted...), Challenges: q.Challenges,
			BootLogDigest: q.BootLog, BootLog: log, IMA: h.list.Bytes(),
		}, evidence.Expected{
			Ledger: q.Ledger, Verifier: challenge.Verifier, Node: q.Node, AK: ak, NodeKey: q.NodeKey, ConsensusKey: q.ConsensusKey,
			Challenge: challenge, Bank: eventlog.SHA256, PCRs: quoted,
		}, err
}

// verified is the evidence after Verify.
func (h *host) verified() (*evidence.Verified, error) {
	raw, want, err := h.evidence()
	if err != nil {
		return nil, err
	}
	return evidence.Verify(raw, want)
}

// learn compiles the policy that the host's state teaches, with rules, and with
// further files in its manifest until there are that many.
func (h *host) learn(files int, rules ...policy.Rule) (*policy.Set, error) {
	v, err := h.verified()
	if err != nil {
		return nil, err
	}
	lesson := appraise.Lesson{Name: "validators", Version: 1, Publisher: "example", Roles: []string{"validator"}}
	p, manifests, err := appraise.Learn(lesson, []appraise.Sample{{Evidence: v, TPM: chip}}, noon)
	if err != nil {
		return nil, err
	}
	p.Rules = append(p.Rules, rules...)
	for _, m := range manifests {
		fill(m, files)
	}
	return policy.NewSet(p, manifests)
}

// fill adds files to the manifest that has files.
func fill(m *policy.Manifest, files int) {
	has := 0
	for _, e := range m.Entries {
		if e.Kind == policy.KindFile {
			has++
		}
	}
	for i := has; has > 0 && i < files; i++ {
		path := program(i)
		m.Entries = append(m.Entries, policy.Entry{
			Kind: policy.KindFile, Path: path, Digest: bootlog.Text(sha256.Sum256([]byte(path))),
		})
	}
}

// program names the i-th program of a distribution.
func program(i int) string {
	return fmt.Sprintf("/usr/lib/x86_64-linux-gnu/package-%d/libexample-%d.so.1", i/40, i)
}

// accept turns a verdict that denies into an error.
func accept(set *policy.Set, v *evidence.Verified, prev appraise.History) error {
	if result, _ := appraise.Next(set, v, prev, noon); result.Denies() {
		return fmt.Errorf("the host is refused: %v", result.Findings)
	}
	return nil
}
