package admission_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/admission"
)

var now = time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)

// key derives an Ed25519 key from its name.
func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// noteKey returns a note signer with the name, and its verifier key.
func noteKey(name, salt string) (note.Signer, string) {
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat(name+salt+"0123456789abcdef0123456789abcdef", 2)), name)
	if err != nil {
		panic(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		panic(err)
	}
	return signer, vkey
}

// witness cosigns checkpoints at a time of the test's choice.
type witness struct {
	name string
	key  ed25519.PrivateKey
	at   time.Time
}

func (w *witness) encoded() []byte {
	return append([]byte{4}, w.key.Public().(ed25519.PublicKey)...)
}

func (w *witness) Name() string { return w.name }

func (w *witness) KeyHash() uint32 {
	sum := sha256.Sum256(append([]byte(w.name+"\n"), w.encoded()...))
	return binary.BigEndian.Uint32(sum[:])
}

func (w *witness) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.KeyHash(), base64.StdEncoding.EncodeToString(w.encoded()))
}

func (w *witness) Sign(msg []byte) ([]byte, error) {
	unix := uint64(w.at.Unix())
	signed := ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", unix, msg))
	return append(binary.BigEndian.AppendUint64(nil, unix), signed...), nil
}

// journal is a verifier's log in memory.
type journal struct {
	origin string
	signer note.Signer
	hashes []tlog.Hash
	size   int64
}

func (j *journal) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = j.hashes[at]
	}
	return out, nil
}

func (j *journal) append(t testing.TB, leaf []byte) int64 {
	t.Helper()
	hashes, err := tlog.StoredHashes(j.size, leaf, j)
	if err != nil {
		t.Fatal(err)
	}
	j.hashes = append(j.hashes, hashes...)
	j.size++
	return j.size - 1
}

func (j *journal) checkpoint(t testing.TB, signers ...note.Signer) []byte {
	t.Helper()
	root, err := tlog.TreeHash(j.size, j)
	if err != nil {
		t.Fatal(err)
	}
	text := torchwood.Checkpoint{Origin: j.origin, Tree: tlog.Tree{N: j.size, Hash: root}}.String()
	return signNote(t, text, signers...)
}

func (j *journal) proof(t testing.TB, index int64, signers ...note.Signer) []byte {
	t.Helper()
	p, err := tlog.ProveRecord(j.size, index, j)
	if err != nil {
		t.Fatal(err)
	}
	return torchwood.FormatProof(index, p, j.checkpoint(t, signers...))
}

func signNote(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	msg, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// network is a consortium with all its private keys.
type network struct {
	*admission.Consortium
	t         testing.TB
	names     []string
	signers   []note.Signer // admission keys
	journals  []*journal
	witnesses []*witness
}

type options struct {
	verifiers, k, witnesses, w int
	test                       bool
	id                         string // ledger id
	shared                     bool   // the last verifier is run by the first one's member
}

var members = []string{"org-a", "org-b", "org-c"}

func (o options) member(i int) string {
	if o.shared && i == o.verifiers-1 {
		return members[0]
	}
	return members[i]
}

func newNetwork(t testing.TB, o options) *network {
	t.Helper()
	n := &network{t: t}
	if o.id == "" {
		o.id = "example-1"
	}
	c := &admission.Consortium{
		Name: "example-net", Test: o.test, Threshold: o.k,
		Ledger:    admission.Ledger{ID: o.id, Genesis: sha256.Sum256([]byte(o.id))},
		Approvals: admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{
			Templates: map[string]string{"discrete": "rsa-2048", "virtual": "ecc-p256"}, Roots: sha256.Sum256([]byte("roots")),
		},
		Witnesses: admission.Witnesses{Threshold: o.w},
	}
	for i := range o.verifiers {
		name := members[i] + ".verifier.example-net"
		signer, vkey := noteKey(name, "admission")
		logSigner, logKey := noteKey(name+"/journal", "journal")
		n.names, n.signers = append(n.names, name), append(n.signers, signer)
		n.journals = append(n.journals, &journal{origin: name + "/journal", signer: logSigner})
		c.Verifiers = append(c.Verifiers, admission.Verifier{
			Name: name, Member: o.member(i), AdmissionKey: vkey, LogKey: logKey,
			TLSKey: sha256.Sum256([]byte(name)), Attest: "127.0.0.1:7600", Enroll: "127.0.0.1:7601",
		})
	}
	for i := range o.witnesses {
		w := &witness{name: fmt.Sprintf("witness-%d.example", i), key: key(fmt.Sprint("witness", i)), at: now}
		n.witnesses = append(n.witnesses, w)
		c.Witnesses.Keys = append(c.Witnesses.Keys, w.vkey())
	}
	for _, m := range members {
		_, vkey := noteKey(m+"/alice", "operator")
		c.Members = append(c.Members, admission.Member{Name: m, Operators: []admission.Operator{{Key: vkey, Role: admission.RoleAdmin}}})
	}
	n.Consortium = parse(t, c)
	for _, j := range n.journals { // entries of other kinds before and between
		for i := range 5 {
			j.append(t, fmt.Appendf(nil, "quorate/verdict/v1\n{\"n\":%d}\n", i))
		}
	}
	return n
}

func parse(t testing.TB, c *admission.Consortium) *admission.Consortium {
	t.Helper()
	file, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := admission.ParseConsortium(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	return parsed
}

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// statement is verifier i's statement about org-b/validator-1.
func (n *network) statement(i int) admission.Statement {
	return admission.Statement{
		Consortium: n.Name, Test: n.Test, Ledger: n.Ledger,
		Node: "org-b/validator-1", Host: hexOf("ek"), Role: "validator",
		ConsensusKey: admission.FormatConsensusKey(key("consensus").Public().(ed25519.PublicKey)),
		NodeKey:      sha256.Sum256([]byte("node key")),
		Policy:       admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("policy"))},
		Evidence:     sha256.Sum256(fmt.Append(nil, "evidence", i)),
		Epoch:        admission.Epoch{Reset: 4},
		NotBefore:    now.Add(time.Duration(i) * time.Second), NotAfter: now.Add(24 * time.Hour),
		Verifier: n.names[i], Serial: uint64(1187 + i),
	}
}

func (n *network) sign(i int, s admission.Statement) []byte {
	n.t.Helper()
	msg, err := s.Sign(n.signers[i])
	if err != nil {
		n.t.Fatal(err)
	}
	return msg
}

// cosigners are the log key of journal i and all the witnesses.
func (n *network) cosigners(i int) []note.Signer {
	signers := []note.Signer{n.journals[i].signer}
	for _, w := range n.witnesses {
		signers = append(signers, w)
	}
	return signers
}

// logged puts a signed admission into journal i, followed by another entry.
func (n *network) logged(i int, msg []byte) admission.Item {
	n.t.Helper()
	j := n.journals[i]
	index := j.append(n.t, msg)
	j.append(n.t, []byte("quorate/audit/v1\n{}\n"))
	return admission.Item{Admission: msg, Proof: j.proof(n.t, index, n.cosigners(i)...)}
}

// item is verifier i's admission after the change.
func (n *network) item(i int, change func(*admission.Statement)) admission.Item {
	n.t.Helper()
	s := n.statement(i)
	if change != nil {
		change(&s)
	}
	return n.logged(i, n.sign(i, s))
}

// bundle has one admission of each verifier, all after the same change.
func (n *network) bundle(change func(*admission.Statement)) []byte {
	n.t.Helper()
	var items []admission.Item
	for i := range n.names {
		items = append(items, n.item(i, change))
	}
	return marshal(n.t, items...)
}

func marshal(t testing.TB, items ...admission.Item) []byte {
	t.Helper()
	b, err := admission.NewBundle(items...)
	if err != nil {
		t.Fatal(err)
	}
	return b.Marshal()
}

// want is what the ledger knows about the node.
func (n *network) want() admission.Want {
	s := n.statement(0)
	return admission.Want{Role: "validator", NodeKey: s.NodeKey, ConsensusKey: s.ConsensusKey, Node: s.Node}
}

// accept asserts that the bundle passes; it is the twin of every refusal.
func (n *network) accept(bundle []byte) *admission.Admission {
	n.t.Helper()
	a, err := n.VerifyBundle(bundle, n.want(), now)
	if err != nil {
		n.t.Fatalf("the twin without defect: %v", err)
	}
	return a
}

// refuse asserts that the bundle is refused by one of the checks.
func (n *network) refuse(bundle []byte, checks ...admission.CheckID) {
	n.t.Helper()
	a, err := n.VerifyBundle(bundle, n.want(), now)
	if a != nil {
		n.t.Fatal("an admission beside an error")
	}
	wantRefusal(n.t, err, checks...)
}

func wantRefusal(t testing.TB, err error, checks ...admission.CheckID) {
	t.Helper()
	var r *admission.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal by %v", err, checks)
	}
	if r.Message == "" || r.Remedy == "" {
		t.Errorf("%s is not registered", r.Check)
	}
	for _, c := range checks {
		if r.Check == c {
			return
		}
	}
	t.Fatalf("refused by %s (%v), want %v", r.Check, err, checks)
}

func spki(t testing.TB, public ed25519.PublicKey) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(der)
}
