package rpc

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/quorate/quorate/simulator/attack"
)

// rawConn speaks HTTP/2 frame by frame, so that it can say what no library would.
type rawConn struct {
	*attack.Conn
	t *testing.T
}

func rawHTTP2(t *testing.T, address string, config *tls.Config) *rawConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c, err := attack.DialHTTP2(ctx, address, config)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &rawConn{c, t}
}

// headers opens a stream.
func (c *rawConn) headers(path string, extra ...hpack.HeaderField) uint32 {
	c.t.Helper()
	id, err := c.Open(path, extra...)
	must(c.t, err)
	return id
}

// post makes one call with an empty message and returns its grpc-status, or what
// became of the stream instead.
func (c *rawConn) post(path string, extra ...hpack.HeaderField) string {
	c.t.Helper()
	outcome, err := c.Post(path, extra...)
	must(c.t, err)
	return outcome
}

func (c *rawConn) outcome(id uint32) string {
	c.t.Helper()
	outcome, err := c.Outcome(id)
	must(c.t, err)
	return outcome
}
