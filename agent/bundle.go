package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/quorate/quorate/admission"
)

// shelf keeps the latest admission of each verifier, and composes from them the
// bundle that the ledger node shows.
type shelf struct {
	state      *state
	consortium *admission.Consortium
	node       string
	nodeKey    admission.Digest
	path       string // of the bundle, for people
	items      map[string]admission.Item
}

func newShelf(a *Agent, st *state, nodeKey [32]byte) (*shelf, error) {
	s := &shelf{
		state: st, consortium: a.consortium, node: a.cfg.Node, nodeKey: nodeKey,
		path: filepath.Join(a.cfg.StateDir, bundleFile), items: map[string]admission.Item{},
	}
	for _, v := range a.consortium.Verifiers {
		if err := s.load(v.Name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// file is one verifier's admission, a bundle of one. Verifier names hold no
// separators.
func file(verifier string) string { return admissionsDir + "/" + verifier }

// load reads a stored admission. One that does not parse is passed over: the
// verifier sends the next one in time.
func (s *shelf) load(verifier string) error {
	data, err := s.state.Read(file(verifier))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if b, err := admission.ParseBundle(data); err == nil && len(b.Items) == 1 {
		s.items[verifier] = b.Items[0]
	}
	return nil
}

// put verifies an admission as a ledger would, stores it, and composes the
// bundle anew.
func (s *shelf) put(verifier string, item admission.Item, now time.Time) (*AdmissionStatus, error) {
	claimed, err := item.UntrustedStatement()
	if err != nil {
		return nil, fmt.Errorf("agent: admission by %s: %w", verifier, err)
	}
	if claimed.Verifier != verifier {
		return nil, fmt.Errorf("agent: %s sent an admission by %s", verifier, claimed.Verifier)
	}
	want := admission.Want{Role: claimed.Role, Node: s.node, NodeKey: s.nodeKey}
	if _, err := s.consortium.VerifyItem(item, want, now); err != nil {
		return nil, fmt.Errorf("agent: admission by %s: %w", verifier, err)
	}
	single, err := admission.NewBundle(item)
	if err != nil {
		return nil, fmt.Errorf("agent: admission by %s: %w", verifier, err)
	}
	s.items[verifier] = item
	return describe(claimed), s.state.Write(file(verifier), single.Marshal())
}

func describe(s admission.Statement) *AdmissionStatus {
	return &AdmissionStatus{Serial: s.Serial, Policy: s.Policy.String(), Epoch: s.Epoch.String(), NotAfter: s.NotAfter}
}

// standing returns the stored admission of a verifier, if any.
func (s *shelf) standing(verifier string) *AdmissionStatus {
	item, ok := s.items[verifier]
	if !ok {
		return nil
	}
	claimed, err := item.UntrustedStatement()
	if err != nil {
		return nil
	}
	return describe(claimed)
}

// agreement is what the admissions of one bundle must have in common.
type agreement struct {
	role, host, consensusKey, epoch, policy string
}

// compose writes the bundle when enough verifiers agree. Otherwise the old
// bundle stays, which ends by itself, and compose returns nil.
func (s *shelf) compose(now time.Time) (*BundleStatus, error) {
	role, items := s.largest(now)
	items = s.lasting(items, now)
	if len(items) < s.consortium.Threshold {
		return nil, nil
	}
	bundle, err := admission.NewBundle(items...)
	if err != nil {
		return nil, fmt.Errorf("agent: bundle: %w", err)
	}
	data := bundle.Marshal()
	verified, err := s.consortium.VerifyBundle(data, admission.Want{Role: role, Node: s.node, NodeKey: s.nodeKey}, now)
	if err != nil {
		return nil, fmt.Errorf("agent: bundle: %w", err)
	}
	if err := s.state.Write(bundleFile, data); err != nil {
		return nil, err
	}
	return &BundleStatus{
		Path: s.path, Admissions: len(items), Needed: s.consortium.Threshold, NotAfter: verified.NotAfter(),
	}, nil
}

// largest returns the largest set of unexpired admissions that agree, in the
// order of the consortium's verifiers. While verifiers move to a new policy one
// after the other there are several sets.
func (s *shelf) largest(now time.Time) (role string, items []admission.Item) {
	sets := map[agreement][]admission.Item{}
	var best agreement
	for _, v := range s.consortium.Verifiers {
		item, ok := s.items[v.Name]
		if !ok {
			continue
		}
		c, err := item.UntrustedStatement()
		if err != nil || !now.Before(c.NotAfter) {
			continue
		}
		k := agreement{c.Role, c.Host, c.ConsensusKey, c.Epoch.String(), c.Policy.String()}
		sets[k] = append(sets[k], item)
		if len(sets[k]) > len(sets[best]) {
			best = k
		}
	}
	return best.role, sets[best]
}

// lasting returns the admissions that were renewed last, of as many members as a
// bundle needs, and all others that last nearly as long. A bundle ends with the
// first of its admissions, so that of a verifier which is down would otherwise
// take the node's power with it.
func (s *shelf) lasting(items []admission.Item, now time.Time) []admission.Item {
	left := func(i admission.Item) time.Duration {
		c, _ := i.UntrustedStatement() // largest read it
		return c.NotAfter.Sub(now)
	}
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b admission.Item) int { return cmp.Compare(left(b), left(a)) })
	members := map[string]bool{}
	for _, item := range items {
		c, _ := item.UntrustedStatement()
		v, _ := s.consortium.Verifier(c.Verifier)
		if members[v.Member] = true; len(members) == s.consortium.Threshold {
			return slices.DeleteFunc(items, func(i admission.Item) bool { return 4*left(i) < 3*left(item) })
		}
	}
	return items
}
