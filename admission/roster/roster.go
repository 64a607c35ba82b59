// Package roster follows a verifier's rosters over gRPC, for admission
// controllers and gates beside a ledger. What it hands on was verified with the
// consortium file; the connection is only a way to get bytes.
//
// A program that holds a roster must still drop it when it becomes too old: a
// gate that is cut off from its verifiers does not learn of suspensions.
package roster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	quoratev1 "github.com/quorate/quorate/proto/quorate/v1"
)

// Config says whom to follow, and as whom.
type Config struct {
	Consortium *admission.Consortium     // required
	Verifier   string                    // name of the verifier; required
	Key        *operator.Key             // of an operator in the consortium file; required
	MaxAge     time.Duration             // oldest roster that still counts; required
	Now        func() time.Time          // the clock; required
	Last       *admission.VerifiedRoster // last roster of an earlier run, if it was kept
}

// Client follows one verifier. It is for use by one goroutine at a time.
type Client struct {
	config   Config
	verifier admission.Verifier
	last     *admission.VerifiedRoster
}

// ErrConfig reports a Config that lacks something.
var ErrConfig = errors.New("roster: incomplete configuration")

// New checks the configuration. It does not connect.
func New(c Config) (*Client, error) {
	if c.Consortium == nil || c.Key == nil || c.MaxAge <= 0 || c.Now == nil {
		return nil, fmt.Errorf("%w: consortium, key, maximum age and clock are required", ErrConfig)
	}
	v, ok := c.Consortium.Verifier(c.Verifier)
	if !ok {
		return nil, fmt.Errorf("%w: the consortium has no verifier %q", ErrConfig, c.Verifier)
	}
	return &Client{config: c, verifier: v, last: c.Last}, nil
}

// Verifier returns the name of the verifier that the client follows.
func (c *Client) Verifier() string { return c.verifier.Name }

// Bounds of the pause before the next attempt to connect.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 30 * time.Second
)

// Watch yields every new roster of the verifier, each with a higher number than
// the one before, until ctx ends. When a connection breaks, or what arrives
// does not verify, it yields the error, and goes on after a random pause that
// grows with the failures in a row. Errors that wrap an *admission.Refusal are
// worth an alarm: an authentic connection carried a roster that must not count.
//
// A connection that brings no roster for the maximum age is given up for a new
// one, so a verifier must issue rosters more often than that, changed or not.
func (c *Client) Watch(ctx context.Context) iter.Seq2[*admission.VerifiedRoster, error] {
	return func(yield func(*admission.VerifiedRoster, error) bool) {
		failures := 0
		for ctx.Err() == nil {
			stopped, err := c.follow(ctx, func(r *admission.VerifiedRoster) bool {
				failures = 0
				return yield(r, nil)
			})
			if stopped || ctx.Err() != nil || !yield(nil, err) || !sleep(ctx, pause(failures)) {
				return
			}
			failures++
		}
	}
}

// follow yields rosters of one connection until it fails, or the consumer has
// had enough.
func (c *Client) follow(ctx context.Context, yield func(*admission.VerifiedRoster) bool) (stopped bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.config.MaxAge, func() { cancel(errSilent) })
	defer silence.Stop()

	conn, err := c.config.Key.Dial(c.verifier)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stream, err := quoratev1.NewAdmissionServiceClient(conn).Watch(ctx, &quoratev1.WatchRequest{After: c.after()})
	for err == nil {
		var answer *quoratev1.WatchResponse
		if answer, err = stream.Recv(); err != nil {
			break
		}
		var fresh *admission.VerifiedRoster
		if fresh, err = c.take(answer.GetRoster()); err != nil {
			return false, err
		}
		silence.Reset(c.config.MaxAge)
		if fresh != nil && !yield(fresh) {
			return true, nil
		}
	}
	if context.Cause(ctx) == errSilent {
		err = errSilent
	}
	return false, fmt.Errorf("roster: follow %s: %w", c.verifier.Name, err)
}

var errSilent = errors.New("no roster within the maximum age")

// Fetch gets the current roster once.
func (c *Client) Fetch(ctx context.Context) (*admission.VerifiedRoster, error) {
	conn, err := c.config.Key.Dial(c.verifier)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := quoratev1.NewAdmissionServiceClient(conn).GetRoster(ctx, &quoratev1.GetRosterRequest{})
	if err != nil {
		return nil, fmt.Errorf("roster: fetch from %s: %w", c.verifier.Name, err)
	}
	if _, err := c.take(answer.GetRoster()); err != nil {
		return nil, err
	}
	return c.last, nil
}

// take verifies a roster and remembers it. It returns nil for the roster that
// it has already.
func (c *Client) take(msg []byte) (*admission.VerifiedRoster, error) {
	want := admission.RosterWant{Verifier: c.verifier.Name, MaxAge: c.config.MaxAge, Last: c.last}
	r, err := c.config.Consortium.VerifyRoster(msg, want, c.config.Now())
	if err != nil {
		return nil, fmt.Errorf("roster: from %s: %w", c.verifier.Name, err)
	}
	known := c.last != nil && c.last.Number() == r.Number()
	c.last = r
	if known {
		return nil, nil
	}
	return r, nil
}

func (c *Client) after() uint64 {
	if c.last == nil {
		return 0
	}
	return c.last.Number()
}

// pause doubles with every failure in a row, and is drawn from the upper half,
// so that gates which lost one verifier together do not return together.
func pause(failures int) time.Duration {
	limit := min(firstPause<<min(failures, 16), lastPause)
	return limit/2 + rand.N(limit/2)
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
