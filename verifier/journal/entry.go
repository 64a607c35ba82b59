package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/values"
	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/verdict"
)

// Type names what an entry is. Its first line is "quorate/<type>/v1".
type Type string

// The types of entries. Those from TypeEnrolment to TypeQuarantine are changes
// of one node and share the body Change.
const (
	TypeGenesis          Type = "genesis"
	TypeInvitation       Type = "invitation"
	TypeEnrolment        Type = "enrolment"
	TypeApproval         Type = "approval"
	TypeVerdict          Type = "verdict"
	TypeSuspension       Type = "suspension"
	TypeResumption       Type = "resumption"
	TypeRetirement       Type = "retirement"
	TypeQuarantine       Type = "quarantine"
	TypeAdmission        Type = "admission"
	TypePolicy           Type = "policy"
	TypePolicyApproval   Type = "policy-approval"
	TypePolicyActivation Type = "policy-activation"
	TypeRoster           Type = "roster"
	TypeGrant            Type = "grant"
)

// Body is the content of an entry: one of the types of this file.
type Body interface {
	// Type returns the entry's type.
	Type() Type
	// times returns every time in the body; they are UTC in whole seconds.
	times() []time.Time
}

// Genesis is the first entry of every journal.
type Genesis struct {
	At         time.Time `json:"at"`
	Verifier   string    `json:"verifier"`   // whose journal this is
	Consortium string    `json:"consortium"` // the consortium file, byte for byte
}

// Invitation says that an operator invited a host. The token is not in it.
type Invitation struct {
	At          time.Time   `json:"at"`
	Token       node.Digest `json:"token"` // SHA-256 of the join token
	Node        string      `json:"node"`
	Role        string      `json:"role"`
	PreApproved bool        `json:"preApproved"`
	By          string      `json:"by"`
	NotAfter    time.Time   `json:"notAfter"`
}

// Change says what happened to a node, and holds the record as it is after it.
// So every row of a store can be checked against one entry: the one whose index
// it carries.
//
// Within the entry, the record's JournalIndex is that of the change it follows,
// as node.Next left it; 0 for an enrolment. A change that follows an older one
// than the last voids what is between: the verifier was told that appending
// those had failed, and never acted on them.
type Change struct {
	Kind     Type              `json:"-"` // TypeEnrolment … TypeQuarantine
	At       time.Time         `json:"at"`
	By       string            `json:"by,omitempty"`       // operator, for what operators do
	Reason   string            `json:"reason,omitempty"`   // the operator's, or the sign of a copy
	Invite   node.Digest       `json:"invite,omitzero"`    // token that the enrolment consumed
	Decision *verdict.Decision `json:"decision,omitempty"` // for TypeVerdict
	Node     node.Record       `json:"node"`               // Version is 0, JournalIndex that of the change before
}

// Admission is an admission as the verifier signed it. The entry is the signed
// note itself, so that its inclusion proof is a proof of the bytes that a node
// carries. Parse does not verify the signature.
type Admission struct {
	Note      []byte
	Statement admission.Statement
}

// Policy says that a policy set was proposed. Its files are in the archive.
type Policy struct {
	At        time.Time     `json:"at"`
	Digest    node.Digest   `json:"digest"` // of the set
	Name      string        `json:"name"`
	Version   uint64        `json:"version"`
	Roles     []string      `json:"roles"`
	Policy    node.Digest   `json:"policy"`    // archived policy file
	Manifests []node.Digest `json:"manifests"` // archived manifests
}

// PolicyApproval is one operator's signed approval of a policy set.
type PolicyApproval struct {
	At       time.Time   `json:"at"`
	Digest   node.Digest `json:"digest"` // of the set
	Operator string      `json:"operator"`
	Member   string      `json:"member"`
	Note     string      `json:"note"` // signed note over the digest
}

// PolicyActivation says that a policy set took effect for a role.
type PolicyActivation struct {
	At     time.Time   `json:"at"`
	Digest node.Digest `json:"digest"` // of the set
	Role   string      `json:"role"`
}

// Roster says that a roster was signed. The roster is in the archive.
type Roster struct {
	At     time.Time   `json:"at"`
	Number uint64      `json:"number"`
	Digest node.Digest `json:"digest"` // archived signed note
}

// Grant says that the verifier granted one release of a node's sealed consensus
// key. It is written before the grant leaves; its signature is over these fields,
// see binding.Grant.
type Grant struct {
	At           time.Time `json:"at"`
	Node         string    `json:"node"`
	ConsensusKey string    `json:"consensusKey"`
	Nonce        []byte    `json:"nonce"`   // the TPM's
	Seconds      uint32    `json:"seconds"` // valid, from when the TPM made the nonce
	Serial       uint64    `json:"serial"`  // of the admission that stood
	Follows      uint64    `json:"follows"` // entry of the change that left the node admitted
}

// Type returns TypeGenesis.
func (Genesis) Type() Type { return TypeGenesis }

// Type returns TypeInvitation.
func (Invitation) Type() Type { return TypeInvitation }

// Type returns the kind of change.
func (c Change) Type() Type { return c.Kind }

// Type returns TypeAdmission.
func (Admission) Type() Type { return TypeAdmission }

// Type returns TypePolicy.
func (Policy) Type() Type { return TypePolicy }

// Type returns TypePolicyApproval.
func (PolicyApproval) Type() Type { return TypePolicyApproval }

// Type returns TypePolicyActivation.
func (PolicyActivation) Type() Type { return TypePolicyActivation }

// Type returns TypeRoster.
func (Roster) Type() Type { return TypeRoster }

// Type returns TypeGrant.
func (Grant) Type() Type { return TypeGrant }

func (g Grant) times() []time.Time            { return []time.Time{g.At} }
func (g Genesis) times() []time.Time          { return []time.Time{g.At} }
func (i Invitation) times() []time.Time       { return []time.Time{i.At, i.NotAfter} }
func (Admission) times() []time.Time          { return nil }
func (p Policy) times() []time.Time           { return []time.Time{p.At} }
func (p PolicyApproval) times() []time.Time   { return []time.Time{p.At} }
func (p PolicyActivation) times() []time.Time { return []time.Time{p.At} }
func (r Roster) times() []time.Time           { return []time.Time{r.At} }
func (c Change) times() []time.Time {
	n := c.Node
	return []time.Time{c.At, n.Enrolled, n.Changed, n.FirstAdmitted, n.LastEvidence, n.LastPass, n.FreshUntil, n.NotAfter}
}

// Format returns an entry's bytes: the type's line, then one line of JSON. A
// body has one encoding. Times are cut to seconds of UTC by the caller; others
// are an error, as is an entry of more than MaxEntry bytes.
func Format(b Body) ([]byte, error) {
	if a, ok := b.(Admission); ok {
		_, err := Parse(a.Note)
		return a.Note, err
	}
	if c, ok := b.(Change); ok {
		c.Node.Version = 0
		b = c
	}
	if err := check(b); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	buf.WriteString(firstLine(b.Type()))
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(b); err != nil {
		return nil, fmt.Errorf("journal: format %s: %w", b.Type(), err)
	}
	if buf.Len() > MaxEntry {
		return nil, fmt.Errorf("%w: %s of %d bytes", ErrTooLarge, b.Type(), buf.Len())
	}
	return buf.Bytes(), nil
}

func firstLine(t Type) string { return "quorate/" + string(t) + "/v1\n" }

// Parse reads an entry. It accepts exactly what Format returns: no other
// spelling of the same content, no unknown field, nothing after it.
func Parse(entry []byte) (Body, error) {
	if len(entry) > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(entry))
	}
	line, rest, found := bytes.Cut(entry, []byte("\n"))
	name, prefixed := strings.CutPrefix(string(line), "quorate/")
	name, suffixed := strings.CutSuffix(name, "/v1")
	if !found || !prefixed || !suffixed {
		return nil, errors.New("journal: entry does not begin with quorate/<type>/v1")
	}
	if Type(name) == TypeAdmission {
		return parseAdmission(entry)
	}
	b, err := decode(Type(name), rest)
	if err != nil {
		return nil, fmt.Errorf("journal: parse %.32q: %w", name, err)
	}
	if again, err := Format(b); err != nil || !bytes.Equal(again, entry) {
		return nil, errors.Join(fmt.Errorf("journal: %s entry is not in canonical form", b.Type()), err)
	}
	return b, nil
}

func decode(t Type, data []byte) (Body, error) {
	switch t {
	case TypeGenesis:
		return decodeAs[Genesis](data)
	case TypeInvitation:
		return decodeAs[Invitation](data)
	case TypePolicy:
		return decodeAs[Policy](data)
	case TypePolicyApproval:
		return decodeAs[PolicyApproval](data)
	case TypePolicyActivation:
		return decodeAs[PolicyActivation](data)
	case TypeRoster:
		return decodeAs[Roster](data)
	case TypeGrant:
		return decodeAs[Grant](data)
	}
	if !t.changesNode() {
		return nil, errors.New("unknown type of entry")
	}
	c, err := decodeAs[Change](data)
	c.Kind = t
	return c, err
}

// costOfValue is what a value costs that is decoded and encoded again, in bytes: the
// dearest is an empty finding. The bound that follows lies beyond every entry with
// node.MaxFindings.
const costOfValue = 500

func decodeAs[B Body](data []byte) (b B, err error) {
	if err := values.CheckJSON(data, costOfValue); err != nil {
		return b, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&b); err != nil {
		return b, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return b, errors.New("data after the entry")
	}
	return b, nil
}

func (t Type) changesNode() bool {
	switch t {
	case TypeEnrolment, TypeApproval, TypeVerdict, TypeSuspension, TypeResumption, TypeRetirement, TypeQuarantine:
		return true
	}
	return false
}

func check(b Body) error {
	for _, t := range b.times() {
		if t.Location() != time.UTC || t.Nanosecond() != 0 || t.Year() < 1 || t.Year() > 9999 {
			return fmt.Errorf("journal: %s: time %s is not in whole seconds of UTC", b.Type(), t)
		}
	}
	c, ok := b.(Change)
	if !ok {
		return nil
	}
	switch {
	case !c.Kind.changesNode():
		return fmt.Errorf("journal: %q is no change of a node", c.Kind)
	case (c.Kind == TypeVerdict) != (c.Decision != nil):
		return fmt.Errorf("journal: %s: decision missing or out of place", c.Kind)
	}
	return c.Node.Validate()
}

// parseAdmission takes the note apart without verifying its signatures.
func parseAdmission(entry []byte) (Body, error) {
	_, err := note.Open(entry, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	if !errors.As(err, &unverified) {
		return nil, fmt.Errorf("journal: admission: %w", err)
	}
	statement, err := admission.ParseStatement([]byte(unverified.Note.Text))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return Admission{Note: entry, Statement: statement}, nil
}
