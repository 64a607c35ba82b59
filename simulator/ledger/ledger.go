// Package ledger runs a whole network as its members would: unmodified CometBFT
// nodes and applications with a gate between the two, each on a machine with a
// TPM, an agent and a sealed consensus key, and a verifier of each member. Every
// program is a process of its own and the shipped one.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorate/quorate/simulator/chain"
	"github.com/quorate/quorate/simulator/site"
)

// What the network looks like: three organisations, of which two have to agree,
// and five machines. The last machine is no founder.
const (
	chainID   = "ledger-1"
	machines  = 5
	founders  = 4
	threshold = 2
)

var members = []string{"org-a", "org-b", "org-c"}

// Pace is the story's policy: short, so that nobody has to wait.
var Pace = site.Timing{ChallengeEvery: 2 * time.Second, LateAfter: 20 * time.Second, AdmissionFor: 40 * time.Second}

// rules are the gate's. Founders need no admission for the first blocks; hosts
// have theirs before the chain starts, and couriers bring them in that time.
const rules = "rules: quorate/power-rules/v1\nfrom:\n  - {height: 1, unattestedUntil: %d, window: 20, coolDown: 100, notice: 10s, extension: 60s, outageGrace: 30s}\n"

// grace is the height up to which founders need no admission.
const grace = 15

// commitPause is what nodes wait after each block.
const commitPause = 300 * time.Millisecond

// Setup says where everything is and how fast the verifiers are.
type Setup struct {
	Bin, Dir string
	Pace     site.Timing
	Odd      string // folder of other programs for the odd machine; empty: it has the same
}

// odd is the machine that may have other programs.
const odd = 1

// Ledger is the running network.
type Ledger struct {
	Setup
	Chain    *chain.Network
	Members  *site.Federation
	Machines []*Machine
	couriers []*site.Service // of rosters, one for each member
}

// New makes keys and files, and starts verifiers, machines and, once all founders
// are admitted, the chain.
func New(ctx context.Context, s Setup) (*Ledger, error) {
	l := &Ledger{Setup: s}
	for _, step := range []func(context.Context) error{l.makeChain, l.federate, l.prepare, l.agree, l.start} {
		if err := step(ctx); err != nil {
			l.Close()
			return nil, fmt.Errorf("set up the ledger: %w", err)
		}
	}
	return l, nil
}

func (l *Ledger) path(elements ...string) string {
	return filepath.Join(append([]string{l.Dir}, elements...)...)
}

func (l *Ledger) makeChain(context.Context) (err error) {
	l.Chain, err = chain.New(chain.Options{
		Bin: l.Bin, Dir: l.path("nodes"), ID: chainID, Nodes: machines, Founders: founders, Commit: commitPause,
	})
	if err == nil && l.Odd != "" {
		l.Chain.Nodes[odd].Bin = l.Odd
	}
	return err
}

// federate starts the verifiers: the consortium file pins the genesis document.
func (l *Ledger) federate(ctx context.Context) (err error) {
	l.Members, err = site.Federate(ctx, site.Federal{
		Bin: l.Bin, Dir: l.path("members"), Consortium: "ledger-net", LedgerID: chainID, Genesis: l.Chain.Genesis,
		Members: members, Threshold: threshold, Approvals: threshold,
	})
	if err != nil {
		return err
	}
	_, err = l.Members.Sites[0].Output(ctx, "quorate-signer", "keygen", l.path("authority.pem"))
	return err
}

// prepare builds all machines at the same time.
func (l *Ledger) prepare(ctx context.Context) error {
	for i, node := range l.Chain.Nodes {
		m, err := l.newMachine(ctx, fmt.Sprintf("%s/validator-%d", members[i%len(members)], i+1), node)
		if err != nil {
			return err
		}
		l.Machines = append(l.Machines, m)
	}
	var group errgroup.Group
	for _, m := range l.Machines {
		group.Go(func() error { return m.prepare(ctx) })
	}
	return group.Wait()
}

// agree puts a policy in force and waits until the founders have bundles.
func (l *Ledger) agree(ctx context.Context) error {
	if err := l.Members.AgreeOnPolicy(ctx, l.Machines[0].Host, l.path("policy"), l.Pace); err != nil {
		return err
	}
	for _, m := range l.Machines[:founders] {
		if err := site.Poll(ctx, func() bool { _, err := os.Stat(m.Bundle()); return err == nil }); err != nil {
			return fmt.Errorf("no bundle of %s: %w: %s", m.ID, err, m.Agent.Output())
		}
	}
	return nil
}

// start starts the chain, and couriers for all but the joiner.
func (l *Ledger) start(ctx context.Context) error {
	if err := os.WriteFile(l.path("rules.yaml"), fmt.Appendf(nil, rules, grace), 0o600); err != nil {
		return err
	}
	for _, node := range l.Chain.Nodes {
		if err := node.Start(ctx, l.gateArguments()...); err != nil {
			return err
		}
	}
	for i, s := range l.Members.Sites {
		courier := l.courier(s.Path("courier.log"), l.Chain.Nodes[i], "--consortium", s.ConsortiumFile(), "--key", s.OperatorKey())
		if err := courier.Start(ctx); err != nil {
			return err
		}
		l.couriers = append(l.couriers, courier)
	}
	var errs []error
	for _, m := range l.Machines[:founders] {
		errs = append(errs, m.Courier.Start(ctx))
	}
	return errors.Join(errs...)
}

func (l *Ledger) gateArguments() []string {
	return []string{"--consortium", l.Members.ConsortiumFile(), "--rules", l.path("rules.yaml")}
}

// Close ends everything.
func (l *Ledger) Close() {
	for _, courier := range l.couriers {
		courier.Stop()
	}
	for _, m := range l.Machines {
		m.close()
	}
	if l.Members != nil {
		l.Members.Close()
	}
	if l.Chain != nil {
		l.Chain.Close()
	}
}
