package rpc

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

// drain reads a connection to its end, answering what HTTP/2 wants answered, so
// that the server is never held up by its own answers. It returns the frames seen.
func (c *rawConn) drain() <-chan int {
	seen := make(chan int, 1)
	go func() {
		n := 0
		defer func() { seen <- n }()
		for {
			if _, err := c.framer.ReadFrame(); err != nil {
				return
			}
			n++
		}
	}()
	return seen
}

// reset opens streams and resets each at once. It returns how many it opened before
// the connection was closed, or all.
func (c *rawConn) reset(streams int) int {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "verifier"},
		{Name: ":path", Value: "/quorate.v1.AdministrationService/GetStatus"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	} {
		_ = encoder.WriteField(f) // into memory
	}
	for i := range streams {
		id := uint32(2*i + 1)
		headers := http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true}
		if c.framer.WriteHeaders(headers) != nil || c.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return i + 1
		}
	}
	return streams
}

// A peer with a good certificate opens streams and resets them as fast as it can.
// It may lose its connection; others are served all the same, before, while and
// after.
func TestA142_StreamsOpenedAndReset(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	flood := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	seen := flood.drain()
	done := make(chan int, 1)
	go func() { done <- flood.reset(20_000) }()
	calls, opened := 0, 0
	for opened == 0 {
		began := time.Now()
		_, err := w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		must(t, err)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a healthy client waited %v", took)
		}
		calls++
		select {
		case opened = <-done:
		default:
		}
	}
	_, err = w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
	must(t, err)
	must(t, flood.conn.Close())
	t.Logf("%d streams, %d frames back, %d calls by others meanwhile", opened, <-seen, calls)
}

// One connection holds at most so many streams open; the next one is refused, and
// the ones that are open go on.
func TestA142_StreamsOfOneConnection(t *testing.T) {
	w := newWorld(t)
	certificate, err := w.key.Certificate()
	must(t, err)
	c := rawHTTP2(t, w.self.Attest, clientTLS(&certificate))
	var open []uint32
	for range 16 {
		open = append(open, c.headers("/quorate.v1.AdministrationService/GetStatus"))
	}
	over := c.headers("/quorate.v1.AdministrationService/GetStatus")
	if got := c.outcome(over); got != http2.ErrCodeRefusedStream.String() {
		t.Errorf("the stream over the bound: %s", got)
	}
	must(t, c.framer.WriteData(open[0], true, []byte{0, 0, 0, 0, 0}))
	if got := c.outcome(open[0]); got != "0" {
		t.Errorf("the twin: %s", got)
	}
}
