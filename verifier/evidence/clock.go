package evidence

import (
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// Clock is what a quote says about the TPM's own time. It orders quotes and
// tells reboots; it says nothing about wall time, because the TPM's owner can set
// it forward. The zero Clock stands for "no quote seen yet".
type Clock struct {
	Epoch        verdict.Epoch `json:"epoch"`        // boot epoch
	Milliseconds uint64        `json:"milliseconds"` // TPMS_CLOCK_INFO.clock
	Safe         bool          `json:"safe"`         // the TPM is sure that its clock never showed a later time
	Firmware     uint64        `json:"firmware"`     // TPM firmware version
	BootID       string        `json:"bootId"`       // the host's claim of its boot, empty if it made none
}

// Transition says how a quote's boot epoch relates to that of the quote before.
type Transition uint8

// The transitions. All but SameEpoch void what was known about the host's PCRs.
const (
	FirstEpoch Transition = iota // no quote was seen before
	SameEpoch                    // the host cannot have rebooted
	Rebooted                     // the TPM was reset: resetCount grew
	Restarted                    // a TPM Restart or Resume: only restartCount grew
)

var transitionNames = [...]string{"first", "same", "rebooted", "restarted"}

// String returns "first", "same", "rebooted" or "restarted".
func (t Transition) String() string {
	if int(t) < len(transitionNames) {
		return transitionNames[t]
	}
	return "unknown"
}

// maxUnsafeStep is how far an orderly TPM's clock can fall back when power is cut:
// the specification lets it save the clock every 2^22 milliseconds.
const maxUnsafeStep = 1 << 22

// follow decides how a clock follows the one before, or refuses it:
//
//   - counters never decrease, for a known key they would only after TPM2_Clear
//     or on a copy of the TPM's state;
//   - within an epoch the clock never goes back (two quotes may share a millisecond);
//   - in a new epoch the clock may be behind by the TPM's saving interval, and only
//     while the TPM says that it is not safe;
//   - a TPM Reset comes with a new boot of the host.
func (c Clock) follow(previous Clock) (Transition, error) {
	if previous == (Clock{}) {
		return FirstEpoch, nil
	}
	order := c.Epoch.Compare(previous.Epoch)
	back := c.Milliseconds < previous.Milliseconds
	step := previous.Milliseconds - c.Milliseconds // meaningful only if back
	switch {
	case order < 0, order == 0 && back, back && (c.Safe || step > maxUnsafeStep):
		return FirstEpoch, verdict.Refuse(verdict.QuoteRollback, "quote", c.describe(), "not before "+previous.describe())
	case order == 0:
		return SameEpoch, nil
	case c.Epoch.Reset == previous.Epoch.Reset:
		return Restarted, nil
	case c.BootID != "" && c.BootID == previous.BootID:
		return FirstEpoch, verdict.Refuse(verdict.QuoteResetWithoutBoot, "quote",
			fmt.Sprintf("epoch %v after %v, both in boot %s", c.Epoch, previous.Epoch, c.BootID), "another boot id")
	}
	return Rebooted, nil
}

func (c Clock) describe() string {
	safe := "safe"
	if !c.Safe {
		safe = "not safe"
	}
	return fmt.Sprintf("epoch %v, clock %d ms (%s)", c.Epoch, c.Milliseconds, safe)
}
