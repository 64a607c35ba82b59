package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

type administration struct {
	pb.UnimplementedAdministrationServiceServer
	server *Server
}

// ListNodes returns every node, or those in one state.
func (a *administration) ListNodes(ctx context.Context, request *pb.ListNodesRequest) (*pb.ListNodesResponse, error) {
	nodes, err := a.server.service.Nodes(ctx)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	if request.State != "" {
		if _, err := node.ParseState(request.State); err != nil {
			return nil, malformed("%v", err)
		}
	}
	out := new(pb.ListNodesResponse)
	for _, n := range nodes {
		if request.State == "" || request.State == n.Status.String() {
			out.Nodes = append(out.Nodes, nodeMessage(n))
		}
	}
	return out, nil
}

// GetNode returns one node.
func (a *administration) GetNode(ctx context.Context, request *pb.GetNodeRequest) (*pb.GetNodeResponse, error) {
	n, err := a.server.service.Node(ctx, request.NodeId)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.GetNodeResponse{Node: nodeMessage(n)}, nil
}

// ExplainNode returns a node and what differs from its last accepted boot.
func (a *administration) ExplainNode(ctx context.Context, request *pb.ExplainNodeRequest) (*pb.ExplainNodeResponse, error) {
	e, err := a.server.service.Explain(ctx, request.NodeId)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	out := &pb.ExplainNodeResponse{Node: nodeMessage(e.Node), AcceptedEvidence: e.Accepted}
	out.AcceptedPolicy, out.AcceptedAt = e.Policy, timestampOf(e.Judged)
	for _, a := range e.Approvals {
		out.Approvals = append(out.Approvals, &pb.PolicyApproval{Operator: a.Operator, At: timestampOf(a.At)})
	}
	for _, m := range e.Missing {
		out.Missing = append(out.Missing, &pb.Missing{Check: string(m.Check), Kind: string(m.Kind), Found: m.Found, Manifests: m.Manifests})
	}
	for _, d := range e.Differences {
		out.Differences = append(out.Differences, &pb.BootDifference{
			Where: d.Where, What: d.What, Accepted: d.Accepted, Found: d.Found, Remedy: d.Remedy,
		})
	}
	return out, nil
}

// InviteNode makes a single-use join token.
func (a *administration) InviteNode(ctx context.Context, request *pb.InviteNodeRequest) (*pb.InviteNodeResponse, error) {
	token, notAfter, err := a.server.service.Invite(ctx, callerOf(ctx).operator, verifier.Invitation{
		Node: request.NodeId, Role: request.Role, PreApprove: request.PreApprove,
		Valid: time.Duration(request.ValidSeconds) * time.Second,
	})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.InviteNodeResponse{JoinToken: token, NotAfter: timestamppb.New(notAfter)}, nil
}

// ApproveNode approves a pending node's enrolment.
func (a *administration) ApproveNode(ctx context.Context, request *pb.ApproveNodeRequest) (*pb.ApproveNodeResponse, error) {
	by := callerOf(ctx).operator
	n, err := a.server.service.Operate(ctx, by, request.NodeId, node.Approved{By: by.Name()})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.ApproveNodeResponse{Node: nodeMessage(n)}, nil
}

// SuspendNode suspends a node until an operator resumes it.
func (a *administration) SuspendNode(ctx context.Context, request *pb.SuspendNodeRequest) (*pb.SuspendNodeResponse, error) {
	by := callerOf(ctx).operator
	n, err := a.server.service.Operate(ctx, by, request.NodeId, node.SuspendedByOperator{By: by.Name(), Reason: request.Reason})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.SuspendNodeResponse{Node: nodeMessage(n)}, nil
}

// ResumeNode lifts a suspension; the node then has to prove itself again.
func (a *administration) ResumeNode(ctx context.Context, request *pb.ResumeNodeRequest) (*pb.ResumeNodeResponse, error) {
	by := callerOf(ctx).operator
	n, err := a.server.service.Operate(ctx, by, request.NodeId, node.Resumed{By: by.Name(), Reason: request.Reason})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.ResumeNodeResponse{Node: nodeMessage(n)}, nil
}

// RetireNode retires a node for ever.
func (a *administration) RetireNode(ctx context.Context, request *pb.RetireNodeRequest) (*pb.RetireNodeResponse, error) {
	by := callerOf(ctx).operator
	n, err := a.server.service.Operate(ctx, by, request.NodeId, node.RetiredByOperator{By: by.Name(), Reason: request.Reason})
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.RetireNodeResponse{Node: nodeMessage(n)}, nil
}

// maxPolicy bounds the files of one policy set together, in bytes.
const maxPolicy = policy.MaxManifest + 64<<20

// ApprovePolicy records the caller's approval of a policy with its manifests.
func (a *administration) ApprovePolicy(stream grpc.ClientStreamingServer[pb.ApprovePolicyRequest, pb.ApprovePolicyResponse]) error {
	proposal, err := receivePolicy(stream)
	if err != nil {
		return err
	}
	r, err := a.server.service.ApprovePolicy(stream.Context(), callerOf(stream.Context()).operator, proposal)
	if err != nil {
		return a.server.statusOf(err)
	}
	return stream.SendAndClose(&pb.ApprovePolicyResponse{
		Digest: r.Digest, Approvals: uint32(r.Approvals), Needed: uint32(r.Needed), Active: r.Active,
	})
}

// receivePolicy receives an approval and the files that it is for.
func receivePolicy(stream grpc.ClientStreamingServer[pb.ApprovePolicyRequest, pb.ApprovePolicyResponse]) (p verifier.PolicyProposal, err error) {
	first, err := stream.Recv()
	if err != nil {
		return p, err
	}
	if p.Approval = first.GetApproval(); len(p.Approval) == 0 {
		return p, malformed("want an approval first")
	}
	files := parts.Joiner{Limit: maxPolicy}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p, err
		}
		if err := files.Add(m.GetPart()); err != nil {
			return p, malformed("%v", err)
		}
	}
	if p.Policy, p.Manifests, err = files.Files(); err != nil {
		return p, malformed("%v", err)
	}
	return p, nil
}

// GetPolicy streams the active policy with its manifests.
func (a *administration) GetPolicy(request *pb.GetPolicyRequest, stream grpc.ServerStreamingServer[pb.GetPolicyResponse]) error {
	set, err := a.server.service.Policy(stream.Context(), request.Name)
	if err != nil {
		return a.server.statusOf(err)
	}
	if err := stream.Send(&pb.GetPolicyResponse{Step: &pb.GetPolicyResponse_Digest{Digest: set.Digest}}); err != nil {
		return err
	}
	for part := range parts.Split(append([][]byte{set.Policy}, set.Manifests...)...) {
		if err := stream.Send(&pb.GetPolicyResponse{Step: &pb.GetPolicyResponse_Part{Part: part}}); err != nil {
			return err
		}
	}
	return nil
}

// partBytes is the size of one message of a streamed file.
const partBytes = 1 << 20

// GetEvidence streams an evidence file from the archive.
func (a *administration) GetEvidence(request *pb.GetEvidenceRequest, stream pb.AdministrationService_GetEvidenceServer) error {
	file, err := a.server.service.EvidenceFile(stream.Context(), request.NodeId, request.Digest)
	if err != nil {
		return a.server.statusOf(err)
	}
	for len(file) > 0 {
		part := file[:min(len(file), partBytes)]
		if err := stream.Send(&pb.GetEvidenceResponse{Data: part}); err != nil {
			return err
		}
		file = file[len(part):]
	}
	return nil
}

// ReadJournal streams journal entries; the first message has the checkpoint
// that they are under.
func (a *administration) ReadJournal(request *pb.ReadJournalRequest, stream pb.AdministrationService_ReadJournalServer) error {
	checkpoint, entries, err := a.server.service.ReadJournal(stream.Context(), request.Start, request.Limit)
	if err != nil {
		return a.server.statusOf(err)
	}
	if err := stream.Send(&pb.ReadJournalResponse{Checkpoint: checkpoint}); err != nil {
		return err
	}
	index := request.Start
	for entry, err := range entries {
		if err != nil {
			return a.server.statusOf(err)
		}
		if err := stream.Send(&pb.ReadJournalResponse{Index: index, Entry: entry}); err != nil {
			return err
		}
		index++
	}
	return nil
}

// GetStatus says how the verifier is.
func (a *administration) GetStatus(ctx context.Context, _ *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	st, err := a.server.service.Status(ctx)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	out := &pb.GetStatusResponse{
		Verifier: st.Verifier, Consortium: st.Consortium, Ledger: st.Ledger, Version: st.Version,
		Now: timestamppb.New(st.Now), JournalSize: st.JournalSize, Policy: st.Policy,
		States: make(map[string]uint32), Sessions: uint32(st.Sessions), Alarms: st.Alarms,
	}
	for state, n := range st.States {
		out.States[state.String()] = uint32(n)
	}
	return out, nil
}

func nodeMessage(n verifier.NodeView) *pb.Node {
	r := n.Record
	return &pb.Node{
		NodeId: r.ID, State: n.Status.String(), Role: r.Role, HostId: r.HostID,
		TpmClass: r.TPMClass, TpmVendor: r.TPMVendor, AkName: hex.EncodeToString(r.AKName), NodeKey: r.NodeKey.String(),
		ConsensusKey: r.ConsensusKey, Epoch: r.Epoch.String(), Reason: r.Reason,
		Enrolled: timestampOf(r.Enrolled), Changed: timestampOf(r.Changed), LastEvidence: timestampOf(r.LastEvidence),
		NotAfter: timestampOf(r.NotAfter), Serial: r.Serial, Evidence: r.Evidence.String(), Policy: r.Policy,
		Findings: findingMessages(r.Findings), Approved: r.Approved(), Connected: n.Connected,
	}
}

func timestampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func findingMessages(findings []verdict.Finding) []*pb.Finding {
	out := make([]*pb.Finding, 0, len(findings))
	for _, f := range findings {
		out = append(out, &pb.Finding{
			Check: string(f.Check), Severity: f.Severity.String(), Where: f.Where, Got: f.Got, Want: f.Want,
			Message: f.Message, Remedy: f.Remedy,
		})
	}
	return out
}
