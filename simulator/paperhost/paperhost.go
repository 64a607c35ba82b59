// Package paperhost is a whole simulated host without a process and without a
// TPM: a papertpm node with an EK certificate, a composed boot and an IMA list. It
// enrols and answers challenges as an agent does, so a test can hold hundreds of
// hosts against a real verifier, or let one of them lie.
package paperhost

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/quorate/quorate/proto/binding"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/vendorca"
)

// Host is one simulated host. All fields may be altered.
type Host struct {
	*papertpm.Node
	ID            string // node id
	EKCertificate []byte // DER
	Intermediates [][]byte
	Log           *bootlog.Log
	List          *bootlog.List
	BootID        string
	boots         int
}

// New makes a host with a TPM of the vendor and boots it. The same id gives the
// same TPM.
func New(id string, vendor *vendorca.CA, boot bootlog.Boot) (*Host, error) {
	h := &Host{Node: papertpm.NewNode(id), ID: id, Intermediates: [][]byte{vendor.Intermediate}}
	var err error
	if h.EKCertificate, err = vendor.Issue(h.EK.Signer.Public(), vendorca.DefaultDevice, vendorca.Plain); err != nil {
		return nil, fmt.Errorf("paperhost: %w", err)
	}
	h.Boot(boot)
	return h, nil
}

// Boot boots the host: its TPM is reset unless this is the first boot.
func (h *Host) Boot(boot bootlog.Boot) {
	if h.boots > 0 {
		h.Reboot()
	}
	h.Replay(boot)
	h.BootID = fmt.Sprintf("00000000-0000-4000-8000-%012d", h.boots)
}

// Replay extends the PCRs by a boot and starts a new IMA list, without a reset
// and without a boot id of its own: what somebody does who emptied the PCRs.
func (h *Host) Replay(boot bootlog.Boot) {
	h.boots++
	h.Log = boot.Log()
	h.PCRs = h.Log.PCRs()
	h.List = bootlog.NewList(h.PCRs)
	h.List.Replay(&h.PCRs)
	h.Exec("/usr/bin/quorate-agent")
}

// Exec measures a program.
func (h *Host) Exec(path string) { h.Measure(bootlog.FileEntry(path, sha256.Sum256([]byte(path)))) }

// Measure adds an entry to the IMA list and extends PCR 10.
func (h *Host) Measure(e bootlog.Entry) {
	h.List.Entries = append(h.List.Entries, e)
	(&bootlog.List{Entries: []bootlog.Entry{e}}).Replay(&h.PCRs)
}

// Proof is what a host shows of its keys during enrolment.
type Proof struct {
	CreationData, CreationAttest, CreationSignature []byte // of the AK
	NodeKeyAttest, NodeKeySignature                 []byte
	ConsensusSignature                              []byte
}

// Certification fills in the host's own keys.
func (h *Host) Certification(c binding.Certification) binding.Certification {
	c.Node, c.AKName, c.NodeKey, c.ConsensusKey = h.ID, h.AK.Name(), h.NodeKey.SPKIDigest(), h.ConsensusKey()
	return c
}

// Prove certifies the host's keys for one enrolment.
func (h *Host) Prove(c binding.Certification) (p Proof, err error) {
	extra := make(map[binding.Purpose][]byte)
	for _, purpose := range []binding.Purpose{binding.PurposeAKCreation, binding.PurposeNodeKey, binding.PurposeConsensusKey} {
		q, err := c.QualifyingData(purpose)
		if err != nil {
			return p, fmt.Errorf("paperhost: %w", err)
		}
		extra[purpose] = q[:]
	}
	data := h.AKCreation()
	p.CreationData = data.Bytes()
	if p.CreationAttest, p.CreationSignature, err = h.Sign(h.CertifyCreation(data, extra[binding.PurposeAKCreation])); err != nil {
		return p, err
	}
	if p.NodeKeyAttest, p.NodeKeySignature, err = h.Sign(h.Certify(h.NodeKey, extra[binding.PurposeNodeKey])); err != nil {
		return p, err
	}
	p.ConsensusSignature = ed25519.Sign(h.Consensus, extra[binding.PurposeConsensusKey])
	return p, nil
}

// Answer is a quote with what belongs to it.
type Answer struct {
	Quote, Signature []byte
	PCRValues        [][]byte
	Challenges       []binding.Challenge
	BootLogDigest    [32]byte
	BootLog, IMA     []byte // whole
	BootID           string
}

// Ask is what a host answers. Bind and Alter let it lie: they change what the
// quote is bound to and the quote itself, both before the TPM signs.
type Ask struct {
	Ledger     binding.Ledger
	Challenges []binding.Challenge
	PCRs       []int
	Bind       func(*binding.Quote)   // nil: nothing
	Alter      func(*papertpm.Attest) // nil: nothing
}

// Answer quotes what the host is now.
func (h *Host) Answer(ask Ask) (Answer, error) {
	a := Answer{
		BootLog: h.Log.Bytes(), IMA: h.List.Bytes(), BootID: h.BootID,
		Challenges: ask.Challenges, PCRValues: h.PCRs.Values(ask.PCRs...),
	}
	a.BootLogDigest = sha256.Sum256(a.BootLog)
	bound := binding.Quote{
		Ledger: ask.Ledger, Node: h.ID, AKName: h.AK.Name(), NodeKey: h.NodeKey.SPKIDigest(), ConsensusKey: h.ConsensusKey(),
		BootLog: a.BootLogDigest, Challenges: ask.Challenges,
	}
	if ask.Bind != nil {
		ask.Bind(&bound)
	}
	extra, err := bound.QualifyingData()
	if err != nil {
		return a, fmt.Errorf("paperhost: %w", err)
	}
	quote := h.Quote(extra[:], ask.PCRs...)
	if ask.Alter != nil {
		ask.Alter(&quote)
	}
	a.Quote, a.Signature, err = h.Sign(quote)
	return a, err
}
