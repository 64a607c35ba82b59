package appraise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// Again makes a recorded decision again, from the evidence file and the policy
// set alone: same evidence, same time. Boot and IMA list are judged from their
// first entry; of the recorded history only what no evidence shows is believed.
// The set must be the one that the record names, or nil if it names none. Whoever
// recorded another verdict than Again returns did not decide by these inputs.
func Again(set *policy.Set, file *evidence.File) (verdict.Verdict, error) {
	r := file.Record
	var digest [32]byte
	if set != nil {
		digest = set.Digest()
	}
	if digest != r.PolicySet {
		return verdict.Verdict{}, fmt.Errorf("appraise: the decision was made with the policy set %v, this is %v", r.PolicySet, evidence.Digest(digest))
	}
	verified, err := file.VerifyWhole()
	if err != nil {
		return refusedAgain(set, err, r.At)
	}
	history, err := Recorded(r)
	if err != nil {
		return verdict.Verdict{}, err
	}
	return Appraise(set, verified, history.Bare(), r.At), nil
}

// refusedAgain is the verdict on evidence that is not authentic.
func refusedAgain(set *policy.Set, err error, at time.Time) (verdict.Verdict, error) {
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		return verdict.Verdict{}, err
	}
	v := verdict.Verdict{At: at, Findings: []verdict.Finding{refusal.Finding}}
	if set != nil {
		v.Policy = set.String()
	}
	return v, nil
}

// Recorded returns what the appraisal of a record was told of earlier ones. Only
// the one encoding of a History is read: what one reader skips or overwrites,
// another might believe.
func Recorded(r *evidence.Record) (History, error) {
	var h History
	if len(r.History) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(r.History, &h); err != nil {
		return History{}, fmt.Errorf("appraise: the recorded history: %w", err)
	}
	if again, err := json.Marshal(h); err != nil || !bytes.Equal(again, r.History) {
		return History{}, errors.New("appraise: the recorded history is not in its canonical form")
	}
	return h, nil
}

// Alone judges an evidence file as if its node had never been appraised before:
// with the whole IMA list and no history but what its enrolment established.
// Evidence that is not authentic is denied for that.
func Alone(set *policy.Set, file *evidence.File, now time.Time) (verdict.Verdict, error) {
	verified, err := file.VerifyWhole()
	if err != nil {
		return refusedAgain(set, err, now)
	}
	history, err := Recorded(file.Record)
	if err != nil {
		return verdict.Verdict{}, err
	}
	return Appraise(set, verified, History{TPM: history.TPM}, now), nil
}
