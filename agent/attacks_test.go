package agent_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/key"
)

func TestA010_ShortNonceGetsNoAnswer(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	v := s.verifiers[0]
	short, none := usual(), usual()
	short.Nonce = short.Nonce[:16]
	none.Nonce = make([]byte, 32)
	v.challenges <- short
	eventually(t, "short nonce refused", func() bool { return problem(s, "32 fresh bytes") })
	v.challenges <- none
	v.challenges <- nil
	if r := v.next(); r.err != nil || len(v.results) != 0 {
		t.Error("twin:", r.err)
	}
}

func problem(s *site, text string) bool {
	st := s.status()
	return len(st.Verifiers) == 1 && strings.Contains(st.Verifiers[0].Problem, text)
}

func TestA020_AgentRefusesUnallocatedBank(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	v := s.verifiers[0]
	c := usual()
	c.Bank = "sha384"
	v.challenges <- c
	eventually(t, "refused", func() bool { return problem(s, "not allocated") })
	v.challenges <- nil
	if r := v.next(); r.err != nil {
		t.Error("twin:", r.err)
	}
}

// alterQuotes is somebody on the bus who changes every quote.
type alterQuotes struct{ transport.TPM }

func (a alterQuotes) Send(c []byte) ([]byte, error) {
	r, err := a.TPM.Send(c)
	if err == nil && binary.BigEndian.Uint32(c[6:]) == uint32(tpm2.TPMCCQuote) && len(r) > 80 {
		r[80] ^= 1
	}
	return r, err
}

func TestA062_AlteredQuoteIsNotSent(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	stop := s.start(s.device(func(tpm transport.TPM) transport.TPM { return alterQuotes{tpm} }))
	v := s.verifiers[0]
	v.challenges <- nil
	eventually(t, "noticed", func() bool { return problem(s, key.ErrAltered.Error()) })
	stop()
	if len(v.results) != 0 {
		t.Error("altered evidence was sent")
	}
	s.start(s.device(nil))
	v.challenges <- nil
	if r := v.next(); r.err != nil {
		t.Error("twin:", r.err)
	}
}

// TestA070_StrangerGetsNothing lets a server with another key stand at the
// verifier's addresses and looks at everything it can decrypt.
func TestA070_StrangerGetsNothing(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	stranger := newTestVerifier(t, "stranger.example")
	genuine := s.verifiers[0]
	genuine.stop()
	seen := make(chan []byte, 64)
	for _, address := range []string{genuine.file.Attest, genuine.file.Enroll} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go capture(l, stranger.cert, seen)
	}
	a := s.agent(s.device(nil))
	_, err := a.Join(t.Context(), agent.JoinOptions{Tokens: s.tokens()})
	if err == nil || !strings.Contains(err.Error(), agent.ErrPin.Error()) {
		t.Errorf("join with a stranger: %v", err)
	}
	stop := s.start(s.device(nil))
	eventually(t, "session refused", func() bool { return problem(s, agent.ErrPin.Error()) })
	stop()
	for range 2 {
		if got := <-seen; len(got) != 0 {
			t.Errorf("the stranger got %d bytes: %q", len(got), got)
		}
	}
}

func TestA154_FileModes(t *testing.T) {
	s := newSite(t, 1, 1)
	s.join()
	s.start(s.device(nil))
	s.verifiers[0].challenges <- nil
	s.verifiers[0].next()
	eventually(t, "admitted", func() bool { return s.status().Standing(time.Now()) == agent.Admitted })
	files := 0
	err := filepath.WalkDir(s.cfg.StateDir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestA154_HostileStateDirectory(t *testing.T) {
	s := newSite(t, 1, 1)
	a := s.agent(s.device(nil))
	target := t.TempDir()
	for name, prepare := range map[string]func() error{
		"link":         func() error { return os.Symlink(target, s.cfg.StateDir) },
		"open to all":  func() error { return errors.Join(os.Mkdir(s.cfg.StateDir, 0o700), os.Chmod(s.cfg.StateDir, 0o777)) },
		"regular file": func() error { return os.WriteFile(s.cfg.StateDir, nil, 0o600) },
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Join(t.Context(), agent.JoinOptions{Tokens: s.tokens()}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err := os.RemoveAll(s.cfg.StateDir); err != nil {
			t.Fatal(err)
		}
	}
	victim := filepath.Join(target, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Mkdir(s.cfg.StateDir, 0o700),
		os.Symlink(victim, filepath.Join(s.cfg.StateDir, "identity.json.new"))); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Join(t.Context(), agent.JoinOptions{Tokens: s.tokens()}); err != nil {
		t.Error("twin:", err)
	}
	if data, err := os.ReadFile(victim); err != nil || string(data) != "precious" {
		t.Errorf("a link in the state directory was followed: %q %v", data, err)
	}
}

// capture is a server with another key that records what it decrypts.
func capture(l net.Listener, cert tls.Certificate, seen chan<- []byte) {
	for {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		conn := tls.Server(raw, &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
		})
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		got, _ := io.ReadAll(conn) // ends with the agent's alert
		conn.Close()
		seen <- got
	}
}
