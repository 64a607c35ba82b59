package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/agent/measure"
	"github.com/quorate/quorate/proto/binding"
)

// gatherFor bounds the wait for other verifiers' challenges after the first
// one. A TPM takes longer than this for one quote.
const gatherFor = 200 * time.Millisecond

// question is one verifier's open challenge with what its quote must cover.
type question struct {
	ctx       context.Context // ends when the verifier no longer waits
	challenge binding.Challenge
	bank      tpm2.TPMAlgID
	pcrs      []uint32
	answer    chan<- answer // buffered: the quoter never waits for a session
}

// answer is the quote that a question got, shared by all questions it answers.
type answer struct {
	quote      *key.Quote
	challenges []binding.Challenge
	bootLog    []byte
	digest     [sha256.Size]byte // of bootLog
	err        error
}

// quoter answers the challenges of all verifiers, several with one quote.
type quoter struct {
	keys      *key.Keys
	source    measure.Source
	log       *slog.Logger
	base      binding.Quote // without boot log and challenges
	questions chan question

	mu       sync.Mutex
	sessions int // open sessions, each of which may have a question soon
}

func newQuoter(a *Agent, keys *key.Keys, id identity) *quoter {
	return &quoter{
		keys: keys, source: a.source, log: a.log, questions: make(chan question),
		base: binding.Quote{
			Ledger: a.ledger(), Node: id.Node, AKName: keys.AKName(),
			NodeKey: keys.NodeKeyDigest(), ConsensusKey: id.ConsensusKey,
		},
	}
}

// joined and left count sessions.
func (q *quoter) joined() { q.count(1) }
func (q *quoter) left()   { q.count(-1) }

func (q *quoter) count(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sessions += n
}

func (q *quoter) open() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sessions
}

// ask has a challenge answered. It returns when ctx ends, at the latest.
func (q *quoter) ask(ctx context.Context, c binding.Challenge, bank tpm2.TPMAlgID, pcrs []uint32) (answer, error) {
	reply := make(chan answer, 1)
	select {
	case q.questions <- question{ctx, c, bank, pcrs, reply}:
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	select {
	case a := <-reply:
		return a, a.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// run answers questions until ctx ends.
func (q *quoter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-q.questions:
			for _, group := range groups(q.gather(ctx, first)) {
				q.reply(ctx, group)
			}
		}
	}
}

// gather waits a moment for the questions of the other open sessions.
func (q *quoter) gather(ctx context.Context, first question) []question {
	batch := []question{first}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	for len(batch) < q.open() {
		select {
		case next := <-q.questions:
			batch = append(batch, next)
		case <-timer.C:
			return batch
		case <-first.ctx.Done():
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// groups splits questions into those that one quote can answer: same bank and
// PCRs, distinct verifiers, no more than a quote may carry. Questions that
// nobody waits for any more are dropped.
func groups(batch []question) [][]question {
	var out [][]question
	for _, next := range batch {
		if next.ctx.Err() != nil {
			continue
		}
		i := slices.IndexFunc(out, func(g []question) bool { return fits(g, next) })
		if i < 0 {
			out = append(out, []question{next})
			continue
		}
		out[i] = append(out[i], next)
	}
	return out
}

func fits(group []question, next question) bool {
	return len(group) < binding.MaxChallenges &&
		group[0].bank == next.bank && slices.Equal(group[0].pcrs, next.pcrs) &&
		!slices.ContainsFunc(group, func(g question) bool { return g.challenge.Verifier == next.challenge.Verifier })
}

func (q *quoter) reply(ctx context.Context, group []question) {
	start := time.Now()
	a := q.quote(ctx, group)
	q.log.Debug("quoted", "verifiers", len(group), "took", time.Since(start), "error", a.err)
	for _, each := range group {
		each.answer <- a
	}
}

// quote signs once for the whole group. The boot log is read first: it does not
// change while the TPM's boot epoch lasts.
func (q *quoter) quote(ctx context.Context, group []question) answer {
	a := answer{}
	if a.bootLog, a.err = readBootLog(q.source); a.err != nil {
		return a
	}
	a.digest = sha256.Sum256(a.bootLog)
	for _, each := range group {
		a.challenges = append(a.challenges, each.challenge)
	}
	binding.SortChallenges(a.challenges)
	bound := q.base
	bound.BootLog, bound.Challenges = a.digest, a.challenges
	qualifying, err := bound.QualifyingData()
	if err != nil {
		a.err = err
		return a
	}
	a.quote, a.err = q.keys.Quote(ctx, group[0].bank, group[0].pcrs, qualifying)
	return a
}

// readBootLog reads the boot log; a host that has none sends an empty one, and
// the verifier says what that means.
func readBootLog(s measure.Source) ([]byte, error) {
	data, err := s.ReadBootLog()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return data, nil
}
