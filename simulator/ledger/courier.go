package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/operator"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
)

// The paces of couriers. A bundle is renewed by each verifier at its own moment,
// and one transaction for all of them will do.
const (
	lookEvery   = 500 * time.Millisecond
	submitEvery = 4 * time.Second
	askAgain    = time.Second
)

// couriers carry what hosts and verifiers have signed to the ledger. Anyone may:
// what counts are the signatures inside. Each knows all nodes, since any of them
// may be down.
type couriers struct {
	nodes []*chain.Node
	group sync.WaitGroup
	ctx   context.Context // ends with close
	stop  context.CancelFunc
}

// start carries the rosters of sites, and bundles of machines, until close.
func (c *couriers) start(ctx context.Context, machines []*Machine, sites []*site.Site) {
	c.ctx, c.stop = context.WithCancel(ctx)
	for i, s := range sites {
		c.group.Go(func() { c.rosters(c.ctx, i, s) })
	}
	for _, m := range machines {
		c.carry(m)
	}
}

// carry begins to carry a machine's bundles.
func (c *couriers) carry(m *Machine) {
	own := slices.Index(c.nodes, m.Node)
	c.group.Go(func() { c.bundles(c.ctx, own, m.Bundle()) })
}

func (c *couriers) close() {
	if c.stop != nil {
		c.stop()
		c.group.Wait()
	}
}

// bundles submits a host's bundle whenever the host has a new one.
func (c *couriers) bundles(ctx context.Context, own int, path string) {
	var last []byte
	for pause(ctx, lookEvery) {
		bundle, err := os.ReadFile(path)
		if err != nil || bytes.Equal(bundle, last) {
			continue // not there yet, or known
		}
		if c.submit(ctx, own, bundle) {
			last = bundle
			pause(ctx, submitEvery)
		}
	}
}

// submit sends to the first node that answers, its own one first. What the gate
// refuses is done with: it will not be better the next time.
func (c *couriers) submit(ctx context.Context, own int, payload []byte) bool {
	for i := range c.nodes {
		err := c.nodes[(own+i)%len(c.nodes)].Send(ctx, cometbft.Tx(payload))
		if err == nil || errors.As(err, new(*chain.Refused)) {
			return true
		}
	}
	return false
}

// rosters submits a verifier's roster whenever it bars other nodes than before.
func (c *couriers) rosters(ctx context.Context, own int, s *site.Site) {
	last := ""
	for pause(ctx, askAgain) {
		_ = follow(ctx, s, func(note []byte) { // an error: the verifier is away
			if now := barred(note); now != last && c.submit(ctx, own, note) {
				last = now
			}
		})
	}
}

// follow hands on a verifier's rosters until the connection ends.
func follow(ctx context.Context, s *site.Site, take func([]byte)) error {
	key, err := operator.ReadKey(s.OperatorKey())
	if err != nil {
		return err
	}
	text, err := os.ReadFile(s.ConsortiumFile())
	if err != nil {
		return err
	}
	consortium, err := admission.ParseConsortium(text)
	if err != nil {
		return err
	}
	self, _ := consortium.Verifier(s.Verifier)
	conn, err := key.Dial(self)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := pb.NewAdmissionServiceClient(conn).Watch(ctx, &pb.WatchRequest{})
	for err == nil {
		var answer *pb.WatchResponse
		if answer, err = stream.Recv(); err == nil {
			take(answer.GetRoster())
		}
	}
	return err
}

// barred is the part of a roster that takes power away, in a form to compare.
func barred(note []byte) string {
	end := max(bytes.LastIndex(note, []byte("\n\n— ")), 0)
	r, err := admission.ParseRoster(note[:end+1])
	if err != nil {
		return ""
	}
	var out strings.Builder
	for _, b := range r.Barred {
		if b.State != admission.StateLate {
			fmt.Fprintln(&out, b.Node, b.State, b.Since)
		}
	}
	return out.String()
}

// pause reports whether the time passed before the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
