package verifier

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// rerun makes the node's last recorded decision again, from its evidence file and
// the policy set that the record names, and compares the verdicts' bytes.
func (b *bench) rerun(h *paperhost.Host, want verdict.Decision) *evidence.Record {
	b.t.Helper()
	raw, err := b.EvidenceFile(b.t.Context(), h.ID, "")
	check(b.t, err)
	file, err := evidence.ParseFile(raw)
	check(b.t, err)
	var set *policy.Set
	if !file.Record.PolicySet.IsZero() {
		stored, err := b.store.Policy(b.t.Context(), node.Digest(file.Record.PolicySet))
		check(b.t, err)
		set, err = compile(stored.Policy, stored.Manifests)
		check(b.t, err)
	}
	again, err := appraise.Again(set, file)
	check(b.t, err)
	recorded, err := json.Marshal(file.Record.Verdict)
	check(b.t, err)
	replayed, err := json.Marshal(again)
	check(b.t, err)
	if !bytes.Equal(recorded, replayed) {
		b.t.Errorf("recorded %s\nreplayed %s", recorded, replayed)
	}
	if file.Record.Verdict.Decision != want {
		b.t.Errorf("the record says %v, want %v", file.Record.Verdict.Decision, want)
	}
	return file.Record
}

// Any recorded decision, made again, gives the same bytes.
func TestRecordedDecisionsReplay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.enrolled("validator-1")
	b.round(h)
	b.rerun(h, verdict.Denied) // no policy yet
	b.learn(h)
	b.round(h)
	b.rerun(h, verdict.Admitted)
	for range 3 {
		b.clock.advance(30 * time.Second)
		h.Exec("/usr/bin/quorate-agent")
		b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	}
	h.Exec("/tmp/miner")
	b.round(h)
	if r := b.rerun(h, verdict.Denied); len(r.IMAEarlier) == 0 || r.IMAStart.Entries == 0 {
		t.Error("the suspension is not one of a continued IMA list")
	}
	h.Exec("/tmp/another")
	h.Exec("/tmp/third")
	b.round(h)
	b.rerun(h, verdict.Denied)
	h.Boot(bootlog.Debian())
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	b.rerun(h, verdict.Admitted)

	changed := bootlog.Debian()
	changed.CommandLine += " init=/bin/sh"
	refused := b.host("validator-2")
	refused.Boot(changed)
	check(t, b.enrol(refused))
	found(t, b.round(refused), verdict.BootCommandLine)
	b.rerun(refused, verdict.Denied)
	for range maxRetries { // an answer that its log does not explain, until it counts
		b.unexplained(refused)
	}
	found(t, b.unexplained(refused), verdict.QuoteInMotion)
	b.rerun(refused, verdict.Denied)
}

// unexplained answers with an IMA list that does not reach PCR 10.
func (b *bench) unexplained(h *paperhost.Host) Outcome {
	b.t.Helper()
	x, c := b.ask(h)
	hidden := *h.List
	h.Exec("/tmp/hidden")
	h.List = &hidden
	out, err := x.Judge(b.t.Context(), b.answer(h, c), 0, noMore)
	check(b.t, err)
	return out
}
