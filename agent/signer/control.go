package signer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/proto/binding"
)

// listen opens the socket on which `quorate-agent join` has the running signer
// prove that it holds the key. Only our own user and root get an answer.
func (s *Signer) listen(ctx context.Context) (serve func(), err error) {
	path := possession.Socket(s.cfg.StateDir)
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
	if err := conn.SetDeadline(time.Now().Add(possession.Timeout)); err != nil {
		return err
	}
	id, err := peerUser(conn)
	if err != nil {
		return err
	}
	if id != 0 && int(id) != os.Geteuid() {
		return fmt.Errorf("%w: user %d", ErrCaller, id)
	}
	var q possession.Question
	if err := json.NewDecoder(io.LimitReader(conn, possession.MaxMessage)).Decode(&q); err != nil {
		return err
	}
	answer := possession.Answer{PublicKey: s.key.Terms.PublicKey}
	if q.Certification != nil {
		if answer.Signature, err = s.prove(*q.Certification); err != nil {
			answer.Error = err.Error()
		}
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
