package site

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers each byte with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	return l.Addr().String()
}

func ask(conn net.Conn, b byte, patience time.Duration) (byte, error) {
	if _, err := conn.Write([]byte{b}); err != nil {
		return 0, err
	}
	return hear(conn, patience)
}

func hear(conn net.Conn, patience time.Duration) (byte, error) {
	answer := make([]byte, 1)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	_, err := conn.Read(answer)
	return answer[0], err
}

// A cut link is silent, and loses nothing.
func TestLinkCutAndMended(t *testing.T) {
	link, err := NewLink(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", link.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := ask(conn, 'a', 10*time.Second); got != 'a' || err != nil {
		t.Fatalf("whole: %q %v", got, err)
	}
	link.Cut()
	if got, err := ask(conn, 'b', 50*time.Millisecond); err == nil {
		t.Fatalf("cut: heard %q", got)
	}
	link.Mend()
	if got, err := hear(conn, 10*time.Second); got != 'b' || err != nil {
		t.Fatalf("mended: %q %v", got, err)
	}
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := hear(conn, 10*time.Second); err == nil {
		t.Fatalf("closed: heard %q", got)
	}
}
