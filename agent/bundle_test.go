package agent

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/issuer"
)

// A bundle lasts as long as enough verifiers' admissions do. The old one of a
// verifier that is down is left out once others were renewed; one that will be
// renewed in a moment stays in.
func TestBundleLasts(t *testing.T) {
	net, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "l-1", Genesis: admission.Digest{1}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		name string
		left map[string]time.Duration // of each member's admission
		want []string
	}{
		{"alike", map[string]time.Duration{"org-a": 60, "org-b": 58, "org-c": 50}, []string{"org-a", "org-b", "org-c"}},
		{"one renewed", map[string]time.Duration{"org-a": 60, "org-b": 30, "org-c": 30}, []string{"org-a", "org-b", "org-c"}},
		{"one down", map[string]time.Duration{"org-a": 30, "org-b": 60, "org-c": 60}, []string{"org-b", "org-c"}},
		{"two down", map[string]time.Duration{"org-a": 30, "org-b": 29, "org-c": 60}, []string{"org-a", "org-b", "org-c"}},
		{"one alone", map[string]time.Duration{"org-b": 60}, []string{"org-b"}},
	} {
		s := &shelf{consortium: net.Consortium}
		var items []admission.Item
		for member, left := range c.left {
			items = append(items, single(t, net, member, now.Add(left*time.Second)))
		}
		var got []string
		for _, item := range s.lasting(items, now) {
			statement, err := item.UntrustedStatement()
			if err != nil {
				t.Fatal(err)
			}
			v, _ := net.Verifier(statement.Verifier)
			got = append(got, v.Member)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// single is one member's admission.
func single(t *testing.T, net *issuer.Network, member string, end time.Time) admission.Item {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	raw, err := net.Bundle(issuer.Node{ID: "org-a/validator-1", ConsensusKey: key, NotBefore: end.Add(-time.Minute), NotAfter: end}, member)
	if err != nil {
		t.Fatal(err)
	}
	b, err := admission.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b.Items[0]
}
