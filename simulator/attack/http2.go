package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Conn speaks HTTP/2 frame by frame, so that it can say what no library would.
type Conn struct {
	*http2.Framer
	conn *tls.Conn
	next uint32
}

// DialHTTP2 connects and sends the preface and empty settings. The connection is
// good until the context's deadline, or for perAttempt if it has none.
func DialHTTP2(ctx context.Context, address string, config *tls.Config) (*Conn, error) {
	raw, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := raw.(*tls.Conn) // as documented
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(perAttempt)
	}
	c := &Conn{Framer: http2.NewFramer(conn, conn), conn: conn, next: 1}
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, said := io.WriteString(conn, http2.ClientPreface)
	if err := errors.Join(conn.SetDeadline(deadline), said, c.WriteSettings()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Block is the header block of a gRPC call. Extra fields replace those of the same
// name, so that an empty one leaves the name with no value.
func Block(path string, extra ...hpack.HeaderField) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: path},
		{Name: ":authority", Value: "verifier"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}
	for _, f := range extra {
		replaced := false
		for i := range fields {
			if fields[i].Name == f.Name {
				fields[i], replaced = f, true
			}
		}
		if !replaced {
			fields = append(fields, f)
		}
	}
	for _, f := range fields {
		_ = encoder.WriteField(f) // into memory
	}
	return block.Bytes()
}

// Open opens a stream and returns its number.
func (c *Conn) Open(path string, extra ...hpack.HeaderField) (uint32, error) {
	id := c.next
	c.next += 2
	return id, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: Block(path, extra...), EndHeaders: true})
}

// Post makes one call with an empty message and returns its Outcome.
func (c *Conn) Post(path string, extra ...hpack.HeaderField) (string, error) {
	id, err := c.Open(path, extra...)
	if err != nil {
		return "", err
	}
	if err := c.WriteData(id, true, []byte{0, 0, 0, 0, 0}); err != nil {
		return "", err
	}
	return c.Outcome(id)
}

// Outcome waits for the end of a stream. It returns the grpc-status, "HTTP" and the
// status of an answer that has none, or the error code by which the stream or the
// connection was ended.
func (c *Conn) Outcome(id uint32) (string, error) {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return "", err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.WriteSettingsAck(); err != nil {
					return "", err
				}
			}
		case *http2.MetaHeadersFrame:
			if end := ending(f, id); end != "" {
				return end, nil
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return f.ErrCode.String(), nil
			}
		case *http2.GoAwayFrame:
			return f.ErrCode.String(), nil
		}
	}
}

// ending is how headers end the stream, "" if they do not.
func ending(f *http2.MetaHeadersFrame, id uint32) string {
	if f.StreamID != id {
		return ""
	}
	for _, h := range f.Fields {
		if h.Name == "grpc-status" {
			return h.Value
		}
	}
	if f.StreamEnded() {
		return "HTTP " + f.PseudoValue("status")
	}
	return ""
}

// Reset opens streams and resets each at once. It returns how many it opened before
// the connection was closed, or all.
func (c *Conn) Reset(streams int, path string) int {
	block := Block(path)
	for i := range streams {
		id := c.next
		c.next += 2
		headers := http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}
		if c.WriteHeaders(headers) != nil || c.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return i + 1
		}
	}
	return streams
}

// Drain reads until the connection ends and then says how many frames came.
func (c *Conn) Drain() <-chan int {
	seen := make(chan int, 1)
	go func() {
		n := 0
		defer func() { seen <- n }()
		for {
			if _, err := c.ReadFrame(); err != nil {
				return
			}
			n++
		}
	}()
	return seen
}
