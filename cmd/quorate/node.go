package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

func (c *cli) nodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Invite, approve, watch, explain, suspend and retire nodes",
		Long: `A node is one host: one TPM, one boot at a time. It is invited with a join token,
enrolled by its agent, approved by an operator, admitted when its evidence
passes the policy, and suspended when it does not.

States: pending (enrolled, waits for approval or for passing evidence), admitted,
late (owes fresh evidence), suspended (evidence refused, or an operator said so),
quarantined (its identity is in doubt), retired (for ever).`,
		Args: cobra.ArbitraryArgs, RunE: group,
	}
	cmd.AddCommand(c.nodeList(), c.nodeShow(), c.nodeExplain(), c.nodeInvite(), c.nodeApprove(), c.nodeSuspend(), c.nodeResume(), c.nodeRetire())
	return cmd
}

// nodesView is what `node list` prints.
type nodesView struct {
	Nodes []nodeView `json:"nodes"`
}

func (c *cli) nodeList() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the nodes and how each stands",
		Example: "  quorate node list\n  quorate node list --state suspended --json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list nodesView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				r, err := s.admin.ListNodes(ctx, &pb.ListNodesRequest{State: state})
				list.Nodes = []nodeView{}
				for _, n := range r.GetNodes() {
					list.Nodes = append(list.Nodes, nodeOf(n))
				}
				return err
			})
			if err != nil {
				return err
			}
			return c.show(list, func() { c.printNodes(list.Nodes, time.Now()) })
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only nodes in this `state`")
	return shaped(cmd, nodesView{})
}

func (c *cli) printNodes(nodes []nodeView, now time.Time) {
	if len(nodes) == 0 {
		c.say("No nodes. Invite one: quorate node invite MEMBER/NAME")
		return
	}
	var t table
	t.head("NODE", "STATE", "EVIDENCE", "ADMITTED FOR", "TPM", "WHY")
	for _, n := range nodes {
		t.add(cell{n.ID, bold}, cell{n.State, stateStyle(n.State)}, cell{ago(n.LastEvidence, now), plain},
			cell{remaining(n, now), plain}, cell{strings.TrimSpace(n.TPMClass + " " + n.TPMVendor), plain}, cell{why(n), plain})
	}
	t.print(c)
}

// remaining is how long a standing admission still lasts.
func remaining(n nodeView, now time.Time) string {
	if n.State != "admitted" || n.NotAfter == nil || !n.NotAfter.After(now) {
		return "-"
	}
	return span(n.NotAfter.Sub(now))
}

// why is the shortest reason that tells an operator where to look.
func why(n nodeView) string {
	if n.State == "admitted" {
		return ""
	}
	text := n.Reason
	if len(n.Findings) > 0 {
		f := n.Findings[0]
		text = string(f.Check) + ": " + cmp.Or(f.Message, n.Reason)
	}
	if short := []rune(text); len(short) > 90 {
		return string(short[:89]) + "…"
	}
	return text
}

func (c *cli) nodeShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NODE",
		Short:   "Show everything about a node",
		Example: "  quorate node show org-a/validator-1",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var n nodeView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				r, err := s.admin.GetNode(ctx, &pb.GetNodeRequest{NodeId: args[0]})
				n = nodeOf(r.GetNode())
				return notFound(err, args[0])
			})
			if err != nil {
				return err
			}
			return c.show(n, func() { c.printNode(n, time.Now()) })
		},
	}
	return shaped(cmd, nodeView{})
}

func (c *cli) printNode(n nodeView, now time.Time) {
	l := labels{c, "", 13}
	l.paint("node", bold, n.ID)
	l.paint("state", stateStyle(n.State), n.State)
	l.row("since", strings.TrimSpace(stamp(n.Changed)+"  "+ago(n.Changed, now)))
	l.row("reason", n.Reason)
	l.row("role", n.Role)
	l.row("approved", yesNo(n.Approved))
	l.row("connected", yesNo(n.Connected))
	l.row("TPM", n.TPMClass+" "+n.TPMVendor)
	l.row("host id", n.Host)
	l.row("AK name", n.AKName)
	l.row("node key", n.NodeKey)
	l.row("consensus key", n.ConsensusKey)
	l.row("boot epoch", n.Epoch)
	l.row("enrolled", stamp(n.Enrolled))
	l.row("last evidence", strings.TrimSpace(stamp(n.LastEvidence)+"  "+ago(n.LastEvidence, now)))
	l.row("evidence", n.Evidence)
	l.row("policy", n.Policy)
	if n.Serial > 0 {
		c.say("%-13s  serial %d, until %s", "admission", n.Serial, stamp(n.NotAfter))
	}
	for _, f := range n.Findings {
		c.say("")
		c.findingBlock("", f)
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
