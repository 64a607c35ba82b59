package rpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/possession"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/journal"
)

// strictSigner is a host whose consensus key is released by grants alone: of the
// verifier, or of a person for the first time.
type strictSigner struct {
	w      *world
	host   *host
	cfg    agent.Config
	dir    string // short: sockets have short paths
	person *ecdsa.PrivateKey
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, seal.PublicKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := seal.NewPublicKey(&k.PublicKey)
	must(t, err)
	return k, public
}

func newStrictSigner(w *world, grantors ...seal.PublicKey) *strictSigner {
	t := w.t
	t.Helper()
	h := w.machine("validator-1", bootlog.Debian())
	dir, err := os.MkdirTemp("", "grant")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &strictSigner{w: w, host: h, dir: dir}
	s.cfg = agent.DefaultConfig()
	s.cfg.Node, s.cfg.Consortium, s.cfg.Device = h.id, w.config.Consortium, h.Device()
	s.cfg.StateDir = filepath.Join(dir, "state")
	s.cfg.BootLog, s.cfg.IMAList, s.cfg.BootID = h.BootLogPath(), h.IMAPath(), h.BootIDPath()
	h.agent, err = agent.New(s.cfg, s.device(), slog.New(slog.NewTextHandler(testWriter{t}, nil)))
	must(t, err)
	authority, approver := newKey(t)
	var person seal.PublicKey
	s.person, person = newKey(t)
	dev := s.device()
	_, _, err = signer.Create(t.Context(), s.cfg, dev, signer.Conditions{
		Authority: approver, Grantors: append(grantors, person), Strict: true,
	})
	must(t, err)
	state, err := seal.ReadState(dev, "sha256", seal.DefaultPCRs)
	must(t, err)
	ledger := w.consortium.Ledger
	approval, err := seal.Approve(authority, ledger.ID, ledger.Genesis.String(), state)
	must(t, err)
	_, err = signer.Accept(s.cfg, approval.Marshal())
	must(t, err)
	return s
}

func (s *strictSigner) device() *device.Device {
	s.w.t.Helper()
	dev, err := device.Open(s.w.t.Context(), s.host.Device())
	must(s.w.t, err)
	s.w.t.Cleanup(func() { _ = dev.Close() })
	return dev
}

// start runs the signer until stop, or the end of the test.
func (s *strictSigner) start() (stop func()) {
	t := s.w.t
	t.Helper()
	sg, err := signer.New(s.cfg, signer.Link{Address: "unix://" + filepath.Join(s.dir, "node.sock")}, s.device(), slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sg.Run(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("signer: %v", err)
			}
			_ = os.Remove(filepath.Join(signer.Dir(s.cfg), "status.json")) // what is read next is the next one's
		}
	}
	t.Cleanup(stop)
	return stop
}

func (s *strictSigner) request() (seal.Request, bool) {
	data, err := os.ReadFile(filepath.Join(signer.Dir(s.cfg), seal.RequestFile))
	if err != nil {
		return seal.Request{}, false
	}
	r, err := seal.ParseRequest(data)
	return r, err == nil
}

// byPerson grants the waiting start with the person's key.
func (s *strictSigner) byPerson() {
	s.w.t.Helper()
	var r seal.Request
	s.w.eventually("a request", func() (ok bool) { r, ok = s.request(); return ok })
	g, err := r.Sign(s.person, seal.MaxGrant)
	must(s.w.t, err)
	_, err = signer.Accept(s.cfg, g.Marshal())
	must(s.w.t, err)
}

func (s *strictSigner) join(worlds ...*world) {
	t := s.w.t
	t.Helper()
	var prover *possession.Prover
	s.w.eventually("the signer to answer", func() (ok bool) {
		var err error
		prover, err = possession.Find(t.Context(), s.cfg.StateDir)
		return err == nil
	})
	joined := map[string]bool{}
	s.w.eventually("the host to join", func() bool {
		tokens := map[string]string{}
		for _, w := range worlds {
			if joined[w.self.Name] {
				continue
			}
			invited, err := s.w.adminAt(w.self).InviteNode(t.Context(), &pb.InviteNodeRequest{NodeId: s.host.id, PreApprove: true})
			must(t, err)
			tokens[w.self.Name] = invited.JoinToken
		}
		done, err := s.host.agent.Join(t.Context(), agent.JoinOptions{Tokens: tokens, Prover: prover})
		for _, e := range done {
			joined[e.Verifier] = true
		}
		return err == nil // the key is released a moment after the grant is accepted
	})
}

// says waits until the signer's status satisfies the condition.
func (s *strictSigner) says(what string, ok func(signer.Status) bool) {
	s.w.t.Helper()
	var st signer.Status
	s.w.eventually(what, func() bool {
		var err error
		st, err = signer.ReadStatus(s.cfg)
		return err == nil && st.Running && ok(st)
	})
}

func signs(st signer.Status) bool { return st.Signing }

func refusesWith(text string) func(signer.Status) bool {
	return func(st signer.Status) bool {
		return st.Refusal != nil && st.Refusal.Check == "signer.sealed" && strings.Contains(st.Refusal.Got, text)
	}
}

// granted are the grants in the verifier's journal.
func (w *world) granted() (list []journal.Grant) {
	w.t.Helper()
	stream, err := w.admin.ReadJournal(w.t.Context(), &pb.ReadJournalRequest{})
	must(w.t, err)
	for {
		m, err := stream.Recv()
		if err != nil {
			return list
		}
		if len(m.Entry) == 0 {
			continue
		}
		body, err := journal.Parse(m.Entry)
		must(w.t, err)
		if g, ok := body.(journal.Grant); ok {
			list = append(list, g)
		}
	}
}

// A strict signer's key is released while the verifier admits its host, by the
// agent's asking alone, and stays sealed while the host is suspended.
func TestStrictSignerIsGrantedWhileAdmitted(t *testing.T) {
	w := newWorld(t)
	s := newStrictSigner(w, seal.PublicKey(w.self.GrantKey))
	stop := s.start()
	s.byPerson() // before it joined, no verifier knows the host
	s.join(w)
	w.run(s.host)
	w.learn(s.host)
	w.awaitState(s.host.id, "admitted")
	s.says("the person's grant to count", signs)
	if n := len(w.granted()); n != 0 {
		t.Fatalf("%d grants of the verifier, though a person granted", n)
	}
	stop()

	stop = s.start()
	s.says("the verifier's grant", signs)
	list := w.granted()
	if len(list) != 1 || list[0].Node != s.host.id || list[0].Seconds == 0 {
		t.Fatalf("the journal has %+v", list)
	}
	stop()

	_, err := w.admin.SuspendNode(t.Context(), &pb.SuspendNodeRequest{NodeId: s.host.id, Reason: "on trial"})
	must(t, err)
	stop = s.start()
	s.says("the refusal", refusesWith("node.suspended"))
	if n := len(w.granted()); n != 1 {
		t.Errorf("%d grants, though the host is suspended", n)
	}
	_, err = w.admin.ResumeNode(t.Context(), &pb.ResumeNodeRequest{NodeId: s.host.id, Reason: "acquitted"})
	must(t, err)
	s.says("the grant after the suspension", signs)
	stop()
}

// Any one of the verifiers named is enough: with one down, the other grants.
func TestStrictSignerOutlivesAVerifier(t *testing.T) {
	worlds := newConsortium(t, 2, 1)
	first, second := worlds[0], worlds[1]
	s := newStrictSigner(first, seal.PublicKey(first.self.GrantKey), seal.PublicKey(second.self.GrantKey))
	stop := s.start()
	s.byPerson()
	s.join(worlds...)
	first.run(s.host)
	for _, w := range worlds {
		w.learn(s.host)
		w.awaitState(s.host.id, "admitted")
	}
	s.says("the person's grant to count", signs)
	stop()
	stop = s.start()
	s.says("the first verifier's grant", signs)
	stop()
	if a, b := len(first.granted()), len(second.granted()); a != 1 || b != 0 {
		t.Errorf("the verifiers granted %d and %d, want the first alone", a, b)
	}
	first.stop()
	stop = s.start()
	s.says("the second verifier's grant", signs)
	stop()
	if n := len(second.granted()); n != 1 {
		t.Errorf("the second verifier granted %d", n)
	}
}

// admitPaper has a paper host admitted.
func (w *world) admitPaper(p *paper) {
	w.t.Helper()
	_, err := p.tryRound(w.t.Context())
	must(w.t, err)
	w.learn(&host{id: p.ID})
	v, err := p.tryRound(w.t.Context())
	must(w.t, err)
	if v.Decision != "admitted" {
		w.t.Fatalf("%v", v)
	}
}

func (p *paper) askGrant(ctx context.Context, nonce []byte) error {
	conn, err := grpc.NewClient("passthrough:///"+p.w.self.Attest, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(p.certificate()))))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = pb.NewAttestationServiceClient(conn).Grant(ctx, &pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: nonce})
	return err
}

// A verifier that is killed while it grants has every grant that left in its
// journal, perhaps one more, and answers the same request again.
func TestGrantOutlivesItsVerifier(t *testing.T) {
	w := newWorld(t)
	p := w.enrolledPaper("validator-1")
	w.admitPaper(p)
	w.stop()
	nonce := bytes.Repeat([]byte{7}, 32)
	left := 0
	for range 5 {
		cmd := w.process()
		must(t, p.askGrant(t.Context(), nonce))
		left++
		answered := make(chan error, 1)
		go func() { answered <- p.askGrant(t.Context(), nonce) }()
		time.Sleep(time.Duration(mathrand.IntN(30)) * time.Millisecond)
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		if <-answered == nil {
			left++
		}
	}
	w.start()
	conn, err := w.key.Dial(w.self)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	w.admin = pb.NewAdministrationServiceClient(conn)
	must(t, p.askGrant(t.Context(), nonce))
	left++
	list := w.granted()
	if len(list) < left || len(list) > left+5 {
		t.Errorf("%d grants left, the journal has %d", left, len(list))
	}
	for _, g := range list {
		if !bytes.Equal(g.Nonce, nonce) || g.Node != p.ID || g.ConsensusKey != p.ConsensusKey() {
			t.Errorf("the journal has %+v", g)
		}
	}
}

// Form is looked at before anything else.
func TestGrantRequestsHaveBounds(t *testing.T) {
	w := newWorld(t)
	p := w.enrolledPaper("validator-1")
	w.admitPaper(p)
	client := pb.NewAttestationServiceClient(dial(t, w.self.Attest, clientTLS(p.certificate())))
	for name, try := range map[string]struct {
		request *pb.GrantRequest
		want    codes.Code
	}{
		"good":             {&pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: make([]byte, 16)}, codes.OK},
		"longest nonce":    {&pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: make([]byte, 64)}, codes.OK},
		"short nonce":      {&pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: make([]byte, 15)}, codes.InvalidArgument},
		"long nonce":       {&pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: make([]byte, 65)}, codes.InvalidArgument},
		"long key":         {&pb.GrantRequest{ConsensusKey: strings.Repeat("x", 129), Nonce: make([]byte, 32)}, codes.InvalidArgument},
		"another's key":    {&pb.GrantRequest{ConsensusKey: "ed25519:AAAA", Nonce: make([]byte, 32)}, codes.FailedPrecondition},
		"the whole of now": {&pb.GrantRequest{ConsensusKey: p.ConsensusKey(), Nonce: make([]byte, 32), Seconds: 1 << 31}, codes.OK},
	} {
		response, err := client.Grant(t.Context(), try.request)
		if status.Code(err) != try.want {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
		if err == nil && (response.Seconds == 0 || response.Seconds > 300) {
			t.Errorf("%s: %d seconds", name, response.Seconds)
		}
	}
}
