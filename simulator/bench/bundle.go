package bench

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/quorate/quorate/admission"
)

const (
	bundleVerifiers = 3
	journalSize     = 5000 // entries in each journal
)

// bundleRow is a ledger's check of a bundle of three admissions, each with its
// proof of inclusion.
func bundleRow() ([]Row, error) {
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	bundle, want, err := n.bundle()
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	message := sha256.Sum256(bundle)
	signature := ed25519.Sign(private, message[:])
	row, err := duel{operation: "bundle check, 3 admissions", against: "6 ed25519.Verify", gate: 2, ours: func() error {
		_, err := n.consortium.VerifyBundle(bundle, want, noon)
		return err
	}, bare: func() error {
		for range 2 * bundleVerifiers {
			if !ed25519.Verify(public, message[:], signature) {
				return errors.New("bad signature")
			}
		}
		return nil
	}}.run()
	return []Row{row}, err
}

// network is a consortium with the private keys of its verifiers.
type network struct {
	consortium *admission.Consortium
	admission  []note.Signer
	log        []note.Signer
}

func newNetwork() (*network, error) {
	n := &network{}
	digest := func(text string) admission.Digest { return sha256.Sum256([]byte(text)) }
	c := &admission.Consortium{
		Name: "example-net", Threshold: bundleVerifiers, Ledger: admission.Ledger{ID: "example-1", Genesis: digest("genesis")},
		Approvals:   admission.Approvals{Policy: 1},
		Endorsement: admission.Endorsement{Templates: map[string]string{"discrete": "rsa-2048"}, Roots: digest("roots")},
	}
	for i := range bundleVerifiers {
		member := fmt.Sprintf("org-%d", i)
		name := member + ".verifier.example-net"
		signer, key, err := noteKey(name)
		if err != nil {
			return nil, err
		}
		logSigner, logKey, err := noteKey(name + "/journal")
		if err != nil {
			return nil, err
		}
		_, operator, err := noteKey(member + "/operator")
		if err != nil {
			return nil, err
		}
		n.admission, n.log = append(n.admission, signer), append(n.log, logSigner)
		c.Verifiers = append(c.Verifiers, admission.Verifier{
			Name: name, Member: member, AdmissionKey: key, LogKey: logKey, TLSKey: digest(name), Attest: "127.0.0.1:7600", Enroll: "127.0.0.1:7601",
		})
		c.Members = append(c.Members, admission.Member{Name: member, Operators: []admission.Operator{{Key: operator, Role: admission.RoleAdmin}}})
	}
	file, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	n.consortium, err = admission.ParseConsortium(file)
	return n, err
}

func noteKey(name string) (note.Signer, string, error) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, "", err
	}
	signer, err := note.NewSigner(private)
	return signer, public, err
}

// bundle has the admission of every verifier for one node.
func (n *network) bundle() ([]byte, admission.Want, error) {
	want := admission.Want{Role: "validator", NodeKey: sha256.Sum256([]byte("node key")), Node: "org-0/validator-1"}
	var items []admission.Item
	for i, v := range n.consortium.Verifiers {
		host := sha256.Sum256([]byte("ek"))
		statement := admission.Statement{
			Consortium: n.consortium.Name, Ledger: n.consortium.Ledger, Node: want.Node, Host: hex.EncodeToString(host[:]), Role: want.Role,
			NodeKey: want.NodeKey, Policy: admission.PolicyRef{Name: "validators", Digest: sha256.Sum256([]byte("policy"))},
			Evidence: sha256.Sum256([]byte(v.Name)), Epoch: admission.Epoch{Reset: 4},
			NotBefore: noon, NotAfter: noon.Add(24 * time.Hour), Verifier: v.Name, Serial: uint64(1187 + i),
		}
		signed, err := statement.Sign(n.admission[i])
		if err != nil {
			return nil, want, err
		}
		proof, err := inclusion(signed, v.Name+"/journal", n.log[i])
		if err != nil {
			return nil, want, err
		}
		items = append(items, admission.Item{Admission: signed, Proof: proof})
	}
	b, err := admission.NewBundle(items...)
	if err != nil {
		return nil, want, err
	}
	return b.Marshal(), want, nil
}

// hashes is a log in memory.
type hashes []tlog.Hash

// ReadHashes implements tlog.HashReader.
func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = h[at]
	}
	return out, nil
}

// inclusion puts the entry into a journal of others and proves that it is there.
func inclusion(entry []byte, origin string, signer note.Signer) ([]byte, error) {
	var log hashes
	for i := range int64(journalSize) {
		leaf := entry
		if i != journalSize/2 {
			leaf = fmt.Append(nil, "entry ", i)
		}
		more, err := tlog.StoredHashes(i, leaf, log)
		if err != nil {
			return nil, err
		}
		log = append(log, more...)
	}
	root, err := tlog.TreeHash(journalSize, log)
	if err != nil {
		return nil, err
	}
	checkpoint, err := note.Sign(&note.Note{
		Text: torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: journalSize, Hash: root}}.String(),
	}, signer)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(journalSize, journalSize/2, log)
	if err != nil {
		return nil, err
	}
	return torchwood.FormatProof(journalSize/2, proof, checkpoint), nil
}
