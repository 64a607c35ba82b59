package main

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/verdict"
)

// nodeView is a node as people and scripts see it.
type nodeView struct {
	ID           string            `json:"id"`
	State        string            `json:"state" doc:"pending, admitted, late, suspended, quarantined or retired"`
	Reason       string            `json:"reason,omitempty" doc:"why it is in this state"`
	Role         string            `json:"role"`
	Approved     bool              `json:"approved" doc:"by enough operators"`
	Connected    bool              `json:"connected" doc:"its agent has a session now"`
	Host         string            `json:"host" doc:"host id: which TPM it is"`
	TPMClass     string            `json:"tpmClass" doc:"discrete, firmware or virtual"`
	TPMVendor    string            `json:"tpmVendor"`
	AKName       string            `json:"akName"`
	NodeKey      string            `json:"nodeKey" doc:"digest of the node key"`
	ConsensusKey string            `json:"consensusKey,omitempty"`
	Epoch        string            `json:"epoch" doc:"TPM boot epoch of the last evidence, resetCount/restartCount"`
	Enrolled     *time.Time        `json:"enrolled,omitempty"`
	Changed      *time.Time        `json:"changed,omitempty" doc:"last change of state"`
	LastEvidence *time.Time        `json:"lastEvidence,omitempty"`
	Serial       uint64            `json:"serial,omitempty" doc:"of the last admission"`
	NotAfter     *time.Time        `json:"notAfter,omitempty" doc:"end of the last admission"`
	Evidence     string            `json:"evidence,omitempty" doc:"digest of the last archived evidence"`
	Policy       string            `json:"policy,omitempty" doc:"policy of the last verdict"`
	Findings     []verdict.Finding `json:"findings" doc:"of the last verdict; the first is the first to mend"`
}

func nodeOf(n *pb.Node) nodeView {
	return nodeView{
		ID: n.GetNodeId(), State: n.GetState(), Reason: n.GetReason(), Role: n.GetRole(), Approved: n.GetApproved(), Connected: n.GetConnected(),
		Host: n.GetHostId(), TPMClass: n.GetTpmClass(), TPMVendor: n.GetTpmVendor(), AKName: n.GetAkName(), NodeKey: n.GetNodeKey(),
		ConsensusKey: n.GetConsensusKey(), Epoch: n.GetEpoch(), Enrolled: timeOf(n.GetEnrolled()), Changed: timeOf(n.GetChanged()),
		LastEvidence: timeOf(n.GetLastEvidence()), Serial: n.GetSerial(), NotAfter: timeOf(n.GetNotAfter()), Evidence: n.GetEvidence(),
		Policy: n.GetPolicy(), Findings: findingsOf(n.GetFindings()),
	}
}

func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime().UTC()
	return &at
}

func findingsOf(list []*pb.Finding) []verdict.Finding {
	out := make([]verdict.Finding, 0, len(list))
	for _, f := range list {
		v := verdict.Finding{
			Check: verdict.CheckID(f.GetCheck()), Where: f.GetWhere(), Got: f.GetGot(), Want: f.GetWant(),
			Message: f.GetMessage(), Remedy: f.GetRemedy(),
		}
		if f.GetSeverity() == verdict.Warn.String() {
			v.Severity = verdict.Warn
		}
		out = append(out, v)
	}
	return out
}

// stateStyle is the colour of a state.
func stateStyle(state string) style {
	switch state {
	case "admitted":
		return green
	case "late", "pending":
		return yellow
	case "suspended", "quarantined":
		return red
	}
	return plain
}

// findingBlock prints one finding: what happened, which check, got, want, where,
// remedy.
func (c *cli) findingBlock(indent string, f verdict.Finding) {
	title := f.Message
	if title == "" {
		known, _ := verdict.Lookup(f.Check)
		title = known.Title
	}
	colour := red
	if f.Severity == verdict.Warn {
		colour = yellow
	}
	l := labels{c, indent, 6}
	l.paint(f.Severity.String(), colour, title)
	l.row("check", string(f.Check))
	l.row("where", f.Where)
	l.row("got", f.Got)
	l.row("want", f.Want)
	l.row("remedy", f.Remedy)
}
