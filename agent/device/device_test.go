package device_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/agent/device"

	"github.com/quorate/quorate/simulator/need"
)

// response is a TPM response of ten bytes with the given code.
func response(rc tpm2.TPMRC) []byte {
	r := binary.BigEndian.AppendUint16(nil, 0x8001)
	r = binary.BigEndian.AppendUint32(r, 10)
	return binary.BigEndian.AppendUint32(r, uint32(rc))
}

// script is a TPM that gives the listed responses in turn; nil fails.
type script struct {
	responses [][]byte
	sent      int
}

func (s *script) Send([]byte) ([]byte, error) {
	r := s.responses[min(s.sent, len(s.responses)-1)]
	s.sent++
	if r == nil {
		return nil, errors.New("gone")
	}
	return r, nil
}

func (s *script) Close() error { return nil }

func opener(s *script) device.Opener {
	return func(context.Context) (device.Conn, error) { return s, nil }
}

func TestAsksAgain(t *testing.T) {
	s := &script{responses: [][]byte{
		response(tpm2.TPMRCRetry), response(tpm2.TPMRCYielded), response(tpm2.TPMRCTesting), response(0),
	}}
	d := device.Wrap(s)
	got, err := d.Send([]byte("command"))
	if err != nil || binary.BigEndian.Uint32(got[6:]) != 0 || s.sent != 4 {
		t.Fatalf("got %x after %d tries: %v", got, s.sent, err)
	}
}

func TestAskingAgainEndsWithContext(t *testing.T) {
	s := &script{responses: [][]byte{response(tpm2.TPMRCRetry)}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := device.Wrap(s).With(ctx).Send(nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestOtherWarningsAreNotRepeated(t *testing.T) {
	s := &script{responses: [][]byte{response(tpm2.TPMRCLockout), response(0)}}
	got, err := device.Wrap(s).Send(nil)
	if err != nil || s.sent != 1 {
		t.Fatalf("%x %v after %d", got, err, s.sent)
	}
}

func TestReopensAfterFailure(t *testing.T) {
	s := &script{responses: [][]byte{nil, response(0)}}
	d, err := device.OpenWith(t.Context(), "test", opener(s))
	if err != nil {
		t.Fatal(err)
	}
	before := d.Generation()
	if _, err := d.Send(nil); !errors.Is(err, device.ErrBroken) {
		t.Fatal(err)
	}
	if _, err := d.Send(nil); err != nil {
		t.Fatal(err)
	}
	if d.Generation() != before+1 {
		t.Errorf("generation moved from %d to %d", before, d.Generation())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Send(nil); err == nil {
		t.Error("a closed device sent")
	}
}

func TestMalformedResponses(t *testing.T) {
	long := append(response(0), make([]byte, device.MaxResponse)...)
	for name, bad := range map[string][]byte{
		"empty": {}, "short": response(0)[:9], "longer than it says": append(response(0), 0), "too long": long,
	} {
		d := device.Wrap(&script{responses: [][]byte{bad}})
		if _, err := d.Send(nil); !errors.Is(err, device.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// serve answers every command on a unix socket with a response in two parts.
func serve(t *testing.T, l net.Listener) {
	t.Helper()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			buf := make([]byte, 64)
			for {
				if _, err := conn.Read(buf); err != nil {
					break
				}
				r := response(0)
				conn.Write(r[:3])
				conn.Write(r[3:])
			}
		}
	}()
	t.Cleanup(func() { l.Close() })
}

func TestSocketStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, unix)
	serve(t, tcp)
	for _, name := range []string{"swtpm:" + path, "swtpm:" + tcp.Addr().String()} {
		d, err := device.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.Send([]byte("command")); err != nil || len(got) != 10 || d.Shared() {
			t.Errorf("%s: %x %v", name, got, err)
		}
		d.Close()
	}
}

func TestRefusesWhatIsNoTPM(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"swtpm:" + file, file, "swtpm:127.0.0.1:1"} {
		if _, err := device.Open(t.Context(), name); err == nil {
			t.Errorf("opened %s", name)
		}
	}
	if _, err := device.Open(t.Context(), "/dev/no-tpm-here"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestA154_SocketOfAnotherUser needs root to give a socket away; its twin, our
// own socket, is in TestSocketStreams.
func TestA154_SocketOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		need.Missing(t, "root is needed to give a socket away")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	if err := os.Lchown(path, 4242, 4242); err != nil {
		need.Missing(t, err.Error())
	}
	if d, err := device.Open(t.Context(), "swtpm:"+path); err == nil {
		d.Close()
		t.Fatal("opened a socket of user 4242")
	}
}
