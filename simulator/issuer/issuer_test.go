package issuer_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func network(t *testing.T, salt string) *issuer.Network {
	t.Helper()
	n, err := issuer.New(issuer.Setup{
		Threshold: 2, Salt: salt, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func node() issuer.Node {
	seed := sha256.Sum256([]byte("consensus"))
	return issuer.Node{
		ID: "org-b/validator-1", ConsensusKey: ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey),
		NotBefore: now, NotAfter: now.Add(time.Hour),
	}
}

func verify(n *issuer.Network, bundle []byte) error {
	_, err := n.VerifyBundle(bundle, admission.Want{
		Role: "validator", ConsensusKey: admission.FormatConsensusKey(node().ConsensusKey),
	}, now)
	return err
}

func TestBundlesVerify(t *testing.T) {
	n := network(t, "")
	for _, members := range [][]string{nil, {"org-a", "org-c"}} {
		bundle, err := n.Bundle(node(), members...)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(n, bundle); err != nil {
			t.Errorf("by %v: %v", members, err)
		}
	}
}

func TestTooFewOrOtherVerifiersDoNot(t *testing.T) {
	n := network(t, "")
	few, err := n.Bundle(node(), "org-a")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := network(t, "other").Bundle(node())
	if err != nil {
		t.Fatal(err)
	}
	for want, bundle := range map[admission.CheckID][]byte{admission.Threshold: few, admission.BadSignature: foreign} {
		var r *admission.Refusal
		if err := verify(n, bundle); !errors.As(err, &r) || r.Check != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestRostersVerify(t *testing.T) {
	n := network(t, "")
	for range 2 {
		msg, err := n.Roster("org-a", now, nil, []admission.Barred{{Node: "org-b/x", State: admission.StateLate, Since: now, Check: "node.late"}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := n.VerifyRoster(msg, admission.RosterWant{Verifier: "org-a.verifier.example-net", MaxAge: time.Minute}, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Roster().Barred) != 1 {
			t.Error("the barred node is missing")
		}
	}
	if _, err := n.Roster("org-z", now, nil, nil); err == nil {
		t.Error("a roster of nobody")
	}
}
