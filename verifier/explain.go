package verifier

import (
	"context"

	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/node"
)

// maxDifferences bounds an explanation; the first ones explain the rest.
const maxDifferences = 50

// Explain returns a node with what differs between its last archived boot and the
// last boot that was accepted.
func (s *Service) Explain(ctx context.Context, id string) (Explanation, error) {
	view, err := s.Node(ctx, id)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Node: view, Accepted: view.Record.Accepted.String()}
	e.Missing = appraise.Wanting(s.policies.forRole(view.Record.Role), view.Record.Findings)
	if view.Record.Accepted.IsZero() {
		return e, nil
	}
	before, err := s.readEvidence(view.Record.Accepted)
	if err != nil {
		return e, err
	}
	e.Policy, e.Judged = before.Record.Verdict.Policy, before.Record.At
	if e.Approvals, err = s.store.PolicyApprovals(ctx, node.Digest(before.Record.PolicySet)); err != nil {
		return e, err
	}
	return s.compare(e, before)
}

// compare adds what differs between the accepted boot and the one judged last.
func (s *Service) compare(e Explanation, before *evidence.File) (Explanation, error) {
	if e.Node.Record.Accepted == e.Node.Record.Evidence {
		return e, nil
	}
	after, err := s.readEvidence(e.Node.Record.Evidence)
	if err != nil {
		return e, err
	}
	accepted, found := bootLogOf(before), bootLogOf(after)
	if accepted == nil || found == nil {
		return e, nil
	}
	for _, d := range eventlog.Diff(accepted, found) {
		if len(e.Differences) == maxDifferences {
			break
		}
		e.Differences = append(e.Differences, Difference{Where: d.Where, What: d.What, Accepted: d.A, Found: d.B, Remedy: remedyOf(d)})
	}
	return e, nil
}

// bootLogOf reads the boot log of archived evidence; nil if it has none or one
// that cannot be parsed, which is what the node's findings are about then.
func bootLogOf(file *evidence.File) *eventlog.Log {
	log, err := eventlog.Parse(file.Blobs[file.Record.BootLog], eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		return nil
	}
	return log
}

// remedyOf says what to do about a difference.
func remedyOf(d eventlog.Difference) string {
	if d.B == "" {
		return "find out why the host no longer measures this, and boot it as before"
	}
	return "if the change was meant: quorate policy learn the new boot, review it, and approve it; if not, boot the host as before"
}
