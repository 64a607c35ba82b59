package attestedtls_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/attestedtls"
	"github.com/quorate/quorate/simulator/issuer"
)

// newEndpoint is what a service of a ledger node has: the pinned consortium file,
// the node key in the host's TPM, and the file with the bundle that the agent keeps.
func newEndpoint(consortiumFile []byte, nodeKey crypto.Signer, bundle func() ([]byte, error)) (*attestedtls.Endpoint, error) {
	consortium, err := admission.ParseConsortium(consortiumFile)
	if err != nil {
		return nil, err
	}
	return attestedtls.New(attestedtls.Config{
		Consortium: consortium,
		Role:       "validator",
		Key:        nodeKey,
		Bundle:     bundle,
		Stands:     attestedtls.ExpiryAlone,
		Report:     func(err error) { log.Print(err) },
		Now:        time.Now,
	})
}

// answer greets the first peer by name.
func answer(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n') // performs the handshake first
	if err == nil {
		fmt.Fprintf(conn, "%s says %s", conn.(*attestedtls.Conn).Peer().Node(), line)
	}
}

// Two nodes of a ledger connect, each showing what admits it.
func Example() {
	network, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := exampleNode(network, "org-a/validator-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := exampleNode(network, "org-b/validator-2")
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer raw.Close()
	go answer(server.Listener(raw))

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "tcp", raw.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println("connected to", conn.Peer().Node())
	_, _ = io.WriteString(conn, "hello\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	fmt.Print(line, err, "\n")

	// Output:
	// connected to org-a/validator-1
	// org-b/validator-2 says hello
	// <nil>
}

// exampleNode is an endpoint with a key and an admission of its own.
func exampleNode(network *issuer.Network, id string) (*attestedtls.Endpoint, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	bundle, err := network.Bundle(issuer.Node{ID: id, NodeKey: sha256.Sum256(spki), NotBefore: now, NotAfter: now.Add(time.Hour)})
	if err != nil {
		return nil, err
	}
	return newEndpoint(network.File, key, func() ([]byte, error) { return bundle, nil })
}
