package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/simulator/vendorca"
)

// Federation is a consortium of several members. Each has a verifier with keys
// and a journal of its own, and all hold the same consortium file.
type Federation struct {
	Sites     []*Site // in the order of Members
	Links     []*Link // by which agents, operators and gates reach each
	Vendor    *vendorca.CA
	approvals int // of a policy
}

// Federal says what a federation looks like.
type Federal struct {
	Bin, Dir   string
	Consortium string
	LedgerID   string
	Genesis    admission.Digest
	Members    []string // one verifier each
	Threshold  int      // k, members whose admissions make a bundle
	Approvals  int      // members who must approve a policy
}

// Federate makes the members' keys, has them agree on one consortium file, and
// starts their verifiers. It goes the way that people go: each member runs
// init, sends its part of the file to the others, and copies back the whole.
func Federate(ctx context.Context, o Federal) (*Federation, error) {
	f := &Federation{approvals: o.Approvals}
	for _, member := range o.Members {
		f.Sites = append(f.Sites, &Site{Vendor: f.Vendor, Options: Options{
			Bin: o.Bin, Dir: filepath.Join(o.Dir, member), Host: LoopbackHost(), Verifier: "verifier." + member + ".example",
			Member: member, Consortium: o.Consortium, LedgerID: o.LedgerID, Genesis: o.Genesis,
		}})
	}
	for _, step := range []func(context.Context, Federal) error{f.initialise, f.agree, f.start} {
		if err := step(ctx, o); err != nil {
			f.Close()
			return nil, fmt.Errorf("set up the federation: %w", err)
		}
	}
	return f, nil
}

func (f *Federation) initialise(ctx context.Context, _ Federal) error {
	for _, s := range f.Sites {
		s.Vendor = f.Vendor
		for _, step := range []func(context.Context) error{s.makeVendor, s.findPorts, s.initialise} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		f.Vendor = s.Vendor
		link, err := NewLink(net.JoinHostPort(s.Host, strconv.Itoa(s.Ports[0])))
		if err != nil {
			return err
		}
		f.Links = append(f.Links, link)
	}
	return nil
}

// agree writes one consortium file of all members' parts and gives it to each.
func (f *Federation) agree(_ context.Context, o Federal) error {
	var whole admission.Consortium
	for i, s := range f.Sites {
		part, err := readConsortium(s.ConsortiumFile())
		if err != nil {
			return err
		}
		if i == 0 {
			whole = admission.Consortium{Name: part.Name, Test: part.Test, Ledger: part.Ledger, Endorsement: part.Endorsement}
		}
		self := part.Verifiers[0]
		self.Attest = f.Links[i].Address()
		whole.Verifiers = append(whole.Verifiers, self)
		whole.Members = append(whole.Members, part.Members...)
	}
	whole.Threshold, whole.Approvals.Policy = o.Threshold, o.Approvals
	text, err := whole.Marshal()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range f.Sites {
		errs = append(errs, os.WriteFile(s.ConsortiumFile(), text, 0o644))
	}
	return errors.Join(errs...)
}

func readConsortium(path string) (*admission.Consortium, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return admission.ParseConsortium(text)
}

func (f *Federation) start(ctx context.Context, _ Federal) error {
	for _, s := range f.Sites {
		if err := s.startVerifier(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ConsortiumFile returns the path of one of the equal copies.
func (f *Federation) ConsortiumFile() string { return f.Sites[0].ConsortiumFile() }

// Close stops the verifiers.
func (f *Federation) Close() {
	for _, s := range f.Sites {
		s.Close()
	}
	for _, link := range f.Links {
		_ = link.Close() // nobody listens any more
	}
}

// Timing is the pace of a policy.
type Timing struct{ ChallengeEvery, LateAfter, AdmissionFor time.Duration }

// AgreeOnPolicy has the first member learn a policy from a host, and operators of
// enough members approve it at every verifier.
func (f *Federation) AgreeOnPolicy(ctx context.Context, like *Host, dir string, t Timing) error {
	if err := f.seen(ctx, like); err != nil {
		return fmt.Errorf("wait for evidence of %s: %w", like.ID, err)
	}
	_, err := f.Sites[0].Quorate(ctx, nil, "policy", "learn", like.ID, "--out", dir, "--force", "--challenge-every", t.ChallengeEvery.String(),
		"--late-after", t.LateAfter.String(), "--admission-for", t.AdmissionFor.String())
	if err != nil {
		return err
	}
	return f.Approve(ctx, dir)
}

// seen waits until the first verifier has the host's evidence to learn from.
func (f *Federation) seen(ctx context.Context, h *Host) error {
	return Poll(ctx, func() bool {
		var n struct{ Evidence string }
		_, err := f.Sites[0].Quorate(ctx, &n, "node", "show", h.ID)
		return err == nil && n.Evidence != ""
	}, f.Sites[0].verifier)
}

// Approve signs a policy with as many members' keys as it needs, at every verifier.
func (f *Federation) Approve(ctx context.Context, dir string) error {
	for _, at := range f.Sites {
		for _, by := range f.Sites[:f.approvals] {
			if _, err := by.Quorate(ctx, nil, "policy", "approve", dir, "--verifier", at.Verifier); err != nil {
				return err
			}
		}
	}
	return nil
}
