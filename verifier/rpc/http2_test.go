package rpc

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawConn speaks HTTP/2 frame by frame, so that it can say what no library would.
type rawConn struct {
	t      *testing.T
	conn   *tls.Conn
	framer *http2.Framer
	next   uint32
}

func rawHTTP2(t *testing.T, address string, config *tls.Config) *rawConn {
	t.Helper()
	conn, err := tls.Dial("tcp", address, config)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	must(t, err)
	c := &rawConn{t: t, conn: conn, framer: http2.NewFramer(conn, conn), next: 1}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(t, c.framer.WriteSettings())
	return c
}

// headers opens a stream.
func (c *rawConn) headers(path string, extra ...hpack.HeaderField) uint32 {
	c.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "verifier"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, extra...) {
		must(c.t, encoder.WriteField(f))
	}
	id := c.next
	c.next += 2
	must(c.t, c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}))
	return id
}

// post makes one call with an empty message and returns its grpc-status, or what
// became of the stream instead.
func (c *rawConn) post(path string, extra ...hpack.HeaderField) string {
	c.t.Helper()
	id := c.headers(path, extra...)
	must(c.t, c.framer.WriteData(id, true, []byte{0, 0, 0, 0, 0}))
	return c.outcome(id)
}

func (c *rawConn) outcome(id uint32) string {
	c.t.Helper()
	must(c.t, c.conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatalf("the connection ended: %v", err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				must(c.t, c.framer.WriteSettingsAck())
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			for _, h := range f.Fields {
				if h.Name == "grpc-status" {
					return h.Value
				}
			}
			if f.StreamEnded() {
				return "HTTP " + f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return f.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		}
	}
}
