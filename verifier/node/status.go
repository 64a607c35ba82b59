package node

import (
	"time"

	"github.com/quorate/quorate/verifier/verdict"
)

// ClockSkew is how far ahead of the reader's clock a record's times may be
// before they stop counting. A verifier whose clock was set back must not take
// an old proof for a fresh one.
const ClockSkew = time.Minute

// Status returns what the record is worth at a time: its state, except that an
// admitted node whose last proof is not fresh is late. It needs no event to have
// been processed, so a verifier that died with the record on disk keeps nobody
// admitted.
func Status(rec Record, now time.Time) State {
	if rec.State != Admitted {
		return rec.State
	}
	if !rec.Approved() || now.After(rec.FreshUntil) || now.Add(ClockSkew).Before(rec.LastPass) {
		return Late
	}
	return Admitted
}

// Admissible returns nil when the node may be given an admission at this time:
// it is admitted, approved, and its last proof is fresh. Otherwise the error is
// a *verdict.Refusal that says which of these fails.
func Admissible(rec Record, now time.Time) error {
	switch Status(rec, now) {
	case Admitted:
		return nil
	case Late:
		return refuse(verdict.NodeLate, rec, "fresh until "+rec.FreshUntil.Format(time.RFC3339))
	case Suspended:
		return refuse(verdict.NodeSuspended, rec, rec.Reason)
	case Retired:
		return refuse(verdict.NodeRetired, rec, rec.Reason)
	case Quarantined:
		return refuse(verdict.NodeQuarantined, rec, rec.Reason)
	}
	if !rec.Approved() {
		return refuse(verdict.NodeNotApproved, rec, rec.waiting())
	}
	return refuse(verdict.NodeUnproven, rec, rec.Reason)
}
