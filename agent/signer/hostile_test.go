package signer

import (
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cmted25519 "github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/protoio"
	"github.com/cometbft/cometbft/privval"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/proto/binding"
)

// ends runs a signer that must not start.
func (s *site) ends(want seal.CheckID) {
	s.t.Helper()
	sg, err := New(s.cfg, s.link, s.dev, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	err = sg.Run(s.t.Context())
	var r *seal.Refusal
	if !errors.As(err, &r) || r.Check != want {
		s.t.Errorf("got %v, want %s", err, want)
	}
}

// save reads files of the signer's directory, for restore.
func (s *site) save(names ...string) func() {
	s.t.Helper()
	kept := map[string][]byte{}
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(Dir(s.cfg), n))
		if err != nil {
			s.t.Fatal(err)
		}
		kept[n] = data
	}
	return func() {
		s.t.Helper()
		for n, data := range kept {
			s.write(filepath.Join(Dir(s.cfg), n), data)
		}
	}
}

func TestOldSigningStateIsRefused(t *testing.T) {
	s := newSite(t)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	day := func(height int64) {
		t.Helper()
		n, r := s.node(), s.run()
		n.signs(t, k.PublicKey(), height)
		r.end(t)
		s.reboot()
	}
	day(5)
	whole := s.save(stateFile, startsFile)
	day(9)
	now := s.save(stateFile, startsFile)
	whole() // a backup of everything, from before the last start
	s.ends(seal.Rollback)
	now()
	old := s.save(stateFile)
	day(11)
	late := s.save(stateFile)
	old() // of the signing state alone
	s.ends(seal.Rollback)
	if err := os.Remove(filepath.Join(Dir(s.cfg), startsFile)); err != nil {
		t.Fatal(err)
	}
	late()
	s.ends(seal.Rollback)
}

func TestTwinOfOldSigningState(t *testing.T) {
	s := newSite(t)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	n := s.node()
	r := s.run()
	n.signs(t, k.PublicKey(), 5)
	r.end(t)
	s.reboot()
	s.save(stateFile, startsFile)() // the newest state, written back
	s.run()
	s.node().signs(t, k.PublicKey(), 6)
}

// TestStateThatCannotBeWritten: FilePV has signed by the time that it fails, so
// the signature must not leave, now or later, before it is on disk.
func TestStateThatCannotBeWritten(t *testing.T) {
	s := newSite(t)
	n, k := s.node(), s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	s.run()
	n.signs(t, k.PublicKey(), 1)
	path := filepath.Join(Dir(s.cfg), stateFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		v := vote(2, "a")
		err := n.SignVote(chainID, v)
		var remote *privval.RemoteSignerError
		if !errors.As(err, &remote) || len(v.Signature) > 0 {
			t.Fatalf("%v, signature of %d bytes", err, len(v.Signature))
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	n.signs(t, k.PublicKey(), 2)
	if at, err := readPosition(path); err != nil || at.Height != 2 {
		t.Error(at, err)
	}
}

// TestHostileRequests sends what no node sends. The signer must survive, and sign
// for the next caller.
func TestHostileRequests(t *testing.T) {
	s := newSite(t)
	path := strings.TrimPrefix(s.link.Address, "unix://")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	s.run()
	ask := func(what func(net.Conn) error) privvalproto.Message {
		t.Helper()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := what(conn); err != nil {
			t.Fatal(err)
		}
		var m privvalproto.Message
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = protoio.NewDelimitedReader(conn, maxMessage).ReadMsg(&m) // a hang-up leaves m empty
		return m
	}
	send := func(m privvalproto.Message) func(net.Conn) error {
		return func(conn net.Conn) error {
			_, err := protoio.NewDelimitedWriter(conn).WriteMsg(&m)
			return err
		}
	}
	signRequest := func(v *cmtproto.Vote) privvalproto.Message {
		return privvalproto.Message{Sum: &privvalproto.Message_SignVoteRequest{SignVoteRequest: &privvalproto.SignVoteRequest{Vote: v, ChainId: chainID}}}
	}
	for name, v := range map[string]*cmtproto.Vote{"no vote": nil, "no type": {Height: 3}, "odd type": {Type: 77, Height: 3}} {
		m := ask(send(signRequest(v)))
		if r := m.GetSignedVoteResponse(); r == nil || r.Error == nil || len(r.Vote.Signature) > 0 {
			t.Errorf("%s: %v", name, m)
		}
	}
	m := ask(send(privvalproto.Message{Sum: &privvalproto.Message_SignProposalRequest{SignProposalRequest: &privvalproto.SignProposalRequest{ChainId: chainID}}}))
	if r := m.GetSignedProposalResponse(); r == nil || r.Error == nil {
		t.Errorf("no proposal: %v", m)
	}
	for name, raw := range map[string]string{"noise": "\x05\xff\xff\xff\xff\xff", "huge": "\xff\xff\xff\xff\x7f", "empty": "\x00"} {
		m := ask(func(conn net.Conn) error { _, err := conn.Write([]byte(raw)); return err })
		if m.Sum != nil {
			t.Errorf("%s: answered %v", name, m)
		}
	}
	l.Close()
	s.node().signs(t, k.PublicKey(), 4)
}

func TestCallerOverUnix(t *testing.T) {
	s := newSite(t)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	s.link.Callers = []string{"4711"} // we are not
	n := s.node()
	r := s.run()
	if err := n.endpoint.WaitForConnection(time.Second); err != nil {
		t.Fatal("the signer never dialled", err)
	}
	if err := n.SignVote(chainID, vote(1, "a")); err == nil {
		t.Error("signed for another user")
	}
	r.end(t)
	s.reboot()
	s.link.Callers = nil
	n = s.node()
	s.run()
	n.signs(t, k.PublicKey(), 1)
}

func TestCallerOverTCP(t *testing.T) {
	s := newSite(t)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	id := cmted25519.GenPrivKey()
	n := s.serve(privval.NewTCPListener(l, id))
	s.link.Address = "tcp://" + l.Addr().String()
	if _, err := New(s.cfg, s.link, s.dev, slog.Default()); err == nil {
		t.Error("tcp without node ids was taken")
	}
	s.link.Callers = []string{strings.Repeat("0", 40)}
	r := s.run()
	_ = n.endpoint.WaitForConnection(time.Second)
	if err := n.SignVote(chainID, vote(1, "a")); err == nil {
		t.Error("signed for another node")
	}
	r.end(t)
	s.reboot()
	s.link.Callers = []string{hex.EncodeToString(id.PubKey().Address())}
	s.run()
	n.signs(t, k.PublicKey(), 1)
}

func TestLinks(t *testing.T) {
	for address, callers := range map[string][]string{
		"": nil, "unix://": nil, "udp://x": nil, "/path": nil, "tcp://h:1": nil, "tcp://h:2": {"short"}, "tcp://h:3": {strings.Repeat("A", 40)}, "unix:///x": {"no such user"},
	} {
		if (Link{address, callers}).check() == nil {
			t.Errorf("%q %v: taken", address, callers)
		}
	}
	for address, callers := range map[string][]string{"unix:///x": nil, "unix:///y": {"root", "0"}, "tcp://h:1": {strings.Repeat("a", 40)}} {
		if err := (Link{address, callers}).check(); err != nil {
			t.Errorf("%q %v: %v", address, callers, err)
		}
	}
}

// TestPossession: the key signs certifications of its own node, and nothing that
// somebody else composed.
func TestPossession(t *testing.T) {
	s := newSite(t)
	if _, err := possession.Find(t.Context(), s.cfg.StateDir); !errors.Is(err, possession.ErrNotRunning) {
		t.Error(err)
	}
	s.create()
	s.approve()
	s.run()
	var p *possession.Prover
	eventually(t, "control socket", func() (ok bool) {
		var err error
		p, err = possession.Find(t.Context(), s.cfg.StateDir)
		return err == nil
	})
	good := binding.Certification{
		Ledger:   binding.Ledger{Consortium: s.net.Name, ChainID: s.net.Ledger.ID, Genesis: s.net.Ledger.Genesis},
		Verifier: "v", Node: nodeID, ConsensusKey: p.ConsensusKey(), Nonce: [32]byte{1},
	}
	var sig []byte
	eventually(t, "a proof, without any admission", func() (ok bool) {
		var err error
		sig, err = p.Prove(t.Context(), good)
		return err == nil
	})
	digest, err := good.QualifyingData(binding.PurposeConsensusKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ReadKey(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !cmted25519.PubKey(key.PublicKey()).VerifySignature(digest[:], sig) {
		t.Error("the proof does not verify")
	}
	for name, spoil := range map[string]func(*binding.Certification){
		"node": func(c *binding.Certification) { c.Node = "org-b/x" }, "chain": func(c *binding.Certification) { c.Ledger.ChainID = "x" },
		"key": func(c *binding.Certification) { c.ConsensusKey = "" }, "nonce": func(c *binding.Certification) { c.Nonce = [32]byte{} },
	} {
		bad := good
		spoil(&bad)
		if _, err := p.Prove(t.Context(), bad); err == nil {
			t.Errorf("%s: proven", name)
		}
	}
}

func TestOneKeyOneSigner(t *testing.T) {
	s := newSite(t)
	s.ends(seal.NoKey)
	s.create()
	_, _, err := Create(t.Context(), s.cfg, s.dev, Conditions{Authority: s.public(s.authority)})
	var r *seal.Refusal
	if !errors.As(err, &r) || r.Check != seal.Exists {
		t.Errorf("a second key: %v", err)
	}
	running := s.run()
	eventually(t, "running", func() bool {
		st, err := ReadStatus(s.cfg)
		return err == nil && st.Running
	})
	sg, err := New(s.cfg, s.link, s.dev, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := sg.Run(t.Context()); err == nil {
		t.Error("two signers run")
	}
	running.end(t)
	s.cfg.Node = "org-a/validator-2"
	s.ends(seal.BadTerms)
}
