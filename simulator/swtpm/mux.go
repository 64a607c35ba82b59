package swtpm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/google/go-tpm/tpm2/transport"
)

// Mux lets several processes use one TPM: it listens on a unix socket for raw
// TPM command streams, as swtpm's own data channel speaks them, and runs their
// commands one at a time. Like the kernel's resource manager it gives each client
// a TPM that looks empty, and frees what the client loaded when it goes.
type Mux struct {
	listener net.Listener
	manager  *manager
	clients  sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool
}

// Listen makes the socket and starts serving. A socket left over from an earlier
// run is replaced. Close ends all connections and removes the socket.
func Listen(path string, tpm transport.TPM) (*Mux, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	m := &Mux{listener: listener, manager: &manager{tpm: tpm}, open: map[net.Conn]bool{}}
	m.clients.Go(m.accept)
	return m, nil
}

// Path returns the path of the socket.
func (m *Mux) Path() string { return m.listener.Addr().String() }

// Disconnect ends all connections, as a reboot of the host does.
func (m *Mux) Disconnect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.open {
		conn.Close()
	}
}

// Close stops listening, ends all connections and waits for them.
func (m *Mux) Close() error {
	err := m.listener.Close()
	m.Disconnect()
	m.clients.Wait()
	return err
}

func (m *Mux) accept() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			// Closed. A connection that arrived between the listener's close
			// and Disconnect is in open by now, so end it here.
			m.Disconnect()
			return
		}
		m.mu.Lock()
		m.open[conn] = true
		m.mu.Unlock()
		m.clients.Go(func() { m.serve(conn) })
	}
}

func (m *Mux) serve(conn net.Conn) {
	space := m.manager.space()
	defer func() {
		conn.Close()
		m.mu.Lock()
		delete(m.open, conn)
		m.mu.Unlock()
		space.close()
	}()
	for {
		command, err := readMessage(conn)
		if err != nil {
			return
		}
		response, err := space.Send(command)
		if err != nil {
			return // the TPM is off; the client sees a broken device
		}
		if _, err := conn.Write(response); err != nil {
			return
		}
	}
}
