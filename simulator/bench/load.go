package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/simulator/site"
)

// load is the fleet at work, each node in a session of its own.
type load struct {
	cancel   context.CancelFunc
	sessions sync.WaitGroup
	size     int
	steady   atomic.Int64 // heartbeats that brought nothing new, so far
	others   atomic.Int64 // rounds that brought something, so far
	admitted atomic.Int64 // nodes that were admitted at least once
	in, out  atomic.Int64 // most bytes of messages in one steady heartbeat
	failed   atomic.Pointer[error]
}

// handshakes is how many nodes connect in a second: a fleet does not come all at
// once, and this one shares its machine with the verifier.
const handshakes = 250

func startLoad(ctx context.Context, nodes []*paperNode) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, size: len(nodes)}
	pace := time.NewTicker(time.Second / handshakes)
	defer pace.Stop()
	for _, n := range nodes {
		<-pace.C
		l.sessions.Go(func() {
			if err := l.run(ctx, n); err != nil && ctx.Err() == nil {
				l.failed.CompareAndSwap(nil, &err)
			}
		})
	}
	return l
}

func (l *load) run(ctx context.Context, n *paperNode) error {
	admitted := false
	return n.attest(ctx, func(r round) bool {
		if !admitted && r.decision == "admitted" {
			admitted = true
			l.admitted.Add(1)
		}
		if !r.steady || r.bundle != nil {
			l.others.Add(1)
			return true
		}
		l.steady.Add(1)
		highest(&l.in, r.in)
		highest(&l.out, r.out)
		return true
	})
}

func highest(most *atomic.Int64, n int) {
	for {
		old := most.Load()
		if int64(n) <= old || most.CompareAndSwap(old, int64(n)) {
			return
		}
	}
}

func (l *load) stop() {
	l.cancel()
	l.sessions.Wait()
}

func (l *load) failure() error {
	if err := l.failed.Load(); err != nil {
		return fmt.Errorf("the fleet: %w", *err)
	}
	return nil
}

// settled waits until every node is admitted and has had a few heartbeats since.
func (l *load) settled(ctx context.Context) error {
	done := func() bool { return l.failure() != nil || l.admitted.Load() == int64(l.size) }
	if err := site.Poll(ctx, done); err != nil {
		return errors.Join(fmt.Errorf("%d of %d nodes admitted: %w", l.admitted.Load(), l.size, err), l.failure())
	}
	from := l.steady.Load()
	done = func() bool { return l.failure() != nil || l.steady.Load() > from+int64(3*l.size) }
	return errors.Join(site.Poll(ctx, done), l.failure())
}

// windows is how many times the verifier's CPU time is read.
const windows = 11

// measure reads the verifier's CPU time in windows of a second, each beside the
// bare operations at the same time.
func (l *load) measure(ctx context.Context, pid int) ([]Row, error) {
	bare, err := bareHeartbeat()
	if err != nil {
		return nil, err
	}
	var ours, theirs, ratios []float64
	for range windows {
		start, beats, others := processCPU(pid), l.steady.Load(), l.others.Load()
		unit, err := threadTime(ctx, bare)
		if err != nil {
			return nil, err
		}
		spent := processCPU(pid) - start
		if beats = l.steady.Load() - beats + l.others.Load() - others; beats == 0 || spent <= 0 {
			return nil, errors.Join(errors.New("no heartbeats"), l.failure())
		}
		each := float64(spent) / float64(beats)
		ours, theirs, ratios = append(ours, each/1e3), append(theirs, unit/1e3), append(ratios, each/unit)
	}
	return []Row{
		{
			Operation: fmt.Sprintf("heartbeat, server CPU, %d nodes at 1 Hz", l.size), Against: "P-256 verify + Ed25519 sign", Unit: "µs", Gate: 2.2,
			Ours: median(ours), Bare: median(theirs), Ratio: median(ratios),
		},
		{Operation: "steady heartbeat, bytes to the verifier", Ours: float64(l.out.Load()), Unit: "B", Gate: 1024},
		{Operation: "steady heartbeat, bytes to the node", Ours: float64(l.in.Load()), Unit: "B", Gate: 1024},
	}, l.failure()
}

func bareHeartbeat() (func() error, error) {
	verify, err := bareVerify()
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	message := make([]byte, 128)
	return func() error {
		ed25519.Sign(private, message)
		return verify()
	}, err
}

// threadTime runs the operation now and then for a second, and returns its
// nanoseconds of CPU time on this thread alone.
func threadTime(ctx context.Context, op func() error) (float64, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var each []float64
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 50 {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
		const runs = 10
		start := clock(unix.CLOCK_THREAD_CPUTIME_ID)
		for range runs {
			if err := op(); err != nil {
				return 0, err
			}
		}
		each = append(each, float64(clock(unix.CLOCK_THREAD_CPUTIME_ID)-start)/runs)
	}
	return median(each), nil
}

// processCPU returns the CPU time that another process has used.
func processCPU(pid int) time.Duration {
	const scheduled = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
	return clock(int32(^pid<<3 | scheduled))
}

func clock(id int32) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(id, &t) != nil {
		return 0 // no measurement passes with it
	}
	return time.Duration(t.Nano())
}
