package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Use is a place in a policy that refers to manifests.
type Use string

// The uses, named as in the policy. Each takes entries of one kind only, so that
// a digest listed as an initrd can never pass as a kernel.
const (
	UseFirmware       Use = "firmware"
	UsePK             Use = "secureBoot.pk"
	UseKEK            Use = "secureBoot.kek"
	UseDB             Use = "secureBoot.db"
	UseDBX            Use = "secureBoot.dbx"
	UseAuthorities    Use = "secureBoot.authorities"
	UseMOK            Use = "secureBoot.mok"
	UseImages         Use = "boot.images"
	UseKernel         Use = "boot.kernel"
	UseInitrd         Use = "boot.initrd"
	UseLoaderCommands Use = "boot.loaderCommands"
	UseLoaderFiles    Use = "boot.loaderFiles"
	UseOther          Use = "boot.other"
	useIMA            Use = "runtime.ima"
)

var useKinds = map[Use][]Kind{
	UseFirmware: {KindFirmware}, UsePK: {KindPK}, UseKEK: {KindKEK}, UseDB: {KindDB}, UseDBX: {KindDBX},
	UseAuthorities: {KindAuthority}, UseMOK: {KindMOK}, UseImages: {KindImage}, UseKernel: {KindKernel},
	UseInitrd: {KindInitrd}, UseLoaderCommands: {KindLoaderCommand}, UseLoaderFiles: {KindLoaderFile}, UseOther: {KindEvent}, useIMA: {KindFile, KindBuffer},
}

// Kind returns the kind of entry that a use takes; of several, the first.
func (u Use) Kind() Kind {
	if kinds := useKinds[u]; len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

// uses returns what each use of the policy refers to, in a fixed order.
func (p *Policy) uses() []use {
	var all []use
	add := func(name Use, r *References) {
		if r != nil {
			all = append(all, use{name, r.Manifests})
		}
	}
	if p.Firmware != nil {
		add(UseFirmware, &p.Firmware.Code)
	}
	add(UsePK, p.SecureBoot.PK)
	add(UseKEK, p.SecureBoot.KEK)
	add(UseDB, p.SecureBoot.DB)
	add(UseDBX, p.SecureBoot.DBX)
	add(UseAuthorities, p.SecureBoot.Authorities)
	add(UseMOK, p.SecureBoot.MOK)
	add(UseImages, &p.Boot.Images)
	add(UseKernel, &p.Boot.Kernel)
	add(UseInitrd, p.Boot.Initrd)
	add(UseLoaderCommands, p.Boot.LoaderCommands)
	add(UseLoaderFiles, p.Boot.LoaderFiles)
	add(UseOther, p.Boot.Other)
	if p.Runtime != nil {
		add(useIMA, &References{p.Runtime.Manifests})
	}
	return all
}

type use struct {
	name      Use
	manifests []string
}

// Manifests returns the names of all manifests that the policy refers to, sorted.
func (p *Policy) Manifests() []string {
	var all []string
	for _, u := range p.uses() {
		all = append(all, u.manifests...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Standing is what the manifests of one use say about one entry.
type Standing struct {
	Manifest string    // the manifest that decides
	Status   Status    // its status
	Since    time.Time // from when that status holds
}

// At returns the status in force at a time. What will be revoked is outdated
// until then.
func (s Standing) At(now time.Time) Status {
	switch {
	case s.Status == Good || !now.Before(s.Since):
		return s.Status
	case s.Status == Revoked:
		return Outdated
	}
	return Good
}

// worse orders standings: whoever revokes first wins over everybody else.
func (s Standing) worse(t Standing) bool {
	if s.Status != t.Status {
		return s.Status > t.Status
	}
	return cmp.Or(s.Since.Compare(t.Since), strings.Compare(s.Manifest, t.Manifest)) < 0
}

// Set is a policy with the manifests it refers to, compiled. It never changes
// and is safe for concurrent use.
type Set struct {
	policy    *Policy
	digest    [32]byte
	text      string
	values    map[Use]Listed
	files     *fileTable
	buffers   *fileTable
	standings []Standing // of the manifests for files; index 0 is "not listed"
	changes   []time.Time
	rules     []CompiledRule
	reads     reads // what the rules look at
	lint      []Problem
}

// Listed is what the manifests of a use say, by digest: its bytes, whose number
// tells algorithms apart.
type Listed map[string]Standing

// NewSet compiles a policy and exactly the manifests it refers to. The error is
// an *Error with every problem: a manifest missing, given twice or not referred
// to, or a use for which no manifest has an entry. The arguments are not kept.
func NewSet(p *Policy, manifests []*Manifest) (*Set, error) {
	// One loader for every way in: what Parse would refuse, NewSet refuses.
	p, err := Parse(p.Print())
	if err != nil {
		return nil, err
	}
	s := &Set{policy: p, values: map[Use]Listed{}, reads: reads{}, standings: make([]Standing, 1)}
	byName, problems := index(p, manifests)
	for _, u := range p.uses() {
		problems = append(problems, s.compile(u, byName)...)
	}
	if err := refuse("policy set", problems); err != nil {
		return nil, err
	}
	rules := &compiler{}
	for _, r := range p.Rules {
		program, err := rules.compile(r.Deny, s.reads)
		if err != nil {
			return nil, fmt.Errorf("policy: rule %s: %w", r.ID, err)
		}
		s.rules = append(s.rules, CompiledRule{r, program})
	}
	s.name(byName)
	s.lint = append(p.Lint(), lintManifests(p, byName)...)
	return s, nil
}

// index finds manifests by name and refuses what does not fit the policy.
func index(p *Policy, manifests []*Manifest) (map[string]*Manifest, []Problem) {
	byName := map[string]*Manifest{}
	var problems []Problem
	wanted := p.Manifests()
	for _, m := range manifests {
		switch {
		case byName[m.Name] != nil:
			problems = append(problems, Problem{Key: m.Name, Text: "this manifest is given twice"})
		case !slices.Contains(wanted, m.Name):
			problems = append(problems, Problem{Key: m.Name, Text: "the policy does not refer to this manifest"})
		}
		byName[m.Name] = m
	}
	for _, name := range wanted {
		if byName[name] == nil {
			problems = append(problems, Problem{Key: name, Text: "the policy refers to this manifest, which is not given"})
		}
	}
	return byName, problems
}

// compile gathers the entries that one use accepts.
func (s *Set) compile(u use, byName map[string]*Manifest) []Problem {
	kinds := useKinds[u.name]
	found := 0
	values := Listed{}
	for _, name := range u.manifests {
		m := byName[name]
		if m == nil {
			return nil // reported by index
		}
		standing := Standing{m.Name, m.Status, m.Since}
		for i := range m.Entries {
			if e := &m.Entries[i]; slices.Contains(kinds, e.Kind) {
				if found++; u.name == useIMA {
					continue // compileFiles has a table for so many
				}
				digest := decodeDigest(e.Digest)
				if old, known := values[digest]; !known || standing.worse(old) {
					values[digest] = standing
				}
			}
		}
	}
	if found == 0 {
		return []Problem{{Key: string(u.name), Text: fmt.Sprintf("no manifest of %s has an entry of kind %s", strings.Join(u.manifests, ", "), kinds[0])}}
	}
	s.values[u.name] = values
	if u.name == useIMA {
		s.compileFiles(u, byName)
	}
	return nil
}

// compileFiles fills the tables for IMA. Manifests are put in from the worst
// standing on, so the first row found for a pair is the one that decides.
func (s *Set) compileFiles(u use, byName map[string]*Manifest) {
	for _, name := range u.manifests {
		m := byName[name]
		s.standings = append(s.standings, Standing{m.Name, m.Status, m.Since})
	}
	slices.SortFunc(s.standings[1:], func(a, b Standing) int {
		if a.worse(b) {
			return -1
		}
		return 1
	})
	s.files = s.table(KindFile, byName)
	s.buffers = s.table(KindBuffer, byName)
}

func (s *Set) table(kind Kind, byName map[string]*Manifest) *fileTable {
	count := 0
	each := func(visit func(fileEntry)) {
		for i, standing := range s.standings[1:] {
			for _, e := range byName[standing.Manifest].Entries {
				if e.Kind == kind {
					visit(fileEntry{e.Path, sum(e.Digest), uint16(i + 1)})
				}
			}
		}
	}
	each(func(fileEntry) { count++ })
	return newFileTable(count, each)
}

// sum decodes a validated "sha256:<hex>".
func sum(digest string) (d [32]byte) {
	_, _ = hex.Decode(d[:], []byte(strings.TrimPrefix(digest, "sha256:")))
	return d
}

// name computes the digest of the set and when statuses change.
func (s *Set) name(byName map[string]*Manifest) {
	var b strings.Builder
	fmt.Fprintf(&b, "quorate/policy-set/v1\npolicy %s sha256:%x\n", s.policy.Name, s.policy.Digest())
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		m := byName[name]
		fmt.Fprintf(&b, "manifest %s sha256:%x\n", name, m.Digest())
		if m.Status != Good {
			s.changes = append(s.changes, m.Since)
		}
	}
	s.digest = sha256.Sum256([]byte(b.String()))
	s.text = fmt.Sprintf("%s sha256:%x", s.policy.Name, s.digest)
}

// Policy returns the policy. It is shared and must not be changed.
func (s *Set) Policy() *Policy { return s.policy }

// Name returns the policy's name.
func (s *Set) Name() string { return s.policy.Name }

// Digest returns SHA-256 over the policy's digest and the sorted digests of its manifests.
func (s *Set) Digest() [32]byte { return s.digest }

// String returns name and digest, "validators sha256:…", as statements carry it.
func (s *Set) String() string { return s.text }

// Lint returns what is allowed but doubtful in the policy and its manifests.
func (s *Set) Lint() []Problem { return s.lint }

// Rules returns the compiled rules. They are shared and must not be changed.
func (s *Set) Rules() []CompiledRule { return s.rules }

// Reads reports whether a rule may look at a field of the facts, of whichever
// structure. Facts that no rule reads may be left out.
func (s *Set) Reads(field string) bool { return s.reads.everything() || s.reads[field] }

// Stage counts the status changes in force at a time. Results that were reached
// at one stage say nothing about another, though the set's digest is the same.
func (s *Set) Stage(now time.Time) int {
	stage := 0
	for _, t := range s.changes {
		if !now.Before(t) {
			stage++
		}
	}
	return stage
}

// Uses reports whether the policy refers to manifests for the use.
func (s *Set) Uses(u Use) bool { return s.values[u] != nil }

// Listed returns what the manifests of a use say. It is shared and must not be
// changed.
func (s *Set) Listed(u Use) Listed { return s.values[u] }

// Accepts returns up to max digests that a use accepts, sorted, to tell a person
// what was wanted.
func (s *Set) Accepts(u Use, max int) []string {
	all := make([]string, 0, len(s.values[u]))
	for digest := range s.values[u] {
		all = append(all, digestText(digest))
	}
	slices.Sort(all)
	return all[:min(max, len(all))]
}

// FindFile returns what the manifests of runtime.ima say about a file with this
// path and SHA-256. It does not allocate.
func (s *Set) FindFile(path, digest []byte) (Standing, bool) { return s.find(s.files, path, digest) }

// GoodFiles sets good for up to Batch files, each a path and its SHA-256: whether
// FindFile would find a good entry. It does not allocate.
func (s *Set) GoodFiles(paths, digests [][]byte, good []bool) {
	if s.files == nil || len(s.files.rows) == 0 || len(paths) > Batch || len(digests) != len(paths) || len(good) < len(paths) {
		clear(good)
		return
	}
	var found [Batch]uint16
	s.files.lookupAll(paths, digests, found[:])
	for i := range paths {
		good[i] = found[i] != 0 && s.standings[found[i]].Status == Good
	}
}

// FindBuffer is FindFile for kernel memory that IMA measured under a name.
func (s *Set) FindBuffer(name, digest []byte) (Standing, bool) {
	return s.find(s.buffers, name, digest)
}

func (s *Set) find(t *fileTable, path, digest []byte) (Standing, bool) {
	if t == nil {
		return Standing{}, false
	}
	i := t.lookup(path, digest)
	return s.standings[i], i != 0
}

// FileDigests returns up to max digests that are accepted at a path, to tell a
// person what was wanted.
func (s *Set) FileDigests(path []byte, max int) []string {
	if s.files == nil {
		return nil
	}
	return s.files.digests(path, max)
}

// ManifestsOf returns the names of the manifests that a use refers to, sorted.
func (s *Set) ManifestsOf(u Use) []string {
	for _, other := range s.policy.uses() {
		if other.name == u {
			return other.manifests
		}
	}
	return nil
}
