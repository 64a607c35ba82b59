package site

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/swtpm"
)

// federation starts three verifiers of three members.
func federation(t *testing.T) *Federation {
	t.Helper()
	swtpm.Require(t)
	bin := t.TempDir()
	if err := Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	f, err := Federate(t.Context(), Federal{
		Bin: bin, Dir: t.TempDir(), Consortium: "three-net", LedgerID: "three-1",
		Members: []string{"org-a", "org-b", "org-c"}, Threshold: 2, Approvals: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// attesting starts a host that attests to all verifiers.
func attesting(t *testing.T, f *Federation, id string) *Host {
	t.Helper()
	h, err := NewHost(t.Context(), id, t.TempDir(), f.ConsortiumFile(), f.Vendor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	for _, step := range []func() error{
		func() error { return h.Boot(bootlog.Debian()) },
		func() error { return h.Join(t.Context(), false, f.Sites...) },
		func() error { return h.RunAgent(t.Context(), f.Sites[0].Program("quorate-agent")) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// Three verifiers that decide alone, with journals of their own, admit one host;
// its bundle counts with two of them and names no verifier twice.
func TestFederationAdmits(t *testing.T) {
	f := federation(t)
	h := attesting(t, f, "org-b/validator-1")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	policy := filepath.Join(t.TempDir(), "policy")
	if err := f.AgreeOnPolicy(ctx, h, policy, Timing{ChallengeEvery: 2 * time.Second, LateAfter: 20 * time.Second, AdmissionFor: time.Minute}); err != nil {
		t.Fatal(err)
	}
	c, err := readConsortium(f.ConsortiumFile())
	if err != nil {
		t.Fatal(err)
	}
	verifiers := map[string]bool{}
	err = Poll(ctx, func() bool {
		raw, err := os.ReadFile(h.Bundle())
		if err != nil {
			return false
		}
		b, err := admission.ParseBundle(raw)
		if err != nil {
			t.Fatal(err)
		}
		clear(verifiers)
		for _, item := range b.Items {
			s, err := item.UntrustedStatement()
			if err != nil {
				t.Fatal(err)
			}
			want := admission.Want{Role: "validator", Node: h.ID, NodeKey: s.NodeKey}
			if _, err := c.VerifyBundle(raw, want, time.Now()); err != nil {
				t.Fatal(err)
			}
			verifiers[s.Verifier] = true
		}
		return len(verifiers) == 3
	}, h.Agent())
	if err != nil {
		t.Fatalf("bundle by %v: %v", verifiers, err)
	}
}
