package verifier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/verifier/journal"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/store"
)

// RoleValidator is the role of nodes whose invitation names none.
const RoleValidator = "validator"

// ApprovalText is what an operator's key signs, as a C2SP signed note, to approve
// a policy set in a consortium.
func ApprovalText(consortium string, set *policy.Set) string { return set.ApprovalText(consortium) }

// policies holds the compiled set in force for each role. Sets are shared and
// read-only.
type policies struct {
	mu     sync.RWMutex
	byRole map[string]*policy.Set
}

func newPolicies() *policies { return &policies{byRole: make(map[string]*policy.Set)} }

// forRole returns the set in force, or nil: then nobody of that role is admitted.
func (p *policies) forRole(role string) *policy.Set {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byRole[role]
}

func (p *policies) put(role string, set *policy.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byRole[role] = set
}

func (p *policies) roles() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var roles []string
	for role := range p.byRole {
		roles = append(roles, role)
	}
	slices.Sort(roles)
	return roles
}

// loadPolicies compiles the active sets of the store for every role that a node
// or a policy has.
func (s *Service) loadPolicies(ctx context.Context) error {
	roles := map[string]bool{RoleValidator: true}
	listing, err := s.store.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, rec := range listing.Records {
		roles[rec.Role] = true
	}
	for role := range roles {
		if err := s.loadPolicy(ctx, role); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) loadPolicy(ctx context.Context, role string) error {
	stored, err := s.store.ActivePolicy(ctx, role)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	set, err := compile(stored.Policy, stored.Manifests)
	if err != nil {
		return fmt.Errorf("stored policy %s: %w", stored.Name, err)
	}
	if set.Digest() != stored.Digest {
		return fmt.Errorf("stored policy %s is not what was approved; run: quorate-verifier rebuild", stored.Name)
	}
	s.policies.put(role, set)
	return nil
}

func compile(text []byte, manifests [][]byte) (*policy.Set, error) {
	p, err := policy.Parse(text)
	if err != nil {
		return nil, err
	}
	var parsed []*policy.Manifest
	for _, m := range manifests {
		one, err := policy.ParseManifest(m)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, one)
	}
	return policy.NewSet(p, parsed)
}

// ApprovePolicy records an operator's signed approval. The set takes effect, for
// all its roles, when operators of enough different members approved it, and only
// if its version is higher than any before.
func (s *Service) ApprovePolicy(ctx context.Context, by admission.Operator, proposal PolicyProposal) (PolicyResult, error) {
	set, err := compile(proposal.Policy, proposal.Manifests)
	if err != nil {
		return PolicyResult{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := s.checkApproval(by, set, proposal.Approval); err != nil {
		return PolicyResult{}, err
	}
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	if err := s.checkVersion(ctx, set); err != nil {
		return PolicyResult{}, err
	}
	if err := s.propose(ctx, set, proposal); err != nil {
		return PolicyResult{}, err
	}
	approval := store.PolicyApproval{Operator: by.Name(), Member: by.Member, Note: proposal.Approval, At: s.stamp()}
	err = s.commit(ctx, journal.PolicyApproval{
		At: approval.At, Digest: set.Digest(), Operator: approval.Operator, Member: approval.Member, Note: string(approval.Note),
	})
	if err != nil {
		return PolicyResult{}, err
	}
	return s.activate(ctx, approval, set)
}

// checkApproval verifies the operator's signature over exactly this set.
func (s *Service) checkApproval(by admission.Operator, set *policy.Set, approval []byte) error {
	key, err := note.NewVerifier(by.Key)
	if err != nil {
		return err
	}
	signed, err := note.Open(approval, note.VerifierList(key))
	if err != nil || signed.Text != ApprovalText(s.consortium.Name, set) {
		return fmt.Errorf("%w: the approval is not %s's signature over %s", ErrInvalid, by.Name(), set)
	}
	return nil
}

func (s *Service) checkVersion(ctx context.Context, set *policy.Set) error {
	for _, role := range set.Policy().Roles {
		active, err := s.store.ActivePolicy(ctx, role)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if active.Digest != set.Digest() && uint64(set.Policy().Version) <= active.Version {
			return fmt.Errorf("%w: version %d of policy %s is not higher than version %d, which is active for role %s; raise `version`",
				ErrConflict, set.Policy().Version, set.Name(), active.Version, role)
		}
	}
	return nil
}

// propose stores the set's files and its journal entry, once.
func (s *Service) propose(ctx context.Context, set *policy.Set, proposal PolicyProposal) error {
	_, err := s.store.Policy(ctx, set.Digest())
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	entry := journal.Policy{
		At: s.stamp(), Digest: set.Digest(), Name: set.Name(), Version: uint64(set.Policy().Version), Roles: set.Policy().Roles,
	}
	if entry.Policy, err = s.keepBlob(proposal.Policy); err != nil {
		return err
	}
	for _, m := range proposal.Manifests {
		digest, err := s.keepBlob(m)
		if err != nil {
			return err
		}
		entry.Manifests = append(entry.Manifests, digest)
	}
	return s.commit(ctx, entry)
}

func (s *Service) keepBlob(data []byte) (node.Digest, error) {
	digest, err := s.archive.Put(data)
	if err != nil {
		return node.Digest{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return digest, nil
}

// activate counts approvals by member and puts the set into force when there are
// enough. Every session is challenged at once.
func (s *Service) activate(ctx context.Context, approval store.PolicyApproval, set *policy.Set) (PolicyResult, error) {
	result := PolicyResult{Digest: node.Digest(set.Digest()).String(), Needed: s.consortium.Approvals.Policy}
	// The approval is stored already; giving it again changes nothing and returns all.
	approvals, err := s.store.ApprovePolicy(ctx, set.Digest(), approval)
	if err != nil {
		return result, err
	}
	members := make(map[string]bool)
	for _, a := range approvals {
		members[a.Member] = true
	}
	result.Approvals = len(members)
	if result.Approvals < result.Needed {
		return result, nil
	}
	for _, role := range set.Policy().Roles {
		if active := s.policies.forRole(role); active != nil && active.Digest() == set.Digest() {
			continue // one more approval of what is in force already
		}
		if err := s.commit(ctx, journal.PolicyActivation{At: s.stamp(), Digest: set.Digest(), Role: role}); err != nil {
			return result, err
		}
		s.policies.put(role, set)
	}
	s.log.Info("policy in force", "policy", set.String(), "roles", set.Policy().Roles)
	s.challengeAll()
	result.Active = true
	return result, nil
}

// challengeAll makes every open session due at once.
func (s *Service) challengeAll() {
	for _, l := range s.nodes.all() {
		l.mu.Lock()
		if l.session != nil {
			l.session.hurry()
		}
		l.mu.Unlock()
	}
}

// Policy returns the files of the active policy of that name, or of the one for
// validators.
func (s *Service) Policy(ctx context.Context, name string) (PolicyFiles, error) {
	for _, role := range s.policies.roles() {
		set := s.policies.forRole(role)
		if name != "" && set.Name() != name || name == "" && role != RoleValidator {
			continue
		}
		stored, err := s.store.Policy(ctx, set.Digest())
		if err != nil {
			return PolicyFiles{}, err
		}
		return PolicyFiles{Policy: stored.Policy, Manifests: stored.Manifests, Digest: node.Digest(stored.Digest).String()}, nil
	}
	return PolicyFiles{}, store.ErrNotFound
}

// tokenHash is how a join token is stored.
func tokenHash(token string) node.Digest { return sha256.Sum256([]byte(token)) }
