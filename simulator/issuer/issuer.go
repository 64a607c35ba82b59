// Package issuer is a consortium with all its private keys in one hand: it
// signs admissions of k of n verifiers, keeps their journals in memory, and
// signs rosters, so that a test of a gate has genuine bundles in any number
// without a verifier, a TPM or a clock.
package issuer

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/admission"
)

// Setup says what the consortium looks like.
type Setup struct {
	Name      string   // "example-net" if empty
	Members   []string // one verifier and one administrator each; org-a, org-b, org-c if empty
	Threshold int      // k; all members if 0
	Ledger    admission.Ledger
	Salt      string // other salts are other verifier keys with the same names
	Test      bool
}

// Network is the consortium and its keys. Its methods are not for concurrent use.
type Network struct {
	*admission.Consortium
	File      []byte // the consortium file
	operators map[string]note.Signer
	issuers   []issuer
}

type issuer struct {
	name   string
	signer note.Signer
	log    *log
	serial uint64
	roster uint64
}

// Node is a host to be admitted.
type Node struct {
	ID           string // "org-a/validator-1"
	Host         string // host id; derived from ID if empty
	ConsensusKey ed25519.PublicKey
	NodeKey      admission.Digest    // derived from ID if zero
	Role         string              // "validator" if empty
	Policy       admission.PolicyRef // "validators" if zero
	Epoch        admission.Epoch
	Beacon       admission.Beacon
	NotBefore    time.Time
	NotAfter     time.Time
}

// New makes the consortium. The same setup gives the same keys.
func New(s Setup) (*Network, error) {
	s = s.complete()
	n := &Network{operators: map[string]note.Signer{}}
	c := &admission.Consortium{
		Name: s.Name, Test: s.Test, Threshold: s.Threshold, Ledger: s.Ledger, Approvals: admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{Templates: map[string]string{"discrete": "ecc-p256"}, Roots: sha256.Sum256([]byte("roots"))},
	}
	for _, member := range s.Members {
		if err := n.add(c, s, member); err != nil {
			return nil, err
		}
	}
	var err error
	if n.File, err = c.Marshal(); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if n.Consortium, err = admission.ParseConsortium(n.File); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return n, nil
}

func (s Setup) complete() Setup {
	if s.Name == "" {
		s.Name = "example-net"
	}
	if len(s.Members) == 0 {
		s.Members = []string{"org-a", "org-b", "org-c"}
	}
	if s.Threshold == 0 {
		s.Threshold = len(s.Members)
	}
	return s
}

// add gives a member its verifier and its administrator.
func (n *Network) add(c *admission.Consortium, s Setup, member string) error {
	name := member + ".verifier." + s.Name
	signer, key, err := noteKey(name, s.Salt)
	if err != nil {
		return err
	}
	checkpoints, logKey, err := noteKey(name+"/journal", s.Salt)
	if err != nil {
		return err
	}
	person, personKey, err := noteKey(member+"/admin", s.Salt)
	if err != nil {
		return err
	}
	c.Verifiers = append(c.Verifiers, admission.Verifier{
		Name: name, Member: member, AdmissionKey: key, LogKey: logKey,
		TLSKey: sha256.Sum256([]byte(name)), Attest: "127.0.0.1:7600", Enroll: "127.0.0.1:7601",
	})
	c.Members = append(c.Members, admission.Member{Name: member, Operators: []admission.Operator{{Key: personKey, Role: admission.RoleAdmin}}})
	n.issuers = append(n.issuers, issuer{name: name, signer: signer, log: &log{origin: name + "/journal", signer: checkpoints}})
	n.operators[member] = person
	return nil
}

// noteKey derives a note key pair from its name and a salt.
func noteKey(name, salt string) (note.Signer, string, error) {
	seed := sha256.Sum256([]byte(name + "\n" + salt))
	secret, public, err := note.GenerateKey(strings.NewReader(string(seed[:])), name)
	if err != nil {
		return nil, "", fmt.Errorf("issuer: %w", err)
	}
	signer, err := note.NewSigner(secret)
	return signer, public, err
}

// Operator returns the signer of a member's administrator, "<member>/admin".
func (n *Network) Operator(member string) note.Signer { return n.operators[member] }

// Bundle returns the admissions of the node by the verifiers of the members; by
// all of them if none is named.
func (n *Network) Bundle(node Node, members ...string) ([]byte, error) {
	var items []admission.Item
	for i := range n.issuers {
		if len(members) > 0 && !slices.Contains(members, n.Verifiers[i].Member) {
			continue
		}
		item, err := n.item(&n.issuers[i], node)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	b, err := admission.NewBundle(items...)
	if err != nil {
		return nil, err
	}
	return b.Marshal(), nil
}

// item signs one verifier's admission and puts it into its journal.
func (n *Network) item(i *issuer, node Node) (admission.Item, error) {
	i.serial++
	msg, err := n.statement(i, node.complete()).Sign(i.signer)
	if err != nil {
		return admission.Item{}, err
	}
	proof, err := i.log.add(msg)
	return admission.Item{Admission: msg, Proof: proof}, err
}

func (n *Network) statement(i *issuer, node Node) admission.Statement {
	s := admission.Statement{
		Consortium: n.Name, Test: n.Test, Ledger: n.Ledger,
		Node: node.ID, Host: node.Host, Role: node.Role, NodeKey: node.NodeKey,
		Policy: node.Policy, Evidence: sha256.Sum256(fmt.Append(nil, node.ID, i.name, i.serial)), Epoch: node.Epoch, Beacon: node.Beacon,
		NotBefore: node.NotBefore, NotAfter: node.NotAfter, Verifier: i.name, Serial: i.serial,
	}
	if len(node.ConsensusKey) > 0 {
		s.ConsensusKey = admission.FormatConsensusKey(node.ConsensusKey)
	}
	return s
}

func (n Node) complete() Node {
	if n.Host == "" {
		sum := sha256.Sum256([]byte("ek of " + n.ID))
		n.Host = hex.EncodeToString(sum[:])
	}
	if n.NodeKey.IsZero() {
		n.NodeKey = sha256.Sum256([]byte("node key of " + n.ID))
	}
	if n.Role == "" {
		n.Role = "validator"
	}
	if n.Policy.Name == "" {
		n.Policy = admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("policy"))}
	}
	return n
}

// Roster returns the next roster of the member's verifier.
func (n *Network) Roster(member string, issued time.Time, admitted []admission.Listed, barred []admission.Barred) ([]byte, error) {
	for at := range n.issuers {
		i := &n.issuers[at]
		if n.Verifiers[at].Member != member {
			continue
		}
		i.roster++
		return admission.Roster{
			Consortium: n.Name, Test: n.Test, Ledger: n.Ledger, Verifier: i.name,
			Number: i.roster, Issued: issued, Admitted: admitted, Barred: barred,
		}.Sign(i.signer)
	}
	return nil, fmt.Errorf("issuer: no member %q", member)
}

// log is a verifier's journal in memory.
type log struct {
	origin string
	signer note.Signer
	hashes []tlog.Hash
	size   int64
}

// ReadHashes serves the tlog package.
func (l *log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = l.hashes[at]
	}
	return out, nil
}

// add appends an entry and proves it under a checkpoint of the tree that it ends.
func (l *log) add(leaf []byte) ([]byte, error) {
	hashes, err := tlog.StoredHashes(l.size, leaf, l)
	if err != nil {
		return nil, err
	}
	l.hashes = append(l.hashes, hashes...)
	l.size++
	root, err := tlog.TreeHash(l.size, l)
	if err != nil {
		return nil, err
	}
	text := torchwood.Checkpoint{Origin: l.origin, Tree: tlog.Tree{N: l.size, Hash: root}}.String()
	signed, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(l.size, l.size-1, l)
	if err != nil {
		return nil, err
	}
	return torchwood.FormatProof(l.size-1, proof, signed), nil
}
