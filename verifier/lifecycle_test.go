package verifier

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// A node is late by time alone, with nothing running that could notice.
func TestA149_LateWithoutAnyoneWatching(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.clock.advance(91 * time.Second)
	if got := b.status(h); got != node.Late {
		t.Errorf("after 91 s without evidence the node is %v", got)
	}
	if r := b.compileRoster(b.clock.now()); len(r.Admitted) != 0 || len(r.Barred) != 1 {
		t.Errorf("the roster admits %v", r.Admitted)
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// A refusal is latched: time does not clear it, nor a pass in the same boot; a
// reboot does, or an operator.
func TestA150_RefusalIsLatched(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	good := *h.List
	pcrs := h.PCRs
	h.Exec("/tmp/miner")
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Suspended)
	found(t, out, verdict.RuntimeIMAUnlisted)
	serial := b.record(h).Serial

	b.clock.advance(time.Hour)
	if got := b.status(h); got != node.Suspended {
		t.Errorf("after an hour of silence the node is %v", got)
	}
	// The host hides the program: PCR 10 as before, the list as before.
	h.List, h.PCRs = &good, pcrs
	for range 3 {
		if out := b.round(h); out.Admission != nil {
			t.Fatal("the suspended node got an admission")
		}
	}
	b.restart()
	b.round(h)
	if r := b.record(h); r.State != node.Suspended || r.Serial != serial {
		t.Errorf("a pass in the same boot left it %v with admission %d", r.State, r.Serial)
	}
	h.Boot(bootlog.Debian())
	out = b.round(h)
	b.demand(h, out, verdict.Admitted, node.Admitted)
	if b.record(h).Serial <= serial || out.Admission == nil {
		t.Error("no new admission after the reboot")
	}
}

func TestA150_OperatorLatch(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	_, err := b.Operate(t.Context(), b.by, h.ID, node.SuspendedByOperator{By: b.by.Name(), Reason: "maintenance"})
	check(t, err)
	h.Boot(bootlog.Debian())
	if out := b.round(h); out.Admission != nil || b.status(h) != node.Suspended {
		t.Errorf("a reboot lifted an operator's suspension: %v", b.status(h))
	}
	_, err = b.Operate(t.Context(), b.by, h.ID, node.Resumed{By: b.by.Name(), Reason: "done"})
	check(t, err)
	if got := b.status(h); got != node.Pending {
		t.Errorf("resumed, the node is %v before it proved anything", got)
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// An operator resumes a node while its answer to an older question is under way:
// the answer is asked for again and does not count against the node.
func TestResumeWhileAnswering(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	_, err := b.Operate(t.Context(), b.by, h.ID, node.SuspendedByOperator{By: b.by.Name(), Reason: "maintenance"})
	check(t, err)
	x, c := b.ask(h)
	raw := b.answer(h, c)
	_, err = b.Operate(t.Context(), b.by, h.ID, node.Resumed{By: b.by.Name(), Reason: "done"})
	check(t, err)
	out, err := x.Judge(t.Context(), raw, 0, noMore)
	check(t, err)
	if !out.Retryable {
		t.Errorf("the answer counted: %+v", out)
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// Counters that go back are a copy of the TPM at work. Two operators release it,
// and then the counters begin anew.
func TestA078_RollbackQuarantines(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	h.Boot(bootlog.Debian())
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	h.Reset, h.Clock = 1, 5000
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Quarantined)
	found(t, out, verdict.QuoteRollback)
	h.Boot(bootlog.Debian())
	h.Boot(bootlog.Debian())
	if out := b.round(h); b.status(h) != node.Quarantined || out.Admission != nil {
		t.Errorf("a reboot lifted the quarantine: %v", b.status(h))
	}
	h.Reset, h.Clock = 1, 5000
	b.restart()
	for _, by := range []string{"org-a/alice", "org-a/bob"} {
		_, err := b.Operate(t.Context(), b.by, h.ID, node.Resumed{By: by, Reason: "TPM was cleared on purpose"})
		check(t, err)
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// Two hosts run with copies of one TPM and attest in turns: the copy that lags is
// seen at its first quote.
func TestA044_CloneQuarantines(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	twin, original := *h.Node, h.Node
	h.Node = &twin
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	h.Node = original
	b.newSession(h)
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Quarantined)
	found(t, out, verdict.QuoteRollback)
}

// A TPM Restart empties the PCRs and leaves resetCount: replaying a good boot into
// them does not pass on a host that did not boot. With a boot it is judged anew.
func TestA072_TPMRestart(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	h.TPMRestart()
	h.Replay(bootlog.Debian())
	out := b.round(h)
	if out.Admission != nil || b.status(h) != node.Quarantined {
		t.Errorf("TPM Restart without a boot: %v", b.status(h))
	}

	b, h = admitted(t)
	index := b.record(h).AdmissionIndex
	h.TPMRestart()
	h.Replay(bootlog.Debian())
	h.BootID = "00000000-0000-4000-8000-00000000beef"
	out = b.round(h)
	b.demand(h, out, verdict.Admitted, node.Admitted)
	if out.Admission == nil || b.record(h).AdmissionIndex == index {
		t.Error("the old epoch's admission still stands")
	}
	if st, err := b.Status(t.Context()); err != nil || len(st.Alarms) == 0 {
		t.Errorf("no alarm: %+v, %v", st, err)
	}
}

// A reset of the TPM under a running host is a way to forge PCRs.
func TestA073_ResetWithoutBoot(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	id := h.BootID
	h.Boot(bootlog.Debian())
	h.BootID = id
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Quarantined)
	found(t, out, verdict.QuoteResetWithoutBoot)
}

// A reboot voids the admission at the next check.
func TestA080_RebootVoidsAdmission(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	before := b.record(h)
	h.Boot(bootlog.Debian())
	out := b.round(h)
	b.demand(h, out, verdict.Admitted, node.Admitted)
	if after := b.record(h); after.Serial == before.Serial || out.Admission == nil {
		t.Errorf("admission %d of epoch %v still stands in %v", before.Serial, before.Epoch, after.Epoch)
	}
	changed := bootlog.Debian()
	changed.CommandLine += " init=/bin/sh"
	h.Boot(changed)
	out = b.round(h)
	b.demand(h, out, verdict.Denied, node.Suspended)
	found(t, out, verdict.BootCommandLine)
}

// The TPM's clock, set forward by its owner, moves no lifetime; somebody is told.
func TestA076_ClockSetForward(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	h.Clock += 10 * 24 * 3600 * 1000
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	rec := b.record(h)
	if want := b.clock.now().Add(time.Hour).UTC(); !rec.NotAfter.Equal(want) || rec.FreshUntil.After(b.clock.now().Add(90*time.Second)) {
		t.Errorf("admitted until %v, fresh until %v; want %v", rec.NotAfter, rec.FreshUntil, want)
	}
	if st, err := b.Status(t.Context()); err != nil || len(st.Alarms) != 1 {
		t.Errorf("alarms: %v, %v", st.Alarms, err)
	}
	b.clock.advance(59 * time.Minute)
	b.round(h)
	b.clock.advance(30 * time.Second)
	h.Clock += 1000
	b.round(h)
	if st, _ := b.Status(t.Context()); len(st.Alarms) != 1 {
		t.Errorf("an ordinary clock raised an alarm: %v", st.Alarms)
	}
}

// Restarting the verifier costs a node one quote and no logs.
func TestRestartKeepsPositions(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.round(h)
	before := b.record(h)
	b.restart()
	if after := b.record(h); after.State != before.State || !after.FreshUntil.Equal(before.FreshUntil) || after.Serial != before.Serial {
		t.Errorf("restart: %+v, was %+v", after, before)
	}
	_, c := b.ask(h)
	if c.WantBootLog || c.IMAOffset != uint64(len(h.List.Bytes())) {
		t.Errorf("after a restart the verifier asks for boot log %v, IMA from %d of %d", c.WantBootLog, c.IMAOffset, len(h.List.Bytes()))
	}
	size := b.size()
	out := b.round(h)
	b.demand(h, out, verdict.Admitted, node.Admitted)
	if b.size() != size || b.record(h).Serial != before.Serial {
		t.Error("the restart made a new admission")
	}
	signed, proof, err := b.Admission(t.Context(), h.ID)
	if err != nil || len(signed) == 0 || len(proof) == 0 {
		t.Errorf("the standing admission: %v", err)
	}
	if string(out.Admission) != string(signed) {
		t.Errorf("the new session brought %q, want the standing admission", out.Admission)
	}
	if again := b.round(h); again.Admission != nil {
		t.Error("the same session brought it twice")
	}
}

// A retired node is out at once: its session ends, its key is nobody's.
func TestRetiredNodeIsOut(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	x, c := b.ask(h)
	_, err := b.Operate(t.Context(), b.by, h.ID, node.RetiredByOperator{By: b.by.Name(), Reason: "sold"})
	check(t, err)
	<-x.Ended()
	refusedBy(t, x.Reason(), verdict.NodeRetired)
	_, err = x.Judge(t.Context(), b.answer(h, c), 0, noMore)
	refusedBy(t, err, verdict.NodeRetired)
	if _, err := b.NodeByKey(t.Context(), h.NodeKey.SPKIDigest()); err == nil {
		t.Error("the retired node's key still opens the door")
	}
	if err := b.enrolAs(h, h.ID); err == nil {
		t.Error("a node id was used twice")
	}

	// The same TPM may serve another node, with two approvals; sorted before the
	// old one, so that a restart meets the retired record last.
	h.ID = ownMember + "/a-second-life"
	check(t, b.enrol(h))
	if got := b.record(h); got.Approved() || got.Predecessor != ownMember+"/validator-1" {
		t.Errorf("enrolled again: %+v", got)
	}
	b.restart()
	if id, err := b.NodeByKey(context.Background(), h.NodeKey.SPKIDigest()); err != nil || id != h.ID {
		t.Errorf("after a restart the key is %q's: %v", id, err)
	}
}

// What admitted hosts measured is not hashed again for the next one; what others
// send takes no room.
func TestContentsOfAdmittedHosts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h, large := b.host("validator-1"), bootlog.Debian()
	for i := range 8 {
		large.DB = append(large.DB, bootlog.CertificateLists(bootlog.Certificate(fmt.Sprintf("%0800d", i)))...)
	}
	h.Boot(large)
	check(t, b.enrol(h))
	b.demand(h, b.round(h), verdict.Denied, node.Pending)
	if b.contents.Load() != nil {
		t.Error("a host that is not admitted is remembered")
	}
	b.learn(h)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	if b.contents.Load() == nil {
		t.Error("nothing is remembered of an admitted host")
	}
	twin := b.host("validator-2")
	twin.Boot(large)
	check(t, b.enrol(twin))
	b.demand(twin, b.round(twin), verdict.Admitted, node.Admitted)
}
