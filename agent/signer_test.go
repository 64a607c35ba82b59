package agent_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// TestSignerOfARunningAgent joins with the sealed key, and has the signer follow
// what the verifiers of a running agent decide. Agent and signer share the TPM, each
// over a connection of its own.
func TestSignerOfARunningAgent(t *testing.T) {
	s := newSite(t, 2, 2)
	client := s.signer()
	var prover *possession.Prover
	eventually(t, "the signer runs", func() (ok bool) {
		var err error
		prover, err = possession.Find(t.Context(), s.cfg.StateDir)
		return err == nil
	})
	s.waitForSigner(client, "signer.no-admission")
	dev := s.device(nil)
	if _, err := s.agent(dev).Join(t.Context(), agent.JoinOptions{Tokens: s.tokens(), Prover: prover}); err != nil {
		t.Fatal(err)
	}
	var suspended atomic.Bool
	for _, v := range s.verifiers {
		if v.record.consensus != prover.ConsensusKey() {
			t.Errorf("%s recorded %q", v.name, v.record.consensus)
		}
		v.verdict = func(got result) *quoratev1.Verdict {
			if suspended.Load() {
				return &quoratev1.Verdict{Decision: "denied", State: "suspended",
					Findings: []*quoratev1.Finding{{Check: "runtime.ima-unlisted", Severity: "deny"}}}
			}
			out := &quoratev1.Verdict{Decision: "admitted", State: "admitted"}
			var err error
			if out.Admission, out.AdmissionProof, err = v.admit(v.record, got); err != nil {
				t.Error(err)
			}
			return out
		}
	}
	s.start(dev)
	s.challenge()
	s.waitForSigner(client, "")
	suspended.Store(true)
	s.challenge()
	s.waitForSigner(client, "signer.suspended: got b.verifier.example-net: denied, runtime.ima-unlisted")
	suspended.Store(false)
	s.challenge()
	s.waitForSigner(client, "")
}

// challenge has every verifier ask once.
func (s *site) challenge() {
	s.t.Helper()
	for _, v := range s.verifiers {
		v.challenges <- nil
	}
	for _, v := range s.verifiers {
		if r := v.next(); r.err != nil {
			s.t.Error(r.err)
		}
	}
}

// signer seals a key, has the state approved, runs the signer, and returns the
// node's side of its link.
func (s *site) signer() *privval.SignerClient {
	s.t.Helper()
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	public, err := seal.NewPublicKey(&authority.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	dev := s.device(nil)
	if _, _, err := signer.Create(s.t.Context(), s.cfg, dev, signer.Conditions{Authority: public}); err != nil {
		s.t.Fatal(err)
	}
	state, err := seal.ReadState(dev, "sha256", seal.DefaultPCRs)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := seal.Approve(authority, s.consortium.Ledger.ID, s.consortium.Ledger.Genesis.String(), state)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := signer.Accept(s.cfg, a.Marshal()); err != nil {
		s.t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(s.t.TempDir(), "n"))
	if err != nil {
		s.t.Fatal(err)
	}
	endpoint := privval.NewSignerListenerEndpoint(cmtlog.NewNopLogger(), privval.NewUnixListener(l))
	client, err := privval.NewSignerClient(endpoint, s.consortium.Ledger.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { endpoint.Stop() })
	sg, err := signer.New(s.cfg, signer.Link{Address: "unix://" + l.Addr().String()}, dev, slog.New(slog.NewTextHandler(s.t.Output(), nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- sg.Run(s.t.Context()) }()
	s.t.Cleanup(func() {
		if err := <-done; err != nil { // the test's context has ended
			s.t.Error(err)
		}
	})
	return client
}

// waitForSigner asks for votes until one is signed, or refused for the reason.
func (s *site) waitForSigner(c *privval.SignerClient, refusal string) {
	s.t.Helper()
	hash := sha256.Sum256([]byte("block"))
	vote := &cmtproto.Vote{Type: cmtproto.PrevoteType, Height: 5, Timestamp: time.Now(), ValidatorAddress: make([]byte, 20),
		BlockID: cmtproto.BlockID{Hash: hash[:], PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: hash[:]}}}
	var err error
	var remote *privval.RemoteSignerError
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		err = c.SignVote(s.consortium.Ledger.ID, vote)
		if refusal == "" && err == nil || refusal != "" && errors.As(err, &remote) && strings.Contains(err.Error(), refusal) {
			return
		}
	}
	s.t.Fatalf("waited for %q: %v", refusal, err)
}
