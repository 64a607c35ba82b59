package rpc

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/verifier"
)

// receive waits for a message until the deadline, or until the verifier ends the
// session. Recv itself ends only with the stream, so it runs beside; when the
// handler returns, the stream ends and Recv with it.
func receive(stream pb.AttestationService_AttestServer, session *verifier.Session, deadline time.Time) (*pb.AttestRequest, error) {
	type received struct {
		message *pb.AttestRequest
		err     error
	}
	got := make(chan received, 1)
	go func() {
		m, err := stream.Recv()
		got <- received{m, err}
	}()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var ended <-chan struct{} // none before the hello
	if session != nil {
		ended = session.Ended()
	}
	select {
	case r := <-got:
		return r.message, r.err
	case <-ended:
		return nil, session.Reason()
	case <-timer.C:
		return nil, status.Error(codes.DeadlineExceeded, "nothing was received in time")
	}
}

// chunks returns the parts of a long IMA list. All of them have to arrive within
// the limit from the first call on: a list occupies one of few places.
func chunks(stream pb.AttestationService_AttestServer, session *verifier.Session, limit time.Duration) func() ([]byte, error) {
	var deadline time.Time
	return func() ([]byte, error) {
		if deadline.IsZero() {
			deadline = time.Now().Add(limit)
		}
		m, err := receive(stream, session, deadline)
		if err != nil {
			return nil, err
		}
		chunk := m.GetImaChunk()
		if chunk == nil || len(chunk.Data) == 0 {
			return nil, malformed("want the rest of the IMA list")
		}
		return chunk.Data, nil
	}
}
