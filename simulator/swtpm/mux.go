package swtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Mux lets several processes use one TPM: it listens on a unix socket for raw
// TPM command streams, as swtpm's own data channel speaks them, and runs their
// commands one at a time. What a client leaves loaded is flushed when it goes.
type Mux struct {
	listener net.Listener
	tpm      transport.TPM
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
	m := &Mux{listener: listener, tpm: tpm, open: map[net.Conn]bool{}}
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
	var loaded []uint32
	defer func() {
		conn.Close()
		m.mu.Lock()
		delete(m.open, conn)
		m.mu.Unlock()
		for _, handle := range loaded {
			flush := tpm2.FlushContext{FlushHandle: tpm2.TPMHandle(handle)}
			_, _ = flush.Execute(m.tpm) // gone already, or the TPM is off: nothing is left loaded
		}
	}()
	for {
		command, err := readMessage(conn)
		if err != nil {
			return
		}
		response, err := m.tpm.Send(command)
		if err != nil {
			return // the TPM is off; the client sees a broken device
		}
		loaded = track(loaded, command, response)
		if _, err := conn.Write(response); err != nil {
			return
		}
	}
}

// track updates the handles that a client holds after a command it sent.
func track(loaded []uint32, command, response []byte) []uint32 {
	if len(response) < headerSize || binary.BigEndian.Uint32(response[6:]) != 0 {
		return loaded
	}
	switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) {
	case tpm2.TPMCCCreatePrimary, tpm2.TPMCCLoad, tpm2.TPMCCLoadExternal, tpm2.TPMCCCreateLoaded,
		tpm2.TPMCCContextLoad, tpm2.TPMCCStartAuthSession, tpm2.TPMCCHashSequenceStart, tpm2.TPMCCMACStart:
		if len(response) >= headerSize+4 {
			return append(loaded, binary.BigEndian.Uint32(response[headerSize:]))
		}
	case tpm2.TPMCCFlushContext:
		if len(command) >= headerSize+4 {
			gone := binary.BigEndian.Uint32(command[headerSize:])
			return slices.DeleteFunc(loaded, func(h uint32) bool { return h == gone })
		}
	}
	return loaded
}
