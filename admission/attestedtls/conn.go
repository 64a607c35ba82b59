package attestedtls

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
)

// recheckEvery is how often a connection compares its peer's admission with the
// clock, which may be set, or stand still while the machine sleeps.
const recheckEvery = time.Minute

// handshakeTime is how long a handshake that the first Read or Write begins may last.
const handshakeTime = 30 * time.Second

// Conn is an attested connection. It closes when the peer's admission ends.
type Conn struct {
	*tls.Conn
	endpoint *Endpoint
	inbound  bool

	once  sync.Once
	fault error
	peer  *admission.Admission

	mu    sync.Mutex
	timer *time.Timer // nil before the handshake and after the end
	cause error       // why the connection was ended, if it was
}

// Dial connects to an address and returns after the handshake.
func (e *Endpoint) Dial(ctx context.Context, network, address string) (*Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return e.Client(ctx, raw)
}

// Client makes an attested connection of one that was dialled. It closes raw if
// that fails.
func (e *Endpoint) Client(ctx context.Context, raw net.Conn) (*Conn, error) {
	c := e.dialled(raw)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Server makes an attested connection of one that was accepted. It closes raw if
// that fails.
func (e *Endpoint) Server(ctx context.Context, raw net.Conn) (*Conn, error) {
	c := e.accepted(raw)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func (e *Endpoint) dialled(raw net.Conn) *Conn {
	c := &Conn{endpoint: e}
	c.Conn = tls.Client(raw, e.tls(c.keep))
	return c
}

func (e *Endpoint) accepted(raw net.Conn) *Conn {
	c := &Conn{endpoint: e, inbound: true}
	c.Conn = tls.Server(raw, e.tls(c.keep))
	return c
}

// keep notes the peer, within the handshake.
func (c *Conn) keep(a *admission.Admission) { c.peer = a }

// HandshakeContext performs the handshake, if that has not happened yet, and
// starts to watch the peer's admission.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	c.once.Do(func() { c.settle(ctx) })
	return c.fault
}

func (c *Conn) settle(ctx context.Context) {
	if c.fault = c.handshake(ctx); c.fault != nil {
		c.endpoint.config.Report(c.fault)
		_ = c.Close() // the fault is what there is to say
	}
}

func (c *Conn) handshake(ctx context.Context) error {
	if err := c.Conn.HandshakeContext(ctx); err != nil {
		return err
	}
	return c.endpoint.admit(c)
}

// Peer returns the peer's admission, or nil before the handshake and after one
// that failed within TLS.
func (c *Conn) Peer() *admission.Admission { return c.peer }

// Read reads, after the handshake. It returns the refusal that ended the
// connection, if one did.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	return n, c.explain(err)
}

// Write writes, after the handshake. It returns the refusal that ended the
// connection, if one did.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	return n, c.explain(err)
}

// begin is HandshakeContext for whoever just reads or writes. Only the first call
// costs anything.
func (c *Conn) begin() error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
		defer cancel()
		c.settle(ctx)
	})
	return c.fault
}

func (c *Conn) explain(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.cause != nil {
		return c.cause
	}
	return err
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.endpoint.forget(c)
	return c.Conn.Close()
}

// end closes the connection for what the peer is.
func (c *Conn) end(cause error) {
	c.mu.Lock()
	if c.cause != nil {
		c.mu.Unlock()
		return
	}
	c.cause = cause
	c.mu.Unlock()
	c.endpoint.config.Report(cause)
	c.endpoint.forget(c)
	_ = c.NetConn().Close() // without TLS's goodbye, which would wait for a peer that does not read
}

// watch compares the admission with the clock now and then, and at its end.
func (c *Conn) watch() {
	now := c.endpoint.config.Now()
	if !c.peer.ValidAt(now) {
		c.end(refuse(Ended, c.RemoteAddr().String(), c.peer.Node(), "an admission that lasts beyond "+c.peer.NotAfter().Format(time.RFC3339)))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Reset(min(recheckEvery, max(c.peer.NotAfter().Sub(now), time.Millisecond)))
	}
}

// host is the address of the peer without its port.
func (c *Conn) host() string {
	address := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// admit takes the connection among the open ones and starts to watch it. A node
// that is connected from another address already loses both connections.
func (e *Endpoint) admit(c *Conn) error {
	e.mu.Lock()
	var others []*Conn
	for other := range e.open {
		if c.inbound && other.inbound && other.peer.NodeKey() == c.peer.NodeKey() && other.host() != c.host() {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		e.open[c] = struct{}{}
	}
	e.mu.Unlock()
	if len(others) > 0 {
		twice := refuse(TwoHosts, c.peer.Node(), c.host()+" and "+others[0].host(), "one host")
		for _, other := range others {
			other.end(twice)
		}
		return twice
	}
	c.mu.Lock()
	c.timer = time.AfterFunc(time.Hour, c.watch)
	c.mu.Unlock()
	c.watch()
	return e.config.Stands(c.peer) // a Recheck since the handshake has not seen it
}

func (e *Endpoint) forget(c *Conn) {
	e.mu.Lock()
	delete(e.open, c)
	e.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// Recheck asks Stands about the peer of every open connection, and ends those
// whose admission does not stand any more. Call it when a roster has changed.
func (e *Endpoint) Recheck() {
	e.mu.Lock()
	all := make([]*Conn, 0, len(e.open))
	for c := range e.open {
		all = append(all, c)
	}
	e.mu.Unlock()
	for _, c := range all {
		if err := e.config.Stands(c.peer); err != nil {
			c.end(err)
		}
	}
}

// Open returns how many attested connections are open.
func (e *Endpoint) Open() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.open)
}

// Listener makes attested connections of those that l accepts. Accept returns
// them before the handshake, which the first Read, Write or HandshakeContext
// performs, so that a silent peer holds up nobody else.
func (e *Endpoint) Listener(l net.Listener) net.Listener { return &listener{l, e} }

type listener struct {
	net.Listener
	endpoint *Endpoint
}

// Accept implements net.Listener. Its connections are *Conn.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.endpoint.accepted(raw), nil
}
