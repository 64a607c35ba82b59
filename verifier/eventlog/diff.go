package eventlog

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/quorate/quorate/verifier/verdict"
)

// Diff lists every place where b's measurements differ from a's, first one
// first, in words. Only digests are compared: two logs without differences have
// the same PCR values. Both logs have to be of the same bank.
func Diff(a, b *Log) []Difference {
	if a.bank != b.bank {
		return []Difference{{Where: "header", What: "quoted bank differs", A: a.bank.String(), B: b.bank.String(), EventA: 0, EventB: 0}}
	}
	var out []Difference
	if a.locality != b.locality {
		out = append(out, Difference{"PCR 0", "startup locality differs", fmt.Sprint(a.locality), fmt.Sprint(b.locality), -1, -1})
	}
	as, bs := a.byPCR(), b.byPCR()
	for pcr := range as {
		out = append(out, diffEvents(as[pcr], bs[pcr])...)
	}
	slices.SortStableFunc(out, func(x, y Difference) int { return x.place() - y.place() })
	return out
}

// place orders differences by where they first show.
func (d Difference) place() int {
	if d.EventA < 0 {
		return d.EventB
	}
	if d.EventB < 0 {
		return d.EventA
	}
	return min(d.EventA, d.EventB)
}

func (l *Log) byPCR() [NumPCRs][]Event {
	var out [NumPCRs][]Event
	for _, e := range l.Events() {
		if e.Type != EvNoAction {
			out[e.PCR] = append(out[e.PCR], e)
		}
	}
	return out
}

func same(a, b Event) bool { return bytes.Equal(a.Digest, b.Digest) }

// diffEvents aligns the events of one PCR and reports the gaps.
func diffEvents(a, b []Event) []Difference {
	for len(a) > 0 && len(b) > 0 && same(a[0], b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && same(a[len(a)-1], b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a)*len(b) > maxAlign {
		return gap(a, b)
	}
	return align(a, b)
}

// maxAlign bounds the table of align. Longer differences are paired in order.
const maxAlign = 1 << 20

// align finds a longest common subsequence and reports what lies between.
func align(a, b []Event) []Difference {
	width := len(b) + 1
	length := make([]uint16, (len(a)+1)*width)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			best := max(length[(i+1)*width+j], length[i*width+j+1])
			if same(a[i], b[j]) {
				best = length[(i+1)*width+j+1] + 1
			}
			length[i*width+j] = best
		}
	}
	var out []Difference
	i, j, fromA, fromB := 0, 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case same(a[i], b[j]):
			out = append(out, gap(a[fromA:i], b[fromB:j])...)
			i, j = i+1, j+1
			fromA, fromB = i, j
		case length[(i+1)*width+j] >= length[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	return append(out, gap(a[fromA:], b[fromB:])...)
}

// gap reports events that have no equal on the other side: in pairs while they
// are of one kind, else each on its own.
func gap(a, b []Event) []Difference {
	var out []Difference
	for len(a) > 0 && len(b) > 0 {
		kindA, _ := describe(a[0])
		kindB, _ := describe(b[0])
		switch {
		case kindA == kindB:
			out = append(out, differs(a[0], b[0]))
			a, b = a[1:], b[1:]
		case len(a) >= len(b):
			out, a = append(out, onlyFirst(a[0])), a[1:]
		default:
			out, b = append(out, onlySecond(b[0])), b[1:]
		}
	}
	for _, e := range a {
		out = append(out, onlyFirst(e))
	}
	for _, e := range b {
		out = append(out, onlySecond(e))
	}
	return out
}

func differs(a, b Event) Difference {
	kind, textA := describe(a)
	_, textB := describe(b)
	d := Difference{fmt.Sprintf("PCR %d, event %d", a.PCR, a.Index), kind + " differs", textA, textB, a.Index, b.Index}
	if textA == textB {
		d.A, d.B = withDigest(a), withDigest(b)
	}
	d.A, d.B = verdict.Quote(d.A), verdict.Quote(d.B)
	return d
}

func onlyFirst(e Event) Difference {
	kind, _ := describe(e)
	return Difference{fmt.Sprintf("PCR %d, event %d", e.PCR, e.Index), kind + " is missing", verdict.Quote(withDigest(e)), "", e.Index, -1}
}

func onlySecond(e Event) Difference {
	kind, _ := describe(e)
	return Difference{fmt.Sprintf("PCR %d, event %d", e.PCR, e.Index), kind + " is new", "", verdict.Quote(withDigest(e)), -1, e.Index}
}

// withDigest is an event's text and digest, which tell it from another of the
// same text.
func withDigest(e Event) string {
	_, text := describe(e)
	if text == "" {
		return fmt.Sprintf("%x", e.Digest)
	}
	return fmt.Sprintf("%s (%x)", text, e.Digest)
}
