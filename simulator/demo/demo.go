// Package demo is the story that `make demo` tells: one verifier, four hosts with
// software TPMs and real agents, an admission, a refusal, an attack and what the
// ledger sees of it. Everything in it is done by the shipped programs; only the
// machines are simulated.
package demo

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
	Bin string // folder with quorate, quorate-agent and quorate-verifier
	Out string // folder for result.json and the logs; emptied first
}

// Result is demo/result.json.
type Result struct {
	Consortium string     `json:"consortium"`
	Policy     string     `json:"policy"`
	Admitted   []string   `json:"admitted"`  // nodes that were admitted, the one attacked later included
	Refused    []Verdict  `json:"refused"`   // nodes that never were
	Suspended  []Verdict  `json:"suspended"` // nodes that were, and are no more
	Nodes      []NodeView `json:"nodes"`     // at the end
	Bundle     Bundle     `json:"bundle"`    // of the node that was attacked
	Suspension Suspension `json:"suspension"`
	Seconds    float64    `json:"seconds"`
}

// NodeView is what `quorate node show --json` says of a node, and how the demo
// sums it up: admitted, refused or suspended.
type NodeView struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Outcome  string    `json:"outcome"`
	Reason   string    `json:"reason,omitempty"`
	Serial   uint64    `json:"serial,omitempty"`
	NodeKey  string    `json:"nodeKey"`
	Evidence string    `json:"evidence"`
	Policy   string    `json:"policy"`
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is one reason.
type Finding struct {
	Check  string `json:"check"`
	Where  string `json:"where,omitempty"`
	Got    string `json:"got,omitempty"`
	Want   string `json:"want,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Verdict says which node, and the check that decided.
type Verdict struct {
	ID    string `json:"id"`
	Check string `json:"check"`
	Got   string `json:"got"`            // the command line, or path and digest
	Path  string `json:"path,omitempty"` // of the program
}

// Bundle says what the offline check of the attacked node's bundle said.
type Bundle struct {
	Before string `json:"before"` // "verified" or "refused", before the attack
	After  string `json:"after"`  // the same bytes, with the roster of after the attack
	Reason string `json:"reason"` // why the roster refuses it
}

// Suspension says what was run, and how fast that had an effect.
type Suspension struct {
	Program string  `json:"program"`
	Seconds float64 `json:"seconds"` // from execution to suspension
}

// challengeEvery is the interval of the demo's policy: short, so that nobody has
// to wait. Real policies use 30 seconds.
const challengeEvery = 3 * time.Second

// patience is how long the whole story may take.
const patience = 3 * time.Minute

// demo is one run.
type demo struct {
	Options
	*teller
	dir    string
	site   *site.Site
	hosts  []*site.Host
	result Result
	began  time.Time
}

// Run tells the story on out and writes Out/result.json. It leaves no process and
// no file but those in Out.
func Run(ctx context.Context, o Options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "quorate-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{Options: o, teller: newTeller(out), dir: dir, began: time.Now()}
	defer d.close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = d.tell(ctx)
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted; nothing is left running")
	}
	return errors.Join(err, d.keepLogs(err))
}

func (d *demo) tell(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		d.openVerifier, d.powerOn, d.join, d.learnPolicy, d.decide, d.showAdmission, d.attack, d.rosterRefuses, d.finish,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) close() {
	for _, h := range d.hosts {
		h.Close()
	}
	if d.site != nil {
		d.site.Close()
	}
}

// keepLogs copies the programs' logs into Out when the story went wrong.
func (d *demo) keepLogs(failed error) error {
	if failed == nil {
		return nil
	}
	logs, err := filepath.Glob(filepath.Join(d.dir, "*", "*.log"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Out, 0o755); err != nil {
		return err
	}
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(filepath.Dir(path)) + "-" + filepath.Base(path)
		if err := os.WriteFile(filepath.Join(d.Out, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// node asks the verifier about a node, with the operator's own command.
func (d *demo) node(ctx context.Context, id string) (NodeView, error) {
	var n NodeView
	_, err := d.site.Quorate(ctx, &n, "node", "show", id)
	n.ID = id
	return n, err
}

// await polls a node until it is as wanted, for at most 30 seconds.
func (d *demo) await(ctx context.Context, id, what string, wanted func(NodeView) bool) (n NodeView, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	polled := site.Poll(ctx, func() bool {
		n, err = d.node(ctx, id)
		return err == nil && wanted(n)
	})
	if polled != nil {
		return n, fmt.Errorf("waiting for %s to be %s: %w (%s: %s)", id, what, errors.Join(polled, err), n.State, n.Reason)
	}
	return n, nil
}

func (d *demo) finish(ctx context.Context) error {
	for _, h := range d.hosts {
		n, err := d.node(ctx, h.ID)
		if err != nil {
			return err
		}
		n.Outcome = n.State
		if n.State == "pending" && len(n.Findings) > 0 {
			n.Outcome = "refused"
		}
		d.result.Nodes = append(d.result.Nodes, n)
	}
	d.result.Consortium, d.result.Policy = consortiumName, d.result.Nodes[0].Policy
	d.result.Seconds = time.Since(d.began).Round(10 * time.Millisecond).Seconds()
	if err := d.write(); err != nil {
		return err
	}
	d.ending(d.result, filepath.Join(d.Out, "result.json"))
	return nil
}

func (d *demo) write() error {
	text, err := json.MarshalIndent(d.result, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.Out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.Out, "result.json"), append(text, '\n'), 0o644)
}
