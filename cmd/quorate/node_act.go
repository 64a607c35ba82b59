package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// notFound says which node there is none of.
func notFound(err error, node string) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	return refused(fmt.Errorf("the verifier has no node %q", node), "quorate node list shows the nodes; one appears when its agent has joined")
}

// inviteView is what `node invite` prints.
type inviteView struct {
	Node      string     `json:"node"`
	JoinToken string     `json:"joinToken" doc:"single use, shown only now"`
	NotAfter  *time.Time `json:"notAfter"`
	TokenFile string     `json:"tokenFile,omitempty" doc:"where --token-file wrote it"`
}

func (c *cli) nodeInvite() *cobra.Command {
	r := &pb.InviteNodeRequest{}
	var valid time.Duration
	var file string
	cmd := &cobra.Command{
		Use:   "invite NODE",
		Short: "Make a single-use join token for a new node",
		Long: `Invite makes the token with which one host can enrol under a node id. The token
is shown once; the verifier keeps only its hash. Enrolling does not admit: an
operator approves the node (or --pre-approve says so now), and its evidence has
to pass the policy.`,
		Example: "  quorate node invite org-a/validator-1\n  quorate node invite org-a/validator-2 --pre-approve --valid 2h --token-file token.txt",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.NodeId, r.ValidSeconds = args[0], uint32(valid/time.Second)
			if valid < time.Second || valid > 1<<31*time.Second {
				return usagef("for example --valid 24h", "an invitation cannot be valid for %s", valid)
			}
			var out inviteView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				got, err := s.admin.InviteNode(ctx, r)
				out = inviteView{Node: args[0], JoinToken: got.GetJoinToken(), NotAfter: timeOf(got.GetNotAfter()), TokenFile: file}
				return err
			})
			if err != nil {
				return err
			}
			if file != "" {
				if err := os.WriteFile(file, []byte(out.JoinToken+"\n"), 0o600); err != nil {
					return unknown(fmt.Errorf("%w; the token is: %s", err, out.JoinToken), "")
				}
			}
			return c.show(out, func() { c.printInvite(out) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Role, "role", "validator", "`role` of the node on the ledger")
	f.DurationVar(&valid, "valid", 24*time.Hour, "how long the token can be used")
	f.BoolVar(&r.PreApprove, "pre-approve", false, "approve the node already; use it only if the token cannot go astray")
	f.StringVar(&file, "token-file", "", "also write the token to this `file`, readable by you only")
	return shaped(cmd, inviteView{})
}

func (c *cli) printInvite(v inviteView) {
	l := labels{c, "", 11}
	l.paint("join token", bold, v.JoinToken)
	l.row("for", v.Node)
	l.row("valid until", stamp(v.NotAfter))
	c.say("\nIt is shown only now. On the host, with the token in a file of mode 0600:\n  quorate-agent join --node %s --token-file token.txt", v.Node)
}

// act is a command that changes one node and prints it.
func (c *cli) act(use, short, long, done string, call func(context.Context, *session, string) (*pb.Node, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var n nodeView
			err := c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				got, err := call(ctx, s, args[0])
				n = nodeOf(got)
				return notFound(err, args[0])
			})
			if err != nil {
				return err
			}
			return c.show(n, func() {
				fmt.Fprintf(c.out, "%s. %s is now %s%s\n", done, c.paint(bold, n.ID), c.paint(stateStyle(n.State), n.State), printable(because(n)))
			})
		},
	}
	return shaped(cmd, nodeView{})
}

func because(n nodeView) string {
	if n.Reason == "" {
		return ""
	}
	return ": " + n.Reason
}

// reasoned adds the required --reason.
func reasoned(cmd *cobra.Command, reason *string) *cobra.Command {
	cmd.Flags().StringVar(reason, "reason", "", "`why`, one line; it goes into the journal")
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *reason == "" {
			return usagef(`for example: --reason "moved to another rack"`, "no --reason")
		}
		return inner(cmd, args)
	}
	return cmd
}

func (c *cli) nodeApprove() *cobra.Command {
	cmd := c.act("approve NODE", "Approve a node that has enrolled",
		`Approve says that this host may be a node of its member. Compare its host id
first with what the host itself says: quorate-agent inspect, on that host.`, "Approved",
		func(ctx context.Context, s *session, id string) (*pb.Node, error) {
			r, err := s.admin.ApproveNode(ctx, &pb.ApproveNodeRequest{NodeId: id})
			return r.GetNode(), err
		})
	cmd.Example = "  quorate node approve org-a/validator-1"
	return cmd
}

func (c *cli) nodeSuspend() *cobra.Command {
	var reason string
	cmd := c.act("suspend NODE --reason TEXT", "Suspend a node until an operator resumes it",
		`Suspend takes a node's admission away at once: the next roster bars it, and gates
that follow the roster take its power away.`, "Suspended",
		func(ctx context.Context, s *session, id string) (*pb.Node, error) {
			r, err := s.admin.SuspendNode(ctx, &pb.SuspendNodeRequest{NodeId: id, Reason: reason})
			return r.GetNode(), err
		})
	cmd.Example = `  quorate node suspend org-a/validator-1 --reason "maintenance of the rack"`
	return reasoned(cmd, &reason)
}

func (c *cli) nodeResume() *cobra.Command {
	var reason string
	cmd := c.act("resume NODE --reason TEXT", "Lift a suspension; the node then has to prove itself again",
		`Resume lifts a suspension. Everything the host booted and ran is judged again; it
is admitted when all of it passes. A quarantine takes two operators.`, "Resumed",
		func(ctx context.Context, s *session, id string) (*pb.Node, error) {
			r, err := s.admin.ResumeNode(ctx, &pb.ResumeNodeRequest{NodeId: id, Reason: reason})
			return r.GetNode(), err
		})
	cmd.Example = `  quorate node resume org-a/validator-1 --reason "policy now lists the new kernel"`
	return reasoned(cmd, &reason)
}

func (c *cli) nodeRetire() *cobra.Command {
	var reason string
	cmd := c.act("retire NODE --reason TEXT", "Retire a node for ever",
		`Retire ends a node. Its id and its TPM's history stay in the journal; the same TPM
enrols again only with the approval of two operators.`, "Retired",
		func(ctx context.Context, s *session, id string) (*pb.Node, error) {
			r, err := s.admin.RetireNode(ctx, &pb.RetireNodeRequest{NodeId: id, Reason: reason})
			return r.GetNode(), err
		})
	cmd.Example = `  quorate node retire org-a/validator-1 --reason "host decommissioned"`
	return reasoned(cmd, &reason)
}
