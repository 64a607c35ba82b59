package ledger

import (
	"testing"

	"github.com/quorate/quorate/simulator/chain"
)

// The network between one organisation and the others is cut: its node hears of
// no block, nobody hears of its verifier. The others go on and are renewed. Then
// the others are cut from each other too, so that nobody has a quorum and no block
// is made. When the cables are back, there is one history, and nothing is lost.
func TestNetworkCutBetweenOrganisations(t *testing.T) {
	ctx, l := running(t, Pace)
	load := chain.NewLoad(l.Chain)
	load.Start(ctx)
	alone := 2 // org-c's machine, and its verifier
	height, err := l.Chain.Nodes[0].Height(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.Chain.Split(func(node int) bool { return node == alone })
	l.Members.Links[alone].Cut()
	for i, node := range l.Chain.Nodes {
		if i == alone {
			continue
		}
		if err := node.Reach(ctx, height+12); err != nil {
			t.Fatalf("the others stand: %v", err)
		}
	}
	behind, err := l.Chain.Nodes[alone].Height(ctx)
	if err != nil || behind > height+4 {
		t.Fatalf("%s has block %d although nobody reached it since %d: %v", l.Machines[alone].ID, behind, height, err)
	}
	l.Chain.Split(func(node int) bool { return node%len(members) == 0 }) // org-a from org-b
	still, err := l.Chain.Still(ctx)
	if err != nil {
		t.Fatalf("blocks are made without a quorum: %v", err)
	}
	l.Chain.Join()
	l.Members.Links[alone].Mend()
	if err := l.Chain.Reach(ctx, still+3); err != nil {
		t.Fatal(err)
	}
	l.everyone(t, ctx)
	stored := load.Stop()
	if height, err = l.Chain.Same(ctx, stored); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions in %d blocks, the same on %d machines", len(stored), height, machines)
}
