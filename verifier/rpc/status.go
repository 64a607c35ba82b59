package rpc

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// statusOf is the one place where errors become gRPC codes. An error that it
// does not know becomes Internal without detail; the detail goes to the log.
func (s *Server) statusOf(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if code, text, ok := known(err); ok {
		if code == codes.Unavailable {
			s.log.Error("cannot record", "error", err)
		}
		return status.Error(code, text)
	}
	s.log.Error("call failed", "error", err)
	return status.Error(codes.Internal, "internal error; the verifier's log says more")
}

func known(err error) (codes.Code, string, bool) {
	var refusal *verdict.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusalCode(refusal.Check), refusalText(refusal), true
	case errors.Is(err, verifier.ErrUnavailable):
		return codes.Unavailable, verifier.ErrUnavailable.Error(), true // the cause names paths; it is in the log
	case errors.Is(err, verifier.ErrInvalid):
		return codes.InvalidArgument, err.Error(), true
	case errors.Is(err, verifier.ErrConflict), errors.Is(err, store.ErrConflict):
		return codes.FailedPrecondition, err.Error(), true
	case errors.Is(err, store.ErrNotFound):
		return codes.NotFound, "not found", true
	case errors.Is(err, store.ErrExists):
		return codes.AlreadyExists, err.Error(), true
	case errors.Is(err, context.Canceled), errors.Is(err, io.EOF):
		return codes.Canceled, "canceled", true
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded, "took too long", true
	case errors.Is(err, verifier.ErrSuperseded):
		return codes.Aborted, err.Error(), true
	}
	return codes.OK, "", false
}

// refusalCode maps a check to a code. Clients act on the check's name; the code
// is for those that know only gRPC.
func refusalCode(check verdict.CheckID) codes.Code {
	name := string(check)
	switch {
	case strings.HasSuffix(name, ".exists"):
		return codes.AlreadyExists
	case strings.HasSuffix(name, ".size"), strings.HasSuffix(name, ".malformed"):
		return codes.InvalidArgument
	case strings.HasPrefix(name, "enroll."), strings.HasPrefix(name, "session."):
		return codes.PermissionDenied
	}
	return codes.FailedPrecondition
}

// refusalText is the finding on one line with its remedy.
func refusalText(r *verdict.Refusal) string {
	if r.Remedy == "" {
		return r.Error()
	}
	return r.Error() + "; " + r.Remedy
}
