package device

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// commandTimeout bounds one command on a socket. Generating an RSA key is the
// slowest thing a TPM does here; slow chips take tens of seconds.
const commandTimeout = 90 * time.Second

// stream is a raw TPM command stream: responses are framed by their own header.
type stream struct{ net.Conn }

// Send writes the command and reads exactly one response.
func (s stream) Send(command []byte) ([]byte, error) {
	if err := s.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return nil, err
	}
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, 10, 1024)
	if _, err := io.ReadFull(s, response); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < 10 || size > MaxResponse {
		return nil, fmt.Errorf("response says %d bytes", size)
	}
	response = append(response, make([]byte, size-10)...)
	_, err := io.ReadFull(s, response[10:])
	return response, err
}

// dialUnix refuses a path that is no socket, or a socket of another user, who
// could answer in the TPM's place.
func dialUnix(path string) Opener {
	return func(ctx context.Context) (Conn, error) {
		if err := checkSocket(path); err != nil {
			return nil, err
		}
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return stream{conn}, nil
	}
}

func checkSocket(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket", path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, neither root nor us", path, owner.Uid)
	}
	return nil
}

func dialTCP(address string) Opener {
	return func(ctx context.Context) (Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return stream{conn}, nil
	}
}

// file is the kernel's character device: one write is one command, one read its
// whole response.
type file struct{ *os.File }

// Send writes the command and reads its response.
func (f file) Send(command []byte) ([]byte, error) {
	if _, err := f.Write(command); err != nil {
		return nil, err
	}
	response := make([]byte, MaxResponse)
	n, err := f.Read(response)
	return response[:n], err
}

// openFile opens the device in blocking mode. os.OpenFile would put it into
// non-blocking mode, where the kernel may answer a read before the TPM has.
func openFile(path string) Opener {
	return func(context.Context) (Conn, error) {
		fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		f := os.NewFile(uintptr(fd), path)
		info, err := f.Stat()
		if err == nil && info.Mode()&fs.ModeCharDevice == 0 {
			err = fmt.Errorf("%s is not a character device", path)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		return file{f}, nil
	}
}
