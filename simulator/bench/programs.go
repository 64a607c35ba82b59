package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/proto/binding"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/site"
)

const (
	member    = "org-a"
	fleetSize = 2000
	perSource = 96 // nodes that dial from one address: the verifier bounds enrolments by source
	workers   = 96 // enrolments at a time
)

// programs are what every host of the fleet runs.
var programs = []string{"/usr/lib/systemd/systemd", "/usr/bin/ledger", "/usr/bin/quorate-agent"}

// fleet is a running verifier and the nodes that attest to it.
type fleet struct {
	*site.Site
	consortium *admission.Consortium
	self       admission.Verifier
	admin      pb.AdministrationServiceClient
	like       *host
}

// newFleet starts a verifier and connects as its operator.
func newFleet(ctx context.Context, bin, dir string) (*fleet, error) {
	s, err := site.New(ctx, site.Options{
		Bin: bin, Dir: dir, Host: "127.0.0.1", Verifier: "verifier.org-a.example", Member: member, Consortium: "bench-net", LedgerID: "bench-1",
	})
	if err != nil {
		return nil, err
	}
	f := &fleet{Site: s, like: newHost(bootlog.Debian(), programs...)}
	if err := f.connect(); err != nil {
		s.Close()
		return nil, err
	}
	return f, nil
}

func (f *fleet) connect() (err error) {
	text, err := os.ReadFile(f.ConsortiumFile())
	if err != nil {
		return err
	}
	if f.consortium, err = admission.ParseConsortium(text); err != nil {
		return err
	}
	f.self = f.consortium.Verifiers[0]
	key, err := operator.ReadKey(f.Path("verifier/keys/operator.key"))
	if err != nil {
		return err
	}
	conn, err := key.Dial(f.self)
	f.admin = pb.NewAdministrationServiceClient(conn)
	return err
}

// enroll makes the i-th node and enrols it.
func (f *fleet) enroll(ctx context.Context, i int) (*paperNode, error) {
	n := &paperNode{
		id: fmt.Sprintf("%s/paper-%d", member, i), source: net.IPv4(127, 0, 1, byte(1+i/perSource)), verifier: f.self,
		ledger: binding.Ledger{Consortium: f.consortium.Name, ChainID: f.consortium.Ledger.ID, Genesis: f.consortium.Ledger.Genesis},
	}
	n.host = paperHost(f.like, n.id)
	invited, err := f.admin.InviteNode(ctx, &pb.InviteNodeRequest{NodeId: n.id, PreApprove: true})
	if err != nil {
		return nil, err
	}
	return n, n.enroll(ctx, invited.JoinToken, f.Vendor)
}

// enrollAll enrols the fleet.
func (f *fleet) enrollAll(ctx context.Context) ([]*paperNode, error) {
	nodes := make([]*paperNode, fleetSize)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range nodes {
		g.Go(func() (err error) {
			nodes[i], err = f.enroll(ctx, i)
			return err
		})
	}
	return nodes, g.Wait()
}

// approve learns a policy from the first node, which has to be attesting, and
// puts it in force.
func (f *fleet) approve(ctx context.Context, first *paperNode) error {
	known := func() bool {
		r, err := f.admin.GetNode(ctx, &pb.GetNodeRequest{NodeId: first.id})
		return err == nil && r.Node.Evidence != ""
	}
	if err := site.Poll(ctx, known); err != nil {
		return err
	}
	dir := filepath.Join(f.Dir, "policy")
	if _, err := f.Quorate(ctx, nil, "policy", "learn", first.id, "--out", dir, "--challenge-every", "1s", "--late-after", "1m"); err != nil {
		return err
	}
	_, err := f.Quorate(ctx, nil, "policy", "approve", dir)
	return err
}

// fleetRows measures the verifier under the load of a fleet, and admissions.
func fleetRows(ctx context.Context, bin, dir string) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, err := newFleet(ctx, bin, filepath.Join(dir, "fleet"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	nodes, err := f.enrollAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("enrol the fleet: %w", err)
	}
	load := startLoad(ctx, nodes)
	defer load.stop()
	if err := f.approve(ctx, nodes[0]); err != nil {
		return nil, errors.Join(err, load.failure())
	}
	if err := load.settled(ctx); err != nil {
		return nil, err
	}
	rows, err := load.measure(ctx, f.VerifierPID())
	if err != nil {
		return nil, err
	}
	latency, err := f.admissions(ctx)
	if err != nil {
		return nil, err
	}
	own, err := f.agentMemory(ctx)
	return append(rows, latency, own), err
}

// admissions measures how long new nodes wait for their bundle, one by one, while
// the fleet goes on.
func (f *fleet) admissions(ctx context.Context) (Row, error) {
	var seconds []float64
	for i := range 7 {
		n, err := f.enroll(ctx, fleetSize+i)
		if err != nil {
			return Row{}, err
		}
		err = n.attest(ctx, func(r round) bool {
			if r.bundle == nil {
				return true
			}
			seconds = append(seconds, r.latency.Seconds())
			return false
		})
		if err != nil {
			return Row{}, err
		}
	}
	return Row{Operation: "admission, challenge to bundle, without the TPM", Ours: median(seconds), Unit: "s", Gate: 1.5}, nil
}
