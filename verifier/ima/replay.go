package ima

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/quorate/quorate/verifier/verdict"
)

// Quoted is what the quote says about the list.
type Quoted struct {
	PCR10         [sha256.Size]byte // the quoted PCR 10
	BootAggregate [sha256.Size]byte // what BootAggregate returns for the quoted PCRs
}

// BootAggregate returns the digest that the kernel measures first: SHA-256 of
// PCRs 0 to 9 of the SHA-256 bank. (The SHA-1 bank's aggregate stops at PCR 7.)
func BootAggregate(pcrs [10][sha256.Size]byte) [sha256.Size]byte {
	var all [10 * sha256.Size]byte
	for i, value := range pcrs {
		copy(all[i*sha256.Size:], value[:])
	}
	return sha256.Sum256(all[:])
}

// Segment is a piece of a list whose entries the quoted PCR 10 vouches for. It
// aliases the list.
type Segment struct {
	Start   State // position before the first entry
	End     State // position behind the last entry
	Ignored int   // bytes behind the last entry, which nothing vouches for

	list []byte
}

// Replay verifies the list from a known position on. It proves, in order:
//
//   - the list is within the limits;
//   - every entry up to the quoted PCR 10 is of a known template and well-formed
//     to its last byte (but for the unused SHA-1 digest beside it);
//   - entry 0 is the boot_aggregate of the quoted PCRs, and no other entry is one;
//   - extending the entries' SHA-256 template digests leads from the known
//     position to exactly the quoted PCR 10.
//
// Bytes behind that point are neither parsed nor believed; there may be at most
// lim.Suffix of them. Violations replay, and are for the policy to judge.
//
// The list must start at byte from.Bytes of the kernel's list. The error is a
// *verdict.Refusal; verdict.IMAReplay means that the list ended before the quoted PCR
// 10 was reached, which also happens to an honest host that read the list too early.
func Replay(from State, list []byte, quoted Quoted, lim Limits) (*Segment, error) {
	p := parser{rest: list, index: from.Entries, offset: from.Bytes, lim: lim}
	if len(list) > lim.Bytes {
		return nil, p.refuse(verdict.IMASize, fmt.Sprintf("%d bytes of list", len(list)), fmt.Sprintf("at most %d", lim.Bytes))
	}
	if from.Entries == 0 && len(list) != 0 && quoted.PCR10 == [sha256.Size]byte{} {
		return nil, p.refuse(verdict.IMAReset, "a list beside a PCR 10 that was never extended", "a PCR 10 that its entries were extended into")
	}
	pcr, err := p.replay(from.PCR10, quoted)
	if err != nil {
		return nil, err
	}
	if len(p.rest) > lim.Suffix {
		return nil, p.refuse(verdict.IMASuffix, fmt.Sprintf("%d bytes behind the quoted PCR 10", len(p.rest)), fmt.Sprintf("at most %d", lim.Suffix))
	}
	return &Segment{
		Start: from, End: State{Epoch: from.Epoch, Entries: p.index, Bytes: p.offset, PCR10: pcr},
		Ignored: len(p.rest), list: list[:len(list)-len(p.rest)],
	}, nil
}

// replay extends entries until the quoted value is reached.
func (p *parser) replay(pcr [sha256.Size]byte, quoted Quoted) ([sha256.Size]byte, error) {
	var e Entry
	var both [2 * sha256.Size]byte
	for {
		p.replayPlain(&pcr, &quoted.PCR10)
		if pcr == quoted.PCR10 {
			return pcr, nil
		}
		if len(p.rest) == 0 {
			return pcr, p.refuse(verdict.IMAReplay, hex.EncodeToString(pcr[:]), hex.EncodeToString(quoted.PCR10[:]))
		}
		if err := p.next(&e); err != nil {
			return pcr, err
		}
		if err := checkAggregate(&e, quoted); err != nil {
			return pcr, err
		}
		digest := violated
		if e.Kind != KindViolation {
			digest = sha256.Sum256(e.Data)
		}
		copy(both[:], pcr[:])
		copy(both[sha256.Size:], digest[:])
		pcr = sha256.Sum256(both[:])
	}
}

// checkAggregate demands the boot_aggregate at entry 0, of the quoted bank and
// PCRs, and nowhere else: a second one means that kexec started another kernel.
func checkAggregate(e *Entry, quoted Quoted) error {
	if e.Index == 0 && e.Kind != KindBootAggregate {
		return refuseEntry(e, verdict.IMABootAggregate, "an entry for "+string(e.Path), "boot_aggregate first")
	}
	if e.Index != 0 && string(e.Path) == aggregateName {
		return refuseEntry(e, verdict.IMABootAggregate, "another boot_aggregate", "one, at entry 0")
	}
	if e.Index == 0 && !bytes.Equal(e.Digest, quoted.BootAggregate[:]) { // no other algorithm's digests are as long
		return refuseEntry(e, verdict.IMABootAggregate, e.DigestText(), "sha256:"+hex.EncodeToString(quoted.BootAggregate[:]))
	}
	return nil
}

// Len returns the number of entries.
func (s *Segment) Len() uint64 { return s.End.Entries - s.Start.Entries }

// Bytes returns the verified part of the list: what has to be archived for the
// segment to be verified again.
func (s *Segment) Bytes() []byte { return s.list }

// Entries returns the verified entries in order. Iterating allocates nothing
// and hashes nothing.
func (s *Segment) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		p := parser{rest: s.list, index: s.Start.Entries, offset: s.Start.Bytes}
		var e Entry
		for len(p.rest) != 0 && p.split(&e) == nil && yield(e) {
		}
	}
}
