package node

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// Identity is what enrolment binds together. No event changes it: a host that
// shows another EK, AK or node key is another node.
type Identity struct {
	ID            string `json:"id"`                     // "<member>/<name>", unique for ever
	Role          string `json:"role"`                   // "validator"
	HostID        string `json:"hostId"`                 // lower hex SHA-256 of the EK's SubjectPublicKeyInfo
	EKCertificate Digest `json:"ekCertificate,omitzero"` // of the certificate's DER
	AK            []byte `json:"ak"`                     // TPMT_PUBLIC as enrolled
	AKName        []byte `json:"akName"`                 // TPM name of the AK: algorithm (2 bytes) and digest
	NodeKey       Digest `json:"nodeKey"`                // of the node key's SubjectPublicKeyInfo
	NodeKeyPublic []byte `json:"nodeKeyPublic"`          // TPMT_PUBLIC as enrolled
	ConsensusKey  string `json:"consensusKey,omitempty"` // "ed25519:<base64>", or none
	TPMClass      string `json:"tpmClass"`               // "discrete", "firmware", "virtual"
	TPMVendor     string `json:"tpmVendor"`              // as the EK certificate names it
	TPMModel      string `json:"tpmModel,omitempty"`     // as the EK certificate names it
	TPMTest       bool   `json:"tpmTest,omitempty"`      // the EK chains to a test root
}

// Equal reports whether two identities agree in every field.
func (i Identity) Equal(j Identity) bool {
	return i.ID == j.ID && i.Role == j.Role && i.HostID == j.HostID &&
		i.EKCertificate == j.EKCertificate && bytes.Equal(i.AK, j.AK) &&
		bytes.Equal(i.AKName, j.AKName) && i.NodeKey == j.NodeKey &&
		bytes.Equal(i.NodeKeyPublic, j.NodeKeyPublic) && i.ConsensusKey == j.ConsensusKey &&
		i.TPMClass == j.TPMClass && i.TPMVendor == j.TPMVendor &&
		i.TPMModel == j.TPMModel && i.TPMTest == j.TPMTest
}

func (i Identity) validate() error {
	for _, field := range []struct {
		name  string
		empty bool
	}{
		{"id", i.ID == ""}, {"role", i.Role == ""}, {"AK", len(i.AK) == 0},
		{"AK name", len(i.AKName) == 0}, {"node key", i.NodeKey.IsZero()},
		{"node key public area", len(i.NodeKeyPublic) == 0},
	} {
		if field.empty {
			return fmt.Errorf("node: identity without %s", field.name)
		}
	}
	if !isLowerHex(i.HostID, 64) {
		return fmt.Errorf("node: host id %q is not 64 lower-case hex digits", i.HostID)
	}
	if !slices.Contains([]string{"discrete", "firmware", "virtual"}, i.TPMClass) {
		return fmt.Errorf("node: unknown TPM class %q", i.TPMClass)
	}
	return nil
}

func isLowerHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Clock is the TPM's own account of time, from the last authentic quote.
type Clock struct {
	Milliseconds uint64 `json:"milliseconds"`       // TPMS_CLOCK_INFO.clock; never goes back within a boot epoch
	Safe         bool   `json:"safe"`               // TPMS_CLOCK_INFO.safe
	Firmware     uint64 `json:"firmware,omitempty"` // TPM firmware version
}

// Record is everything a verifier remembers about a node. Only Next changes
// its life; a store keeps it as given. Times are UTC, cut to seconds.
type Record struct {
	Identity

	State       State    `json:"state"`
	Reason      string   `json:"reason,omitempty"`      // why it is in this state, for people
	Approvals   []string `json:"approvals,omitempty"`   // distinct operators who approved the enrolment
	Required    int      `json:"required"`              // approvals that it takes; at least 1
	Predecessor string   `json:"predecessor,omitempty"` // retired node that had the same TPM

	// Latch holds a suspension until its condition is met; see Next.
	LatchEpoch    verdict.Epoch `json:"latchEpoch,omitzero"`    // epoch of the refusal: only a pass in a later one clears it
	LatchedBy     string        `json:"latchedBy,omitempty"`    // operator who suspended: only an operator clears it
	Releases      []string      `json:"releases,omitempty"`     // distinct operators who want the quarantine lifted
	FirstAdmitted time.Time     `json:"firstAdmitted,omitzero"` // when it was first admitted; zero if never

	Epoch        verdict.Epoch     `json:"epoch,omitzero"`            // of the last authentic evidence
	Clock        Clock             `json:"clock,omitzero"`            // of the last authentic evidence
	Enrolled     time.Time         `json:"enrolled"`                  // time of enrolment
	Changed      time.Time         `json:"changed"`                   // last change of State
	LastEvidence time.Time         `json:"lastEvidence,omitzero"`     // last authentic evidence, whatever its verdict
	LastPass     time.Time         `json:"lastPass,omitzero"`         // last evidence that passed
	FreshUntil   time.Time         `json:"freshUntil,omitzero"`       // after this the node is late
	Evidence     Digest            `json:"evidence,omitzero"`         // last archived evidence
	Accepted     Digest            `json:"acceptedEvidence,omitzero"` // last evidence that admitted the node
	Policy       string            `json:"policy,omitempty"`          // of the last verdict: "validators sha256:…"
	Findings     []verdict.Finding `json:"findings,omitempty"`        // of the last verdict, trimmed
	Omitted      int               `json:"omittedFindings,omitempty"` // findings that trimming left out

	Serial         uint64    `json:"serial,omitempty"`         // of the last admission; 0 if none
	NotAfter       time.Time `json:"notAfter,omitzero"`        // of the last admission
	AdmissionIndex uint64    `json:"admissionIndex,omitempty"` // journal index of the last admission
	JournalIndex   uint64    `json:"journalIndex"`             // journal entry that justifies the state
	Version        uint64    `json:"version"`                  // counts stored changes, for optimistic updates
}

// Approved reports whether enough operators approved the enrolment.
func (r Record) Approved() bool { return r.Required > 0 && len(r.Approvals) >= r.Required }

// Validate checks that the record is one that New and Next can have made.
// Stores call it on what they read, so that a damaged row denies one node.
func (r Record) Validate() error {
	if err := r.Identity.validate(); err != nil {
		return err
	}
	switch {
	case r.State > Quarantined:
		return fmt.Errorf("node: state %d does not exist", r.State)
	case r.Required < 1:
		return fmt.Errorf("node: %s needs %d approvals, want at least 1", r.ID, r.Required)
	case hasDuplicates(r.Approvals) || hasDuplicates(r.Releases):
		return fmt.Errorf("node: %s counts one operator twice", r.ID)
	case r.Enrolled.IsZero() || r.Changed.IsZero():
		return fmt.Errorf("node: %s without time of enrolment or change", r.ID)
	case r.State == Admitted || r.State == Late:
		return r.validateAdmitted()
	}
	return nil
}

func (r Record) validateAdmitted() error {
	if !r.Approved() || r.LastPass.IsZero() || r.FreshUntil.IsZero() || r.Accepted.IsZero() {
		return fmt.Errorf("node: %s is %s without approval and passing evidence", r.ID, r.State)
	}
	return nil
}

func hasDuplicates(names []string) bool {
	for i, n := range names {
		if n == "" || slices.Contains(names[:i], n) {
			return true
		}
	}
	return false
}

// clone returns a copy that shares no memory a caller could change.
func (r Record) clone() Record {
	r.Approvals = slices.Clone(r.Approvals)
	r.Releases = slices.Clone(r.Releases)
	r.Findings = slices.Clone(r.Findings)
	return r
}
