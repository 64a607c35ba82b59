package verifier

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// A refused boot has a whole story: what differs first, who approved the policy that
// accepted the old one and when, and which manifests would have to hold the new.
func TestExplainTellsTheStory(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	e, err := b.Explain(t.Context(), h.ID)
	check(t, err)
	if len(e.Differences) != 0 || len(e.Missing) != 0 || e.Accepted == "" || e.Policy == "" {
		t.Errorf("the twin: %+v", e)
	}
	approved := e.Approvals
	if len(approved) != 1 || approved[0].Operator != b.by.Name() || approved[0].At.IsZero() || e.Judged.Before(approved[0].At) {
		t.Errorf("approvals %+v, judged %v", approved, e.Judged)
	}
	policyBefore := e.Policy

	b.clock.advance(time.Minute)
	other := bootlog.Debian()
	other.Kernel.Content = []byte("linux 6.1.0-57")
	h.Boot(other)
	b.demand(h, b.round(h), verdict.Denied, node.Suspended)
	e, err = b.Explain(t.Context(), h.ID)
	check(t, err)
	if e.Policy != policyBefore || len(e.Approvals) != 1 || !e.Approvals[0].At.Equal(approved[0].At) {
		t.Errorf("accepted by %s, approved %+v", e.Policy, e.Approvals)
	}
	if len(e.Differences) == 0 || !strings.Contains(e.Differences[0].What, "differs") || e.Differences[0].Remedy == "" {
		t.Errorf("differences %+v", e.Differences)
	}
	found := false
	for _, m := range e.Missing {
		found = found || m.Check == verdict.BootKernel && m.Kind == policy.KindKernel && slices.Contains(m.Manifests, "validators-boot") &&
			m.Found == bootlog.Text(other.Kernel.File())
	}
	if !found {
		t.Errorf("missing %+v", e.Missing)
	}
	if _, err := b.Explain(t.Context(), "org-a/nobody"); err == nil {
		t.Error("a node that does not exist is explained")
	}
}
