// Package permit decides whether a node's consensus key may sign now. It takes
// what the signer last saw and the time, and touches nothing.
package permit

import (
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/admission"
)

// CheckID names one reason for which the key does not sign. Identifiers are
// stable.
type CheckID string

// The checks, in their order.
const (
	Sealed      CheckID = "signer.sealed"       // the TPM has not released the key
	Blind       CheckID = "signer.blind"        // the TPM was not asked lately
	Moved       CheckID = "signer.moved"        // PCRs are no longer as approved
	Unsaved     CheckID = "signer.unsaved"      // what was signed last could not be written down
	Suspended   CheckID = "signer.suspended"    // so many verifiers refuse the host that the others are too few
	NoAdmission CheckID = "signer.no-admission" // no bundle stands for this host and key
	Lapsed      CheckID = "signer.lapsed"       // the admission has ended
)

// MaxBlind is how long the last look at the PCRs counts. A TPM that is busy for
// a moment stops nothing.
const MaxBlind = 30 * time.Second

// Refusal says why the key does not sign.
type Refusal struct {
	Check  CheckID `json:"check"`
	Got    string  `json:"got,omitempty"`
	Want   string  `json:"want,omitempty"`
	Remedy string  `json:"remedy,omitempty"`
}

// Error prints the refusal on one line.
func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString(string(r.Check))
	for _, part := range []struct{ label, text string }{{": got ", r.Got}, {", want ", r.Want}, {"; ", r.Remedy}} {
		if part.text != "" {
			b.WriteString(part.label + part.text)
		}
	}
	return b.String()
}

// Facts are what the signer saw. The zero value permits nothing.
type Facts struct {
	Released  bool   // the key is in memory
	Withheld  string // why it is not, if known
	Measured  bool   // the PCRs were as approved when last looked at
	Looked    time.Time
	Saved     bool // the last signature is on disk
	Admission *admission.Admission
	Unusable  string // why there is no Admission, if known
	Standing  Standing
	Ledger    Ledger
	Good      time.Time // when the host last was admitted; zero if not since the start
}

// Ledger is what the gate beside the node says of the key. The zero value says
// nothing.
type Ledger struct {
	Asked time.Time // when the gate answered
	Power int64     // that consensus gives to the key
	Keeps bool      // the gate holds the key's lapse back, or lets nobody go
}

// A gate's answer counts for a moment. Judging is how long the ledger may take to
// decide about a host that is no longer admitted: to take its power away, to hold
// its lapse back because verifiers are down, or to freeze its set because too many
// are in that case. Held is how long a host may sign for a ledger that keeps it at
// most, after it was admitted last.
const (
	maxAnswerAge = 5 * time.Second
	Judging      = 10 * time.Second
	Held         = 12 * time.Hour
)

// needs reports whether the ledger counts on the key of a host that is no longer
// admitted, and was until good: it has had no time to judge, or keeps the key in its
// set because verifiers are down or too few of it are admitted. A ledger that goes on without the key needs
// it for nothing.
//
// Time to judge matters most. If all signers refused in one moment, no vote would
// be left to carry the block in which the gate freezes its set, and a node does
// not ask again for a vote that was refused.
func (l Ledger) needs(good, now time.Time) bool {
	asked := l.Power > 0 && now.Sub(l.Asked) <= maxAnswerAge
	since := now.Sub(good)
	return asked && (since <= Judging || l.Keeps && since <= Held)
}

// Verdicts are the verifiers' last decisions about this host, as its agent
// heard them.
type Verdicts struct {
	Verifiers int // of the consortium
	Needed    int // k
	Admit     int // verifiers whose last verdict admitted
	Refuse    int // verifiers whose last verdict did not
	Reason    string
}

// Standing remembers a suspension until enough verifiers admit the host again:
// an agent that starts anew knows no verdicts, and is no better for it.
type Standing struct {
	Suspended bool   `json:"suspended"`
	Reason    string `json:"reason,omitempty"`
}

// Next returns the standing after the agent's latest verdicts. A host is
// suspended while so many verifiers refuse it that too few are left to admit it:
// one of them alone cannot stop it, and neither does an outage of any number.
func (s Standing) Next(v Verdicts) Standing {
	switch {
	case v.Needed < 1:
		return Standing{true, "no verifiers"}
	case v.Refuse > v.Verifiers-v.Needed:
		return Standing{true, v.Reason}
	case v.Admit >= v.Needed:
		return Standing{}
	}
	return s
}

// Decide returns nil if the key may sign, or the first reason why not.
func Decide(f Facts, now time.Time) *Refusal {
	switch {
	case !f.Released:
		return &Refusal{Sealed, f.Withheld, "a key that the TPM released", "mend what is named; the signer goes on trying"}
	case now.Sub(f.Looked) > MaxBlind || f.Looked.After(now.Add(MaxBlind)):
		return &Refusal{Blind, "PCRs last read at " + f.Looked.Format(time.RFC3339), fmt.Sprintf("within %s", MaxBlind), "see that the TPM answers"}
	case !f.Measured:
		return &Refusal{Moved, "PCRs other than approved", "the state in which the key was released", "reboot the host into an approved system"}
	case !f.Saved:
		return &Refusal{Unsaved, "the signing state could not be written", "a state directory with room", "free space in the state directory"}
	}
	refusal := Admitted(f, now)
	if refusal != nil && f.Ledger.needs(f.Good, now) {
		return nil
	}
	return refusal
}

// Admitted returns nil if verifiers admit the host, or why not.
func Admitted(f Facts, now time.Time) *Refusal {
	switch {
	case f.Standing.Suspended:
		return &Refusal{Suspended, f.Standing.Reason, "verdicts of enough verifiers that admit", "see `quorate-agent status`; mend what it names and reboot"}
	case f.Admission == nil:
		return &Refusal{NoAdmission, f.Unusable, "a bundle for this host and key", "see `quorate-agent status`"}
	case !f.Admission.ValidAt(now):
		return &Refusal{Lapsed, "an admission until " + f.Admission.NotAfter().Format(time.RFC3339), "one that stands",
			"see why the agent could not renew it: `quorate-agent status`"}
	}
	return nil
}
