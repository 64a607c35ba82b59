package rpc

import (
	"net"
	"net/netip"
	"sync"
)

// limitListener bounds open connections, in all and per source address. A
// connection over a bound is closed at once, so that accepting never blocks.
type limitListener struct {
	net.Listener
	total, perSource int

	mu      sync.Mutex
	open    int
	sources map[string]int
}

func newLimitListener(l net.Listener, total, perSource int) *limitListener {
	return &limitListener{Listener: l, total: total, perSource: perSource, sources: make(map[string]int)}
}

// Accept returns the next connection within the bounds.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn.RemoteAddr())
		if l.enter(source) {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(source) })}, nil
		}
		_ = conn.Close() // nothing was said on it
	}
}

func (l *limitListener) enter(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.sources[source] >= l.perSource {
		return false
	}
	l.open++
	l.sources[source]++
	return true
}

func (l *limitListener) leave(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.sources[source]--; l.sources[source] == 0 {
		delete(l.sources, source)
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close frees the connection's place.
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// sourceOf returns the address without its port. Of IPv6 addresses it is the
// network, since every host has 2^64 of them.
func sourceOf(addr net.Addr) string {
	port, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip := port.Addr().Unmap().WithZone("")
	if prefix, err := ip.Prefix(64); err == nil && ip.Is6() {
		return prefix.String()
	}
	return ip.String()
}
