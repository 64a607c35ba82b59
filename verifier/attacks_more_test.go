package verifier

import (
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// Nothing that a host sends becomes a reference value: neither on first sight nor
// by sending it often. Only what operators approve does.
func TestA184_HostTeachesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.enrolled("validator-1")
	for range 3 {
		out := b.round(first)
		b.demand(first, out, verdict.Denied, b.status(first))
		found(t, out, verdict.PolicyNone)
	}
	b.learn(first)
	b.demand(first, b.round(first), verdict.Admitted, node.Admitted)
	before := b.policies.forRole(RoleValidator)
	size := b.policySize()

	changed := bootlog.Debian()
	changed.Kernel.Content, changed.Initrd.Content = []byte("linux of the host's own"), []byte("its own initrd")
	other := b.host("validator-2")
	other.Boot(changed)
	check(t, b.enrol(other))
	for range 3 {
		out := b.round(other)
		b.demand(other, out, verdict.Denied, b.status(other))
		found(t, out, verdict.BootKernel)
		b.clock.advance(time.Minute)
		b.reboots(other, changed)
	}
	b.restart()
	out := b.round(other)
	b.demand(other, out, verdict.Denied, b.status(other))
	if b.policies.forRole(RoleValidator).Digest() != before.Digest() || b.policySize() != size {
		t.Error("the policy is another one now")
	}
	if b.status(other) == node.Admitted || b.record(other).Serial != 0 {
		t.Errorf("the other host is %v with admission %d", b.status(other), b.record(other).Serial)
	}

	other.Boot(bootlog.Debian()) // the twin: what was approved
	b.demand(other, b.round(other), verdict.Admitted, node.Admitted)
}

// reboots boots the same altered system once more.
func (b *bench) reboots(h *paperhost.Host, boot bootlog.Boot) {
	b.t.Helper()
	h.Boot(boot)
	b.newSession(h)
}

// policySize is how many bytes the active policy and its manifests have.
func (b *bench) policySize() int {
	b.t.Helper()
	files, err := b.Policy(b.t.Context(), "")
	check(b.t, err)
	n := len(files.Policy)
	for _, m := range files.Manifests {
		n += len(m)
	}
	return n
}

// outage replaces a folder by a file, which not even root can write into.
func outage(path string) (repair func() error, err error) {
	aside := path + ".aside"
	if err := errors.Join(os.Rename(path, aside), os.WriteFile(path, nil, 0o600)); err != nil {
		return nil, err
	}
	return func() error { return errors.Join(os.Remove(path), os.Rename(aside, path)) }, nil
}

// unwritable makes every change of a database's nodes and counters fail, as a disk
// does that is gone.
func unwritable(path string) (repair func() error, err error) {
	run := func(statements ...string) error {
		db, err := sql.Open("sqlite", path)
		for _, s := range statements {
			if err == nil {
				_, err = db.Exec(s)
			}
		}
		return errors.Join(err, db.Close())
	}
	return func() error { return run("DROP TRIGGER a", "DROP TRIGGER b") }, run(
		"CREATE TRIGGER a BEFORE UPDATE ON nodes BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END",
		"CREATE TRIGGER b BEFORE UPDATE ON progress BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END")
}

// What a verifier cannot keep, it does not decide: while archive, journal or
// database fail there is no new admission, and those that stand run out.
func TestA152_DependencyFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*Config) (func() error, error){
		"archive":  func(c *Config) (func() error, error) { return outage(filepath.Join(c.Data, "archive")) },
		"journal":  func(c *Config) (func() error, error) { return outage(filepath.Join(journalPath(c), "tile")) },
		"database": func(c *Config) (func() error, error) { return unwritable(databasePath(c)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, h := admitted(t)
			before := b.record(h)
			h.Boot(bootlog.Debian()) // a new boot needs a new admission
			repair, err := fail(b.config)
			check(t, err)
			out := Outcome{Retryable: true}
			for err == nil && out.Retryable { // until the verifier has all that it wants
				x, c := b.ask(h)
				out, err = x.Judge(t.Context(), b.answer(h, c), 0, noMore)
			}
			if err == nil || out.Admission != nil {
				t.Errorf("admission of %d bytes, %v", len(out.Admission), err)
			}
			b.clock.advance(91 * time.Second)
			if got := b.status(h); got == node.Admitted {
				t.Errorf("without fresh evidence the node is %v", got)
			}
			check(t, repair())
			b.restart()
			out = b.round(h)
			b.demand(h, out, verdict.Admitted, node.Admitted)
			if b.record(h).Serial <= before.Serial {
				t.Errorf("repaired: admission %d after %d", b.record(h).Serial, before.Serial)
			}
		})
	}
}

// A host writes an address wherever text goes. Nobody calls there.
func TestA145_NobodyIsDialled(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	called := make(chan net.Addr, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(called)
				return
			}
			called <- c.RemoteAddr()
			_ = c.Close()
		}
	}()
	address := "http://" + l.Addr().String() + "/"

	b := newBench(t)
	h := b.host("validator-1")
	h.EKCertificate, err = b.vendor.Issue(h.EK.Signer.Public(), vendorca.DefaultDevice, vendorca.WithAIA)
	check(t, err)
	h.BootID = address
	r := request(h, b.invite(h.ID))
	r.ConsensusKey = address
	if _, _, err := b.BeginEnrollment(t.Context(), r, enrolExporter); err == nil {
		t.Error("an address is a consensus key")
	}
	r = request(h, address)
	if _, _, err := b.BeginEnrollment(t.Context(), r, enrolExporter); err == nil {
		t.Error("an address is a token")
	}
	check(t, b.enrol(h))
	if _, err := b.OpenSession(t.Context(), Hello{Node: address, BootID: address, Banks: []string{address}, Version: address}, h.NodeKey.SPKIDigest(), exporterOf(h)); err == nil {
		t.Error("an address is a node id")
	}
	if _, err := b.NodeByKey(t.Context(), papertpm.NewNode(address).NodeKey.SPKIDigest()); err == nil {
		t.Error("a stranger is known")
	}
	h.Exec(address)
	b.round(h)
	b.learn(h)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted) // the twin: text is only text
	check(t, l.Close())
	for from := range called {
		t.Errorf("the verifier called from %v", from)
	}
}
