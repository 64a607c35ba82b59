package node

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// Bounds of grants, by which a node's TPM releases its sealed consensus key.
const (
	MaxGrant      = 5 * time.Minute // one is valid for, from when the TPM made its nonce
	GrantsPerHour = 20              // of one node; each is one start of its signer
)

// Grant decides for how long a node's sealed key may be released now. It proves,
// in this order:
//
//   - the node is admitted, approved, and its last proof is fresh;
//   - its admission has not ended;
//   - the key is the one that it enrolled with;
//   - it was not granted more than GrantsPerHour, given the times of the grants of
//     the last hour.
//
// The answer is in whole seconds, at most MaxGrant, what was wanted (0: the most),
// and what is left of the admission. Otherwise the error is a *verdict.Refusal.
func Grant(rec Record, consensusKey string, wanted time.Duration, recent []time.Time, now time.Time) (time.Duration, error) {
	if err := Admissible(rec, now); err != nil {
		return 0, err
	}
	left := rec.NotAfter.Sub(now)
	switch {
	case left < time.Second:
		return 0, verdict.Refuse(verdict.GrantAdmission, rec.ID, "an admission until "+rec.NotAfter.Format(time.RFC3339), "one that stands")
	case rec.ConsensusKey == "" || rec.ConsensusKey != consensusKey:
		return 0, verdict.Refuse(verdict.GrantKey, rec.ID, verdict.Quote(consensusKey), "the enrolled key, "+orNone(rec.ConsensusKey))
	case len(recent) >= GrantsPerHour:
		return 0, verdict.Refuse(verdict.GrantRate, rec.ID, fmt.Sprintf("%d grants in the last hour", len(recent)), fmt.Sprintf("at most %d", GrantsPerHour))
	}
	if wanted <= 0 {
		wanted = MaxGrant
	}
	return max(min(wanted, left, MaxGrant).Truncate(time.Second), time.Second), nil
}

func orNone(key string) string {
	if key == "" {
		return "none"
	}
	return key
}
