package attestedtls

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/quorate/quorate/admission"
)

// Credentials returns the endpoint as gRPC's transport credentials, for clients
// and servers alike. A handler finds its peer's admission in the AuthInfo of its
// peer.
func (e *Endpoint) Credentials() credentials.TransportCredentials { return transport{e} }

// AuthInfo is what gRPC knows of an attested peer.
type AuthInfo struct {
	credentials.CommonAuthInfo
	Admission *admission.Admission
}

// AuthType implements credentials.AuthInfo.
func (AuthInfo) AuthType() string { return "attestedtls" }

type transport struct{ endpoint *Endpoint }

// ClientHandshake implements credentials.TransportCredentials. The authority is
// a name, and names play no part.
func (t transport) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return attested(t.endpoint.Client(ctx, raw))
}

// ServerHandshake implements credentials.TransportCredentials.
func (t transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	return attested(t.endpoint.Server(ctx, raw))
}

func attested(c *Conn, err error) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		return nil, nil, err
	}
	return c, AuthInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, c.peer}, nil
}

// Info implements credentials.TransportCredentials.
func (transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (t transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName implements credentials.TransportCredentials. There is no
// name to override.
func (transport) OverrideServerName(string) error { return nil }
