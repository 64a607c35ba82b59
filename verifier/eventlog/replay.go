package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// Bank holds the PCR values that a log claims, for one algorithm.
type Bank struct {
	alg    Alg
	values [NumPCRs][MaxDigest]byte
	counts [NumPCRs]int
}

// Alg returns the bank's algorithm.
func (b *Bank) Alg() Alg { return b.alg }

// Value returns the claimed value of a PCR, nil if there is no such PCR. A PCR
// that no event touched has the value it is reset to.
func (b *Bank) Value(pcr int) []byte {
	if pcr < 0 || pcr >= NumPCRs {
		return nil
	}
	return b.values[pcr][:b.alg.Size()]
}

// Extended returns how many events extended the PCR.
func (b *Bank) Extended(pcr int) int {
	if pcr < 0 || pcr >= NumPCRs {
		return 0
	}
	return b.counts[pcr]
}

// Replay extends every event's digest in order, starting from the values that a
// TPM has after reset: ones for PCR 17 to 22, the startup locality for PCR 0,
// zeros otherwise. Nothing else in a log can set a starting value.
func (l *Log) Replay() *Bank {
	b := &Bank{alg: l.bank}
	if l.bank.Size() == 0 {
		return b // a Log that Parse did not make
	}
	b.values[0][l.bank.Size()-1] = l.locality
	for pcr := 17; pcr <= 22; pcr++ {
		for i := range b.values[pcr] {
			b.values[pcr][i] = 0xFF
		}
	}
	var joined [2 * MaxDigest]byte
	var e Event
	for i := range l.starts {
		l.read(i, &e)
		if e.Type == EvNoAction {
			continue
		}
		b.counts[e.PCR]++
		l.bank.extend(&b.values[e.PCR], e.Digest, &joined)
	}
	return b
}

// ReplayOther replays another bank of the same log, nil if the log has none. It is
// for people who compare a log with what other tools print: a verifier believes
// nothing but the quoted bank, and never SHA-1.
func (l *Log) ReplayOther(alg Alg) *Bank {
	c := cursor{b: l.raw}
	lay, err := parseHeader(&c, alg)
	if err != nil {
		return nil
	}
	other := *l
	other.bank, other.digestAt = alg, lay.at
	return other.Replay()
}

// extend replaces value by H(value || digest). joined is scratch.
func (a Alg) extend(value *[MaxDigest]byte, digest []byte, joined *[2 * MaxDigest]byte) {
	if a == SHA256 {
		copy(joined[:32], value[:32])
		copy(joined[32:64], digest)
		*(*[32]byte)(value[:32]) = sha256.Sum256(joined[:64])
		return
	}
	n := a.Size()
	copy(joined[:n], value[:n])
	copy(joined[n:2*n], digest)
	a.sum(value, joined[:2*n])
}

// imaPCR belongs to IMA's list, which continues after the boot log ends.
const imaPCR = 10

// Verify proves that the log explains the quoted PCRs: each replays to exactly
// the quoted value, and one that the log never touches still has its reset
// value. PCR 10 is skipped, as IMA's own list explains it. values[i] is the
// value of pcrs[i]. The error is a *verdict.Refusal.
//
// PCR 11 of a unified kernel image may have gone on by the fixed words that
// systemd extends as the boot proceeds; no other difference is tolerated.
func (l *Log) Verify(pcrs []int, values [][]byte) error {
	if len(pcrs) == 0 || len(pcrs) != len(values) {
		return verdict.Refuse(verdict.BootlogReplay, "", fmt.Sprintf("%d values for %d PCRs", len(values), len(pcrs)), "one value for each quoted PCR")
	}
	bank := l.Replay()
	for i, pcr := range pcrs {
		if !quotable(pcr, values[i], l.bank) {
			return verdict.Refuse(verdict.BootlogReplay, fmt.Sprintf("PCR %d", pcr), fmt.Sprintf("a value of %d bytes", len(values[i])), fmt.Sprintf("PCR 0 to 23 with %d bytes", l.bank.Size()))
		}
		if pcr == imaPCR || bytes.Equal(bank.Value(pcr), values[i]) {
			continue
		}
		if pcr == 11 && bank.inPhase(values[i]) {
			continue
		}
		return verdict.Refuse(verdict.BootlogReplay, fmt.Sprintf("PCR %d (%d events)", pcr, bank.Extended(pcr)), "the log gives "+hex.EncodeToString(bank.Value(pcr)), "the quoted "+hex.EncodeToString(values[i]))
	}
	return nil
}

// quotable reports whether value can be that of a PCR in the bank.
func quotable(pcr int, value []byte, bank Alg) bool {
	return pcr >= 0 && pcr < NumPCRs && len(value) > 0 && len(value) == bank.Size()
}

// phases are what systemd-pcrphase extends into PCR 11 after a measured image
// started, in this order. The digest extended is that of the word.
var phases = [...]string{"enter-initrd", "leave-initrd", "sysinit", "ready"}

// inPhase reports whether value is PCR 11 of the log, gone on by a first part of phases.
func (b *Bank) inPhase(value []byte) bool {
	if b.counts[11] == 0 {
		return false
	}
	var joined [2 * MaxDigest]byte
	var digest [MaxDigest]byte
	at := b.values[11]
	for _, word := range phases {
		b.alg.sum(&digest, []byte(word))
		b.alg.extend(&at, digest[:b.alg.Size()], &joined)
		if bytes.Equal(at[:b.alg.Size()], value) {
			return true
		}
	}
	return false
}
