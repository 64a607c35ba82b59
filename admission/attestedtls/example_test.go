package attestedtls_test

import (
	"context"
	"crypto"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/attestedtls"
)

// A service of a ledger node listens for the other nodes, and dials one. The
// node key is in the host's TPM; the bundle is the file that the agent keeps.
func Example() {
	serve := func(ctx context.Context, nodeKey crypto.Signer, peer string) error {
		file, err := os.ReadFile("/etc/quorate/consortium.yaml")
		if err != nil {
			return err
		}
		consortium, err := admission.ParseConsortium(file)
		if err != nil {
			return err
		}
		endpoint, err := attestedtls.New(attestedtls.Config{
			Consortium: consortium,
			Role:       "validator",
			Key:        nodeKey,
			Bundle:     func() ([]byte, error) { return os.ReadFile("/var/lib/quorate-agent/admission.bundle") },
			Stands:     attestedtls.ExpiryAlone,
			Report:     func(err error) { log.Print(err) },
			Now:        time.Now,
		})
		if err != nil {
			return err
		}
		raw, err := net.Listen("tcp", ":7700")
		if err != nil {
			return err
		}
		defer raw.Close()
		go answer(endpoint.Listener(raw))

		conn, err := endpoint.Dial(ctx, "tcp", peer)
		if err != nil {
			return err
		}
		defer conn.Close()
		log.Printf("connected to %s, admitted until %s", conn.Peer().Node(), conn.Peer().NotAfter())
		_, err = io.WriteString(conn, "hello\n")
		return err
	}
	_ = serve
}

// answer sends back what every peer says.
func answer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}
