package verifier

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/paperhost"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/verdict"
)

// Two enrolments run at once and each gives the other's answer: both are refused,
// nothing is recorded, and the tokens are still good.
func TestA040_SwappedAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := b.host("validator-1"), b.host("validator-2")
	tokens := []string{b.invite(one.ID), b.invite(two.ID)}
	first, proof1 := b.begin(one, tokens[0])
	second, proof2 := b.begin(two, tokens[1])
	size := b.size()
	_, err := first.Finish(t.Context(), proof2)
	refusedBy(t, err, verdict.EnrollActivation)
	_, err = second.Finish(t.Context(), proof1)
	refusedBy(t, err, verdict.EnrollActivation)

	// Even with the right secret, the other's certifications do not fit.
	first, right := b.begin(one, tokens[0])
	mixed := proof2
	mixed.Secret = right.Secret
	if _, err = first.Finish(t.Context(), mixed); err == nil {
		t.Error("another host's certifications were accepted")
	}
	if nodes, _ := b.Nodes(t.Context()); len(nodes) != 0 || b.size() != size {
		t.Errorf("%d nodes, the journal grew by %d", len(nodes), b.size()-size)
	}
	for i, h := range []*paperhost.Host{one, two} {
		e, proof := b.begin(h, tokens[i])
		_, err := e.Finish(t.Context(), proof)
		check(t, err)
	}
}

// A wrong secret ends the attempt, even for the right one after it, and says
// nothing about the right one.
func TestA041_WrongSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.host("validator-1")
	e, proof := b.begin(h, b.invite(h.ID))
	secret := bytes.Clone(e.secret)
	wrong := proof
	wrong.Secret = make([]byte, len(proof.Secret))
	_, err := e.Finish(t.Context(), wrong)
	refusedBy(t, err, verdict.EnrollActivation)
	for _, text := range []string{err.Error(), b.log.String()} {
		if strings.Contains(text, hex.EncodeToString(secret)) || strings.Contains(text, string(secret)) {
			t.Error("the secret was told")
		}
	}
	_, err = e.Finish(t.Context(), proof)
	refusedBy(t, err, verdict.EnrollActivation)
	for _, short := range [][]byte{nil, {}, proof.Secret[:31]} {
		e, proof = b.begin(h, b.invite(h.ID))
		proof.Secret = short
		_, err = e.Finish(t.Context(), proof)
		refusedBy(t, err, verdict.EnrollActivation)
	}
	check(t, b.enrol(h))
}

// A token is good for one enrolment, however many are tried at once.
func TestA012_TokenOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.host("validator-1")
	token := b.invite(h.ID)
	size := b.size()
	const tries = 200
	attempts, proofs := make([]*Enrollment, tries), make([]EnrollProof, tries)
	for i := range tries {
		attempts[i], proofs[i] = b.begin(h, token)
	}
	errs := make([]error, tries)
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() { _, errs[i] = attempts[i].Finish(context.Background(), proofs[i]) })
	}
	wg.Wait()
	winners := 0
	for _, err := range errs {
		if err == nil {
			winners++
			continue
		}
		refusedBy(t, err, verdict.SessionToken)
	}
	if winners != 1 || b.size() != size+1 {
		t.Errorf("%d enrolments won, the journal grew by %d", winners, b.size()-size)
	}
}

// Tokens: for one node, until they expire, unknown ones and others' alike.
func TestA140_Tokens(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h, other := b.host("validator-1"), b.host("validator-2")
	mine, theirs := b.invite(h.ID), b.invite(other.ID)
	try := func(token string) error {
		_, _, err := b.BeginEnrollment(t.Context(), request(h, token), enrolExporter)
		return err
	}
	unknown, others := try("join-aaaa"), try(theirs)
	refusedBy(t, unknown, verdict.SessionToken)
	refusedBy(t, others, verdict.SessionToken)
	if unknown.Error() != others.Error() {
		t.Errorf("a token of another node is told apart: %v / %v", unknown, others)
	}
	refusedBy(t, try(""), verdict.SessionToken)
	check(t, try(mine))
	b.clock.advance(25 * time.Hour)
	refusedBy(t, try(mine), verdict.SessionToken)
	late := b.invite(h.ID)
	e, proof := b.begin(h, late)
	b.clock.advance(25 * time.Hour)
	_, err := e.Finish(t.Context(), proof)
	refusedBy(t, err, verdict.SessionToken)
}

// Node id, TPM and keys belong together for ever.
func TestA042_A043_Identity(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.enrolled("validator-1")
	stranger := b.host("validator-9")
	second := ownMember + "/validator-2"
	size := b.size()

	if err := b.enrolAs(stranger, h.ID); !errors.Is(err, store.ErrExists) {
		t.Errorf("the id with another TPM: %v", err)
	}
	if err := b.enrolAs(h, h.ID); !errors.Is(err, store.ErrExists) {
		t.Errorf("the same again: %v", err)
	}
	token := b.invite(second)
	r := request(h, token)
	r.Node = second
	if _, _, err := b.BeginEnrollment(t.Context(), r, enrolExporter); !errors.Is(err, store.ErrExists) {
		t.Errorf("the TPM under a second id: %v", err)
	}
	for name, spoil := range map[string]func(*paperhost.Host){
		"its attestation key": func(s *paperhost.Host) { s.AK = h.AK },
		"its node key":        func(s *paperhost.Host) { s.NodeKey = h.NodeKey },
	} {
		thief := b.host("validator-9")
		thief.ID = second
		spoil(thief)
		e, proof := b.begin(thief, token)
		if _, err := e.Finish(t.Context(), proof); !errors.Is(err, store.ErrExists) {
			t.Errorf("another TPM with %s: %v", name, err)
		}
	}
	if grown := b.size() - size; grown != 1 { // the invitation
		t.Errorf("the journal grew by %d", grown)
	}
	b.restart() // the history is still one that can have happened
	stranger.ID = second
	e, proof := b.begin(stranger, token)
	_, err := e.Finish(t.Context(), proof)
	check(t, err)
}

// A consensus key is on one host: a copy of it enrols nowhere else until the first
// node is retired.
func TestConsensusKeyOnOneHost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.enrolled("validator-1")
	other := b.host("validator-2")
	other.Consensus = h.Consensus
	e, proof := b.begin(other, b.invite(other.ID))
	size := b.size()
	if _, err := e.Finish(t.Context(), proof); !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), h.ID) {
		t.Errorf("the consensus key of %s on a second host: %v", h.ID, err)
	}
	if b.size() != size {
		t.Error("the refusal is in the journal")
	}
	_, err := b.Operate(t.Context(), b.by, h.ID, node.RetiredByOperator{By: b.by.Name(), Reason: "moved"})
	check(t, err)
	check(t, b.enrol(other))
}

// Of two attempts for one TPM under two ids, begun side by side, one is recorded.
func TestA043_TwoIdsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := b.host("validator-1"), b.host("validator-1")
	two.ID = ownMember + "/validator-2"
	first, proof1 := b.begin(one, b.invite(one.ID))
	second, proof2 := b.begin(two, b.invite(two.ID))
	errs := make([]error, 2)
	var wg sync.WaitGroup
	wg.Go(func() { _, errs[0] = first.Finish(context.Background(), proof1) })
	wg.Go(func() { _, errs[1] = second.Finish(context.Background(), proof2) })
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), store.ErrExists) {
		t.Errorf("%v / %v", errs[0], errs[1])
	}
	b.restart()
	if nodes, _ := b.Nodes(t.Context()); len(nodes) != 1 {
		t.Errorf("%d nodes", len(nodes))
	}
}

// Enrolments of different hosts are recorded side by side: all are under way while
// none of them is in the journal yet.
func TestManyEnrolAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const hosts = 24
	var attempts [hosts]*Enrollment
	var proofs [hosts]EnrollProof
	names := 0
	for i := range hosts {
		h := b.host(fmt.Sprintf("validator-%d", i))
		attempts[i], proofs[i] = b.begin(h, b.invite(h.ID))
		names += len(attempts[i].names())
	}
	b.recording.Lock() // nobody's entry gets anywhere
	var wg sync.WaitGroup
	for i, e := range attempts {
		wg.Go(func() {
			if _, err := e.Finish(context.Background(), proofs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	for b.claims.count() < names && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	b.recording.Unlock()
	wg.Wait()
	if n := b.claims.count(); n != 0 {
		t.Errorf("%d names are still held", n)
	}
	b.restart()
	if nodes, _ := b.Nodes(t.Context()); len(nodes) != hosts {
		t.Errorf("%d nodes", len(nodes))
	}
}

func (c *claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.held)
}

// Names are taken together or not at all, by one at a time, and given back.
func TestClaims(t *testing.T) {
	t.Parallel()
	c := newClaims()
	release, err := c.take(t.Context(), "a", "b")
	check(t, err)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.take(gone, "b", "c"); !errors.Is(err, context.Canceled) {
		t.Errorf("a name that is held: %v", err)
	}
	other, err := c.take(gone, "c")
	check(t, err) // the attempt above has not kept it
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		again, err := c.take(context.Background(), "c", "a")
		if err == nil {
			again()
		}
	}()
	release()
	select {
	case <-waiting:
		t.Error("took a name that is held")
	case <-time.After(20 * time.Millisecond):
	}
	other()
	<-waiting
	if c.count() != 0 {
		t.Errorf("still held: %v", c.held)
	}
}

// An enrolment that is in the journal and not in the database is in doubt, too:
// the next one for its TPM sees it.
func TestEnrolmentBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.host("validator-1")
	later := b.invite(h.ID)
	e, _ := b.begin(h, b.invite(h.ID))
	rec, err := b.newRecord(t.Context(), e)
	check(t, err)
	_, err = b.append(t.Context(), enrolmentEntry(b, e, rec)) // and not applied
	check(t, err)
	b.doubt.raise(fmt.Errorf("%w: %w", ErrUnavailable, errBehind))
	again, proof := b.begin(h, later)
	if _, err := again.Finish(t.Context(), proof); !errors.Is(err, store.ErrExists) {
		t.Errorf("enrolled twice: %v", err)
	}
	b.round(h)
	b.restart()
	b.round(h)
}

// A host that hangs up at any moment leaves either a whole enrolment or none, and
// never a journal that the next start cannot follow.
func TestHangUpWhileEnrolling(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, after := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
		h := b.host("hasty-" + strings.ReplaceAll(after.String(), ".", "-"))
		e, proof := b.begin(h, b.invite(h.ID))
		ctx, hangUp := context.WithCancel(t.Context())
		time.AfterFunc(after, hangUp)
		_, err := e.Finish(ctx, proof)
		_, unknown := b.nodes.get(h.ID)
		if (err == nil) != (unknown == nil) {
			t.Errorf("hung up after %v: %v, but the node is there: %v", after, err, unknown == nil)
		}
		if err != nil {
			check(t, b.enrol(h))
		}
	}
	b.restart()
	if nodes, _ := b.Nodes(t.Context()); len(nodes) != 4 {
		t.Errorf("%d nodes after a restart", len(nodes))
	}
}

// The same for operators: what was recorded is in force, although nobody waited.
func TestHangUpWhileOperating(t *testing.T) {
	t.Parallel()
	b, h := admitted(t)
	ctx, hangUp := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, hangUp)
	_, err := b.Operate(ctx, b.by, h.ID, node.SuspendedByOperator{By: b.by.Name(), Reason: "maintenance"})
	if err != nil || b.status(h) != node.Suspended {
		t.Errorf("%v, the node is %v", err, b.status(h))
	}
	hasty, hangUp := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, hangUp)
	token, _, err := b.Invite(hasty, b.by, Invitation{Node: ownMember + "/validator-2"})
	check(t, err)
	if _, err := b.store.Invite(t.Context(), tokenHash(token)); err != nil {
		t.Errorf("the invitation is in the journal and not in the database: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	size := b.size()
	if _, _, err := b.Invite(gone, b.by, Invitation{Node: ownMember + "/validator-3"}); err == nil || b.size() != size {
		t.Errorf("a caller who had left was served: %v", err)
	}
}

// An enrolment whose entry may still appear holds up others until it is settled,
// and is then what it was: done or never.
func TestEnrolmentInDoubt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	h := b.host("validator-1")
	e, proof := b.begin(h, b.invite(h.ID))
	rec, err := b.newRecord(t.Context(), e)
	check(t, err)
	later := b.invite(h.ID) // made before the doubt
	// The entry is written; the caller was told that it may not be.
	_, err = b.append(t.Context(), enrolmentEntry(b, e, rec))
	check(t, err)
	b.doubt.raise(errUnpublished)
	again, proof2 := b.begin(h, later)
	if _, err := again.Finish(t.Context(), proof2); !errors.Is(err, ErrUnavailable) {
		t.Errorf("enrolled beside an enrolment in doubt: %v", err)
	}
	b.invite(ownMember + "/validator-2") // any entry settles it
	again, proof2 = b.begin(h, later)
	if _, err := again.Finish(t.Context(), proof2); !errors.Is(err, store.ErrExists) {
		t.Errorf("enrolled twice: %v", err)
	}
	_ = proof
	b.round(h)
	b.restart()
	b.round(h)
}
