package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
)

const member = "org-a"

// world is a real verifier on loopback with a consortium of one, and an operator
// who is connected to it.
type world struct {
	t          *testing.T
	dir        string
	vendor     *vendorca.CA
	config     *verifier.Config
	service    *verifier.Service
	consortium *admission.Consortium
	self       admission.Verifier
	key        *operator.Key
	admin      pb.AdministrationServiceClient
	admissions pb.AdmissionServiceClient
	stop       func()
	version    int       // of the policy learned last
	log        io.Writer // of the verifier; nil: the test's
}

// newWorld writes a verifier's files with the product's own init and starts it.
// The edits see the files before the verifier reads them.
func newWorld(t *testing.T, edits ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.vendor, err = vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	trust := filepath.Join(w.dir, "roots", "test-virtual")
	must(t, os.MkdirAll(trust, 0o700))
	must(t, os.WriteFile(filepath.Join(trust, "vendor.pem"), w.vendor.RootPEM(), 0o600))
	created, err := verifier.Init(verifier.Setup{
		Dir: filepath.Join(w.dir, "verifier"), Name: "org-a.verifier.example-net", Member: member, Operator: "alice",
		Consortium: "example-net", LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")),
		Attest: freeAddress(t), Enroll: freeAddress(t), Trust: filepath.Dir(trust), Test: true,
	})
	must(t, err)
	w.config, err = verifier.ReadConfig(created.Config)
	must(t, err)
	w.key, err = operator.ReadKey(created.OperatorKey)
	must(t, err)
	for _, edit := range edits {
		edit(w)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	conn, err := w.key.Dial(w.self)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	w.admin, w.admissions = pb.NewAdministrationServiceClient(conn), pb.NewAdmissionServiceClient(conn)
	return w
}

// start opens the service from its files and serves it; w.stop ends it.
func (w *world) start() {
	w.t.Helper()
	out := w.log
	if out == nil {
		out = testWriter{w.t}
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	ctx, cancel := context.WithCancel(context.Background())
	service, err := verifier.Open(ctx, w.config, log)
	must(w.t, err)
	w.service, w.consortium = service, service.Consortium()
	w.self, _ = w.consortium.Verifier(w.config.Name)
	attest, err := net.Listen("tcp", w.self.Attest)
	must(w.t, err)
	enroll, err := net.Listen("tcp", w.self.Enroll)
	must(w.t, err)
	served := make(chan error, 1)
	go func() { served <- New(service, service.Certificate(), w.config.Limits, log).Serve(ctx, attest, enroll) }()
	w.stop = func() {
		cancel()
		if err := errors.Join(<-served, service.Close()); err != nil {
			w.t.Errorf("stop: %v", err)
		}
		w.stop = func() {}
	}
}

// host is a simulated machine with a real agent.
type host struct {
	*bootlog.Host
	id    string
	agent *agent.Agent
	stop  func()
}

// newHost makes a machine, boots it and enrols its agent with a pre-approved
// token.
func (w *world) newHost(name string, boot bootlog.Boot) *host {
	w.t.Helper()
	h := w.machine(name, boot)
	invited, err := w.admin.InviteNode(w.t.Context(), &pb.InviteNodeRequest{NodeId: h.id, PreApprove: true})
	must(w.t, err)
	_, err = h.agent.Join(w.t.Context(), agent.JoinOptions{Tokens: map[string]string{w.self.Name: invited.JoinToken}})
	must(w.t, err)
	return h
}

// run starts the agent; h.stop, or the end of the test, stops it.
func (w *world) run(h *host) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.agent.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("agent of %s: %v", h.id, err)
		}
	})
	w.t.Cleanup(h.stop)
}

// reboot ends the agent with its machine's power and starts it again.
func (w *world) reboot(h *host, boot bootlog.Boot) {
	w.t.Helper()
	h.stop()
	must(w.t, h.Boot(boot))
	must(w.t, h.Exec("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent"))))
	w.run(h)
}

// learn makes a policy from a node's archived evidence and approves it.
func (w *world) learn(h *host) {
	w.t.Helper()
	var file []byte
	w.eventually("evidence of "+h.id, func() bool {
		file = w.evidence(h.id)
		return file != nil
	})
	parsed, err := evidence.ParseFile(file)
	must(w.t, err)
	verified, err := parsed.VerifyWhole()
	must(w.t, err)
	n := w.node(h.id)
	w.version++
	p, manifests, err := appraise.Learn(
		appraise.Lesson{Name: "validators", Version: w.version, Publisher: member, Roles: []string{verifier.RoleValidator}},
		[]appraise.Sample{{Evidence: verified, TPM: appraise.TPM{Class: n.TpmClass, Vendor: n.TpmVendor}}}, time.Now())
	must(w.t, err)
	p.Timing = policy.Timing{ChallengeEvery: time.Second, LateAfter: time.Minute, AdmissionFor: time.Hour}
	p, err = policy.Parse(p.Print())
	must(w.t, err)
	set, err := policy.NewSet(p, manifests)
	must(w.t, err)
	files := [][]byte{p.Print()}
	for _, m := range manifests {
		files = append(files, m.Print())
	}
	approval, err := note.Sign(&note.Note{Text: verifier.ApprovalText(w.consortium.Name, set)}, w.key)
	must(w.t, err)
	result, err := w.approve(approval, files...)
	must(w.t, err)
	if !result.Active {
		w.t.Fatalf("policy is not active after %d of %d approvals", result.Approvals, result.Needed)
	}
}

// approve hands over an approval with the files it is for.
func (w *world) approve(approval []byte, files ...[]byte) (*pb.ApprovePolicyResponse, error) {
	stream, err := w.admin.ApprovePolicy(w.t.Context())
	must(w.t, err)
	err = stream.Send(&pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Approval{Approval: approval}})
	for part := range parts.Split(files...) {
		if err == nil {
			err = stream.Send(&pb.ApprovePolicyRequest{Step: &pb.ApprovePolicyRequest_Part{Part: part}})
		}
	}
	return stream.CloseAndRecv()
}

func (w *world) evidence(id string) []byte {
	stream, err := w.admin.GetEvidence(w.t.Context(), &pb.GetEvidenceRequest{NodeId: id})
	must(w.t, err)
	var file []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return file
		}
		if err != nil {
			return nil
		}
		file = append(file, part.Data...)
	}
}

func (w *world) node(id string) *pb.Node {
	w.t.Helper()
	r, err := w.admin.GetNode(w.t.Context(), &pb.GetNodeRequest{NodeId: id})
	must(w.t, err)
	return r.Node
}

// eventually polls until the condition holds, for at most a minute.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *world) awaitState(id, state string) *pb.Node {
	w.t.Helper()
	var n *pb.Node
	w.eventually(id+" to be "+state, func() bool {
		n = w.node(id)
		return n.State == state
	})
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := site.FreeAddress()
	must(t, err)
	return address
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p[:len(p)-1]))
	return len(p), nil
}
