package admission

import (
	"crypto/sha256"
	"strconv"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxTree bounds the size of a journal, in entries. A larger number in a
// checkpoint is a fault, and the Merkle arithmetic does not end for sizes near
// 2^63.
const maxTree = 1 << 48

// Want is what the relying party knows about the node that shows a bundle. A
// bundle is not a bearer token: at least one of the two keys must be given, and
// must be the key that the party in front of it has proven to hold.
type Want struct {
	Role         string // required: the role that the ledger is about to grant
	NodeKey      Digest // of the node key's SubjectPublicKeyInfo; zero if not known
	ConsensusKey string // "ed25519:<base64>"; empty if not known
	Node         string // node id; empty if any will do
}

// Admission is a verified bundle. Only Consortium.VerifyBundle and
// Consortium.VerifyItem make one; its zero value admits nothing.
type Admission struct {
	statements []Statement // one for each verifier, in order of their names
	notBefore  time.Time
	notAfter   time.Time
	named      verification
}

// verification says which bundle VerifyNamed accepted, by which consortium file, and
// when. The zero one says nothing.
type verification struct {
	bundle, consortium Digest
	at                 time.Time
}

// Node returns the node id.
func (a *Admission) Node() string { return a.first().Node }

// Host returns the host id: the TPM behind the node.
func (a *Admission) Host() string { return a.first().Host }

// Role returns what the node is admitted as.
func (a *Admission) Role() string { return a.first().Role }

// NodeKey returns the digest of the node key's SubjectPublicKeyInfo.
func (a *Admission) NodeKey() Digest { return a.first().NodeKey }

// ConsensusKey returns the consensus key, "ed25519:<base64>", or "".
func (a *Admission) ConsensusKey() string { return a.first().ConsensusKey }

// Test reports whether the admission is one of a test network.
func (a *Admission) Test() bool { return a.first().Test }

// NotBefore returns the time from which all of the verifiers admit the node.
func (a *Admission) NotBefore() time.Time { return a.notBefore }

// NotAfter returns the time at which the first of the admissions ends. A
// relying party that keeps the Admission must drop it then.
func (a *Admission) NotAfter() time.Time { return a.notAfter }

// ValidAt reports whether the admission stands at the given time.
func (a *Admission) ValidAt(now time.Time) bool {
	return len(a.statements) > 0 && !now.Add(MaxSkew).Before(a.notBefore) && now.Before(a.notAfter)
}

// Statements returns what each verifier stated.
func (a *Admission) Statements() []Statement { return append([]Statement(nil), a.statements...) }

func (a *Admission) first() Statement {
	if len(a.statements) == 0 {
		return Statement{}
	}
	return a.statements[0]
}

// VerifyBundle checks everything a ledger needs to know before it gives a node
// power, in this order:
//
//   - the bytes are one bundle in its one encoding, with admissions of at least
//     k distinct verifiers;
//   - each admission, in turn, passes the checks of VerifyItem;
//   - the verifiers are run by at least k distinct members;
//   - all admissions agree on node, host, keys, role, boot epoch and policy.
//
// Every admission in the bundle must pass, also those beyond k. The error is a
// *Refusal that names the admission and the check.
func (c *Consortium) VerifyBundle(bundle []byte, want Want, now time.Time) (*Admission, error) {
	_, items, err := openBundle(bundle)
	if err != nil {
		return nil, err
	}
	return c.verifyItems(items, want, now)
}

// VerifyNamed checks a bundle as VerifyBundle does, for the role and the keys that
// it names itself. It is for a ledger that gives what it gives to these keys and to
// nobody else, whoever shows the bundle. Who shows one to gain by it must be met
// with VerifyBundle.
func (c *Consortium) VerifyNamed(bundle []byte, now time.Time) (*Admission, error) {
	_, items, err := openBundle(bundle)
	if err != nil {
		return nil, err
	}
	named := items[0].claimed
	a, err := c.verifyItems(items, Want{Role: named.Role, NodeKey: named.NodeKey, ConsensusKey: named.ConsensusKey}, now)
	if err != nil {
		return nil, err
	}
	a.named = verification{sha256.Sum256(bundle), c.digest, now}
	return a, nil
}

// Named returns what VerifyNamed returns, without its price where an earlier result
// of it still answers: for the same bytes, by the same consortium file, at an earlier
// time, and not ended. Signatures and proofs do not change, and a bundle's beginning
// and its cosignatures' times only come to lie further back. A result for anything
// else is no answer, so nothing depends on what the caller remembers; before may be
// nil.
func (c *Consortium) Named(bundle []byte, before *Admission, now time.Time) (*Admission, error) {
	if before != nil && c != nil && before.named.consortium == c.digest && !c.digest.IsZero() && !now.Before(before.named.at) &&
		now.Before(before.notAfter) && before.named.bundle == sha256.Sum256(bundle) {
		return before, nil
	}
	return c.VerifyNamed(bundle, now)
}

func (c *Consortium) verifyItems(items []openItem, want Want, now time.Time) (*Admission, error) {
	if c == nil || c.keys == nil || c.Threshold < 1 {
		return nil, refuse(Unpinned, "", "", "a Consortium from ParseConsortium")
	}
	if len(items) < c.Threshold {
		return nil, refuse(Threshold, "", strconv.Itoa(len(items)), strconv.Itoa(c.Threshold))
	}
	a, members := &Admission{statements: make([]Statement, 0, len(items))}, map[string]bool{}
	for i, item := range items {
		if err := c.verifyItem(item, want, now); err != nil {
			return nil, at(i, err)
		}
		if err := a.add(item.claimed); err != nil {
			return nil, at(i, err)
		}
		members[c.keys[item.claimed.Verifier].member] = true
	}
	if len(members) < c.Threshold { // two verifiers of one member are one opinion
		return nil, refuse(Threshold, "", strconv.Itoa(len(members)), strconv.Itoa(c.Threshold))
	}
	return a, nil
}

// VerifyItem checks the admission of one verifier, in this order:
//
//   - the note is signed by the admission key of the verifier it names;
//   - the statement is for this consortium and ledger, and says "test" exactly
//     if the consortium is a test network;
//   - the node belongs to a member, and node id, role and keys are the wanted;
//   - now lies in its validity, with MaxSkew of grace before its start;
//   - the note is in the verifier's journal, under a checkpoint signed by the
//     log key and cosigned by w distinct witnesses.
//
// One item is not a bundle: unless k is 1, do not give power for it.
func (c *Consortium) VerifyItem(item Item, want Want, now time.Time) (*Admission, error) {
	if c == nil || c.keys == nil {
		return nil, refuse(Unpinned, "", "", "a Consortium from ParseConsortium")
	}
	open, err := item.open()
	if err != nil {
		return nil, err
	}
	if err := c.verifyItem(open, want, now); err != nil {
		return nil, err
	}
	a := &Admission{}
	return a, a.add(open.claimed)
}

func (c *Consortium) verifyItem(item openItem, want Want, now time.Time) error {
	if err := c.checkSigned(item); err != nil {
		return err
	}
	s := item.claimed
	for _, check := range []func() error{
		func() error { return c.checkNetwork(s.Consortium, s.Test, s.Ledger) },
		func() error { return c.checkWanted(s, want) },
		func() error { return checkValidity(s.NotBefore, s.NotAfter, now) },
		func() error { return c.checkLogged(item, now) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkSigned checks the signature of the verifier that the statement names.
func (c *Consortium) checkSigned(item openItem) error {
	keys, ok := c.keys[item.signer]
	if !ok {
		return refuse(UnknownVerifier, "signature", item.signer, "a verifier of "+c.Name)
	}
	if _, err := note.Open(item.Admission, note.VerifierList(keys.admission)); err != nil {
		return refuse(BadSignature, "signature", err.Error(), "a signature by "+item.signer)
	}
	if item.claimed.Verifier != item.signer {
		return refuse(BadSignature, "verifier", item.claimed.Verifier, item.signer)
	}
	return nil
}

// checkNetwork checks that a text was made for this consortium and ledger.
func (c *Consortium) checkNetwork(consortium string, test bool, ledger Ledger) error {
	if consortium != c.Name {
		return refuse(OtherConsortium, "consortium", consortium, c.Name)
	}
	if test != c.Test {
		return refuse(TestFlag, "test", strconv.FormatBool(test), strconv.FormatBool(c.Test))
	}
	if ledger != c.Ledger {
		return refuse(OtherLedger, "ledger", ledger.ID+" "+ledger.Genesis.String(), c.Ledger.ID+" "+c.Ledger.Genesis.String())
	}
	return nil
}

// checkWanted checks that the statement is about the party that shows it.
func (c *Consortium) checkWanted(s Statement, want Want) error {
	switch {
	case want.Role == "" || want.NodeKey.IsZero() && want.ConsensusKey == "":
		return refuse(Unbound, "", "", "a role, and a node key or a consensus key")
	case !c.HasMember(NodeMember(s.Node)):
		return refuse(NotMember, "node", s.Node, "a node of a member")
	case want.Node != "" && s.Node != want.Node:
		return refuse(OtherNode, "node", s.Node, want.Node)
	case s.Role != want.Role:
		return refuse(OtherRole, "role", s.Role, want.Role)
	case !want.NodeKey.IsZero() && s.NodeKey != want.NodeKey:
		return refuse(OtherNodeKey, "node-key", s.NodeKey.String(), want.NodeKey.String())
	case want.ConsensusKey != "" && s.ConsensusKey != want.ConsensusKey:
		return refuse(OtherConsensusKey, "consensus-key", orNone(s.ConsensusKey), want.ConsensusKey)
	}
	return nil
}

func checkValidity(notBefore, notAfter, now time.Time) error {
	if now.Add(MaxSkew).Before(notBefore) {
		return refuse(NotYet, "not-before", formatTime(notBefore), "at most "+MaxSkew.String()+" after "+formatTime(now))
	}
	if !now.Before(notAfter) {
		return refuse(Expired, "not-after", formatTime(notAfter), "later than "+formatTime(now))
	}
	return nil
}

// checkLogged checks that exactly the note's bytes are a leaf of the verifier's
// journal, under a checkpoint by its log key and enough witnesses.
func (c *Consortium) checkLogged(item openItem, now time.Time) error {
	s, p := item.claimed, item.proof
	checkpoint, signed, err := torchwood.VerifyCheckpoint(p.checkpoint, c.keys[s.Verifier].log)
	if err != nil {
		return refuse(Checkpoint, "log proof", err.Error(), "a checkpoint signed by the log key of "+s.Verifier)
	}
	if err := c.checkWitnesses(signed, s.NotBefore.Add(-MaxSkew), now.Add(MaxSkew)); err != nil {
		return err
	}
	if checkpoint.N > maxTree {
		return refuse(NotLogged, "log proof", "a tree of "+strconv.FormatInt(checkpoint.N, 10)+" entries", "at most 2^48")
	}
	if err := tlog.CheckRecord(p.path, checkpoint.N, checkpoint.Hash, p.index, tlog.RecordHash(item.Admission)); err != nil {
		return refuse(NotLogged, "log proof", "index "+strconv.FormatInt(p.index, 10)+" of "+strconv.FormatInt(checkpoint.N, 10), "a proof of this admission")
	}
	return nil
}

// checkWitnesses counts the pinned witnesses that cosigned between the two
// times. Each counts once, however many lines carry its name.
func (c *Consortium) checkWitnesses(checkpoint *note.Note, from, to time.Time) error {
	count := 0
	for _, w := range c.witnesses {
		for _, sig := range checkpoint.Sigs {
			if sig.Name != w.Name() || sig.Hash != w.KeyHash() {
				continue
			}
			unix, err := torchwood.CosignatureTimestamp(sig)
			if made := time.Unix(unix, 0); err == nil && !made.Before(from) && !made.After(to) {
				count++
			}
			break
		}
	}
	if count < c.Witnesses.Threshold {
		return refuse(TooFewWitnesses, "log proof", strconv.Itoa(count), strconv.Itoa(c.Witnesses.Threshold))
	}
	return nil
}

// add takes one more verified statement, which must agree with those before.
func (a *Admission) add(s Statement) error {
	if len(a.statements) == 0 {
		a.notBefore, a.notAfter = s.NotBefore, s.NotAfter
	}
	if first := a.first(); len(a.statements) > 0 {
		if err := agree(first, s); err != nil {
			return err
		}
	}
	a.statements = append(a.statements, s)
	if s.NotBefore.After(a.notBefore) {
		a.notBefore = s.NotBefore
	}
	if s.NotAfter.Before(a.notAfter) {
		a.notAfter = s.NotAfter
	}
	return nil
}

// agree checks that two verifiers speak of the same node in the same state.
// Evidence, times and serial are each verifier's own.
func agree(a, b Statement) error {
	for _, f := range []struct{ name, a, b string }{
		{"node", a.Node, b.Node}, {"host", a.Host, b.Host}, {"role", a.Role, b.Role},
		{"consensus-key", a.ConsensusKey, b.ConsensusKey}, {"node-key", a.NodeKey.String(), b.NodeKey.String()},
		{"policy", a.Policy.String(), b.Policy.String()}, {"epoch", a.Epoch.String(), b.Epoch.String()},
	} {
		if f.a != f.b {
			return refuse(Disagree, f.name, f.b, f.a)
		}
	}
	return nil
}
