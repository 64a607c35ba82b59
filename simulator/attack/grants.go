package attack

import (
	"context"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier/verdict"
)

// grants are requests to release a sealed consensus key that an enrolled host must
// not make. A verifier without a grant key says that first.
func (r *run) grants() []attempt {
	no := []string{
		string(verdict.GrantKey), string(verdict.GrantNoKey),
		string(verdict.NodeNotApproved), string(verdict.NodeUnproven), string(verdict.NodeSuspended), string(verdict.NodeLate),
	}
	malformed := []string{string(verdict.SessionMalformed)}
	nonce := make([]byte, 32)
	return []attempt{
		r.grant("a nonce that could come again", "A146", malformed, &pb.GrantRequest{Nonce: nonce[:1]}),
		r.grant("a nonce of a kilobyte", "A146", malformed, &pb.GrantRequest{Nonce: make([]byte, 1<<10)}),
		r.grant("another host's consensus key", "A174", no, &pb.GrantRequest{
			Nonce: nonce, ConsensusKey: "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		}),
		r.grant("no consensus key", "A168", no, &pb.GrantRequest{Nonce: nonce}),
	}
}

func (r *run) grant(name, row string, want []string, request *pb.GrantRequest) attempt {
	return attempt{group: "grants", name: name, attacks: []string{row}, want: want, try: func(ctx context.Context) (answer, error) {
		own, err := r.host.certificate()
		if err != nil {
			return answer{}, err
		}
		conn, err := r.dial(r.verifier.Attest, own)
		if err != nil {
			return answer{}, err
		}
		defer conn.Close()
		_, err = pb.NewAttestationServiceClient(conn).Grant(ctx, request)
		return refusalOf(err)
	}}
}
