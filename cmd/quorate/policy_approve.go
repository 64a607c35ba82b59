package main

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/policy"
)

// approvalView is what `policy approve` prints.
type approvalView struct {
	Policy    string `json:"policy" doc:"name"`
	Version   int    `json:"version"`
	Digest    string `json:"digest" doc:"of the set that was signed"`
	By        string `json:"by" doc:"the operator whose key signed"`
	Approvals int    `json:"approvals" doc:"members who approved so far"`
	Needed    int    `json:"needed"`
	Active    bool   `json:"active" doc:"in force now"`
}

func (c *cli) policyApprove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "approve DIR",
		Short: "Sign a policy with your key and hand it to the verifier",
		Long: `Approve signs the digest of a policy with its manifests, and your consortium's
name, with your operator key, and sends policy and signature to the verifier. The
policy takes effect when operators of enough different members approved exactly
the same bytes; every node is challenged at once then.`,
		Example: "  quorate policy lint policy && quorate policy approve policy",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, manifests, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			var v approvalView
			err = c.online(cmd, "asking", func(ctx context.Context, s *session) error {
				v, err = approve(ctx, s, set, manifests)
				return err
			})
			if err != nil {
				return err
			}
			return c.show(v, func() { c.printApproval(v) })
		},
	}
	return shaped(cmd, approvalView{})
}

func approve(ctx context.Context, s *session, set *policy.Set, manifests []*policy.Manifest) (approvalView, error) {
	approval, err := note.Sign(&note.Note{Text: set.ApprovalText(s.consortium.Name)}, s.key)
	if err != nil {
		return approvalView{}, err
	}
	files := [][]byte{set.Policy().Print()}
	for _, m := range manifests {
		files = append(files, m.Print())
	}
	got, err := sendPolicy(ctx, s, approval, files)
	return approvalView{
		Policy: set.Name(), Version: set.Policy().Version, Digest: digestOf(set), By: s.key.Name(),
		Approvals: int(got.GetApprovals()), Needed: int(got.GetNeeded()), Active: got.GetActive(),
	}, err
}

// sendPolicy hands over an approval with the files that it is for.
func sendPolicy(ctx context.Context, s *session, approval []byte, files [][]byte) (*pb.ApprovePolicyResponse, error) {
	stream, err := s.admin.ApprovePolicy(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Approval{Approval: approval}})
	for part := range parts.Split(files...) {
		if err != nil {
			break // why, the answer says
		}
		err = stream.Send(&pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Part{Part: part}})
	}
	return stream.CloseAndRecv()
}

func (c *cli) printApproval(v approvalView) {
	c.say("%s approved policy %s version %d, %s.", v.By, v.Policy, v.Version, v.Digest)
	if v.Active {
		c.say("It is in force. Every node is challenged now: quorate node list")
		return
	}
	c.say("%d of %d members have approved it. Send the folder to another member's operator for `quorate policy approve`.", v.Approvals, v.Needed)
}
