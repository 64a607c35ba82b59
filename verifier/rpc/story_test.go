package rpc

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// The whole story on software TPMs: enrolled, learned, admitted, refused for its
// command line, suspended for a program, good again after a reboot.
func TestStory(t *testing.T) {
	w := newWorld(t)
	good := w.newHost("validator-1", bootlog.Debian())
	w.run(good)
	w.learn(good)
	w.awaitState(good.id, "admitted")

	changed := bootlog.Debian()
	changed.CommandLine += " init=/bin/sh"
	bad := w.newHost("validator-2", changed)
	w.run(bad)
	w.eventually("a refusal of "+bad.id, func() bool { return len(w.node(bad.id).Findings) > 0 })
	if n := w.node(bad.id); n.State != "pending" || n.Findings[0].Check != string(verdict.BootCommandLine) {
		t.Errorf("host with another command line is %s: %v", n.State, n.Findings)
	}
	if w.node(bad.id).Serial != 0 {
		t.Error("the refused host got an admission")
	}

	late := w.newHost("validator-3", bootlog.Debian()) // its first evidence is judged by a policy
	w.run(late)
	w.awaitState(late.id, "admitted")

	bundle := w.bundle(good)
	if _, err := w.consortium.VerifyBundle(bundle, w.want(good), time.Now()); err != nil {
		t.Errorf("bundle of the admitted host: %v", err)
	}
	must(t, good.Exec("/tmp/miner", sha256.Sum256([]byte("miner"))))
	n := w.awaitState(good.id, "suspended")
	if n.Findings[0].Check != string(verdict.RuntimeIMAUnlisted) {
		t.Errorf("suspended for %v", n.Findings)
	}
	w.refusedByRoster(good, bundle)

	w.reboot(good, bootlog.Debian())
	w.awaitState(good.id, "admitted")
}

// A host that lost its admission, or whose verifier died between signing it and
// sending it, gets it with the first good answer of its next session, and not
// again on that session.
func TestLostAdmissionComesAgain(t *testing.T) {
	w := newWorld(t, manyHosts)
	w.teach()
	p := w.enrolledPaper("validator-1")
	first := p.open().round()
	if len(first.Admission) == 0 {
		t.Fatalf("no admission: %v", first)
	}
	s := p.open()
	again, third := s.round(), s.round()
	if string(again.Admission) != string(first.Admission) || string(again.AdmissionProof) == "" {
		t.Errorf("the next session brought %q", again.Admission)
	}
	if len(third.Admission) != 0 {
		t.Error("the standing admission was sent twice on one session")
	}
}

// bundle fetches the node's admission and makes a bundle of it.
func (w *world) bundle(h *host) []byte {
	w.t.Helper()
	r, err := w.admissions.GetAdmission(w.t.Context(), &pb.GetAdmissionRequest{NodeId: h.id})
	must(w.t, err)
	b, err := admission.NewBundle(admission.Item{Admission: r.Admission, Proof: r.Proof})
	must(w.t, err)
	return b.Marshal()
}

func (w *world) refusedByRoster(h *host, bundle []byte) {
	w.t.Helper()
	a, err := w.consortium.VerifyBundle(bundle, w.want(h), time.Now())
	must(w.t, err)
	var refusal error
	w.eventually("the roster to bar the node", func() bool {
		r, err := w.admissions.GetRoster(w.t.Context(), &pb.GetRosterRequest{})
		must(w.t, err)
		roster, err := w.consortium.VerifyRoster(r.Roster, admission.RosterWant{Verifier: w.self.Name, MaxAge: time.Hour}, time.Now())
		must(w.t, err)
		refusal = admission.CheckAgainstRoster(a, roster)
		return refusal != nil
	})
	w.t.Logf("roster: %v", refusal)
}

func (w *world) want(h *host) admission.Want {
	key, err := admission.ParseDigest(w.node(h.id).NodeKey)
	must(w.t, err)
	return admission.Want{Role: "validator", NodeKey: key}
}
