// Package appraise decides whether verified evidence is acceptable: a policy
// set, evidence, history and time go in, a verdict comes out.
//
// Authenticity is settled before: only evidence.Verify makes the value that
// Appraise takes. Where authenticity stops at the first failure, acceptability
// reports every finding, so that an operator mends them in one go.
//
// The package is pure and deterministic: same inputs, same verdict, on every
// machine.
package appraise

import (
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// TPM is what enrolment established about the node's TPM.
type TPM struct {
	Class  string `json:"class"`  // "discrete", "firmware" or "virtual"
	Vendor string `json:"vendor"` // TCG vendor identifier, "STM"
	Model  string `json:"model"`  //
}

// History is what a verifier remembers about a node between appraisals. It is
// small, serialisable, and part of the record of a decision. The zero value
// with the TPM filled in is right for a node never appraised before.
//
// Results are reused only while policy set, its statuses in force, boot epoch
// and boot log are the same. Anything else judges everything again.
type History struct {
	TPM      TPM               `json:"tpm"`
	At       time.Time         `json:"at"`       // time of the last appraisal, zero if none
	Firmware uint64            `json:"firmware"` // TPM firmware version last seen, 0 if none
	Set      [32]byte          `json:"set"`      // digest of the policy set that was applied
	Stage    int               `json:"stage"`    // manifest status changes that were in force, see policy.Set.Stage
	Epoch    verdict.Epoch     `json:"epoch"`    // boot epoch of what follows
	BootLog  [32]byte          `json:"bootLog"`  // SHA-256 of the boot log that was judged
	Boot     []verdict.Finding `json:"boot"`     // what was found in it
	Passed   []verdict.CheckID `json:"passed"`   // checks of the boot that found nothing
	Judged   uint64            `json:"judged"`   // IMA entries judged, from the first
	Runtime  []verdict.Finding `json:"runtime"`  // what was found in them
	Refused  uint64            `json:"refused"`  // IMA entries found wanting, shown or not
}

// Bare returns what no evidence shows: the TPM as enrolled, and what was last
// seen. With it, the whole evidence gives the verdict that the full history gives.
func (h History) Bare() History { return History{TPM: h.TPM, At: h.At, Firmware: h.Firmware} }
