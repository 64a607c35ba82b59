package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/chain"
)

const miner = "/tmp/.cache/miner"

func (s *story) open(ctx context.Context, dir string) (err error) {
	s.chapter("Three organisations, five machines",
		"Each organisation runs a verifier with a journal of its own; two of the three have to admit\na machine. Each machine has a TPM, which alone can release its consensus key, and measures\nwhat it boots and runs. Node and application are CometBFT's own; the gate between them is not.")
	if s.Ledger, err = New(ctx, Setup{Bin: s.Options.Bin, Dir: dir, Pace: Pace}); err != nil {
		return err
	}
	s.note("3 verifiers, 5 software TPMs, 5 agents, 5 signers, 5 gates, 5 nodes, 5 applications,\n     8 couriers that carry to the ledger what agents and verifiers have signed: all processes")
	for _, m := range s.Machines[:founders] {
		s.good("%s: admitted; its key is sealed, the file destroyed", m.ID)
	}
	return nil
}

// found waits until the founders have power by their admissions, and no longer
// by the grace that the genesis gives them.
func (s *story) found(ctx context.Context) error {
	s.chapter("The chain starts", "The founders' bundles go into the first blocks. From height 15 on nobody has power without one.")
	if err := s.Chain.Reach(ctx, grace+1); err != nil {
		return err
	}
	status, err := s.Power(ctx)
	if err != nil {
		return err
	}
	for _, m := range s.Machines[:founders] {
		if v := validator(status, m); v.Effective != chain.Power || v.Node != m.ID {
			return fmt.Errorf("founder %s has power %d at height %d: %s", m.ID, v.Effective, status.Height, v.Reason)
		}
	}
	s.good("height %d: %d validators, all of them attested", status.Height, founders)
	return nil
}

func (s *story) joiner() *Machine { return s.Machines[machines-1] }

// ask has the application give the fifth machine power, which it does for
// anybody, and waits to see that nothing comes of it.
func (s *story) ask(ctx context.Context) error {
	m := s.joiner()
	s.chapter("The application wants a fifth validator", "The example application gives power to whoever asks. The gate does not.")
	if err := s.Chain.Nodes[0].Send(ctx, m.Node.Ask(chain.Power)); err != nil {
		return err
	}
	s.result.Joiner = Joiner{ID: m.ID, Desired: chain.Power}
	var v power.ValidatorStatus
	var at int64
	if err := until(ctx, "the application asks for "+m.ID, func() bool {
		status, err := s.Power(ctx)
		v, at = validator(status, m), int64(status.Height)
		return err == nil && v.Desired == chain.Power
	}); err != nil {
		return err
	}
	if err := s.Chain.Nodes[0].Reach(ctx, at+3); err != nil { // a change takes effect two heights later
		return err
	}
	set, err := s.Chain.Nodes[0].Validators(ctx, at+3)
	if err != nil {
		return err
	}
	s.result.Joiner.Before = set[m.Node.Key()]
	if len(set) != founders || s.result.Joiner.Before != 0 {
		return fmt.Errorf("at height %d the set has %d validators, and %s power %d", at+3, len(set), m.ID, s.result.Joiner.Before)
	}
	s.bad("%s: the application says %d, consensus 0: %s", m.ID, v.Desired, v.Reason)
	return nil
}

// join submits one verifier's admission, which is too little, then the bundle.
func (s *story) join(ctx context.Context) error {
	m := s.joiner()
	s.chapter("It brings its bundle", "One verifier's admission is not enough. The bundle has those of at least two organisations.")
	if err := until(ctx, m.ID+" has a bundle", func() bool { return exists(m.Bundle()) }); err != nil {
		return err
	}
	single := filepath.Join(m.Dir, "state", "admissions", s.Members.Sites[0].Verifier)
	answer, err := s.submit(ctx, single)
	if err != nil {
		return err
	}
	if answer.Accepted {
		return errors.New("one verifier's admission was accepted")
	}
	s.result.Joiner.Single = answer.Refusal.Check
	s.bad("quorate-gate submit, one admission of three: %s", answer.Refusal.Check)
	began := time.Now()
	if answer, err = s.submit(ctx, m.Bundle()); err != nil {
		return err
	}
	if !answer.Accepted {
		return fmt.Errorf("the bundle of %s was refused: %s", m.ID, answer.Refusal.Check)
	}
	s.good("quorate-gate submit, the bundle: accepted in block %d", answer.Height)
	if err := m.Courier.Start(ctx); err != nil {
		return err
	}
	if s.result.Joiner.Signed, err = s.signs(ctx, m, answer.Height); err != nil {
		return err
	}
	s.result.Joiner.Seconds = since(began)
	s.result.Joiner.Power, err = s.powerOf(ctx, m)
	s.good("%s signs block %d, %.1f s later", m.ID, s.result.Joiner.Signed, s.result.Joiner.Seconds)
	return err
}

// attack runs an unlisted program on a founder.
func (s *story) attack(ctx context.Context) error {
	m := s.Machines[1]
	s.chapter("An attack", "Somebody breaks into "+m.ID+" and starts "+miner+".\nThe kernel measures it before it runs.")
	if err := s.keepBundle(ctx, m); err != nil {
		return err
	}
	height, err := s.Chain.Nodes[0].Height(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := m.Exec(miner, sha256.Sum256([]byte("miner"))); err != nil {
		return err
	}
	s.result.Attack = Attack{ID: m.ID, Program: miner, Bound: evictionBound.Seconds()}
	refused := make(chan error, 1)
	go func() { refused <- s.signerRefuses(ctx, m, began) }()
	out, err := s.leaves(ctx, m, height)
	if err != nil {
		return errors.Join(err, <-refused)
	}
	s.result.Attack.Out, s.result.Attack.Height = since(began), out
	if err := <-refused; err != nil {
		return err
	}
	s.bad("its signer refuses after %.1f s: %s", s.result.Attack.Refused, s.result.Attack.Signer)
	s.bad("it is out of the set at height %d, %.1f s after; at most %.0f s were promised", out, s.result.Attack.Out, s.result.Attack.Bound)
	if s.result.Attack.Out > s.result.Attack.Bound {
		return errors.New("it was in the set for longer than promised")
	}
	if err := s.Chain.Nodes[0].Reach(ctx, out+3); err != nil {
		return err
	}
	s.result.Attack.Blocks = out + 3 - height
	s.good("the others made %d blocks meanwhile, and go on", s.result.Attack.Blocks)
	return s.mayNotReturn(ctx, m)
}

// signerRefuses waits until the machine's signer refuses because of the
// verifiers' verdict.
func (s *story) signerRefuses(ctx context.Context, m *Machine, began time.Time) error {
	return until(ctx, "the signer of "+m.ID+" refuses", func() bool {
		var said struct {
			Refusal struct {
				Check string `json:"check"`
			} `json:"refusal"`
		}
		text, _ := m.signer(ctx, "status", "--json") // exit code 1 says that it refuses
		if json.Unmarshal(text, &said) != nil || said.Refusal.Check != "signer.suspended" {
			return false
		}
		s.result.Attack.Signer, s.result.Attack.Refused = said.Refusal.Check, since(began)
		return true
	})
}

// keepBundle copies the machine's bundle when it has an admission of every verifier.
// While only some have renewed theirs, it has fewer.
func (s *story) keepBundle(ctx context.Context, m *Machine) error {
	return until(ctx, m.ID+" has an admission of every verifier", func() bool {
		raw, err := os.ReadFile(m.Bundle())
		if err != nil {
			return false
		}
		b, err := admission.ParseBundle(raw)
		return err == nil && len(b.Items) == len(members) && os.WriteFile(keptBundle(m), raw, 0o600) == nil
	})
}

func keptBundle(m *Machine) string { return m.Bundle() + ".kept" }

// mayNotReturn brings admissions of before the attack again, which are as well
// signed as ever, in a bundle that the ledger has not seen: one admission less.
func (s *story) mayNotReturn(ctx context.Context, m *Machine) error {
	for i := range members {
		path, err := without(i, keptBundle(m))
		if err != nil {
			return err
		}
		answer, err := s.submit(ctx, path)
		switch {
		case err != nil:
			return err
		case answer.Accepted && answer.Height > s.result.Attack.Height:
			return fmt.Errorf("a suspended machine's bundle was accepted in block %d", answer.Height)
		case !answer.Accepted:
			s.result.Attack.Again = answer.Refusal.Check
			s.bad("its admissions of before, again: %s", answer.Refusal.Check)
			return nil
		}
	}
	return errors.New("no bundle of the suspended machine was judged")
}

// without writes a bundle with one admission less, and returns its path.
func without(i int, bundle string) (path string, err error) {
	raw, err := os.ReadFile(bundle)
	if err != nil {
		return "", err
	}
	b, err := admission.ParseBundle(raw)
	if err != nil {
		return "", err
	}
	if i >= len(b.Items) || len(b.Items) <= threshold {
		return "", fmt.Errorf("the bundle has %d admissions only", len(b.Items))
	}
	again, err := admission.NewBundle(slices.Delete(b.Items, i, i+1)...)
	if err != nil {
		return "", err
	}
	path = bundle + ".again"
	return path, os.WriteFile(path, again.Marshal(), 0o600)
}

// comeBack reboots the machine into the state that the policy accepts.
func (s *story) comeBack(ctx context.Context) error {
	m := s.Machines[1]
	s.chapter("It comes back", m.ID+" is cleaned and rebooted. Its TPM proves another boot, and releases the key again.")
	height, err := s.Chain.Nodes[0].Height(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := m.Reboot(ctx); err != nil {
		return err
	}
	if s.result.Return.Signed, err = s.signs(ctx, m, height); err != nil {
		return err
	}
	s.result.Return.Seconds = since(began)
	s.result.Return.Power, err = s.powerOf(ctx, m)
	s.good("%s signs block %d, %.1f s after power on", m.ID, s.result.Return.Signed, s.result.Return.Seconds)
	return err
}
