// Package standing follows what the running agent of this host knows: the bundle
// that it keeps, verified as a ledger would, and what the verifiers last decided.
package standing

import (
	"time"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/signer/permit"
)

// Role is what bundles must admit the host as.
const Role = "validator"

// Watch looks at one agent's state directory. It is not for concurrent use.
type Watch struct {
	cfg        agent.Config
	consortium *admission.Consortium
	bundle     string // the bytes that known was made of
	known      *admission.Admission
}

// New returns a watch on the agent with this configuration.
func New(cfg agent.Config, c *admission.Consortium) *Watch { return &Watch{cfg: cfg, consortium: c} }

// Verdicts counts what the agent last heard from the consortium's verifiers. Not
// heard: the agent never ran.
func (w *Watch) Verdicts() (v permit.Verdicts, heard bool) {
	v = permit.Verdicts{Verifiers: len(w.consortium.Verifiers), Needed: w.consortium.Threshold}
	status, err := agent.ReadStatus(w.cfg)
	if err != nil {
		return v, false
	}
	for _, each := range status.Verifiers {
		if _, known := w.consortium.Verifier(each.Name); !known {
			continue
		}
		switch each.Decision {
		case "":
		case "admitted":
			v.Admit++
		default:
			v.Refuse++
			v.Reason = reason(each)
		}
	}
	return v, true
}

// reason is one line on why a verifier refused.
func reason(v agent.VerifierStatus) string {
	text := v.Name + ": " + v.Decision
	for _, f := range v.Findings {
		if f.Severity == "deny" {
			return text + ", " + f.Check
		}
	}
	return text
}

// Admission verifies the agent's bundle for the keys that are wanted; role and
// node are added. Nil with the reason when there is none that stands.
func (w *Watch) Admission(want admission.Want, now time.Time) (*admission.Admission, string) {
	data, err := agent.ReadBundle(w.cfg)
	if err != nil {
		return nil, err.Error()
	}
	if w.known != nil && w.bundle == string(data) {
		return w.known, ""
	}
	want.Role, want.Node = Role, w.cfg.Node
	a, err := w.consortium.VerifyBundle(data, want, now)
	if err != nil {
		return nil, err.Error()
	}
	w.bundle, w.known = string(data), a
	return a, ""
}
