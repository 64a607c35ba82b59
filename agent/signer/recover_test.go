package signer

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/agent/signer/permit"
	"github.com/quorate/quorate/simulator/issuer"
)

func refused(t *testing.T, err error, want seal.CheckID) {
	t.Helper()
	var r *seal.Refusal
	if !errors.As(err, &r) || r.Check != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// rosters returns the members' rosters as of now, with the old node barred.
func (s *site) rosters(barred admission.Barred, admitted []admission.Listed, members ...string) [][]byte {
	s.t.Helper()
	var list [][]byte
	for _, m := range members {
		r, err := s.net.Roster(m, time.Now().UTC().Truncate(time.Second), admitted, []admission.Barred{barred})
		if err != nil {
			s.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// TestRecoverToAnotherHost moves a key, and shows that at no time two hosts would
// sign with it.
func TestRecoverToAnotherHost(t *testing.T) {
	old, next := newSite(t), newSite(t)
	next.net, next.cfg.Consortium, next.authority = old.net, old.cfg.Consortium, old.authority // one consortium
	keeper := p256(t)
	k, recovery, err := Create(t.Context(), old.cfg, old.dev, Conditions{Authority: old.public(old.authority), Recipient: old.public(keeper)})
	if err != nil {
		t.Fatal(err)
	}
	old.approve()
	old.admit(k.PublicKey(), 3*time.Second)
	n := old.node()
	old.run()
	n.signs(t, k.PublicKey(), 7)

	now := time.Now().UTC().Truncate(time.Second)
	retired := func(since time.Duration) admission.Barred {
		return admission.Barred{Node: nodeID, State: admission.StateRetired, Since: now.Add(-since), Check: "node.retired", Reason: "lost"}
	}
	proof := func(rosters [][]byte) Proof { return Proof{rosters, time.Hour, 50} }
	attempt := func(p Proof) (*seal.Key, error) {
		moved, _, err := Recover(t.Context(), next.cfg, next.dev, Conditions{Authority: next.public(next.authority)}, *recovery, keeper, p, time.Now())
		return moved, err
	}
	long := permit.Held + 2*time.Hour
	suspended := retired(long)
	suspended.State = admission.StateSuspended
	other := retired(long)
	other.Node = "org-b/other"
	elsewhere := admission.Listed{
		Node: "org-b/thief", Role: "validator", Serial: 1, NotAfter: now.Add(time.Hour), Host: strings.Repeat("ab", 32), NodeKey: old.nodeKey, ConsensusKey: k.Terms.PublicKey,
	}
	both := []string{"org-a", "org-b"}
	for name, p := range map[string]Proof{
		"no rosters":   proof(nil),
		"one member":   proof(old.rosters(retired(long), nil, "org-a")),
		"one twice":    proof(old.rosters(retired(long), nil, "org-a", "org-a")),
		"just retired": proof(old.rosters(retired(time.Minute), nil, both...)),
		"may be held":  proof(old.rosters(retired(2*time.Hour), nil, both...)),
		"suspended":    proof(old.rosters(suspended, nil, both...)),
		"not listed":   proof(old.rosters(other, nil, both...)),
		"admitted":     proof(old.rosters(retired(long), []admission.Listed{elsewhere}, both...)),
		"no longest":   {old.rosters(retired(long), nil, both...), 0, 50},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := attempt(p)
			refused(t, err, seal.Unretired)
		})
	}
	good := proof(old.rosters(retired(long), nil, both...))
	_, err = attempt(Proof{good.Rosters, good.Longest, 0})
	refused(t, err, seal.Floor)
	foreign, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: old.net.Ledger, Salt: "other keys"})
	if err != nil {
		t.Fatal(err)
	}
	own := old.net
	old.net = foreign
	unsigned := old.rosters(retired(long), nil, both...)
	old.net = own
	var r *admission.Refusal
	if _, err := attempt(proof(unsigned)); !errors.As(err, &r) || r.Check != admission.BadSignature {
		t.Errorf("rosters by other keys: %v", err)
	}
	if _, err := os.Stat(filepath.Join(Dir(next.cfg), keyFile)); err == nil {
		t.Fatal("a refused recovery left a key")
	}

	eventually(t, "the old host refuses once its admission has ended", func() bool {
		err := n.SignVote(chainID, vote(8, "a"))
		return err != nil && (strings.Contains(err.Error(), "signer.lapsed") || strings.Contains(err.Error(), string(admission.Expired)))
	})
	moved, err := attempt(good)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Terms.PublicKey != k.Terms.PublicKey {
		t.Error("another key")
	}
	next.approve()
	next.admit(k.PublicKey(), time.Hour)
	m := next.node()
	next.run()
	eventually(t, "signed on the new host", func() bool { return m.SignVote(chainID, vote(50, "a")) == nil })
	if err := m.SignVote(chainID, vote(49, "a")); err == nil {
		t.Error("signed below the first height")
	}
}

func TestRaiseAfterALoss(t *testing.T) {
	s := newSite(t)
	refused(t, Raise(t.Context(), s.cfg, s.dev, 5), seal.NoKey)
	k := s.create()
	s.approve()
	s.admit(k.PublicKey(), time.Hour)
	n := s.node()
	r := s.run()
	n.signs(t, k.PublicKey(), 7)
	if err := Raise(t.Context(), s.cfg, s.dev, 100); err == nil {
		t.Error("raised under a running signer")
	}
	r.end(t)
	s.reboot()
	if err := os.Remove(statePath(s.cfg)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(statePath(s.cfg), stateBytes(position{}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ends(seal.Rollback)
	refused(t, Raise(t.Context(), s.cfg, s.dev, 7), seal.Floor)
	if err := Raise(t.Context(), s.cfg, s.dev, 9); err != nil {
		t.Fatal(err)
	}
	n = s.node()
	s.run()
	eventually(t, "signed", func() bool { return n.SignVote(chainID, vote(9, "a")) == nil })
	if err := n.SignVote(chainID, vote(8, "a")); err == nil {
		t.Error("signed below what was raised")
	}
}

// TestRotate replaces the key in a boot in which the old one was released.
func TestRotate(t *testing.T) {
	s := newSite(t)
	if _, _, err := Rotate(t.Context(), s.cfg, s.dev, Conditions{Authority: s.public(s.authority)}); err == nil {
		t.Error("rotated no key")
	}
	first := s.create()
	s.approve()
	s.admit(first.PublicKey(), time.Hour)
	n := s.node()
	r := s.run()
	n.signs(t, first.PublicKey(), 7)
	r.end(t)
	second, _, err := Rotate(t.Context(), s.cfg, s.dev, Conditions{Authority: s.public(s.authority)})
	if err != nil {
		t.Fatal(err)
	}
	if second.PublicKey().Equal(first.PublicKey()) {
		t.Error("the same key")
	}
	s.reboot()
	n = s.node()
	s.run()
	n.refuses(t, 8, string(admission.OtherConsensusKey))
	s.admit(second.PublicKey(), time.Hour)
	n.signs(t, ed25519.PublicKey(second.PublicKey()), 8)
	kept, err := os.ReadDir(filepath.Join(Dir(s.cfg), retiredDir))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	data, err := os.ReadFile(filepath.Join(Dir(s.cfg), retiredDir, kept[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	if old, err := seal.ParseKey(data); err != nil || !old.PublicKey().Equal(first.PublicKey()) {
		t.Error(old, err)
	}
}
