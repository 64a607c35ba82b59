package verifier

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// Nonces are 32 random bytes, never the same, and none is issued without
// randomness.
func TestA010_Nonces(t *testing.T) {
	t.Parallel()
	b, seen, now := newBook(time.Minute), make(map[[32]byte]bool), time.Now()
	for range 100_000 {
		c, err := b.issue("org-a/x", binding.Challenge{Verifier: "v"}, now)
		if err != nil || seen[c.Nonce] || c.Nonce == [32]byte{} {
			t.Fatalf("nonce %x: %v", c.Nonce, err)
		}
		seen[c.Nonce] = true
	}
	b.random = io.LimitReader(rand.Reader, 31)
	if c, err := b.issue("org-a/y", binding.Challenge{Verifier: "v"}, now); err == nil || c.Nonce != [32]byte{} {
		t.Errorf("issued %x without randomness", c.Nonce)
	}
	if _, open := b.take("org-a/y", []binding.Challenge{{}}, now); open {
		t.Error("a challenge without a nonce is open")
	}
}

// A book's challenge is answered once, in time, by its own node.
func TestA011_Book(t *testing.T) {
	t.Parallel()
	b, now := newBook(time.Minute), time.Now()
	issue := func(id string) []binding.Challenge {
		c, err := b.issue(id, binding.Challenge{Verifier: "v"}, now)
		check(t, err)
		return []binding.Challenge{c}
	}
	mine := issue("org-a/a")
	issue("org-a/b")
	for name, try := range map[string]func() bool{
		"another node's": func() bool { _, ok := b.take("org-a/b", mine, now); return ok },
		"no challenge":   func() bool { _, ok := b.take("org-a/a", nil, now); return ok },
		"zero nonce":     func() bool { _, ok := b.take("org-a/a", make([]binding.Challenge, 16), now); return ok },
		"unknown node":   func() bool { _, ok := b.take("", mine, now); return ok },
	} {
		if try() {
			t.Errorf("%s: taken", name)
		}
	}
	if _, ok := b.take("org-a/a", mine, now.Add(time.Minute)); !ok {
		t.Error("the twin, within its minute, is not taken")
	}
	if _, ok := b.take("org-a/a", mine, now); ok {
		t.Error("taken twice")
	}
	late := issue("org-a/a")
	if _, ok := b.take("org-a/a", late, now.Add(time.Minute+1)); ok {
		t.Error("taken after it expired")
	}
	if _, ok := b.take("org-a/a", late, now); ok {
		t.Error("an expired challenge was left open")
	}
	old := issue("org-a/a")
	issue("org-a/a")
	if _, ok := b.take("org-a/a", old, now); ok {
		t.Error("an older challenge is still open")
	}
	b.forget("org-a/a")
	if len(b.open) != 1 {
		t.Errorf("%d challenges are open", len(b.open))
	}
}

// One answer, sent a hundred times at once, is judged once.
func TestA011_ReplayInParallel(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	x, c := b.ask(h)
	raw, size := b.answer(h, c), b.size()
	var wg sync.WaitGroup
	outcomes := make([]Outcome, 100)
	for i := range outcomes {
		wg.Go(func() {
			out, err := x.Judge(context.Background(), raw, 0, noMore)
			if err != nil {
				t.Error(err)
			}
			outcomes[i] = out
		})
	}
	wg.Wait()
	judged := 0
	for _, out := range outcomes {
		if !out.Retryable {
			judged++
			continue
		}
		found(t, out, verdict.QuoteNonce)
		if out.Decision != verdict.Denied || out.Admission != nil {
			t.Errorf("a copy got %+v", out)
		}
	}
	if judged != 1 || b.size() != size || b.status(h) != node.Admitted {
		t.Errorf("%d answers were judged, the journal grew by %d, the node is %v", judged, b.size()-size, b.status(h))
	}
}

// An answer after the challenge's minute is not judged and not held against the
// node; nor is one to a nonce of its own making.
func TestA013_LateOrOwnNonce(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	for name, spoil := range map[string]func(*Challenge){
		"late":          func(*Challenge) { b.clock.advance(61 * time.Second) },
		"its own nonce": func(c *Challenge) { c.Nonce = [32]byte{1, 2, 3} },
		"an older nonce": func(c *Challenge) {
			x := b.session(h)
			x.due = b.clock.now()
			_, err := x.Next(t.Context())
			check(t, err)
		},
	} {
		x, c := b.ask(h)
		spoil(&c)
		before, size := b.record(h), b.size()
		out, err := x.Judge(t.Context(), b.answer(h, c), 0, noMore)
		check(t, err)
		if !out.Retryable || out.Decision != verdict.Denied {
			t.Errorf("%s: %+v", name, out)
		}
		found(t, out, verdict.QuoteNonce)
		if after := b.record(h); after.State != before.State || after.LastEvidence != before.LastEvidence || b.size() != size {
			t.Errorf("%s: the record or the journal changed", name)
		}
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// Evidence with one thing wrong is refused by the check that it is about, and
// only the refusal is recorded: the identity stays, and so does what the node had.
func TestA015_CrossWired(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h, other := b.enrolled("validator-1"), b.enrolled("validator-2")
	b.round(h)
	b.learn(h)
	cases := map[string]struct {
		spoil func(*evidence.Raw, Challenge)
		check verdict.CheckID
	}{
		"another ledger":      {b.requote(h, func(l *binding.Ledger) { l.ChainID = "example-2" }), verdict.QuoteBinding},
		"another genesis":     {b.requote(h, func(l *binding.Ledger) { l.Genesis[0] ^= 1 }), verdict.QuoteBinding},
		"another consortium":  {b.requote(h, func(l *binding.Ledger) { l.Consortium = "other-net" }), verdict.QuoteBinding},
		"node B's evidence":   {func(r *evidence.Raw, c Challenge) { *r = b.answer(other, c) }, verdict.QuoteSignature},
		"another connection":  {func(r *evidence.Raw, c Challenge) { c.Exporter[0] ^= 1; *r = b.answer(h, c) }, verdict.QuoteChannel},
		"exporter swapped in": {func(r *evidence.Raw, c Challenge) { r.Challenges[0].Exporter[0] ^= 1 }, verdict.QuoteChannel},
		"another verifier":    {func(r *evidence.Raw, c Challenge) { c.Verifier = "org-b.verifier"; *r = b.answer(h, c) }, verdict.QuoteNonce},
		"a flipped bit":       {func(r *evidence.Raw, _ Challenge) { r.Quote[60] ^= 1 }, verdict.QuoteSignature},
		"no quote":            {func(r *evidence.Raw, _ Challenge) { r.Quote, r.Signature = nil, nil }, verdict.QuoteScheme},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			identity := b.record(h).Identity
			x, challenge := b.ask(h)
			raw, size := b.answer(h, challenge), b.size()
			c.spoil(&raw, challenge)
			out, err := x.Judge(t.Context(), raw, 0, noMore)
			check(t, err)
			if out.Decision != verdict.Denied || out.Admission != nil {
				t.Fatalf("%+v", out)
			}
			found(t, out, c.check)
			rec := b.record(h)
			if !rec.Identity.Equal(identity) || rec.Serial != 0 || b.size() > size+1 {
				t.Errorf("record %+v; journal grew by %d", rec, b.size()-size)
			}
		})
	}
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// requote quotes for a ledger that is not quite this one.
func (b *bench) requote(h *paperhost.Host, spoil func(*binding.Ledger)) func(*evidence.Raw, Challenge) {
	return func(r *evidence.Raw, c Challenge) {
		ledger := b.ledger()
		spoil(&ledger)
		a, err := h.Answer(paperhost.Ask{Ledger: ledger, Challenges: []binding.Challenge{c.Challenge}, PCRs: c.PCRs})
		check(b.t, err)
		r.Quote, r.Signature = a.Quote, a.Signature
	}
}

// Bytes that no signature covers do not reach the archive.
func TestUnsignedLogsAreNotKept(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	x, c := b.ask(h)
	raw := b.answer(h, c)
	raw.Signature = bytes.Clone(raw.Signature)
	raw.Signature[len(raw.Signature)-1] ^= 1
	raw.IMA, raw.BootLog = bytes.Repeat([]byte("junk"), 1<<16), bytes.Repeat([]byte("more"), 1<<16)
	out, err := x.Judge(t.Context(), raw, 0, noMore)
	check(t, err)
	found(t, out, verdict.QuoteSignature)
	for _, junk := range [][]byte{raw.IMA, raw.BootLog} {
		if kept, err := b.archive.Has(evidence.Sum(junk)); err != nil || kept {
			t.Errorf("%d unsigned bytes are in the archive: %v", len(junk), err)
		}
	}
	b.rerun(h, verdict.Denied)
}

// A host gains no speed by connecting again and again.
func TestSessionsArePaced(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.ask(h)
	x := b.newSession(h)
	if wait := x.due.Sub(b.clock.now()); wait < minPace {
		t.Errorf("a new session is challenged after %v", wait)
	}
	b.clock.advance(minPace)
	if x = b.newSession(h); x.due.After(b.clock.now()) {
		t.Error("an honest reconnection has to wait")
	}
}

// A node has one session; the older one ends and its answers count nothing.
func TestA044_SessionSuperseded(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	old, c := b.ask(h)
	raw := b.answer(h, c)
	b.newSession(h)
	<-old.Ended()
	if !errors.Is(old.Reason(), ErrSuperseded) {
		t.Errorf("ended for %v", old.Reason())
	}
	if out, err := old.Judge(t.Context(), raw, 0, noMore); !errors.Is(err, ErrSuperseded) {
		t.Errorf("the old session's answer: %+v, %v", out, err)
	}
	old.Close()
	b.demand(h, b.round(h), verdict.Admitted, node.Admitted)
}

// A long IMA list that ends early, or is longer than announced, is refused and
// frees its place; announcing too much never gets one.
func TestA133_LongLists(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	b.config.Limits.IMABytes = 1 << 20
	for range 2 * bulkSlots {
		x, c := b.ask(h)
		_, err := x.Judge(t.Context(), b.answer(h, c), 2<<20, noMore)
		refusedBy(t, err, verdict.SessionSize)
		x, c = b.ask(h)
		_, err = x.Judge(t.Context(), b.answer(h, c), 1<<63, noMore)
		refusedBy(t, err, verdict.SessionSize)
		x, c = b.ask(h)
		if _, err = x.Judge(t.Context(), b.answer(h, c), 100, noMore); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		x, c = b.ask(h)
		_, err = x.Judge(t.Context(), b.answer(h, c), 100, func() ([]byte, error) { return make([]byte, 101), nil })
		refusedBy(t, err, verdict.SessionSize)
	}
	h.Exec("/usr/bin/quorate-agent")
	x, c := b.ask(h)
	raw := b.answer(h, c)
	rest := raw.IMA
	raw.IMA = nil
	out, err := x.Judge(t.Context(), raw, uint64(len(rest)), func() ([]byte, error) {
		part := rest[:1]
		rest = rest[1:]
		return part, nil
	})
	check(t, err)
	b.demand(h, out, verdict.Admitted, node.Admitted)
}
