package attack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	pb "github.com/quorate/quorate/proto/quorate/v1"
)

const enrollPath = pb.EnrollmentService_Enroll_FullMethodName

// closed is what an attempt gets whose connection is ended without a word.
const closed = "connection closed"

// hostile are calls that no library makes, to the address that serves strangers.
func (r *run) frames() []attempt {
	refused := []string{closed, "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR", "COMPRESSION_ERROR", "STREAM_CLOSED", "ENHANCE_YOUR_CALM", "REFUSED_STREAM"}
	list := []attempt{
		r.framed("data for no stream", refused, func(c *Conn) error { return c.WriteData(0, true, []byte{0}) }),
		r.framed("a stream of the server's numbers", refused, func(c *Conn) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 2, BlockFragment: Block(enrollPath), EndHeaders: true})
		}),
		r.framed("a frame larger than allowed", refused, func(c *Conn) error {
			return c.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 1<<20))
		}),
		r.framed("header compression that is none", refused, func(c *Conn) error {
			return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}),
		r.framed("headers without end", append(refused, "HTTP 431"), continuations),
	}
	for i := range list {
		list[i].attacks = []string{"A142"}
	}
	return append(list, r.calls()...)
}

// continuations sends headers that go on and on, for at most two megabytes.
func continuations(c *Conn) error {
	junk := Block(enrollPath, hpack.HeaderField{Name: "x", Value: strings.Repeat("x", 8<<10)})
	if err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: junk}); err != nil {
		return err
	}
	for range 256 {
		if err := c.WriteContinuation(1, false, junk); err != nil {
			return err
		}
	}
	return c.WriteContinuation(1, true, nil)
}

// framed writes frames and sees how the connection takes it.
func (r *run) framed(name string, want []string, write func(*Conn) error) attempt {
	return attempt{group: "frames", name: name, want: want, try: func(ctx context.Context) (answer, error) {
		c, err := DialHTTP2(ctx, r.verifier.Enroll, r.tls(nil))
		if err != nil {
			return answer{}, err
		}
		defer c.Close()
		if err := write(c); err != nil {
			return ended(err)
		}
		// What the server lets pass is followed by a call: it would be answered.
		outcome, err := c.Outcome(1)
		if err != nil {
			return ended(err)
		}
		return answer{by: []string{outcome}, text: "ended with " + outcome}, nil
	}}
}

// ended tells a connection that the verifier closed from one that hangs.
func ended(err error) (answer, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return answer{by: []string{closed}, text: err.Error()}, nil
	}
	return answer{}, err
}

// calls are calls whose frames are sound and whose headers or message are not.
func (r *run) calls() []attempt {
	list := []attempt{
		r.posted("a message of 4 GiB announced", "A094", []string{codes.ResourceExhausted.String()}, enrollPath, []byte{0, 0xff, 0xff, 0xff, 0xff}),
		r.posted("a compressed message that names no method of it", "A144", []string{codes.Internal.String(), codes.Unimplemented.String(), codes.InvalidArgument.String()},
			enrollPath, []byte{1, 0, 0, 0, 1, 0}),
		r.posted("a message shorter than announced", "A156", []string{codes.Internal.String(), codes.InvalidArgument.String()}, enrollPath, []byte{0, 0, 0, 0, 9, 1}),
		r.posted("a GET", "A137", []string{"HTTP 405", codes.Internal.String()}, enrollPath, nil, hpack.HeaderField{Name: ":method", Value: "GET"}),
		r.posted("another content type", "A137", []string{"HTTP 415", codes.InvalidArgument.String()}, enrollPath, nil, hpack.HeaderField{Name: "content-type", Value: "text/html"}),
		r.posted("a timeout that is none", "A137", []string{codes.Internal.String(), "HTTP 400"}, enrollPath, nil, hpack.HeaderField{Name: "grpc-timeout", Value: "soon"}),
	}
	for _, encoding := range []string{"gzip", "deflate", "snappy"} {
		list = append(list, r.posted("a message compressed with "+encoding, "A144", []string{codes.Unimplemented.String()},
			enrollPath, []byte{1, 0, 0, 0, 1, 0}, hpack.HeaderField{Name: "grpc-encoding", Value: encoding}))
	}
	for _, path := range Paths(enrollPath) {
		list = append(list, r.posted(fmt.Sprintf("the path %q", path), "A137",
			[]string{codes.Unimplemented.String(), "HTTP 404", "HTTP 400", "PROTOCOL_ERROR"}, path, []byte{0, 0, 0, 0, 0}))
	}
	for _, path := range []string{pb.AttestationService_Attest_FullMethodName, pb.AdministrationService_InviteNode_FullMethodName} {
		list = append(list, r.posted(path+" where strangers are served", "A135", []string{codes.Unimplemented.String()}, path, []byte{0, 0, 0, 0, 0}))
	}
	return list
}

// Paths are paths that are almost that of a method.
func Paths(good string) []string {
	service, method, _ := strings.Cut(good[1:], "/")
	return []string{
		good[1:], "/" + good, good + "/", "//" + service + "//" + method, strings.ToLower(good), strings.ToUpper(good), good + "?x=1", good + "#x",
		"/" + service + "/../" + service + "/" + method, good + "%00", "/" + service + "%2F" + method, "/" + method, "/", "*", "/" + service + "/",
		good[:1] + good[strings.LastIndex(service, ".")+1:], good + " ",
	}
}

// posted makes one call with this message.
func (r *run) posted(name, row string, want []string, path string, message []byte, extra ...hpack.HeaderField) attempt {
	return attempt{group: "calls", name: name, attacks: []string{row}, want: want, try: func(ctx context.Context) (answer, error) {
		c, err := DialHTTP2(ctx, r.verifier.Enroll, r.tls(nil))
		if err != nil {
			return answer{}, err
		}
		defer c.Close()
		id, err := c.Open(path, extra...)
		if err != nil {
			return ended(err)
		}
		if err := c.WriteData(id, true, message); err != nil {
			return ended(err)
		}
		outcome, err := c.Outcome(id)
		if err != nil {
			return ended(err)
		}
		return statusAnswer(outcome), nil
	}}
}

// statusAnswer names the number of a gRPC status.
func statusAnswer(outcome string) answer {
	code, err := strconv.ParseUint(outcome, 10, 32)
	switch {
	case err != nil:
		return answer{by: []string{outcome}}
	case codes.Code(code) == codes.OK:
		return answer{text: "it was served"}
	}
	return answer{by: []string{codes.Code(code).String()}}
}

// resets opens streams and resets each at once. It may lose its connection; what
// counts is that others are served.
func (r *run) resets() attempt {
	const streams = 2000
	name := fmt.Sprintf("%d streams opened and reset at once", streams)
	want := "others are served"
	return attempt{group: "frames", name: name, attacks: []string{"A142"}, want: []string{want}, try: func(ctx context.Context) (answer, error) {
		c, err := DialHTTP2(ctx, r.verifier.Enroll, r.tls(nil))
		if err != nil {
			return answer{}, err
		}
		seen := c.Drain()
		opened := c.Reset(streams, "/quorate.v1.EnrollmentService/None")
		healthy := r.healthy(ctx)
		_ = c.Close()
		<-seen
		if healthy != nil {
			return answer{}, healthy
		}
		return answer{by: []string{want}, text: fmt.Sprintf("%d streams were opened", opened)}, nil
	}}
}

// handshakes are connections that must not come about.
func (r *run) handshakes() []attempt {
	var list []attempt
	for _, at := range []struct{ name, address string }{{"attest", r.verifier.Attest}, {"enrol", r.verifier.Enroll}} {
		list = append(list, r.handshake("TLS 1.2 at the "+at.name+" address", "A153", at.address, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
			attempt{group: "TLS", name: "no TLS at the " + at.name + " address", attacks: []string{"A153"}, want: []string{closed}, try: plain(at.address)})
	}
	return append(list,
		r.handshake("no client certificate at the attest address", "A135", r.verifier.Attest, func(*tls.Config) {}),
		r.handshake("a chain of client certificates", "A135", r.verifier.Attest, func(c *tls.Config) {
			if own, err := strangerCertificate(); err == nil {
				own.Certificate = append(own.Certificate, own.Certificate[0])
				c.Certificates = []tls.Certificate{*own}
			}
		}))
}

// handshake wants TLS itself to refuse. A server says no to a client certificate
// only after the client's handshake is done: at the first read.
func (r *run) handshake(name, row, address string, change func(*tls.Config)) attempt {
	want := "TLS alert"
	return attempt{group: "TLS", name: name, attacks: []string{row}, want: []string{want}, try: func(ctx context.Context) (answer, error) {
		config := r.tls(nil)
		change(config)
		err := listen(ctx, address, config)
		if err == nil {
			return answer{text: "the server speaks"}, nil
		}
		if alert := tls.AlertError(0); errors.As(err, &alert) || isRemote(err) {
			return answer{by: []string{want}, text: err.Error()}, nil
		}
		return ended(err)
	}}
}

// listen waits for what the server says first: it greets a client that it let in.
func listen(ctx context.Context, address string, config *tls.Config) error {
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // without it the attempt ends later, with its context
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// isRemote reports whether the other side ended TLS with an alert.
func isRemote(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// plain speaks HTTP/2 without TLS.
func plain(address string) func(context.Context) (answer, error) {
	return func(ctx context.Context) (answer, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return answer{}, err
		}
		defer conn.Close()
		if deadline, ok := ctx.Deadline(); ok {
			_ = conn.SetDeadline(deadline) // without it the attempt ends later, with its context
		}
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			return ended(err)
		}
		got, err := io.ReadAll(conn)
		if err == nil {
			err = io.EOF
		}
		a, err := ended(err)
		a.text = fmt.Sprintf("closed after %d bytes", len(got))
		return a, err
	}
}
