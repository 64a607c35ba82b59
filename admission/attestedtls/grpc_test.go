package attestedtls

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// serve runs a gRPC server with the host's credentials, which tells the names of
// the nodes that call.
func (h *host) serve() (address string, callers chan string) {
	h.n.t.Helper()
	callers = make(chan string, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(h.n.t, err)
	server := grpc.NewServer(grpc.Creds(h.Credentials()), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if p, ok := peer.FromContext(ctx); ok {
				if info, ok := p.AuthInfo.(AuthInfo); ok {
					callers <- info.Admission.Node()
				}
			}
			return next(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	h.n.t.Cleanup(server.Stop)
	return l.Addr().String(), callers
}

// client returns a client with the host's credentials.
func (h *host) client(address string) grpc_health_v1.HealthClient {
	h.n.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(h.Credentials()))
	check(h.n.t, err)
	h.n.t.Cleanup(func() { _ = conn.Close() })
	return grpc_health_v1.NewHealthClient(conn)
}

func ask(t *testing.T, c grpc_health_v1.HealthClient) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func TestGRPC(t *testing.T) {
	n := newNetwork(t)
	server, node := n.host("server"), n.host("node")
	address, callers := server.serve()
	short := node.node
	short.NotAfter = start.Add(2 * time.Second) // connections look at the clock again then
	node.renew(short)
	client := node.client(address)
	check(t, ask(t, client))
	if got := <-callers; got != "org-a/node" {
		t.Errorf("called by %q", got)
	}
	n.set(short.NotAfter)
	server.reported(Ended)
	if err := ask(t, client); status.Code(err) != codes.Unavailable {
		t.Errorf("after its admission: %v", err)
	}
	if err := ask(t, n.hostWith("node", node.key).client(address)); err != nil {
		t.Errorf("with a longer admission: %v", err)
	}
	stranger := n.host("stranger")
	stranger.bundle, _ = server.current()
	if err := ask(t, stranger.client(address)); status.Code(err) != codes.Unavailable {
		t.Errorf("a stranger: %v", err)
	}
}
