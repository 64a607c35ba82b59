package attestedtls

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// layer is all that raft needs to run over attested links.
type layer struct {
	net.Listener
	endpoint *Endpoint
}

// Dial implements raft.StreamLayer.
func (l layer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return l.endpoint.Dial(ctx, "tcp", string(address))
}

// counter is a state machine that counts entries.
type counter struct{ n atomic.Int64 }

func (c *counter) Apply(*raft.Log) any               { return c.n.Add(1) }
func (*counter) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("no snapshots") }
func (*counter) Restore(io.ReadCloser) error         { return nil }

// replica is a raft server on a host.
type replica struct {
	*raft.Raft
	*counter
	id      raft.ServerID
	address raft.ServerAddress
}

func (h *host) replica() *replica {
	h.n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(h.n.t, err)
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer{h.Listener(l), h.Endpoint}, MaxPool: 2, Timeout: 2 * time.Second, Logger: hclog.NewNullLogger(),
	})
	config := raft.DefaultConfig()
	config.LocalID, config.LogOutput = raft.ServerID(h.node.ID), io.Discard
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 200*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond
	store := raft.NewInmemStore()
	r := &replica{counter: &counter{}, id: config.LocalID, address: transport.LocalAddr()}
	r.Raft, err = raft.NewRaft(config, r.counter, store, store, raft.NewInmemSnapshotStore(), transport)
	check(h.n.t, err)
	h.n.t.Cleanup(func() {
		_ = r.Shutdown().Error()
		_ = transport.Close()
	})
	return r
}

func (r *replica) write(n *network, entries int) {
	n.t.Helper()
	for i := range entries {
		check(n.t, r.Raft.Apply(fmt.Append(nil, i), 5*time.Second).Error())
	}
}

// A cluster of one takes in an attested replica, which catches up, and one without
// an admission, which gets nothing. When the admission ends, so does replication,
// and the leader goes on.
func TestRaft(t *testing.T) {
	n := newNetwork(t)
	first := n.host("leader")
	leader := first.replica()
	check(t, leader.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: leader.id, Address: leader.address}}}).Error())
	n.eventually("a leader", func() bool { return leader.State() == raft.Leader })
	leader.write(n, 50)

	follower := n.host("follower")
	short := follower.node
	short.NotAfter = start.Add(2 * time.Second) // connections look at the clock again then
	follower.renew(short)
	attested := follower.replica()
	check(t, leader.AddNonvoter(attested.id, attested.address, 0, 5*time.Second).Error())
	n.eventually("the attested replica has everything", func() bool { return attested.n.Load() == 50 })

	stranger := n.host("stranger")
	stranger.bundle, _ = follower.current()
	unattested := stranger.replica()
	check(t, leader.AddNonvoter(unattested.id, unattested.address, 0, 5*time.Second).Error())
	leader.write(n, 50)
	n.eventually("the attested replica has everything still", func() bool { return attested.n.Load() == 100 })
	if got := unattested.n.Load(); got != 0 {
		t.Errorf("the unattested replica has %d entries", got)
	}

	n.set(short.NotAfter)
	n.eventually("the leader's links end", func() bool { return first.Open() == 0 })
	before := attested.n.Load()
	leader.write(n, 10)
	if got := leader.n.Load(); got != 110 {
		t.Errorf("the leader has %d entries", got)
	}
	if got := attested.n.Load(); got != before {
		t.Errorf("a replica whose admission ended got %d entries", got-before)
	}
}
