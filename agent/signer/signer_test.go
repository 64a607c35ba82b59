package signer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/simulator/issuer"
	"github.com/quorate/quorate/simulator/swtpm"
)

const (
	nodeID  = "org-a/validator-1"
	chainID = "example-1"
)

// site is a host with a software TPM, a sealed key, and the files that its agent
// would keep, filled with genuine bundles.
type site struct {
	t                  *testing.T
	tpm                *swtpm.TPM
	dev                *device.Device
	net                *issuer.Network
	cfg                agent.Config
	link               Link
	authority, grantor *ecdsa.PrivateKey
	nodeKey            admission.Digest
}

func newSite(t *testing.T) *site {
	t.Helper()
	swtpm.Require(t)
	dir, err := os.MkdirTemp("", "signer") // short: sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tpm, err := swtpm.New(context.Background(), filepath.Join(dir, "tpm"), swtpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	s := &site{t: t, tpm: tpm, dev: device.Wrap(tpm), authority: p256(t), grantor: p256(t)}
	s.net, err = issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: chainID, Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = agent.DefaultConfig()
	s.cfg.Node, s.cfg.StateDir, s.cfg.Consortium = nodeID, filepath.Join(dir, "state"), filepath.Join(dir, "consortium.yaml")
	s.link = Link{Address: "unix://" + filepath.Join(dir, "node.sock")}
	s.write(s.cfg.Consortium, s.net.File)
	if err := os.Mkdir(s.cfg.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.state("identity.json", map[string]any{"node": nodeID})
	if s.nodeKey, err = agent.NodeKey(t.Context(), s.cfg, s.dev); err != nil {
		t.Fatal(err)
	}
	return s
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (s *site) write(path string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// state writes one of the agent's files.
func (s *site) state(name string, v any) {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(filepath.Join(s.cfg.StateDir, name), data)
}

func (s *site) public(k *ecdsa.PrivateKey) seal.PublicKey {
	s.t.Helper()
	p, err := seal.NewPublicKey(&k.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) create() *seal.Key {
	s.t.Helper()
	k, _, err := Create(s.t.Context(), s.cfg, s.dev, Conditions{Authority: s.public(s.authority), Grantors: []seal.PublicKey{s.public(s.grantor)}})
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// approve approves the present state.
func (s *site) approve() {
	s.t.Helper()
	state, err := seal.ReadState(s.tpm, "sha256", seal.DefaultPCRs)
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := seal.Approve(s.authority, chainID, s.net.Ledger.Genesis.String(), state)
	if err != nil {
		s.t.Fatal(err)
	}
	if kind, err := Accept(s.cfg, a.Marshal()); kind != "approval" || err != nil {
		s.t.Fatal(kind, err)
	}
}

// admit puts a bundle for the key there, as the agent would.
func (s *site) admit(key ed25519.PublicKey, valid time.Duration) {
	s.t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	bundle, err := s.net.Bundle(issuer.Node{ID: nodeID, NodeKey: s.nodeKey, ConsensusKey: key, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(valid)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(filepath.Join(s.cfg.StateDir, "admission.bundle"), bundle)
}

// verdicts has the agent have heard a decision of each verifier.
func (s *site) verdicts(decisions ...string) {
	s.t.Helper()
	st := agent.Status{Node: nodeID}
	for i, d := range decisions {
		st.Verifiers = append(st.Verifiers, agent.VerifierStatus{Name: s.net.Verifiers[i].Name, Decision: d, Findings: []agent.Finding{}})
	}
	s.state("status.json", st)
}

// running is a signer that runs.
type running struct {
	stop context.CancelFunc
	done chan struct{}
	err  error // once done
}

func (s *site) run() *running {
	s.t.Helper()
	sg, err := New(s.cfg, s.link, s.dev, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = sg.Run(ctx)
	}()
	s.t.Cleanup(func() { r.end(s.t) })
	return r
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	<-r.done
	if r.err != nil {
		t.Error(r.err)
	}
}

// node is the other side: CometBFT's own client of remote signers.
type node struct {
	*privval.SignerClient
	endpoint *privval.SignerListenerEndpoint
}

func (s *site) node() *node {
	s.t.Helper()
	path := strings.TrimPrefix(s.link.Address, "unix://")
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.serve(privval.NewUnixListener(l))
}

func (s *site) serve(l net.Listener) *node {
	s.t.Helper()
	e := privval.NewSignerListenerEndpoint(cmtlog.NewNopLogger(), l)
	c, err := privval.NewSignerClient(e, chainID)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { e.Stop() })
	return &node{c, e}
}

func vote(height int64, block string) *cmtproto.Vote {
	hash := sha256.Sum256([]byte(block))
	return &cmtproto.Vote{
		Type: cmtproto.PrecommitType, Height: height, Timestamp: time.Now(), ValidatorAddress: make([]byte, 20),
		BlockID: cmtproto.BlockID{Hash: hash[:], PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: hash[:]}},
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// signs waits until a vote is signed, and checks the signature as a chain would.
func (n *node) signs(t *testing.T, key ed25519.PublicKey, height int64) {
	t.Helper()
	var v *cmtproto.Vote
	var err error
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v = vote(height, "a")
		if err = n.SignVote(chainID, v); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("height %d is never signed: %v", height, err)
		}
	}
	if !ed25519.Verify(key, types.VoteSignBytes(chainID, v), v.Signature) {
		t.Error("signature does not verify")
	}
}

// refuses waits until a vote is refused for the reason, over a link that stays.
func (n *node) refuses(t *testing.T, height int64, check string) {
	t.Helper()
	var err error
	eventually(t, "refused for "+check, func() bool {
		err = n.SignVote(chainID, vote(height, "a"))
		return err != nil && strings.Contains(err.Error(), check)
	})
	var remote *privval.RemoteSignerError
	if !errors.As(err, &remote) {
		t.Errorf("%T %v is no RemoteSignerError", err, err)
	}
	if !n.endpoint.IsConnected() {
		t.Error("the signer hung up")
	}
}

func TestSignsWhileAdmitted(t *testing.T) {
	s := newSite(t)
	n := s.node()
	k := s.create()
	s.run()
	n.refuses(t, 1, "seal.unapproved")
	if pub, err := n.GetPubKey(); err != nil || !bytes.Equal(pub.Bytes(), k.PublicKey()) {
		t.Error(pub, err)
	}
	s.approve()
	n.refuses(t, 1, "signer.no-admission")
	s.admit(k.PublicKey(), time.Hour)
	n.signs(t, k.PublicKey(), 1)

	s.verdicts("admitted", "denied", "") // one of three refuses: two could still admit
	n.signs(t, k.PublicKey(), 2)
	s.verdicts("admitted", "denied", "denied")
	n.refuses(t, 3, "signer.suspended")
	s.verdicts("", "", "") // an agent that has just started
	n.refuses(t, 3, "signer.suspended")
	s.verdicts("admitted", "admitted", "")
	n.signs(t, k.PublicKey(), 3)

	s.admit(k.PublicKey(), time.Second)
	eventually(t, "lapsed", func() bool {
		err := n.SignVote(chainID, vote(4, "a"))
		return err != nil && (strings.Contains(err.Error(), "signer.lapsed") || strings.Contains(err.Error(), "admission.expired"))
	})
	s.admit(k.PublicKey(), time.Hour)
	n.signs(t, k.PublicKey(), 5)

	_, err := tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: 7, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("x")}}.Execute(s.tpm)
	if err != nil {
		t.Fatal(err)
	}
	n.refuses(t, 6, "signer.moved")
}

func TestBundlesOfOthersDoNotServe(t *testing.T) {
	s := newSite(t)
	n, k := s.node(), s.create()
	s.approve()
	s.run()
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.admit(other, time.Hour)
	n.refuses(t, 1, string(admission.OtherConsensusKey))
	own := s.nodeKey
	s.nodeKey = sha256.Sum256([]byte("another host"))
	s.admit(k.PublicKey(), time.Hour)
	n.refuses(t, 1, string(admission.OtherNodeKey))
	s.nodeKey = own
	s.admit(k.PublicKey(), time.Hour)
	n.signs(t, k.PublicKey(), 1)
}

func TestDoubleSignIsRefused(t *testing.T) {
	s := newSite(t)
	n, k := s.node(), s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	r := s.run()
	n.signs(t, k.PublicKey(), 7)
	conflict := func(n *node, height int64, want string) {
		t.Helper()
		err := n.SignVote(chainID, vote(height, "b"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("height %d: %v, want %s", height, err, want)
		}
	}
	conflict(n, 7, "conflicting data")
	conflict(n, 6, "height regression")
	if err := n.SignVote(chainID, vote(7, "a")); err != nil { // the same again, as after a crash of the node
		t.Error(err)
	}
	if err := n.SignVote("other-chain", vote(8, "a")); err == nil {
		t.Error("signed for another chain")
	}
	r.end(t)
	s.reboot()
	s.run()
	n = s.node()
	eventually(t, "back", func() bool { return n.SignVote(chainID, vote(7, "a")) == nil })
	conflict(n, 7, "conflicting data")
	n.signs(t, k.PublicKey(), 8)
}

func (s *site) reboot() {
	s.t.Helper()
	if err := s.tpm.Reset(); err != nil {
		s.t.Fatal(err)
	}
}

// TestSecondStartInABoot is what an operator meets who restarts the service.
func TestSecondStartInABoot(t *testing.T) {
	s := newSite(t)
	n, k := s.node(), s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	r := s.run()
	n.signs(t, k.PublicKey(), 1)
	r.end(t)
	s.run()
	n.refuses(t, 2, "signer.sealed")
	var request seal.Request
	eventually(t, "a request", func() bool {
		data, err := os.ReadFile(filepath.Join(Dir(s.cfg), requestFile))
		if err != nil {
			return false
		}
		request, err = seal.ParseRequest(data)
		return err == nil
	})
	old := request
	old.Nonce = make([]byte, 32)
	g, err := old.Sign(s.grantor, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Accept(s.cfg, g.Marshal())
	refused(t, err, seal.GrantDenied)
	if g, err = request.Sign(p256(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := Accept(s.cfg, g.Marshal()); err != nil { // who signed, the TPM finds
		t.Fatal(err)
	}
	last := request
	eventually(t, "a new request", func() bool {
		data, err := os.ReadFile(filepath.Join(Dir(s.cfg), requestFile))
		if err != nil {
			return false
		}
		request, err = seal.ParseRequest(data)
		return err == nil && !bytes.Equal(request.Nonce, last.Nonce)
	})
	n.refuses(t, 2, "signer.sealed")
	if g, err = request.Sign(s.grantor, time.Minute); err != nil {
		t.Fatal(err)
	}
	if kind, err := Accept(s.cfg, g.Marshal()); kind != "grant" || err != nil {
		t.Fatal(kind, err)
	}
	n.signs(t, k.PublicKey(), 2)
	_, err = Accept(s.cfg, g.Marshal()) // nobody waits any more
	refused(t, err, seal.GrantDenied)
}
