package rpc

import (
	"context"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

type admissions struct {
	pb.UnimplementedAdmissionServiceServer
	server *Server
}

// GetRoster returns the current signed roster.
func (a *admissions) GetRoster(ctx context.Context, _ *pb.GetRosterRequest) (*pb.GetRosterResponse, error) {
	roster, err := a.server.service.Roster(ctx)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.GetRosterResponse{Roster: roster.Note}, nil
}

// Watch sends the current roster and every later one, until the caller leaves.
func (a *admissions) Watch(request *pb.WatchRequest, stream pb.AdmissionService_WatchServer) error {
	ctx := stream.Context()
	after := request.After
	for {
		roster, err := a.server.service.NextRoster(ctx, after)
		if err != nil {
			return a.server.statusOf(err)
		}
		if err := stream.Send(&pb.WatchResponse{Roster: roster.Note}); err != nil {
			return err
		}
		after = roster.Number
		if _, err := a.server.authorize(ctx, pb.AdmissionService_Watch_FullMethodName); err != nil {
			return err
		}
	}
}

// GetAdmission returns a node's standing admission with its log proof.
func (a *admissions) GetAdmission(ctx context.Context, request *pb.GetAdmissionRequest) (*pb.GetAdmissionResponse, error) {
	note, proof, err := a.server.service.Admission(ctx, request.NodeId)
	if err != nil {
		return nil, a.server.statusOf(err)
	}
	return &pb.GetAdmissionResponse{Admission: note, Proof: proof}, nil
}
