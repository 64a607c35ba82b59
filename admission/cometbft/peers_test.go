package cometbft_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
)

// bind is the command by which a host's member binds its peer id.
func (n *network) bind(h *host) []byte {
	n.Helper()
	text, err := power.Command{
		Consortium: n.Network.Name, Ledger: n.Ledger, Action: power.Peer, Subject: h.id + "=" + string(h.nodeKey.ID()),
		NotAfter: time.Now().Add(time.Hour).Truncate(time.Second), Number: uint64(time.Now().UnixNano()),
	}.Marshal()
	if err != nil {
		n.Fatal(err)
	}
	b, err := note.Sign(&note.Note{Text: string(text)}, n.Operator(admission.NodeMember(h.id)))
	if err != nil {
		n.Fatal(err)
	}
	return b
}

// peers are the hosts that a host is connected to.
func (h *host) peers() int { return h.Switch().Peers().Size() }

func (h *host) connected(to *host) bool {
	return slices.ContainsFunc(h.Switch().Peers().List(), func(p p2p.Peer) bool { return p.ID() == to.nodeKey.ID() })
}

// A node whose filter is on lets in peers of admitted nodes only; a joiner holds
// back its dialling until it has a bundle; when its admission ends, its links
// are closed.
func TestPeersNeedAnAdmission(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 4, 5, func(r *power.Rules) { r.OutageGrace = 0 }) // nobody renews here
	for _, h := range n.nodes[:4] {
		n.founders = append(n.founders, n.bind(h))
		h.config.FilterPeers = true
	}
	for _, h := range n.nodes[:4] {
		h.makeGate(n)
		h.run(n, node.CustomReactors(map[string]p2p.Reactor{cometbft.ReactorName: cometbft.NewEvictor(h.gate)}))
	}
	first, fifth := n.nodes[0], n.nodes[4]
	n.until("blocks", func() bool { return first.height() >= 2 })

	path := filepath.Join(t.TempDir(), "bundle")
	want := admission.Want{Role: "validator", ConsensusKey: admission.FormatConsensusKey(ed25519.PublicKey(fifth.pv.Key.PubKey.Bytes()))}
	read := func() ([]byte, error) { return os.ReadFile(path) }
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	if _, err := cometbft.AwaitBundle(short, read, n.Consortium, want); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("no bundle, and the joiner would dial: %v", err)
	}
	cancel()
	if first.gate.Welcome(string(fifth.nodeKey.ID())) {
		t.Fatal("an unknown peer is welcome")
	}
	if err := os.WriteFile(path, n.bundle(fifth, 12*time.Second), 0o600); err != nil {
		t.Fatal(err)
	}
	bundle, err := cometbft.AwaitBundle(ctx, read, n.Consortium, want)
	if err != nil {
		t.Fatal(err)
	}

	n.start(fifth) // it dials before the ledger knows its bundle
	n.advance(first, 3)
	linked := func() bool { // as the others see it: the joiner itself learns of a refusal only after it connected
		return slices.ContainsFunc(n.nodes[:4], func(h *host) bool { return h.connected(fifth) })
	}
	if linked() || fifth.height() > 0 {
		t.Fatalf("not on the ledger yet, and let in; height %d", fifth.height())
	}
	for _, tx := range [][]byte{bundle, n.bind(fifth)} {
		if code := first.submit(cometbft.Tx(tx)); code != 0 {
			t.Fatalf("code %d", code)
		}
	}
	n.until("the joiner follows", func() bool { return fifth.height() >= 2 })
	n.until("the links are closed", func() bool { return !linked() })
	if first.gate.Welcome(string(fifth.nodeKey.ID())) {
		t.Error("closed, and yet welcome")
	}
	if got := first.peers(); got != 3 {
		t.Errorf("%d peers, want the three others", got)
	}
	n.advance(first, 2)
}
