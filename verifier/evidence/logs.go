package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

// KnownLog is a boot log that was parsed before. Within its boot epoch it spares
// sending and parsing the log again. It may be shared by many goroutines.
type KnownLog struct {
	digest [32]byte
	epoch  verdict.Epoch
	raw    []byte
	log    *eventlog.Log
	facts  *eventlog.Facts
	claims *eventlog.Bank // PCR values that the log replays to
}

// NewKnownLog parses a boot log of a boot epoch, for a verifier that has only
// kept the log's bytes, which must not be changed afterwards. It proves nothing
// about a host: Verify compares the log with each quote.
func NewKnownLog(epoch verdict.Epoch, bank eventlog.Alg, raw []byte) (*KnownLog, error) {
	return newKnownLog(epoch, bank, raw, sha256.Sum256(raw), nil)
}

// newKnownLog takes the log's digest, which Verify has computed before.
func newKnownLog(epoch verdict.Epoch, bank eventlog.Alg, raw []byte, digest [32]byte, contents *eventlog.Contents) (*KnownLog, error) {
	log, err := eventlog.Parse(raw, bank, eventlog.DefaultLimits)
	if err != nil {
		return nil, err
	}
	facts, err := log.Facts(contents)
	if err != nil {
		return nil, err
	}
	return &KnownLog{digest: digest, epoch: epoch, raw: raw, log: log, facts: facts, claims: log.Replay()}, nil
}

// Digest returns the SHA-256 of the log.
func (k *KnownLog) Digest() [32]byte { return k.digest }

// Epoch returns the boot epoch that the log belongs to.
func (k *KnownLog) Epoch() verdict.Epoch { return k.epoch }

// Bytes returns the log as the host sent it. They must not be changed.
func (k *KnownLog) Bytes() []byte { return k.raw }

// Log returns the parsed log.
func (k *KnownLog) Log() *eventlog.Log { return k.log }

// Facts returns what the log proves if a quote agrees. They must not be changed.
func (k *KnownLog) Facts() *eventlog.Facts { return k.facts }

// checkBootLog finds the log that the quote names, sent now or known from this
// epoch, and compares its replay with every quoted PCR but PCR 10.
func (v *Verified) checkBootLog(*attest) (err error) {
	if v.log, err = v.findBootLog(); err != nil {
		return err
	}
	for i, pcr := range v.want.PCRs {
		if pcr != ima.PCR && !bytes.Equal(v.log.claims.Value(pcr), v.raw.PCRValues[i]) {
			return v.log.log.Verify(v.want.PCRs, v.raw.PCRValues) // knows the exceptions, and words the refusal
		}
	}
	return nil
}

func (v *Verified) findBootLog() (*KnownLog, error) {
	known, sent := v.want.KnownLog, v.raw.BootLog
	if len(sent) != 0 && sha256.Sum256(sent) != v.raw.BootLogDigest {
		digest := sha256.Sum256(sent)
		return nil, verdict.Refuse(verdict.QuoteBootLog, "boot log", hex.EncodeToString(digest[:]), hex.EncodeToString(v.raw.BootLogDigest[:]))
	}
	if known != nil && known.digest == v.raw.BootLogDigest && known.epoch == v.clock.Epoch {
		return known, nil
	}
	if len(sent) == 0 {
		return nil, verdict.Refuse(verdict.BootlogMissing, "boot log", "nothing", "the log of boot epoch "+v.clock.Epoch.String())
	}
	return newKnownLog(v.clock.Epoch, v.want.Bank, sent, v.raw.BootLogDigest, v.want.Contents)
}

// checkIMA continues the known position in the IMA list, or starts at entry 0 in
// a new boot epoch.
func (v *Verified) checkIMA(*attest) error {
	from := v.want.IMA
	voided := from.Entries != 0 && from.Epoch != v.clock.Epoch
	if voided || from.Entries == 0 {
		from = ima.State{Epoch: v.clock.Epoch}
	}
	segment, err := ima.Replay(from, v.raw.IMA, v.quotedIMA(v.values[ima.PCR]), ima.DefaultLimits)
	v.ima = segment
	return explainIMA(err, voided)
}

// quotedIMA is what the quoted PCRs say about the list that leads to a value of PCR 10.
func (v *Verified) quotedIMA(pcr10 [sha256.Size]byte) ima.Quoted {
	return ima.Quoted{PCR10: pcr10, BootAggregate: ima.BootAggregate([10][sha256.Size]byte(v.values[:10]))}
}

// explainIMA tells refusals that an honest host can cause by its timing from
// those that it cannot.
func explainIMA(err error, voided bool) error {
	var refusal *verdict.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	switch {
	case voided && (refusal.Check == verdict.IMABootAggregate || refusal.Check == verdict.IMAReplay):
		return verdict.Refuse(verdict.QuoteNewEpoch, refusal.Where, refusal.Got, refusal.Want)
	case refusal.Check == verdict.IMAReplay:
		return verdict.Refuse(verdict.QuoteInMotion, refusal.Where, refusal.Got, refusal.Want)
	}
	return err
}
