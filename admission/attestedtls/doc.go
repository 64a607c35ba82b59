// Package attestedtls is mutual TLS 1.3 between the nodes of a ledger, each with
// the node key in its TPM, that is open only while both ends are admitted.
//
// A node shows its bundle in an extension of the certificate of its node key, so
// everything is decided within the handshake: TLS proves that the peer holds the
// key, and the bundle that verifiers admit the host of that key. Certificates of
// authorities, names and dates play no part.
//
// TLS never looks at a peer again after the handshake, so connections of this
// package end by themselves when the peer's admission does, or at Recheck, when a
// roster says so earlier. There are no session tickets: a resumed session would
// skip the look.
//
//	endpoint, err := attestedtls.New(config)
//	conn, err := endpoint.Dial(ctx, "tcp", address) // plain connections
//	listener := endpoint.Listener(raw)
//	grpc.Creds(endpoint.Credentials())              // gRPC, both sides
//
// A bundle is read anew for every handshake, so a renewed one is shown from then
// on, and connections that are open go on until the old one ends.
package attestedtls
