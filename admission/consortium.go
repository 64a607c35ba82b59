package admission

import (
	"crypto/sha256"
	"slices"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Consortium is everything a relying party pins: the ledger, the verifiers and
// their keys, how many of them must agree, the witnesses, the members' people,
// and which endorsement of TPMs counts. Only ParseConsortium makes one that
// verifies anything; a Consortium put together by hand can be printed with
// Marshal and then parsed.
type Consortium struct {
	Name        string // label
	Test        bool   // a test network: test roots are allowed, every statement says so
	Ledger      Ledger
	Threshold   int // k, the number of members whose verifiers' admissions make a bundle
	Verifiers   []Verifier
	Witnesses   Witnesses
	Members     []Member
	Approvals   Approvals
	Endorsement Endorsement

	digest    Digest
	keys      map[string]*verifierKeys // by verifier name; nil unless parsed
	witnesses []note.Verifier          // distinct keys, distinct names
	people    map[Digest]Operator      // by digest of the key's SubjectPublicKeyInfo
}

// Ledger names one ledger: its id and the SHA-256 of its genesis document.
type Ledger struct {
	ID      string
	Genesis Digest
}

// Verifier is one verifier of the consortium with its pinned keys.
type Verifier struct {
	Name         string // DNS-like; also the name of its admission key
	Member       string // the member who runs it
	AdmissionKey string // note verifier key that signs admissions and rosters
	LogKey       string // note verifier key that signs checkpoints; its name is LogOrigin
	TLSKey       Digest // SHA-256 of the SubjectPublicKeyInfo of its TLS server key
	GrantKey     string // base64 of the P-256 SubjectPublicKeyInfo of the key that signs grants; empty: it signs none
	Attest       string // host:port where agents and operators dial
	Enroll       string // host:port where new agents dial
}

// LogOrigin returns the origin line of the verifier's journal checkpoints.
func (v Verifier) LogOrigin() string { return v.Name + "/journal" }

// Witnesses are the cosigners of journal checkpoints.
type Witnesses struct {
	Threshold int      // w, distinct witnesses that must have cosigned
	Keys      []string // note verifier keys of type cosignature/v1
}

// Member is an organisation of the consortium.
type Member struct {
	Name      string // label, the first part of its node ids
	Operators []Operator
}

// Role says what an operator may do.
type Role string

// The roles of operators.
const (
	RoleAdmin   Role = "admin"   // everything a member may do
	RoleAuditor Role = "auditor" // read only
	RoleGate    Role = "gate"    // rosters and admissions only
)

// Operator is a member's person or robot with an Ed25519 key.
type Operator struct {
	Member string // the member it acts for
	Key    string // note verifier key; its name is "<member>/<person>"
	Role   Role
}

// Name returns the name inside the operator's key, "<member>/<person>".
func (o Operator) Name() string {
	v, err := note.NewVerifier(o.Key)
	if err != nil {
		return ""
	}
	return v.Name()
}

// Approvals says how many members must approve something.
type Approvals struct {
	Policy int // members whose approval makes a policy active
}

// Endorsement says which TPMs count.
type Endorsement struct {
	Templates map[string]string // TPM class → the one EK template that counts for it
	Roots     Digest            // digest of the bundle of vendor roots
}

// verifierKeys are a verifier's keys, ready for use.
type verifierKeys struct {
	member    string // who runs the verifier
	admission note.Verifier
	log       torchwood.Policy // origin and log key; knows the witnesses too
	full      torchwood.Policy // log, and the witness threshold
}

// Digest names the consortium file: the SHA-256 of its canonical form, which
// does not depend on comments, quoting or key order. It is zero unless the
// Consortium came from ParseConsortium.
func (c *Consortium) Digest() Digest { return c.digest }

// Verifier finds a verifier by name.
func (c *Consortium) Verifier(name string) (Verifier, bool) {
	i := slices.IndexFunc(c.Verifiers, func(v Verifier) bool { return v.Name == name })
	if i < 0 {
		return Verifier{}, false
	}
	return c.Verifiers[i], true
}

// Operator finds the operator whose Ed25519 key has this SubjectPublicKeyInfo
// digest, as taken from a TLS client certificate.
func (c *Consortium) Operator(spki [32]byte) (Operator, bool) {
	o, ok := c.people[spki]
	return o, ok
}

// HasMember reports whether name is a member.
func (c *Consortium) HasMember(name string) bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Name == name })
}

// AdmissionKey returns the key that signs a verifier's admissions and rosters.
func (c *Consortium) AdmissionKey(verifier string) (note.Verifier, bool) {
	k, ok := c.keys[verifier]
	if !ok {
		return nil, false
	}
	return k.admission, true
}

// LogPolicy returns what a checkpoint of the verifier's journal must satisfy:
// the right origin, the log key's signature, and enough distinct witnesses.
func (c *Consortium) LogPolicy(verifier string) (torchwood.Policy, bool) {
	k, ok := c.keys[verifier]
	if !ok {
		return nil, false
	}
	return k.full, true
}

func digestOf(b []byte) Digest { return sha256.Sum256(b) }
