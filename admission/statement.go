package admission

import (
	"fmt"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Limits of statements.
const (
	MaxStatement = 4 << 10            // bytes of a signed admission
	MaxValidity  = 7 * 24 * time.Hour // longest time an admission may last
	MaxSkew      = 30 * time.Second   // how far in the future a statement's time may lie
)

// Epoch is a TPM's boot epoch. It changes whenever the host could have changed.
type Epoch struct {
	Reset   uint32 // resetCount
	Restart uint32 // restartCount
}

// String returns "resetCount/restartCount".
func (e Epoch) String() string {
	return strconv.FormatUint(uint64(e.Reset), 10) + "/" + strconv.FormatUint(uint64(e.Restart), 10)
}

// PolicyRef names a policy set.
type PolicyRef struct {
	Name   string
	Digest Digest
}

// String returns "name sha256:…".
func (p PolicyRef) String() string { return p.Name + " " + p.Digest.String() }

// Beacon is the block of the ledger that the verifier's challenge named: the
// evidence is younger than that block, which the ledger itself can judge without
// any clock. The zero Beacon means that the challenge named none.
type Beacon struct {
	Height uint64
	Hash   Digest // of the block's header
}

// IsZero reports whether no block was named.
func (b Beacon) IsZero() bool { return b == Beacon{} }

// String returns "height sha256:…", or "none".
func (b Beacon) String() string {
	if b.IsZero() {
		return none
	}
	return strconv.FormatUint(b.Height, 10) + " " + b.Hash.String()
}

// valid reports whether the beacon names a whole block or none.
func (b Beacon) valid() bool { return (b.Height == 0) == b.Hash.IsZero() }

// Statement is one verifier's admission of one node. It has one text: fixed
// fields, fixed order, one encoding of each value. The text names a test
// network in its third line.
type Statement struct {
	Consortium   string
	Test         bool
	Ledger       Ledger
	Node         string // node id
	Host         string // host id
	Role         string // what the node may do on the ledger: "validator"
	ConsensusKey string // "ed25519:<base64>", or empty if the node has none
	NodeKey      Digest // of the node key's SubjectPublicKeyInfo
	Policy       PolicyRef
	Evidence     Digest // of the archived evidence
	Epoch        Epoch
	Beacon       Beacon
	NotBefore    time.Time // UTC, whole seconds
	NotAfter     time.Time // UTC, whole seconds; not valid at this instant any more
	Verifier     string    // name of the verifier, and of the key that signs
	Serial       uint64    // the verifier's number of this admission, from 1
}

const statementHeader = "quorate/admission/v1"

// Marshal returns the statement's text. It refuses a statement that
// ParseStatement would refuse.
func (s Statement) Marshal() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	w := newText(statementHeader)
	w.field("consortium", s.Consortium)
	w.test(s.Test)
	w.field("ledger", s.Ledger.ID+" "+s.Ledger.Genesis.String())
	w.field("node", s.Node)
	w.field("host", s.Host)
	w.field("role", s.Role)
	w.field("consensus-key", orNone(s.ConsensusKey))
	w.field("node-key", s.NodeKey.String())
	w.field("policy", s.Policy.String())
	w.field("evidence", s.Evidence.String())
	w.field("epoch", s.Epoch.String())
	w.field("beacon", s.Beacon.String())
	w.field("not-before", formatTime(s.NotBefore))
	w.field("not-after", formatTime(s.NotAfter))
	w.field("verifier", s.Verifier)
	w.field("serial", strconv.FormatUint(s.Serial, 10))
	return w.bytes(), nil
}

// ParseStatement reads a statement's text, without signature. It accepts
// exactly the bytes that Marshal makes.
func ParseStatement(text []byte) (Statement, error) {
	r := readText(statementHeader, text)
	s := Statement{
		Consortium:   r.field("consortium"),
		Test:         r.test(),
		Ledger:       r.ledger("ledger"),
		Node:         r.field("node"),
		Host:         r.field("host"),
		Role:         r.field("role"),
		ConsensusKey: noneEmpty(r.field("consensus-key")),
		NodeKey:      r.digest("node-key"),
		Policy:       r.policy("policy"),
		Evidence:     r.digest("evidence"),
		Epoch:        r.epoch("epoch"),
		Beacon:       r.beacon("beacon"),
		NotBefore:    r.time("not-before"),
		NotAfter:     r.time("not-after"),
		Verifier:     r.field("verifier"),
		Serial:       r.number("serial"),
	}
	if err := r.end(); err != nil {
		return Statement{}, err
	}
	if err := sameBytes(s, text); err != nil {
		return Statement{}, err
	}
	return s, nil
}

// sameBytes is the last word on "one encoding": whatever the field parsers
// accept, only the bytes that Marshal makes are a statement.
func sameBytes(s Statement, text []byte) error {
	again, err := s.Marshal()
	if err != nil {
		return err
	}
	if string(again) != string(text) {
		return refuse(Malformed, "", "text that is not its own canonical form", "canonical text")
	}
	return nil
}

// validate checks each field by itself and the order of the two times.
func (s Statement) validate() error {
	consensus := s.ConsensusKey == ""
	if !consensus {
		_, err := ParseConsensusKey(s.ConsensusKey)
		consensus = err == nil
	}
	for _, f := range []struct {
		ok         bool
		name, text string
	}{
		{ValidLabel(s.Consortium), "consortium", s.Consortium},
		{ValidToken(s.Ledger.ID), "ledger", s.Ledger.ID},
		{!s.Ledger.Genesis.IsZero(), "ledger", "no genesis digest"},
		{ValidNodeID(s.Node), "node", s.Node},
		{ValidHostID(s.Host), "host", s.Host},
		{ValidLabel(s.Role), "role", s.Role},
		{consensus, "consensus-key", s.ConsensusKey},
		{!s.NodeKey.IsZero(), "node-key", "no digest"},
		{ValidToken(s.Policy.Name) && !s.Policy.Digest.IsZero(), "policy", s.Policy.String()},
		{!s.Evidence.IsZero(), "evidence", "no digest"},
		{s.Beacon.valid(), "beacon", s.Beacon.String()},
		{wholeSecond(s.NotBefore), "not-before", s.NotBefore.String()},
		{wholeSecond(s.NotAfter), "not-after", s.NotAfter.String()},
		{s.NotBefore.Before(s.NotAfter), "not-after", "not later than not-before"},
		{s.NotAfter.Sub(s.NotBefore) <= MaxValidity, "not-after", "more than " + MaxValidity.String() + " after not-before"},
		{ValidVerifierName(s.Verifier), "verifier", s.Verifier},
		{s.Serial > 0, "serial", "0"},
	} {
		if !f.ok {
			return refuse(Malformed, f.name, f.text, "")
		}
	}
	return nil
}

// Sign returns the statement as a signed note: the bytes that enter the journal
// and that a node carries. The signer must have the name of the statement's
// verifier.
func (s Statement) Sign(signer note.Signer) ([]byte, error) {
	text, err := s.Marshal()
	if err != nil {
		return nil, err
	}
	if signer.Name() != s.Verifier {
		return nil, fmt.Errorf("admission: key %q cannot sign for verifier %q", signer.Name(), s.Verifier)
	}
	return signText(text, signer)
}
