package verifier

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// newOperator makes a key for a person of a member.
func newOperator(t *testing.T, name string, role admission.Role) (note.Signer, admission.Operator) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	check(t, err)
	signer, err := note.NewSigner(private)
	check(t, err)
	return signer, admission.Operator{Member: admission.NodeMember(name), Key: public, Role: role}
}

// Where two members have to approve, two people of one do not.
func TestA182_TwoMembersApprove(t *testing.T) {
	t.Parallel()
	colleagueKey, colleague := newOperator(t, "org-a/carol", admission.RoleAdmin)
	partnerKey, partner := newOperator(t, "org-b/bob", admission.RoleAdmin)
	strangerKey, _ := newOperator(t, "org-b/bob", admission.RoleAdmin)
	b := newBench(t, func(c *admission.Consortium) {
		c.Approvals.Policy = 2
		c.Members[0].Operators = append(c.Members[0].Operators, colleague)
		c.Members = append(c.Members, admission.Member{Name: "org-b", Operators: []admission.Operator{partner}})
	})
	h := b.enrolled("validator-1")
	b.round(h)
	set, proposal := b.lesson(h, 1)
	approve := func(by admission.Operator, key note.Signer) (PolicyResult, error) {
		p := proposal
		p.Approval = approval(t, b.consortium.Name, set, key)
		return b.ApprovePolicy(t.Context(), by, p)
	}
	size := b.size()
	for name, try := range map[string]func() (PolicyResult, error){
		"unsigned": func() (PolicyResult, error) {
			p := proposal
			p.Approval = nil
			return b.ApprovePolicy(t.Context(), b.by, p)
		},
		"another's key":      func() (PolicyResult, error) { return approve(b.by, partnerKey) },
		"a key of that name": func() (PolicyResult, error) { return approve(partner, strangerKey) },
		"another consortium": func() (PolicyResult, error) {
			p := proposal
			p.Approval = approval(t, "other-net", set, b.key)
			return b.ApprovePolicy(t.Context(), b.by, p)
		},
	} {
		if _, err := try(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.size() != size {
		t.Error("a bad approval is in the journal")
	}
	for _, one := range []struct {
		by  admission.Operator
		key note.Signer
	}{{b.by, b.key}, {colleague, colleagueKey}, {b.by, b.key}} {
		if r, err := approve(one.by, one.key); err != nil || r.Active || r.Approvals != 1 || r.Needed != 2 {
			t.Errorf("approved by one member: %+v, %v", r, err)
		}
	}
	b.restart()
	if out := b.round(h); out.Admission != nil {
		t.Error("a policy of one member admits")
	}
	if r, err := approve(partner, partnerKey); err != nil || !r.Active {
		t.Errorf("approved by two members: %+v, %v", r, err)
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// A policy's version only rises, and a restart does not forget it.
func TestA183_PolicyRollback(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	_, first := b.lesson(h, 1)
	b.version = 4
	b.learn(h) // 5
	for range 2 {
		for _, version := range []int{1, 4, 5} {
			_, older := b.lesson(h, version)
			if version == 1 {
				older = first
			}
			r, err := b.ApprovePolicy(t.Context(), b.by, older)
			if version == 5 {
				if err != nil || !r.Active {
					t.Errorf("the active version again: %+v, %v", r, err)
				}
				continue
			}
			if !errors.Is(err, ErrConflict) || r.Active {
				t.Errorf("version %d after 5: %+v, %v", version, r, err)
			}
		}
		b.restart()
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	b.learn(h) // 6
}

// A new policy challenges every session at once and judges the whole IMA list,
// also what an older policy had let pass.
func TestPolicyChangeJudgesEverythingAgain(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	clean := b.enrolled("validator-2")
	b.demand(clean, b.round(clean), verdict.Admitted, node.Admitted)
	h.Exec("/usr/bin/tool")
	b.demand(h, b.round(h), verdict.Denied, node.Suspended)
	b.learn(h) // tool is good now
	h.Boot(debian)
	h.Exec("/usr/bin/tool")
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)

	x, c := b.ask(h)
	inFlight := b.answer(h, c)
	b.learn(clean) // tool is not
	select {
	case <-x.wake:
		x.hurry()
	case <-time.After(10 * time.Second):
		t.Error("the session was not challenged at once")
	}
	if out, err := x.Judge(t.Context(), inFlight, 0, noMore); err != nil || !out.Retryable {
		t.Errorf("an answer from before the change: %+v, %v", out, err)
	}
	if _, c := b.ask(h); c.IMAOffset != 0 {
		t.Errorf("the IMA list is asked for from %d", c.IMAOffset)
	}
	out := b.round(h)
	b.demand(h, out, verdict.Denied, node.Suspended)
	found(t, out, verdict.RuntimeIMAUnlisted)
	out = b.round(clean)
	b.demand(clean, out, verdict.Admitted, node.Admitted)
	if out.Admission == nil {
		t.Error("no admission under the new policy")
	}
	b.rerun(h, verdict.Denied)
}

// A role that got its policy before it had a node has it after a restart too.
func TestPolicyOfARoleWithoutNodes(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	set, proposal := b.lessonFor(h, 1, "observer")
	proposal.Approval = approval(t, b.consortium.Name, set, b.key)
	_, err := b.ApprovePolicy(t.Context(), b.by, proposal)
	check(t, err)
	b.restart()
	observer := b.host("observer-1")
	token, _, err := b.Invite(t.Context(), b.by, Invitation{Node: observer.ID, Role: "observer", PreApprove: true})
	check(t, err)
	e, proof := b.begin(observer, token)
	_, err = e.Finish(t.Context(), proof)
	check(t, err)
	b.demand(observer, b.round(observer), verdict.Admitted, node.Admitted)
}
