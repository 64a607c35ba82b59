// Package binding derives the bytes that an agent and a verifier must compute
// alike: the qualifying data of quotes and of key certifications. The TPM signs
// them, so whatever goes in is what the TPM's signature vouches for.
//
// Every field is preceded by its length (8 bytes, big endian), so no two
// different inputs give the same bytes. testdata/vectors.json holds golden
// vectors for other implementations.
package binding

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Labels separate the purposes of signed digests. A change to the fields of a
// structure changes its label.
const (
	quoteLabel    = "quorate/quote/v1"
	certifyLabel  = "quorate/certify/v1"
	ExporterLabel = "EXPORTER-quorate-v1" // label of the TLS exporter (RFC 8446, section 7.5); 32 bytes, no context
	MaxChallenges = 16                    // verifiers that one quote may answer
	NonceSize     = 32                    // bytes of a nonce
	ExporterSize  = 32                    // bytes of a TLS exporter value
)

// Ledger names the ledger that a proof is for.
type Ledger struct {
	Consortium string   // name in the consortium file
	ChainID    string   // ledger id
	Genesis    [32]byte // SHA-256 of the genesis document
}

// Beacon is a recent block of the ledger. The zero Beacon means none was given.
type Beacon struct {
	Height uint64
	Hash   [32]byte
}

// Challenge is one verifier's open challenge as the quote carries it.
type Challenge struct {
	Verifier string   // the verifier's name in the consortium file
	Nonce    [32]byte // made by that verifier for this challenge
	Exporter [32]byte // TLS exporter of the agent's connection with that verifier
	Beacon   Beacon   // block the verifier named, if any
}

// Compare orders challenges by verifier name, then nonce: the order in which a
// quote carries them.
func (c Challenge) Compare(d Challenge) int {
	return cmp.Or(cmp.Compare(c.Verifier, d.Verifier), bytes.Compare(c.Nonce[:], d.Nonce[:]))
}

// Quote is everything that a quote vouches for beside the PCRs.
type Quote struct {
	Ledger       Ledger
	Node         string   // node id, "org-a/validator-1"
	AKName       []byte   // TPM name of the attestation key
	NodeKey      [32]byte // SHA-256 of the node key's SubjectPublicKeyInfo
	ConsensusKey string   // "ed25519:<base64>" or empty
	BootLog      [32]byte // SHA-256 of the boot log as sent
	Challenges   []Challenge
}

// QualifyingData returns the 32 bytes that the quote's extraData must hold. The
// challenges must be non-empty, at most MaxChallenges, sorted, and of distinct
// verifiers.
func (q Quote) QualifyingData() ([32]byte, error) {
	if err := checkChallenges(q.Challenges); err != nil {
		return [32]byte{}, err
	}
	w := newWriter(quoteLabel)
	w.ledger(q.Ledger)
	w.field([]byte(q.Node))
	w.field(q.AKName)
	w.field(q.NodeKey[:])
	w.field([]byte(q.ConsensusKey))
	w.field(q.BootLog[:])
	w.number(uint64(len(q.Challenges)))
	for _, c := range q.Challenges {
		w.challenge(c)
	}
	return w.sum(), nil
}

func checkChallenges(list []Challenge) error {
	if len(list) == 0 {
		return errors.New("binding: a quote answers at least one challenge")
	}
	if len(list) > MaxChallenges {
		return fmt.Errorf("binding: %d challenges, at most %d", len(list), MaxChallenges)
	}
	for i, c := range list {
		if c.Verifier == "" || c.Nonce == [32]byte{} {
			return fmt.Errorf("binding: challenge %d lacks a verifier or a nonce", i)
		}
		if i > 0 && list[i-1].Verifier >= c.Verifier {
			return errors.New("binding: challenges are not sorted by distinct verifiers")
		}
	}
	return nil
}

// SortChallenges puts challenges into the order that a quote carries.
func SortChallenges(list []Challenge) { slices.SortFunc(list, Challenge.Compare) }

// Certification is what the attestation key vouches for during enrolment.
type Certification struct {
	Ledger       Ledger
	Verifier     string   // the verifier being enrolled with
	Node         string   // node id asked for
	AKName       []byte   // TPM name of the attestation key
	NodeKey      [32]byte // SHA-256 of the node key's SubjectPublicKeyInfo
	ConsensusKey string   // "ed25519:<base64>" or empty
	Nonce        [32]byte // made by the verifier for this enrolment
	Exporter     [32]byte // TLS exporter of the enrolment's connection
}

// Purpose says which key certification a qualifying data belongs to.
type Purpose string

// The purposes of certifications. A structure made for one is refused for another.
const (
	PurposeAKCreation   Purpose = "ak-creation"   // TPM2_CertifyCreation of the attestation key, by itself
	PurposeNodeKey      Purpose = "node-key"      // TPM2_Certify of the node key, by the attestation key
	PurposeConsensusKey Purpose = "consensus-key" // signature by the consensus key over these bytes
)

// QualifyingData returns the 32 bytes that the certification's extraData must
// hold, or that the consensus key signs.
func (c Certification) QualifyingData(p Purpose) ([32]byte, error) {
	if c.Verifier == "" || c.Node == "" || c.Nonce == [32]byte{} {
		return [32]byte{}, errors.New("binding: a certification needs a verifier, a node and a nonce")
	}
	w := newWriter(certifyLabel)
	w.field([]byte(p))
	w.ledger(c.Ledger)
	w.field([]byte(c.Verifier))
	w.field([]byte(c.Node))
	w.field(c.AKName)
	w.field(c.NodeKey[:])
	w.field([]byte(c.ConsensusKey))
	w.field(c.Nonce[:])
	w.field(c.Exporter[:])
	return w.sum(), nil
}

// writer hashes length-prefixed fields.
type writer struct{ buf []byte }

func newWriter(label string) *writer {
	w := &writer{buf: make([]byte, 0, 1024)}
	w.field([]byte(label))
	return w
}

func (w *writer) field(b []byte) {
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(len(b)))
	w.buf = append(w.buf, b...)
}

func (w *writer) number(n uint64) { w.field(binary.BigEndian.AppendUint64(nil, n)) }

func (w *writer) ledger(l Ledger) {
	w.field([]byte(l.Consortium))
	w.field([]byte(l.ChainID))
	w.field(l.Genesis[:])
}

func (w *writer) challenge(c Challenge) {
	w.field([]byte(c.Verifier))
	w.field(c.Nonce[:])
	w.field(c.Exporter[:])
	w.number(c.Beacon.Height)
	w.field(c.Beacon.Hash[:])
}

func (w *writer) sum() [32]byte { return sha256.Sum256(w.buf) }
