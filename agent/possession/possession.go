// Package possession has a running signer prove that it holds the node's
// consensus key, over the signer's control socket. It knows nothing of ledgers or
// TPMs, so that the agent, which asks, needs no ledger's code.
package possession

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
)

// Timeout bounds one question.
const Timeout = 10 * time.Second

// MaxMessage bounds a question or an answer, in bytes.
const MaxMessage = 16 << 10

// ErrNotRunning reports that no signer listens.
var ErrNotRunning = errors.New("possession: the signer is not running; start it with `quorate-agent signer`")

// Question asks for the key's public half, or with a certification for its
// signature over that.
type Question struct {
	Certification *binding.Certification `json:"certification,omitempty"`
}

// Answer is the signer's.
type Answer struct {
	PublicKey string `json:"publicKey,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Error     string `json:"error,omitempty"`
}

// Dir returns the signer's directory, below the agent's state directory.
func Dir(stateDir string) string { return filepath.Join(stateDir, "signer") }

// Socket returns the path of the signer's control socket.
func Socket(stateDir string) string { return filepath.Join(Dir(stateDir), "control.sock") }

// Prover is a running signer, for agent.JoinOptions.
type Prover struct{ path, public string }

// Find asks the signer that runs with this state directory for its public key.
func Find(ctx context.Context, stateDir string) (*Prover, error) {
	p := &Prover{path: Socket(stateDir)}
	a, err := p.ask(ctx, Question{})
	if err != nil {
		return nil, err
	}
	if _, err := admission.ParseConsensusKey(a.PublicKey); err != nil {
		return nil, fmt.Errorf("possession: %w", err)
	}
	p.public = a.PublicKey
	return p, nil
}

// ConsensusKey returns the public half, "ed25519:<base64>".
func (p *Prover) ConsensusKey() string { return p.public }

// Prove has the signer sign the certification.
func (p *Prover) Prove(ctx context.Context, c binding.Certification) ([]byte, error) {
	a, err := p.ask(ctx, Question{&c})
	return a.Signature, err
}

func (p *Prover) ask(ctx context.Context, q Question) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", p.path)
	if err != nil {
		return Answer{}, fmt.Errorf("%w (%w)", ErrNotRunning, err)
	}
	defer conn.Close()
	var a Answer
	err = conn.SetDeadline(time.Now().Add(Timeout))
	if err == nil {
		err = json.NewEncoder(conn).Encode(q)
	}
	if err == nil {
		err = json.NewDecoder(io.LimitReader(conn, MaxMessage)).Decode(&a)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("possession: %w", err)
	}
	if a.Error != "" {
		return Answer{}, errors.New(a.Error)
	}
	return a, nil
}
