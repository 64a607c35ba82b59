package bench

import (
	"bytes"
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

// fullRows are a first appraisal: quote, log, facts, policy and rule. A fleet has
// many hosts with the same Secure Boot databases: the first row is such a host, the
// second the very first one of its model.
func fullRows() ([]Row, error) {
	known, err := fullDuel(true)
	if err != nil {
		return nil, err
	}
	first, err := fullDuel(false)
	if err != nil {
		return nil, err
	}
	a, err := known.run()
	if err != nil {
		return nil, err
	}
	b, err := first.run()
	return []Row{a, b}, err
}

func fullDuel(fleet bool) (duel, error) {
	h := newHost(largeBoot(150), "/usr/sbin/init")
	set, err := h.learn(0, rule)
	if err != nil {
		return duel{}, err
	}
	raw, want, err := h.evidence()
	if err != nil {
		return duel{}, err
	}
	name, gate := fmt.Sprintf("full appraisal, %d events, %d KB", len(h.log.Events), len(raw.BootLog)/1000), 4.0
	if fleet {
		want.Contents, err = contents(raw.BootLog)
	} else {
		name, gate = name+", first of its model", 5
	}
	if err != nil {
		return duel{}, err
	}
	bare, err := bareVerify()
	return duel{operation: name, against: verifyASN1, gate: gate, bare: bare, ours: func() error {
		v, err := evidence.Verify(raw, want)
		if err != nil {
			return err
		}
		return accept(set, v, appraise.History{TPM: chip})
	}}, err
}

// contents are what a verifier remembers of another host's log, which has a copy of
// the same databases.
func contents(raw []byte) (*eventlog.Contents, error) {
	log, err := eventlog.Parse(bytes.Clone(raw), eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		return nil, err
	}
	return (*eventlog.Contents)(nil).With(log), nil
}

// logRows are a log without its quote: parsed, replayed and judged, against the
// extends alone; then the same with the facts read again from its bytes. Facts
// hash the data of every event once more, which is what tells a measured text
// from a claimed one, so their bare operation hashes that data too. The
// allocations shown are those of one more event.
func logRows() ([]Row, error) {
	const events = 150
	judged, err := logDuel("parse, replay, policy", events, logJudged)
	if err != nil {
		return nil, err
	}
	whole, err := logDuel("parse, replay, facts, policy", events, logAppraisal)
	return []Row{judged, whole}, err
}

// logWork is one way to read a log, and the least work that it can be.
type logWork struct {
	ours    func() error
	bare    func() error
	against string
}

func logDuel(parts string, events int, work func(events int) (logWork, error)) (Row, error) {
	once, err := work(events)
	if err != nil {
		return Row{}, err
	}
	twice, err := work(2 * events)
	if err != nil {
		return Row{}, err
	}
	name := fmt.Sprintf("log of %d events: %s", events, parts)
	row, err := duel{operation: name, against: once.against, gate: 2.5, ours: once.ours, bare: once.bare}.run()
	if err != nil {
		return row, err
	}
	few, err := allocations(once.ours)
	if err != nil {
		return row, err
	}
	many, err := allocations(twice.ours)
	perEvent := float64(int((many-few)/float64(events)*100)) / 100 // growing a list now and then is no allocation per event
	row.Allocs = &perEvent
	row.limitAllocs(0.05)
	row.Operation += ", allocations per event"
	return row, err
}

// logJudged judges facts that are already there.
func logJudged(events int) (logWork, error) {
	set, v, raw, err := logEvidence(events)
	return logWork{
		against: fmt.Sprintf("%d SHA-256 extends", events),
		bare:    func() error { extends(events); return nil },
		ours: func() error {
			if _, err := replayed(raw); err != nil {
				return err
			}
			return accept(set, v, appraise.History{TPM: chip})
		},
	}, err
}

// logAppraisal reads the facts as well.
func logAppraisal(events int) (logWork, error) {
	set, v, raw, err := logEvidence(events)
	if err != nil {
		return logWork{}, err
	}
	log, err := replayed(raw)
	if err != nil {
		return logWork{}, err
	}
	return logWork{
		against: fmt.Sprintf("%d SHA-256 extends, their data hashed", events),
		bare: func() error {
			extends(events)
			for _, e := range log.Events() {
				sha256.Sum256(e.Data)
			}
			return nil
		},
		ours: func() error {
			log, err := replayed(raw)
			if err != nil {
				return err
			}
			if _, err := log.Facts(nil); err != nil {
				return err
			}
			return accept(set, v, appraise.History{TPM: chip})
		},
	}, nil
}

func logEvidence(events int) (*policy.Set, *evidence.Verified, []byte, error) {
	h := newHost(busyBoot(bootlog.Debian(), events), "/usr/sbin/init")
	set, err := h.learn(0)
	if err != nil {
		return nil, nil, nil, err
	}
	v, err := h.verified()
	return set, v, h.log.Bytes(), err
}

func replayed(raw []byte) (*eventlog.Log, error) {
	log, err := eventlog.Parse(raw, eventlog.SHA256, eventlog.DefaultLimits)
	if err == nil {
		log.Replay()
	}
	return log, err
}

// extends is the least work that a replay of n events can be.
func extends(n int) [32]byte {
	var both [64]byte
	for range n {
		*(*[32]byte)(both[:32]) = sha256.Sum256(both[:])
	}
	return [32]byte(both[:32])
}
