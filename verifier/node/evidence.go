package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// stamp cuts a time to what records hold: whole seconds of UTC.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// cloneSign returns why evidence cannot come from the TPM that gave the evidence
// on record, or "". A TPM's reset count, its restart count within a reset, and
// its clock within an epoch never decrease. A record without evidence, or whose
// quarantine was lifted, has zero counters, which nothing can be below.
func (r *Record) cloneSign(p Proof) string {
	switch c := p.Epoch.Compare(r.Epoch); {
	case c < 0:
		return fmt.Sprintf("boot epoch went back from %s to %s", r.Epoch, p.Epoch)
	case c == 0 && p.Clock.Milliseconds < r.Clock.Milliseconds:
		return fmt.Sprintf("TPM clock went back from %d to %d ms in epoch %s", r.Clock.Milliseconds, p.Clock.Milliseconds, r.Epoch)
	}
	return ""
}

func (r *Record) record(p Proof, now time.Time) {
	r.recordVerdict(p)
	r.recordTPM(p, now)
}

func (r *Record) recordTPM(p Proof, now time.Time) {
	r.Epoch, r.Clock, r.LastEvidence = p.Epoch, p.Clock, now
}

func (r *Record) recordVerdict(p Proof) {
	if !p.Evidence.IsZero() {
		r.Evidence = p.Evidence
	}
	if p.Policy != "" {
		r.Policy = p.Policy
	}
	r.Findings, r.Omitted = Trim(p.Findings)
}

// MaxFindings bounds the bytes of text in the findings that a record and a
// journal entry hold. The archived evidence gives all of them again.
const MaxFindings = 16 << 10

// Trim returns as many findings as MaxFindings allows, refusing ones before
// warnings, and how many it left out. Trimming twice changes nothing.
func Trim(findings []verdict.Finding) (kept []verdict.Finding, omitted int) {
	size := 0
	for _, severity := range []verdict.Severity{verdict.Deny, verdict.Warn} {
		for _, f := range findings {
			if f.Severity != severity {
				continue
			}
			size += len(f.Check) + len(f.Where) + len(f.Got) + len(f.Want) + len(f.Message) + len(f.Remedy)
			if size > MaxFindings {
				omitted++
				continue
			}
			kept = append(kept, f)
		}
	}
	return kept, omitted
}

func firstReason(findings []verdict.Finding) string {
	for _, f := range findings {
		if f.Severity == verdict.Deny {
			return verdict.Quote(f.String())
		}
	}
	return "evidence refused"
}

func (r *Record) waiting() string {
	if missing := r.Required - len(r.Approvals); missing > 0 {
		return fmt.Sprintf("waits for approval by %d of %d operators", missing, r.Required)
	}
	return "approved, waits for passing evidence"
}

func by(operator, reason string) string { return verdict.Quote(operator + ": " + reason) }

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func refuse(check verdict.CheckID, r Record, got string) error {
	return verdict.Refuse(check, "node "+r.ID+", "+r.State.String(), got, "")
}
