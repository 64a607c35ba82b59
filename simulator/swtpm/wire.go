package swtpm

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const (
	headerSize = 10   // tag, size, code
	maxMessage = 4096 // bytes of a command or a response
	maxRetries = 50
)

// readMessage reads one command or response; its header says how long it is.
func readMessage(r io.Reader) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size < headerSize || size > maxMessage {
		return nil, fmt.Errorf("swtpm: a message of %d bytes", size)
	}
	message := append(header, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(r, message[headerSize:])
	return message, err
}

// roundTrip sends a command until the answer is not "try again". libtpms says
// so now and then; the kernel's driver would repeat the command, a socket does not.
func roundTrip(conn io.ReadWriter, command []byte) ([]byte, error) {
	for try := 0; ; try++ {
		if _, err := conn.Write(command); err != nil {
			return nil, fmt.Errorf("swtpm: %w", err)
		}
		response, err := readMessage(conn)
		if err != nil {
			return nil, fmt.Errorf("swtpm: %w", err)
		}
		if !again(response) || try == maxRetries {
			return response, nil
		}
		time.Sleep(time.Duration(try) * time.Millisecond) // nothing announces readiness
	}
}

func again(response []byte) bool {
	switch tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])) {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting:
		return true
	}
	return false
}

// client is a connection with a Mux.
type client struct{ net.Conn }

// Dial connects to the socket of a Mux.
func Dial(path string) (transport.TPMCloser, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("swtpm: %w", err)
	}
	return client{conn}, nil
}

// Send runs one command.
func (c client) Send(command []byte) ([]byte, error) { return roundTrip(c.Conn, command) }
