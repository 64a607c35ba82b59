package rpc

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier"
)

// Three verifiers of three members judge one host independently; its agent
// answers them with one TPM, and the ledger accepts two admissions of the three.
func TestThreeVerifiers(t *testing.T) {
	worlds := newConsortium(t, 3, 2)
	first := worlds[0]
	h := first.machine("validator-1", bootlog.Debian())
	tokens := make(map[string]string)
	for _, w := range worlds {
		// Each member invites hosts of its own name only, so the other two verifiers
		// are told by the same operator.
		invited, err := first.adminAt(w.self).InviteNode(t.Context(), &pb.InviteNodeRequest{NodeId: h.id, PreApprove: true})
		must(t, err)
		tokens[w.self.Name] = invited.JoinToken
	}
	_, err := h.agent.Join(t.Context(), agent.JoinOptions{Tokens: tokens})
	must(t, err)
	first.run(h)
	for _, w := range worlds {
		w.learn(h)
		w.awaitState(h.id, "admitted")
	}
	var bundle []byte
	first.eventually("a bundle in the agent's state folder", func() bool {
		bundle, err = os.ReadFile(filepath.Join(first.dir, "validator-1", "state", "admission.bundle"))
		return err == nil
	})
	admitted, err := first.consortium.VerifyBundle(bundle, first.want(h), time.Now())
	must(t, err)
	if n := len(admitted.Statements()); n < 2 {
		t.Errorf("the bundle holds %d admissions, want at least 2", n)
	}
	one, err := admission.ParseBundle(bundle)
	must(t, err)
	short, err := admission.NewBundle(one.Items[0])
	must(t, err)
	if _, err := first.consortium.VerifyBundle(short.Marshal(), first.want(h), time.Now()); err == nil {
		t.Error("one admission was enough where two are needed")
	}
}

// newConsortium starts n verifiers of n members under one consortium file with
// the given threshold.
func newConsortium(t *testing.T, n, threshold int) []*world {
	t.Helper()
	vendor, err := vendorca.New(vendorca.Options{Seed: t.Name(), Now: time.Now()})
	must(t, err)
	base := t.TempDir()
	trust := filepath.Join(base, "roots", "test-virtual")
	must(t, os.MkdirAll(trust, 0o700))
	must(t, os.WriteFile(filepath.Join(trust, "vendor.pem"), vendor.RootPEM(), 0o600))
	var worlds []*world
	var whole *admission.Consortium
	for i := range n {
		w := &world{t: t, dir: base, vendor: vendor}
		name := fmt.Sprintf("org-%c", 'a'+i)
		created, err := verifier.Init(verifier.Setup{
			Dir: filepath.Join(base, name), Name: name + ".verifier.example-net", Member: name, Operator: "alice",
			Consortium: "example-net", LedgerID: "example-1", Genesis: sha256.Sum256([]byte("genesis")),
			Attest: freeAddress(t), Enroll: freeAddress(t), Trust: filepath.Dir(trust), Test: true,
		})
		must(t, err)
		w.config, err = verifier.ReadConfig(created.Config)
		must(t, err)
		w.key, err = operator.ReadKey(created.OperatorKey)
		must(t, err)
		whole = merge(t, whole, created.Consortium)
		worlds = append(worlds, w)
	}
	whole.Threshold = threshold
	text, err := whole.Marshal()
	must(t, err)
	for _, w := range worlds {
		must(t, os.WriteFile(w.config.Consortium, text, 0o600))
		w.start()
		t.Cleanup(func() { w.stop() })
		w.admin = w.adminAt(w.self)
	}
	return worlds
}

// merge adds the verifier and member of a fresh consortium file.
func merge(t *testing.T, into *admission.Consortium, path string) *admission.Consortium {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	c, err := admission.ParseConsortium(text)
	must(t, err)
	if into == nil {
		return c
	}
	into.Verifiers = append(into.Verifiers, c.Verifiers...)
	into.Members = append(into.Members, c.Members...)
	return into
}

// adminAt connects this world's operator to any verifier of the consortium.
func (w *world) adminAt(v admission.Verifier) pb.AdministrationServiceClient {
	w.t.Helper()
	conn, err := w.key.Dial(v)
	must(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return pb.NewAdministrationServiceClient(conn)
}

// machine makes a booted machine with an agent that has not joined yet.
func (w *world) machine(name string, boot bootlog.Boot) *host {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	m, err := bootlog.NewHost(w.t.Context(), dir, swtpm.Options{Vendor: w.vendor})
	must(w.t, err)
	w.t.Cleanup(func() { _ = m.Close() })
	must(w.t, m.Boot(boot))
	must(w.t, m.Exec("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent"))))
	dev, err := device.Open(w.t.Context(), m.Device())
	must(w.t, err)
	w.t.Cleanup(func() { _ = dev.Close() })
	h := &host{Host: m, id: member + "/" + name}
	h.agent, err = agent.New(agent.Config{
		Node: h.id, Consortium: w.config.Consortium, StateDir: filepath.Join(dir, "state"), Device: m.Device(),
		BootLog: m.BootLogPath(), IMAList: m.IMAPath(), BootID: m.BootIDPath(),
	}, dev, slog.New(slog.NewTextHandler(testWriter{w.t}, nil)))
	must(w.t, err)
	return h
}
