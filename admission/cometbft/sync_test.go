package cometbft_test

import (
	"bytes"
	"testing"
	"time"

	e2e "github.com/cometbft/cometbft/test/e2e/app"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
)

// A new node takes over application and gate from snapshots, after an upgrade of
// the gate's rules at a height, and goes on with the same application hash.
func TestStateSyncAndUpgrade(t *testing.T) {
	t.Parallel()
	const upgrade = 6
	n := newNetwork(t, 4, 5, func(r *power.Rules) { r.OutageGrace = 0 })
	later := n.schedule.At(1)
	later.From, later.Window, later.BeaconAge, later.OutageGrace = upgrade, 100, 50, time.Hour
	var err error
	if n.schedule, err = power.NewSchedule(n.schedule.At(1), later); err != nil {
		t.Fatal(err)
	}
	for _, h := range n.nodes {
		config := e2e.DefaultConfig(t.TempDir())
		config.SnapshotInterval, config.VoteExtensionsUpdateHeight = 5, -1
		if h.app, err = e2e.NewApplication(config); err != nil {
			t.Fatal(err)
		}
		h.config.RPC.ListenAddress = "tcp://" + freeAddress(t)
	}
	n.start(n.nodes[:4]...)
	first, fresh := n.nodes[0], n.nodes[4]
	n.until("blocks after the upgrade, with snapshots", func() bool { return first.height() >= upgrade+6 })
	if r := first.gate.State().RulesText(); r != later.Text() {
		t.Fatalf("after the upgrade: %s", r)
	}
	if code := first.submit(cometbft.Tx(n.bundle(first, 2*time.Hour))); code != cometbft.CodeRefused {
		t.Fatalf("a bundle without a beacon after the upgrade: code %d", code)
	}

	trusted := first.BlockStore().LoadBlockMeta(2)
	sync := fresh.config.StateSync
	sync.Enable, sync.TrustHeight, sync.TrustHash = true, 2, trusted.BlockID.Hash.String()
	sync.RPCServers = []string{first.config.RPC.ListenAddress, n.nodes[1].config.RPC.ListenAddress}
	sync.TrustPeriod, sync.DiscoveryTime = time.Hour, 5*time.Second
	n.start(fresh)
	n.until("the new node follows", func() bool {
		return fresh.height() >= first.height()-1 && fresh.gate.State() != nil && fresh.height() > upgrade
	})
	if base := fresh.BlockStore().Base(); base < 3 {
		t.Errorf("the new node has all blocks from %d: it did not take over a snapshot", base)
	}
	n.advance(fresh, 2)
	n.agree()
	n.until("both gates at one height", func() bool {
		a, b := first.gate.State(), fresh.gate.State()
		return a.Height() == b.Height() && bytes.Equal(a.Marshal(), b.Marshal())
	})
}
