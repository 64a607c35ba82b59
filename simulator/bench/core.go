package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
)

const verifyASN1 = "ecdsa.VerifyASN1"

// bareVerify is one ECDSA verification on P-256.
func bareVerify() (func() error, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("quote"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	return func() error {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			return errors.New("bad signature")
		}
		return nil
	}, err
}

// quoteRows are a quote with a known log and nothing new: authenticity alone,
// and with the appraisal.
func quoteRows() ([]Row, error) {
	h := newHost(bootlog.Debian(), "/usr/sbin/init", "/usr/bin/agent")
	set, err := h.learn(0)
	if err != nil {
		return nil, err
	}
	raw, want, err := h.evidence()
	if err != nil {
		return nil, err
	}
	first, err := evidence.Verify(raw, want)
	if err != nil {
		return nil, err
	}
	_, history := appraise.Next(set, first, appraise.History{TPM: chip}, noon)
	want.KnownLog, want.IMA, want.Previous = first.KnownLog(), first.IMA().End, first.Clock()
	raw.BootLog, raw.IMA = nil, nil
	bare, err := bareVerify()
	if err != nil {
		return nil, err
	}
	quote, err := duel{operation: "quote check, ECC", against: verifyASN1, gate: 1.15, bare: bare, ours: func() error {
		_, err := evidence.Verify(raw, want)
		return err
	}}.run()
	if err != nil {
		return nil, err
	}
	steady, err := duel{operation: "steady-state appraisal", against: verifyASN1, gate: 1.5, bare: bare, ours: func() error {
		v, err := evidence.Verify(raw, want)
		if err != nil {
			return err
		}
		return accept(set, v, history)
	}}.run()
	steady.limitAllocs(40)
	return []Row{quote, steady}, err
}

// largeBoot has a log of about 100 KB, in that many events.
func largeBoot(events int) bootlog.Boot {
	b := bootlog.Debian()
	b.DB = nil
	for i := range 45 {
		b.DB = append(b.DB, bootlog.CertificateLists(bootlog.Certificate(fmt.Sprintf("certificate %d %0800d", i, i)))...)
	}
	return busyBoot(b, events)
}

// busyBoot brings the log to a number of events by commands of GRUB.
func busyBoot(b bootlog.Boot, events int) bootlog.Boot {
	for i := range events - len(b.Log().Events) {
		b.GrubCommands = append(b.GrubCommands, fmt.Sprintf("set variable_%d=value", i))
	}
	return b
}

var rule = policy.Rule{ID: "no-option-roms", Deny: "boot.images.exists(i, i.pcr == 2)", Message: "m", Remedy: "r"}

// fullRow is a first appraisal: quote, log, facts, policy and rule.
func fullRow() ([]Row, error) {
	d, err := fullDuel()
	if err != nil {
		return nil, err
	}
	row, err := d.run()
	return []Row{row}, err
}

func fullDuel() (duel, error) {
	h := newHost(largeBoot(150), "/usr/sbin/init")
	set, err := h.learn(0, rule)
	if err != nil {
		return duel{}, err
	}
	raw, want, err := h.evidence()
	if err != nil {
		return duel{}, err
	}
	bare, err := bareVerify()
	name := fmt.Sprintf("full appraisal, %d events, %d KB", len(h.log.Events), len(raw.BootLog)/1000)
	return duel{operation: name, against: verifyASN1, gate: 4, bare: bare, ours: func() error {
		v, err := evidence.Verify(raw, want)
		if err != nil {
			return err
		}
		return accept(set, v, appraise.History{TPM: chip})
	}}, err
}

// logRow is a log alone: parse and replay, then the same with facts and policy.
// Facts hash the data of every event once more, which the bare extends do not:
// that is what tells a measured text from a claimed one. The allocations shown
// are those of one more event.
func logRow() ([]Row, error) {
	const events = 150
	replay, err := duel{
		operation: fmt.Sprintf("log of %d events: parse, replay", events), against: fmt.Sprintf("%d SHA-256 extends", events),
		gate: 2.5, ours: logReplay(events), bare: func() error { extends(events); return nil },
	}.run()
	if err != nil {
		return nil, err
	}
	appraisal, err := logAppraisal(events)
	if err != nil {
		return nil, err
	}
	twice, err := logAppraisal(2 * events)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("log of %d events: parse, replay, facts, policy", events)
	row, err := duel{operation: name, against: fmt.Sprintf("%d SHA-256 extends", events), gate: 2.5, ours: appraisal, bare: func() error {
		extends(events)
		return nil
	}}.run()
	if err != nil {
		return nil, err
	}
	few, err := allocations(appraisal)
	if err != nil {
		return nil, err
	}
	many, err := allocations(twice)
	perEvent := float64(int((many-few)/events*100)) / 100 // growing a list now and then is no allocation per event
	row.Allocs = &perEvent
	row.limitAllocs(0.05)
	row.Operation += ", allocations per event"
	return []Row{replay, row}, err
}

func logReplay(events int) func() error {
	raw := busyBoot(bootlog.Debian(), events).Log().Bytes()
	return func() error {
		log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
		if err == nil {
			log.Replay()
		}
		return err
	}
}

func logAppraisal(events int) (func() error, error) {
	h := newHost(busyBoot(bootlog.Debian(), events), "/usr/sbin/init")
	set, err := h.learn(0)
	if err != nil {
		return nil, err
	}
	v, err := h.verified()
	if err != nil {
		return nil, err
	}
	raw := h.log.Bytes()
	return func() error {
		log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
		if err != nil {
			return err
		}
		log.Replay()
		if _, err := log.Facts(); err != nil {
			return err
		}
		return accept(set, v, appraise.History{TPM: chip})
	}, nil
}

// extends is the least work that a replay of n events can be.
func extends(n int) [32]byte {
	var both [64]byte
	for range n {
		*(*[32]byte)(both[:32]) = sha256.Sum256(both[:])
	}
	return [32]byte(both[:32])
}
