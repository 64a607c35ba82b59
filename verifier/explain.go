package verifier

import (
	"context"

	"github.com/quorate/quorate/verifier/eventlog"
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
	if view.Record.Accepted.IsZero() || view.Record.Accepted == view.Record.Evidence {
		return e, nil
	}
	accepted, err := s.bootLogOf(view.Record.Accepted)
	if err != nil || accepted == nil {
		return e, err
	}
	found, err := s.bootLogOf(view.Record.Evidence)
	if err != nil || found == nil {
		return e, err
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
func (s *Service) bootLogOf(digest node.Digest) (*eventlog.Log, error) {
	file, err := s.readEvidence(digest)
	if err != nil {
		return nil, err
	}
	raw, ok := file.Blobs[file.Record.BootLog]
	if !ok {
		return nil, nil
	}
	log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		return nil, nil
	}
	return log, nil
}

// remedyOf says what to do about a difference.
func remedyOf(d eventlog.Difference) string {
	if d.B == "" {
		return "find out why the host no longer measures this, and boot it as before"
	}
	return "if the change was meant: quorate policy learn the new boot, review it, and approve it; if not, boot the host as before"
}
