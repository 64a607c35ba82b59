package node

import (
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// Event is something that happens to a node: one of the types of this file.
type Event interface{ event() }

// Proof is what authentic evidence says beside the verdict on it.
type Proof struct {
	Epoch    verdict.Epoch // boot epoch of the quote
	Clock    Clock         // clock of the quote
	Evidence Digest        // archived evidence; zero keeps the digest on record
	Policy   string        // policy of the verdict, "validators sha256:…"
	Findings []verdict.Finding
}

// Passed reports evidence that is authentic and that the policy accepts.
type Passed struct {
	Proof
	LateAfter time.Duration // how long the proof counts as fresh; more than 0
}

// Refused reports evidence that the verifier refused.
type Refused struct {
	Proof
	// Authentic is set when the quote verified and only the policy refused it.
	// Otherwise Epoch and Clock are claims, and are not recorded.
	Authentic bool
}

// Tick reports that time passed. It makes an admitted node late, nothing else.
type Tick struct{}

// Issued reports that an admission was signed and is in the journal.
type Issued struct {
	Serial   uint64    // higher than the node's last
	NotAfter time.Time // end of its validity, later than now
	Index    uint64    // its journal index
}

// Approved reports an operator's approval of the enrolment.
type Approved struct{ By string }

// SuspendedByOperator reports that an operator suspended the node.
type SuspendedByOperator struct{ By, Reason string }

// Resumed reports that an operator wants a suspension or a quarantine lifted.
type Resumed struct{ By, Reason string }

// RetiredByOperator reports that an operator retired the node, for ever.
type RetiredByOperator struct{ By, Reason string }

// CloneSign reports a reason to doubt that there is one host with this
// identity: two live sessions, a counter that went back, a fork.
type CloneSign struct{ Reason string }

func (Passed) event()              {}
func (Refused) event()             {}
func (Tick) event()                {}
func (Issued) event()              {}
func (Approved) event()            {}
func (SuspendedByOperator) event() {}
func (Resumed) event()             {}
func (RetiredByOperator) event()   {}
func (CloneSign) event()           {}
