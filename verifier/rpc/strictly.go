package rpc

import (
	"context"
	"slices"

	"google.golang.org/grpc"
)

// frame takes a message through gRPC with the codec's complaint beside it. gRPC
// calls every error of a codec Internal; a peer's malformed message is not.
type frame struct {
	message any
	err     error
}

// strictly registers services whose malformed requests are refused as
// InvalidArgument.
type strictly struct{ server *grpc.Server }

// RegisterService implements grpc.ServiceRegistrar.
func (s strictly) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods, d.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i, m := range d.Methods {
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, next grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(srv, ctx, func(v any) error { return framed(decode, v) }, next)
		}
	}
	for i, m := range d.Streams {
		d.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			return m.Handler(srv, framedStream{stream})
		}
	}
	s.server.RegisterService(&d, impl)
}

func framed(decode func(any) error, v any) error {
	f := frame{message: v}
	if err := decode(&f); err != nil {
		return err
	}
	if f.err != nil {
		return malformed("%v", f.err)
	}
	return nil
}

type framedStream struct{ grpc.ServerStream }

// RecvMsg receives one message.
func (s framedStream) RecvMsg(v any) error { return framed(s.ServerStream.RecvMsg, v) }
