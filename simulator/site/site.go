// Package site runs a verifier of a test consortium and its operator, both the
// shipped programs, beside the simulated or virtual hosts that attest to it.
package site

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/vendorca"
)

// Options say whose site it is.
type Options struct {
	Bin        string // folder of the programs
	Dir        string // folder to write into
	Host       string // how the consortium file names this machine: "127.0.0.1", "localhost"
	Verifier   string // the verifier's name
	Member     string // the member who runs it
	Consortium string // the consortium's name
	LedgerID   string
	Genesis    admission.Digest // of the ledger's genesis document; one of its id if zero
}

// Site is a running verifier with a trust bundle of one simulated TPM vendor.
type Site struct {
	Options
	Vendor   *vendorca.CA
	Ports    []int // attest, enroll
	verifier *Process
}

// New makes keys and files and starts the verifier.
func New(ctx context.Context, o Options) (*Site, error) {
	s := &Site{Options: o}
	for _, step := range []func(context.Context) error{s.makeVendor, s.serve} {
		if err := step(ctx); err != nil {
			s.Close()
			return nil, fmt.Errorf("set up the verifier: %w", err)
		}
	}
	return s, nil
}

// Path returns a path in the site's folder.
func (s *Site) Path(name string) string { return filepath.Join(s.Dir, name) }

// Program returns the path of one of the programs.
func (s *Site) Program(name string) string { return filepath.Join(s.Bin, name) }

// ConsortiumFile returns the path of the consortium file.
func (s *Site) ConsortiumFile() string { return s.Path("verifier/consortium.yaml") }

// OperatorKey returns the path of the operator's key.
func (s *Site) OperatorKey() string { return s.Path("verifier/keys/operator.key") }

// makeVendor writes the trust bundle: one vendor, whose TPMs are for tests.
func (s *Site) makeVendor(context.Context) (err error) {
	if s.Vendor == nil {
		if s.Vendor, err = vendorca.New(vendorca.Options{Now: time.Now()}); err != nil {
			return err
		}
	}
	folder := s.Path("trust/test-virtual")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "simulated-vendor.pem"), s.Vendor.RootPEM(), 0o600)
}

// serve starts a verifier on free ports. Another process may take a port before
// the verifier binds it; then everything is made anew with other ports.
func (s *Site) serve(ctx context.Context) (err error) {
	for range 3 {
		s.Ports = nil
		for _, step := range []func(context.Context) error{s.findPorts, s.initialise, s.startVerifier} {
			if err = step(ctx); err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
		if err := os.RemoveAll(s.Path("verifier")); err != nil {
			return err
		}
	}
	return err
}

// findPorts asks the kernel for two free ports: they go into the consortium
// file before the verifier can bind them.
func (s *Site) findPorts(context.Context) error {
	for range 2 {
		l, err := net.Listen("tcp", net.JoinHostPort(s.Host, "0"))
		if err != nil {
			return err
		}
		defer l.Close()
		s.Ports = append(s.Ports, l.Addr().(*net.TCPAddr).Port)
	}
	return nil
}

func (s *Site) initialise(ctx context.Context) error {
	if s.Genesis.IsZero() {
		s.Genesis = sha256.Sum256([]byte("genesis of " + s.LedgerID))
	}
	_, err := s.run(ctx, "quorate-verifier", "init", "--dir", s.Path("verifier"), "--name", s.Verifier, "--member", s.Member,
		"--consortium", s.Consortium, "--ledger-id", s.LedgerID, "--genesis", s.Genesis.String(),
		"--attest", fmt.Sprintf("%s:%d", s.Host, s.Ports[0]), "--enroll", fmt.Sprintf("%s:%d", s.Host, s.Ports[1]),
		"--trust", s.Path("trust"), "--test")
	return err
}

// startVerifier starts the verifier, for the first time or after Kill.
func (s *Site) startVerifier(ctx context.Context) error {
	log, err := os.OpenFile(s.Path("verifier.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.verifier, err = Start(ctx, log, s.Program("quorate-verifier"), "run", "--config", s.Path("verifier/verifier.yaml"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return Poll(ctx, s.listening, s.verifier)
}

func (s *Site) listening() bool {
	for _, port := range s.Ports {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Host, strconv.Itoa(port)), time.Second)
		if err != nil {
			return false
		}
		_ = conn.Close() // nothing was said on it
	}
	return true
}

// Kill ends the verifier without warning, as a crash does.
func (s *Site) Kill() { s.verifier.Stop() }

// Restart starts the verifier again, with what its folder holds.
func (s *Site) Restart(ctx context.Context) error {
	s.verifier.Stop()
	return s.startVerifier(ctx)
}

// Close stops the verifier in an orderly way, or by force after five seconds.
func (s *Site) Close() {
	if s.verifier != nil {
		s.verifier.Interrupt(5 * time.Second)
	}
}

// run runs one program and returns what it printed.
func (s *Site) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.Program(program), args...)
	cmd.Env = append(os.Environ(), "QUORATE_CONSORTIUM="+s.ConsortiumFile(), "QUORATE_KEY="+s.OperatorKey())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s %v: %w: %s", program, args, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// Operator runs one operator command and returns what it prints. Exit code 1 with
// output is an answer, "refused", and no error.
func (s *Site) Operator(ctx context.Context, args ...string) (text string, refused bool, err error) {
	stdout, err := s.run(ctx, "quorate", args...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 && len(stdout) > 0 {
		refused, err = true, nil
	}
	return string(stdout), refused, err
}

// Quorate is Operator with --json, and decodes the answer into out, unless out is
// nil.
func (s *Site) Quorate(ctx context.Context, out any, args ...string) (refused bool, err error) {
	text, refused, err := s.Operator(ctx, append(args, "--json")...)
	if err != nil || out == nil {
		return refused, err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return refused, fmt.Errorf("quorate %v: %w: %s", args, err, text)
	}
	return refused, nil
}

// Await is Poll that also fails when the verifier ends.
func (s *Site) Await(ctx context.Context, condition func() bool) error {
	return Poll(ctx, condition, s.verifier)
}

// The pause before a condition is tried again grows, because trying may start a
// program on a machine that has better things to do.
const firstPause, lastPause = 20 * time.Millisecond, 300 * time.Millisecond

// Poll waits until the condition holds. It fails when the context ends or one of
// the processes does.
func Poll(ctx context.Context, condition func() bool, watched ...*Process) error {
	for pause := firstPause; !condition(); pause = min(pause*5/4, lastPause) {
		for _, p := range watched {
			if !p.Running() {
				return p.Failure()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// Output runs one of the programs to its end and returns what it printed.
func (s *Site) Output(ctx context.Context, program string, args ...string) ([]byte, error) {
	return s.run(ctx, program, args...)
}

// Run runs one of the programs to its end.
func (s *Site) Run(ctx context.Context, program string, args ...string) error {
	_, err := s.run(ctx, program, args...)
	return err
}
