package cometbft_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/cometbft/cometbft/mempool"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
)

var mempoolInfo = mempool.TxInfo{}

// shortGrace are rules that give who did not renew two seconds.
func shortGrace(r *power.Rules) { r.OutageGrace = 2 * time.Second }

// held is the power whose lapse is held back.
func held(h *host) int64 { return h.gate.State().Status(h.gate.Schedule).Held }

// wish is the application's own transaction that makes a validator of a host. It
// asks nobody's permission.
func wish(h *host, power int) []byte {
	return fmt.Appendf(nil, "val=ed25519!%s!%d", base64.StdEncoding.EncodeToString(h.pv.Key.PubKey.Bytes()), power)
}

// Four validators are admitted; a fifth gets power by two of three verifiers'
// admissions, not by the application's word and not by one admission. When they end
// it keeps it for as long as nobody shows that it could have renewed, and loses it a
// moment after somebody did. The chain never stops.
func TestAFifthValidatorNeedsItsBundle(t *testing.T) {
	n := newNetwork(t, 4, 5, shortGrace)
	n.start(n.nodes...)
	first, fifth := n.nodes[0], n.nodes[4]
	n.until("four validators sign", func() bool { return first.height() >= 2 && n.nodes[1].signs(first) })

	if code := first.submit(wish(fifth, 10)); code != 0 {
		t.Fatalf("the application refused its own transaction: code %d", code)
	}
	n.advance(first, 5)
	if p := fifth.effective(first); p != 0 {
		t.Fatalf("no evidence, power %d", p)
	}
	if code := first.submit(cometbft.Tx(n.bundle(fifth, time.Hour, "org-b"))); code != cometbft.CodeRefused {
		t.Fatalf("one admission of three: code %d", code)
	}
	n.advance(first, 3)
	if p := fifth.effective(first); p != 0 {
		t.Fatalf("one admission of three, power %d", p)
	}

	if code := first.submit(cometbft.Tx(n.bundle(fifth, 8*time.Second, "org-a", "org-c"))); code != 0 {
		t.Fatalf("two admissions of three: code %d", code)
	}
	took := n.until("the fifth signs", func() bool { return fifth.signs(first) })
	t.Logf("signing %v after its bundle", took)
	if took > 5*time.Second {
		t.Errorf("signing only %v after its bundle", took)
	}
	n.until("its admission ended", func() bool { return held(first) == 10 })
	n.advance(first, 3)
	if p := fifth.effective(first); p != 10 {
		t.Errorf("nobody knows whether it could have renewed, power %d", p)
	}
	if code := first.submit(cometbft.Tx(n.bundle(first, time.Hour))); code != 0 {
		t.Errorf("a renewal: code %d", code)
	}
	n.until("it is out of the set", func() bool { return fifth.effective(first) == 0 })
	n.until("it is out of the commits", func() bool { return !fifth.signs(first) })
	n.advance(first, 3)
	n.agree()
}

// Every admission ends at once, as when all verifiers are down: the chain goes on
// with the set that it has, takes nobody in, and thaws when a quorum has renewed.
func TestChainOutlivesItsAdmissions(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 4, 5, shortGrace)
	for i, h := range n.nodes[:4] {
		n.founders[i] = n.bundle(h, 4*time.Second)
	}
	n.start(n.nodes...)
	first, fifth := n.nodes[0], n.nodes[4]
	n.until("frozen", func() bool { s := first.gate.State(); return s != nil && s.Frozen() > 0 })
	n.advance(first, 5)
	first.submit(wish(fifth, 10))
	if code := first.submit(cometbft.Tx(n.bundle(fifth, time.Hour))); code != cometbft.CodeRefused {
		t.Errorf("somebody new, while the set is frozen: code %d", code)
	}
	for _, h := range n.nodes[:4] {
		if p := h.effective(first); p != 10 {
			t.Errorf("%s has power %d in a frozen set", h.id, p)
		}
	}
	for _, h := range n.nodes[:3] {
		if code := first.submit(cometbft.Tx(n.bundle(h, time.Hour))); code != 0 {
			t.Errorf("a renewal: code %d", code)
		}
	}
	n.until("thawed, with the fourth", func() bool { return first.gate.State().Frozen() == 0 })
	if p := n.nodes[3].effective(first); p != 10 {
		t.Errorf("the others were first, and the fourth has power %d", p)
	}
	n.until("the fourth has not renewed in time", func() bool { return n.nodes[3].effective(first) == 0 })
	if code := first.submit(cometbft.Tx(n.bundle(fifth, time.Hour))); code != 0 {
		t.Errorf("somebody new, after the thaw: code %d", code)
	}
	n.until("the fifth signs", func() bool { return fifth.signs(first) })
	n.advance(first, 2)
	n.agree()
}

// agree checks that all hosts have the same application hash at a height that
// all have.
func (n *network) agree() {
	n.Helper()
	low := n.nodes[0].height()
	for _, h := range n.nodes {
		low = min(low, h.height())
	}
	want := n.nodes[0].BlockStore().LoadBlockMeta(low).Header.AppHash
	if len(want) == 0 {
		n.Fatal("no application hash")
	}
	for _, h := range n.nodes[1:] {
		if got := h.BlockStore().LoadBlockMeta(low).Header.AppHash; !bytes.Equal(got, want) {
			n.Errorf("%s: application hash %X, %s: %X", h.id, got, n.nodes[0].id, want)
		}
	}
}
