package signer

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/proto/binding"
)

// controlTimeout bounds one question on the control socket.
const controlTimeout = 10 * time.Second

// maxControl bounds a question or an answer, in bytes.
const maxControl = 16 << 10

// proof answers a question: the signature over the certification's bytes.
type proof struct {
	Signature []byte `json:"signature,omitempty"`
	Error     string `json:"error,omitempty"`
}

// listen opens the socket on which `quorate-agent join` has the running signer
// prove that it holds the key. Only our own user and root get an answer.
func (s *Signer) listen(ctx context.Context) (serve func(), err error) {
	path := filepath.Join(Dir(s.cfg), controlFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("signer: control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("signer: control socket: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	return func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			if err := s.control(conn); err != nil {
				s.log.Warn("control socket", "error", err)
			}
			conn.Close()
		}
	}, nil
}

func (s *Signer) control(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return err
	}
	id, err := peerUser(conn)
	if err != nil {
		return err
	}
	if id != 0 && int(id) != os.Geteuid() {
		return fmt.Errorf("%w: user %d", ErrCaller, id)
	}
	var c binding.Certification
	if err := json.NewDecoder(io.LimitReader(conn, maxControl)).Decode(&c); err != nil {
		return err
	}
	sig, err := s.prove(c)
	answer := proof{Signature: sig}
	if err != nil {
		answer.Error = err.Error()
	}
	return json.NewEncoder(conn).Encode(answer)
}

// prove signs that this key belongs to this node, over bytes that it computes
// itself: no caller can have a vote signed by calling it a certification.
func (s *Signer) prove(c binding.Certification) ([]byte, error) {
	ledger := s.consortium.Ledger
	own := binding.Ledger{Consortium: s.consortium.Name, ChainID: ledger.ID, Genesis: ledger.Genesis}
	if c.Ledger != own || c.Node != s.cfg.Node || c.ConsensusKey != s.key.Terms.PublicKey {
		return nil, errors.New("signer: a certification for another node, ledger or key")
	}
	digest, err := c.QualifyingData(binding.PurposeConsensusKey)
	if err != nil {
		return nil, err
	}
	return s.validator.prove(digest[:])
}

// prove signs with the key, whether or not it may sign votes.
func (v *validator) prove(digest []byte) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.key.Sign(digest)
}

// Prover has the running signer prove possession of its key, for
// agent.JoinOptions.
type Prover struct {
	path   string
	public ed25519.PublicKey
}

// NewProver returns the prover of the signer with this configuration.
func NewProver(cfg agent.Config) (*Prover, error) {
	key, err := ReadKey(cfg)
	if err != nil {
		return nil, err
	}
	return &Prover{filepath.Join(Dir(cfg), controlFile), key.PublicKey()}, nil
}

// ConsensusKey returns the public half.
func (p *Prover) ConsensusKey() string { return admission.FormatConsensusKey(p.public) }

// Prove asks the running signer.
func (p *Prover) Prove(ctx context.Context, c binding.Certification) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.path)
	if err != nil {
		return nil, fmt.Errorf("signer: is not running: %w; start it with `quorate-agent signer`", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		return nil, err
	}
	var answer proof
	if err := json.NewDecoder(io.LimitReader(conn, maxControl)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("signer: control socket: %w", err)
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return answer.Signature, nil
}
