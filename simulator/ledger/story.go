package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/quorate/quorate/simulator/site"
)

// Options say where the programs are and where the result goes.
type Options struct {
	Bin string // folder with the shipped programs, cometbft and abci-cli
	Out string // folder for ledger.json and, if the story goes wrong, the logs
}

// Result is demo/ledger.json.
type Result struct {
	Members   []string  `json:"members"`
	Threshold int       `json:"threshold"` // members that have to admit
	Machines  []Outcome `json:"machines"`  // at the end
	Joiner    Joiner    `json:"joiner"`
	Attack    Attack    `json:"attack"`
	Return    Return    `json:"return"`
	Height    int64     `json:"height"`   // of the last block that all machines have
	SameHash  bool      `json:"sameHash"` // all of them agree on the application's hash at every height
	Seconds   float64   `json:"seconds"`
}

// Outcome is a machine at the end of the story.
type Outcome struct {
	ID     string `json:"id"`
	Power  int64  `json:"power"`
	Reason string `json:"reason"`
}

// Joiner is the machine that is in no genesis document.
type Joiner struct {
	ID      string  `json:"id"`
	Desired int64   `json:"desired"`    // what the application wanted it to have
	Before  int64   `json:"before"`     // what it had while the ledger knew no bundle
	Single  string  `json:"single"`     // the check that refused one verifier's admission
	Power   int64   `json:"power"`      // what it had with its bundle
	Signed  int64   `json:"signed"`     // the first block that it signed
	Seconds float64 `json:"untilSigns"` // from the bundle to that block
}

// Attack is what somebody ran on an admitted machine, and how fast that had which
// effect.
type Attack struct {
	ID      string  `json:"id"`
	Program string  `json:"program"`
	Signer  string  `json:"signer"`       // the check by which its signer refuses
	Refused float64 `json:"untilRefused"` // seconds until the signer refused
	Out     float64 `json:"untilOut"`     // seconds until it was out of the set
	Bound   float64 `json:"bound"`        // what Out may be at most
	Height  int64   `json:"height"`       // first height of the set without it
	Again   string  `json:"again"`        // the check that refused admissions of before the attack
	Blocks  int64   `json:"blocks"`       // that the others made meanwhile
}

// Return is how the attacked machine came back.
type Return struct {
	Power   int64   `json:"power"`
	Signed  int64   `json:"signed"`     // the first block that it signed again
	Seconds float64 `json:"untilSigns"` // from power on to that block
}

// evictionBound is how long a machine that ran an unlisted program may stay in
// the set: until the next challenge, and a few blocks.
const evictionBound = 15 * time.Second

// patience is how long the whole story may take.
const patience = 85 * time.Second

// tableEvery is how often the table looks.
const tableEvery = 500 * time.Millisecond

// story is one run.
type story struct {
	Options
	*screen
	*Ledger
	result Result
	began  time.Time
}

// Run tells the story on out and writes Out/ledger.json. It leaves no process and
// no file but those in Out. An error says which part of it did not come true.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "quorate-ledger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{Options: o, screen: newScreen(out), began: time.Now()}
	running, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = s.tell(running, dir)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, keepLogs(dir, o.Out))
	}
	if s.Ledger != nil {
		s.Ledger.Close()
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted; nothing is left running")
	}
	return err
}

func (s *story) tell(ctx context.Context, dir string) error {
	if err := s.open(ctx, dir); err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); s.watch(watching) }()
	defer func() { cancel(); <-done; s.screen.close() }()
	for _, chapter := range []func(context.Context) error{s.found, s.ask, s.join, s.attack, s.comeBack} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return s.finish(ctx)
}

// keepLogs copies the programs' logs.
func keepLogs(dir, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, pattern := range []string{"*/*.log", "*/*/*.log"} {
		logs, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is well formed
		for _, path := range logs {
			data, err := os.ReadFile(path)
			name := filepath.Base(filepath.Dir(path)) + "-" + filepath.Base(path)
			errs = append(errs, err, os.WriteFile(filepath.Join(out, name), data, 0o644))
		}
	}
	return errors.Join(errs...)
}

// watch keeps the table up to date.
func (s *story) watch(ctx context.Context) {
	for pause(ctx, tableEvery) {
		if status, err := s.Power(ctx); err == nil {
			s.show(s.table(status))
		}
	}
}

func (s *story) write() error {
	text, err := json.MarshalIndent(s.result, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Out, "ledger.json"), append(text, '\n'), 0o644)
}

// finish compares all machines and writes the result.
func (s *story) finish(ctx context.Context) error {
	s.chapter("The same ledger everywhere", "All machines have all blocks, and at every height the same application hash,\nwhich covers who is admitted.")
	height, err := s.Chain.Same(ctx, nil)
	if err != nil {
		return err
	}
	status, err := s.Power(ctx)
	if err != nil {
		return err
	}
	for _, m := range s.Machines {
		v := validator(status, m)
		s.result.Machines = append(s.result.Machines, Outcome{m.ID, v.Effective, v.Reason})
	}
	s.result.Members, s.result.Threshold, s.result.Height, s.result.SameHash = members, threshold, height, true
	s.result.Seconds = since(s.began)
	s.good("%d blocks, the same on %d machines", height, len(s.Machines))
	s.print(fmt.Sprintf("\n   %.0f seconds; the same as JSON: %s\n", s.result.Seconds, filepath.Join(s.Out, "ledger.json")))
	return s.write()
}

func since(t time.Time) float64 { return time.Since(t).Round(10 * time.Millisecond).Seconds() }

// until polls a condition for a chapter and says what was waited for.
func until(ctx context.Context, what string, condition func() bool) error {
	if err := site.Poll(ctx, condition); err != nil {
		return fmt.Errorf("it did not come true that %s: %w", what, err)
	}
	return nil
}

// pause reports whether the time passed before the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
