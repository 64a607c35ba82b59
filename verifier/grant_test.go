package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

var aNonce = bytes.Repeat([]byte{5}, 32)

func (b *bench) grant(h *paperhost.Host) (Grant, error) {
	return b.Grant(b.t.Context(), h.ID, GrantRequest{ConsensusKey: h.ConsensusKey(), Nonce: aNonce})
}

// grants are those in the journal.
func (b *bench) grants() (list []journal.Grant) {
	b.t.Helper()
	for i := range b.size() {
		raw, err := b.journal.Entry(b.t.Context(), i)
		check(b.t, err)
		body, err := journal.Parse(raw)
		check(b.t, err)
		if g, ok := body.(journal.Grant); ok {
			list = append(list, g)
		}
	}
	return list
}

// A grant is signed for this node, ledger, key and nonce, and is in the journal.
func TestGrantIsSignedAndJournaled(t *testing.T) {
	b, h := admitted(t)
	g, err := b.grant(h)
	check(t, err)
	der, err := base64.StdEncoding.DecodeString(b.self.GrantKey)
	check(t, err)
	public, err := x509.ParsePKIXPublicKey(der)
	check(t, err)
	want := binding.Grant{ChainID: "example-1", Genesis: b.consortium.Ledger.Genesis.String(), Node: h.ID, ConsensusKey: h.ConsensusKey()}
	verifies := func(x binding.Grant, nonce []byte, seconds uint32) bool {
		digest := x.Digest(nonce, int32(seconds))
		return ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], g.Signature)
	}
	if !verifies(want, aNonce, g.Seconds) || g.Seconds != 300 {
		t.Errorf("%d seconds, or a signature over something else", g.Seconds)
	}
	other := want
	other.Node = ownMember + "/validator-2"
	if verifies(other, aNonce, g.Seconds) || verifies(want, bytes.Repeat([]byte{6}, 32), g.Seconds) || verifies(want, aNonce, g.Seconds+1) {
		t.Error("the signature serves for another node, start or time")
	}
	rec := b.record(h)
	list := b.grants()
	if len(list) != 1 || list[0].Node != h.ID || list[0].Follows != rec.JournalIndex || list[0].Serial != rec.Serial || list[0].Seconds != 300 {
		t.Errorf("the journal has %+v", list)
	}
	b.restart() // reads the journal again
	if _, err := b.grant(h); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	b.stop()
	if _, err := Rebuild(t.Context(), b.config, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("rebuild: %v", err)
	}
	check(t, b.start())
}

// Only a node that is admitted now is granted anything; each refusal has its name.
func TestGrantIsForAdmittedNodes(t *testing.T) {
	b, h := admitted(t)
	fresh := b.enrolled("validator-2") // approved, no proof that passed
	_, err := b.grant(fresh)
	refusedBy(t, err, verdict.NodeUnproven)
	_, err = b.Grant(t.Context(), h.ID, GrantRequest{ConsensusKey: fresh.ConsensusKey(), Nonce: aNonce})
	refusedBy(t, err, verdict.GrantKey)
	if _, err := b.Grant(t.Context(), ownMember+"/nobody", GrantRequest{Nonce: aNonce}); err == nil {
		t.Error("granted to nobody")
	}
	_, err = b.grant(h)
	check(t, err)
	b.clock.advance(91 * time.Second)
	_, err = b.grant(h)
	refusedBy(t, err, verdict.NodeLate)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	_, err = b.grant(h)
	check(t, err)
	_, err = b.Operate(t.Context(), b.by, h.ID, node.SuspendedByOperator{By: b.by.Name(), Reason: "on trial"})
	check(t, err)
	_, err = b.grant(h)
	refusedBy(t, err, verdict.NodeSuspended)
	_, err = b.Operate(t.Context(), b.by, h.ID, node.Resumed{By: b.by.Name(), Reason: "acquitted"})
	check(t, err)
	_, err = b.grant(h)
	refusedBy(t, err, verdict.NodeUnproven)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	_, err = b.grant(h)
	check(t, err)
	_, err = b.Operate(t.Context(), b.by, h.ID, node.RetiredByOperator{By: b.by.Name(), Reason: "done"})
	check(t, err)
	_, err = b.grant(h)
	refusedBy(t, err, verdict.NodeRetired)
	if n := len(b.grants()); n != 3 {
		t.Errorf("%d grants in the journal, want the 3 that were given", n)
	}
}

func TestGrantsAreFew(t *testing.T) {
	b, h := admitted(t)
	for range node.GrantsPerHour {
		_, err := b.grant(h)
		check(t, err)
	}
	_, err := b.grant(h)
	refusedBy(t, err, verdict.GrantRate)
	b.clock.advance(61 * time.Minute)
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
	_, err = b.grant(h)
	check(t, err)
}

// A verifier whose consortium file has no grant key works as before.
func TestVerifierWithoutGrantKey(t *testing.T) {
	b, h := admitted(t)
	key := b.grantKey
	b.grantKey = nil
	_, err := b.grant(h)
	refusedBy(t, err, verdict.GrantNoKey)
	b.grantKey = key
	_, err = b.grant(h)
	check(t, err)
	if none, err := readGrantKey("", admission.Verifier{}); none != nil || err != nil {
		t.Errorf("neither configured nor pinned: %v, %v", none, err)
	}
	if _, err := readGrantKey(b.config.Keys.Grant, admission.Verifier{}); err == nil {
		t.Error("a key that the consortium file does not pin is taken")
	}
}

// The key in the file and the one that the consortium file pins are one, or there
// is neither.
func TestGrantKeyIsThePinnedOne(t *testing.T) {
	b, _ := admitted(t)
	b.stop()
	path := b.config.Keys.Grant
	b.config.Keys.Grant = ""
	if err := b.start(); err == nil || !strings.Contains(err.Error(), "keys.grant") {
		t.Errorf("pinned but not there: %v", err)
	}
	b.config.Keys.Grant = b.config.Keys.TLS
	if err := b.start(); err == nil || !strings.Contains(err.Error(), "is not the grant key") {
		t.Errorf("another key: %v", err)
	}
	check(t, os.Chmod(path, 0o644))
	b.config.Keys.Grant = path
	if err := b.start(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	check(t, os.Chmod(path, 0o600))
	check(t, b.start())
}

// What cannot be written down is not granted.
func TestGrantNeedsTheJournal(t *testing.T) {
	b, h := admitted(t)
	check(t, b.journal.Close())
	if g, err := b.grant(h); !errors.Is(err, ErrUnavailable) || g.Signature != nil {
		t.Errorf("granted %+v, %v", g, err)
	}
}
