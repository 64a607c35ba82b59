package admission

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// TPM classes and EK templates that a consortium file may name.
var (
	tpmClasses  = []string{"discrete", "firmware", "virtual"}
	ekTemplates = []string{"rsa-2048", "ecc-p256"}
)

// Key types of note verifier keys, the first byte of the encoded key.
const (
	keyEd25519     = 1
	keyCosignature = 4
)

// checker turns a document into a Consortium and collects every problem.
type checker struct {
	problems []string
	keys     map[string]string // public key bytes → where it was first used
}

func (k *checker) require(ok bool, where, format string, args ...any) {
	if !ok {
		k.problems = append(k.problems, where+": "+fmt.Sprintf(format, args...))
	}
}

// check converts the document. The order of the checks is the order of the file.
func (d *document) check() (*Consortium, error) {
	k := &checker{keys: map[string]string{}}
	c := &Consortium{Name: d.Name, Test: d.Test, Threshold: d.Threshold, Approvals: Approvals(d.Approvals)}
	k.require(d.Format == consortiumFormat, "consortium", "got %q, want %q", d.Format, consortiumFormat)
	k.require(ValidLabel(d.Name), "name", "%q is not a label of a-z, 0-9 and -", d.Name)
	k.require(ValidToken(d.Ledger.ID), "ledger.id", "%q is not a ledger id", d.Ledger.ID)
	c.Ledger = Ledger{ID: d.Ledger.ID, Genesis: k.digest("ledger.genesis", d.Ledger.Genesis)}
	k.require(d.Threshold >= 1 && d.Threshold <= d.judges(), "threshold", "got %d, want 1 to the number of members that run verifiers, %d", d.Threshold, d.judges())
	k.verifiers(c, d)
	k.witnesses(c, d)
	k.members(c, d)
	k.require(d.Approvals.Policy >= 1 && d.Approvals.Policy <= len(d.Members), "approvals.policy", "got %d, want 1 to the number of members, %d", d.Approvals.Policy, len(d.Members))
	k.endorsement(c, d)
	if len(k.problems) > 0 {
		return nil, &ConsortiumError{k.problems}
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	return c, nil
}

func (k *checker) digest(where, s string) Digest {
	d, err := ParseDigest(s)
	k.require(err == nil && !d.IsZero(), where, "%q is not a digest like sha256:<64 lower-case hex digits>", plain(s))
	return d
}

func (k *checker) verifiers(c *Consortium, d *document) {
	seen := map[string]bool{}
	for i, v := range d.Verifiers {
		at := "verifiers[" + strconv.Itoa(i) + "]"
		k.require(ValidVerifierName(v.Name), at+".name", "%q is not like a lower-case DNS name", v.Name)
		k.require(!seen[v.Name], at+".name", "%q is there twice", v.Name)
		seen[v.Name] = true
		k.require(d.hasMember(v.Member), at+".member", "%q is not a member", v.Member)
		out := Verifier{Name: v.Name, Member: v.Member, AdmissionKey: v.AdmissionKey, LogKey: v.LogKey, GrantKey: v.GrantKey, Attest: v.Attest, Enroll: v.Enroll}
		k.key(at+".admissionKey", v.AdmissionKey, keyEd25519, v.Name)
		k.key(at+".logKey", v.LogKey, keyEd25519, out.LogOrigin())
		out.TLSKey = k.digest(at+".tlsKey", v.TLSKey)
		if v.GrantKey != "" {
			k.grantKey(at+".grantKey", v.GrantKey, out.TLSKey)
		}
		k.require(validAddress(v.Attest), at+".attest", "%q is not host:port", v.Attest)
		k.require(validAddress(v.Enroll), at+".enroll", "%q is not host:port", v.Enroll)
		c.Verifiers = append(c.Verifiers, out)
	}
}

func (k *checker) witnesses(c *Consortium, d *document) {
	w := d.Witnesses
	k.require(w.Threshold >= 0 && w.Threshold <= len(w.Keys), "witnesses.threshold", "got %d, want 0 to the number of keys, %d", w.Threshold, len(w.Keys))
	seen := map[string]bool{}
	for i, key := range w.Keys {
		at := "witnesses.keys[" + strconv.Itoa(i) + "]"
		name := k.key(at, key, keyCosignature, "")
		k.require(name == "" || !seen[name], at, "the name %q is there twice", name)
		seen[name] = true
	}
	c.Witnesses = Witnesses{Threshold: w.Threshold, Keys: slices.Clone(w.Keys)}
}

func (k *checker) members(c *Consortium, d *document) {
	k.require(len(d.Members) > 0, "members", "none")
	seen, admins := map[string]bool{}, 0
	for i, m := range d.Members {
		at := "members[" + strconv.Itoa(i) + "]"
		k.require(ValidLabel(m.Name), at+".name", "%q is not a label of a-z, 0-9 and -", m.Name)
		k.require(!seen[m.Name], at+".name", "%q is there twice", m.Name)
		seen[m.Name] = true
		member := Member{Name: m.Name}
		people := map[string]bool{}
		for j, o := range m.Operators {
			op := at + ".operators[" + strconv.Itoa(j) + "]"
			name := k.key(op+".key", o.Key, keyEd25519, "")
			k.require(name == "" || ValidNodeID(name) && NodeMember(name) == m.Name, op+".key", "the key's name %q is not %q and a label", name, m.Name+"/")
			k.require(name == "" || !people[name], op+".key", "the name %q is there twice", name)
			people[name] = true
			role := Role(o.Role)
			k.require(role == RoleAdmin || role == RoleAuditor || role == RoleGate, op+".role", "%q is not admin, auditor or gate", o.Role)
			if role == RoleAdmin {
				admins++
			}
			member.Operators = append(member.Operators, Operator{Member: m.Name, Key: o.Key, Role: role})
		}
		c.Members = append(c.Members, member)
	}
	k.require(admins > 0, "members", "no operator has the role admin, so nobody could approve anything")
}

func (k *checker) endorsement(c *Consortium, d *document) {
	e := d.Endorsement
	k.require(len(e.Templates) > 0, "endorsement.templates", "no TPM class is allowed")
	for _, class := range slices.Sorted(maps.Keys(e.Templates)) {
		at := "endorsement.templates." + plain(class)
		k.require(slices.Contains(tpmClasses, class), at, "the classes are %s", strings.Join(tpmClasses, ", "))
		k.require(slices.Contains(ekTemplates, e.Templates[class]), at, "%q is not one of %s", e.Templates[class], strings.Join(ekTemplates, ", "))
	}
	c.Endorsement = Endorsement{Templates: maps.Clone(e.Templates), Roots: k.digest("endorsement.roots", e.Roots)}
}

// judges counts the members that run verifiers. One member with several has one
// administrator, so its admissions count once.
func (d *document) judges() int {
	members := map[string]bool{}
	for _, v := range d.Verifiers {
		members[v.Member] = true
	}
	return len(members)
}

func (d *document) hasMember(name string) bool {
	return slices.ContainsFunc(d.Members, func(m documentMember) bool { return m.Name == name })
}

// key checks a note verifier key of the wanted type and name ("" allows any),
// and that its public key has no other use in the file: a key that both admits
// and cosigns would let one signature count as another. It returns the key's
// name, or "" when the key is malformed.
func (k *checker) key(where, text string, kind byte, want string) string {
	name, public, err := splitKey(text, kind)
	if err != nil {
		k.require(false, where, "%v", err)
		return ""
	}
	k.require(want == "" || name == want, where, "the key's name is %q, want %q", name, want)
	first, used := k.keys[string(public)]
	k.require(!used, where, "the same key as %s", first)
	if !used {
		k.keys[string(public)] = where
	}
	return name
}

// grantKey checks a key that signs grants: a P-256 key, since TPMs check its
// signatures, in its one encoding, with no other use in the file.
func (k *checker) grantKey(where, text string, tlsKey Digest) {
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(der) != text {
		k.require(false, where, "%q is not base64 on one line", plain(text))
		return
	}
	public, err := x509.ParsePKIXPublicKey(der)
	key, ok := public.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		k.require(false, where, "not the SubjectPublicKeyInfo of a P-256 key")
		return
	}
	again, err := x509.MarshalPKIXPublicKey(key)
	k.require(err == nil && bytes.Equal(again, der), where, "not in canonical form")
	k.require(digestOf(der) != tlsKey, where, "the same key as tlsKey")
	first, used := k.keys[string(der)]
	k.require(!used, where, "the same key as %s", first)
	k.keys[string(der)] = where
}

// splitKey parses a note verifier key strictly and returns its name and the 32
// bytes of its Ed25519 public key.
func splitKey(text string, kind byte) (string, []byte, error) {
	var err error
	if kind == keyCosignature {
		_, err = torchwood.NewCosignatureVerifier(text)
	} else {
		_, err = note.NewVerifier(text)
	}
	if err != nil {
		return "", nil, fmt.Errorf("%q is not a verifier key of type %d: %w", plain(text), kind, err)
	}
	name, rest, _ := strings.Cut(text, "+")
	hash, b64, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != b64 || hash != strings.ToLower(hash) || plain(name) != name || len(name) > 253 {
		return "", nil, fmt.Errorf("%q is not in canonical form", plain(text))
	}
	return name, raw[1:], nil
}

// validAddress reports whether s looks like host:port, with a decimal port.
func validAddress(s string) bool {
	at := strings.LastIndexByte(s, ':')
	if at <= 0 || len(s) > 300 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	port, err := strconv.ParseUint(s[at+1:], 10, 16)
	return err == nil && port > 0 && strconv.FormatUint(port, 10) == s[at+1:]
}

// prepare makes the checked keys ready for use.
func (c *Consortium) prepare() error {
	c.keys, c.people = map[string]*verifierKeys{}, map[Digest]Operator{}
	var witnesses []torchwood.Policy
	for _, key := range c.Witnesses.Keys {
		v, err := torchwood.NewCosignatureVerifier(key)
		if err != nil {
			return fmt.Errorf("admission: witness key: %w", err)
		}
		c.witnesses = append(c.witnesses, v)
		witnesses = append(witnesses, torchwood.SingleVerifierPolicy(v))
	}
	quorum := torchwood.ThresholdPolicy(c.Witnesses.Threshold, witnesses...)
	known := torchwood.ThresholdPolicy(0, witnesses...)
	for _, v := range c.Verifiers {
		admission, err := note.NewVerifier(v.AdmissionKey)
		if err != nil {
			return fmt.Errorf("admission: admission key: %w", err)
		}
		log, err := note.NewVerifier(v.LogKey)
		if err != nil {
			return fmt.Errorf("admission: log key: %w", err)
		}
		origin, single := torchwood.OriginPolicy(v.LogOrigin()), torchwood.SingleVerifierPolicy(log)
		c.keys[v.Name] = &verifierKeys{
			member:    v.Member,
			admission: admission,
			log:       torchwood.ThresholdPolicy(3, origin, single, known),
			full:      torchwood.ThresholdPolicy(3, origin, single, quorum),
		}
	}
	return c.prepareOperators()
}

func (c *Consortium) prepareOperators() error {
	for _, m := range c.Members {
		for _, o := range m.Operators {
			_, public, err := splitKey(o.Key, keyEd25519)
			if err != nil {
				return fmt.Errorf("admission: operator key: %w", err)
			}
			spki, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(public))
			if err != nil {
				return fmt.Errorf("admission: operator key: %w", err)
			}
			c.people[digestOf(spki)] = o
		}
	}
	return nil
}
