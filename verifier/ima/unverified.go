package ima

import (
	"bytes"
	"crypto"
	"fmt"
	"iter"

	"github.com/quorate/quorate/verifier/verdict"
)

// Unverified is a whole list as somebody found it: well-formed, and vouched for by
// no quote. It is for people to read; Replay is what a verifier uses.
type Unverified struct {
	Entries uint64 // number of entries

	list []byte
}

// Read parses a whole list without a quote. It checks every entry's form to the
// last byte, as Replay does. The error is a *verdict.Refusal with the byte offset
// of the entry.
func Read(list []byte, lim Limits) (*Unverified, error) {
	p := parser{rest: list, lim: lim}
	if len(list) > lim.Bytes {
		return nil, p.refuse(verdict.IMASize, fmt.Sprintf("%d bytes of list", len(list)), fmt.Sprintf("at most %d", lim.Bytes))
	}
	var e Entry
	for len(p.rest) != 0 {
		if err := p.next(&e); err != nil {
			return nil, err
		}
	}
	return &Unverified{Entries: p.index, list: list}, nil
}

// All returns the entries in order.
func (u *Unverified) All() iter.Seq[Entry] {
	return (&Segment{list: u.list}).Entries()
}

// PCR10 returns what a TPM bank's PCR 10 holds if exactly these entries were
// extended into it; nil if the hash is not linked in.
func (u *Unverified) PCR10(hash crypto.Hash) []byte {
	if !hash.Available() {
		return nil
	}
	pcr := make([]byte, hash.Size())
	h := hash.New()
	for e := range u.All() {
		digest := bytes.Repeat([]byte{0xff}, hash.Size())
		if !e.Violation() {
			h.Reset()
			h.Write(e.Data)
			digest = h.Sum(digest[:0])
		}
		h.Reset()
		h.Write(pcr)
		h.Write(digest)
		pcr = h.Sum(pcr[:0])
	}
	return pcr
}
