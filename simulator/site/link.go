package site

import (
	"errors"
	"net"
	"sync"
)

// Link is a piece of network between two processes: it carries every connection
// to its address on to the target, unless it is cut. Then nothing passes, and
// nobody is told, as when a cable is pulled out; once mended, it carries on.
type Link struct {
	target   string
	listener net.Listener

	mu    sync.Mutex
	whole *sync.Cond // signalled when mended or closed
	cut   bool
	ends  map[net.Conn]bool // open ends
	over  bool
}

// NewLink makes a link to an address. Nobody need listen there yet.
func NewLink(target string) (*Link, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(LoopbackHost(), "0"))
	if err != nil {
		return nil, err
	}
	l := &Link{target: target, listener: listener, ends: map[net.Conn]bool{}}
	l.whole = sync.NewCond(&l.mu)
	go l.serve()
	return l, nil
}

// Address is where the link begins.
func (l *Link) Address() string { return l.listener.Addr().String() }

// Cut lets nothing pass until Mend.
func (l *Link) Cut() { l.set(true) }

// Mend lets everything pass, what waited first.
func (l *Link) Mend() { l.set(false) }

func (l *Link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.whole.Broadcast()
}

// Close ends the link and all connections over it.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.whole.Broadcast()
	errs := []error{l.listener.Close()}
	for end := range l.ends {
		errs = append(errs, end.Close())
	}
	return errors.Join(errs...)
}

func (l *Link) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		go l.carry(near)
	}
}

// carry joins a connection with one to the target, until either end is closed.
func (l *Link) carry(near net.Conn) {
	if !l.passable() {
		near.Close()
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		near.Close()
		return
	}
	if !l.hold(near, far) {
		return
	}
	go l.pass(near, far)
	l.pass(far, near)
}

// hold remembers the ends, so that Close closes them.
func (l *Link) hold(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		near.Close()
		far.Close()
		return false
	}
	l.ends[near], l.ends[far] = true, true
	return true
}

// pass carries one direction. When it ends, both ends are closed.
func (l *Link) pass(from, to net.Conn) {
	defer l.drop(from, to)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !l.write(to, buffer[:n]) || err != nil {
			return
		}
	}
}

func (l *Link) write(to net.Conn, b []byte) bool {
	if !l.passable() {
		return false
	}
	_, err := to.Write(b)
	return err == nil
}

func (l *Link) drop(ends ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, end := range ends {
		if l.ends[end] {
			delete(l.ends, end)
			_ = end.Close() // the other direction may have closed it
		}
	}
}

// passable waits until the link is whole. It reports false once it is closed.
func (l *Link) passable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.over {
		l.whole.Wait()
	}
	return !l.over
}
