package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate/verifier/verdict"
)

// Log is a parsed log. It aliases the bytes it was parsed from.
type Log struct {
	raw      []byte
	bank     Alg
	locality uint8
	hcrtm    bool
	digestAt int   // where in an event the digest of the bank is
	headSize int   // bytes of an event before its data
	starts   []int // offsets of the events; the rest of an event is read when it is looked at
}

// Bank returns the algorithm whose digests were kept.
func (l *Log) Bank() Alg { return l.bank }

// Events returns the events after the header, in order.
func (l *Log) Events() []Event {
	all := make([]Event, len(l.starts))
	for i := range all {
		l.read(i, &all[i])
	}
	return all
}

// Event returns the event of the given index, as facts and findings name it.
func (l *Log) Event(index int) (e Event, ok bool) {
	if index < 1 || index > len(l.starts) {
		return e, false
	}
	l.read(index-1, &e)
	return e, true
}

// read reads the event at a place of starts. Its data ends where the next begins.
func (l *Log) read(i int, e *Event) {
	start, end := l.starts[i], len(l.raw)
	if i+1 < len(l.starts) {
		end = l.starts[i+1]
	}
	digest := start + l.digestAt
	e.Index, e.Offset = i+1, start
	e.PCR, e.Type = l.pcr(i), EventType(binary.LittleEndian.Uint32(l.raw[start+4:]))
	e.Digest = l.raw[digest : digest+l.bank.Size() : digest+l.bank.Size()]
	e.Data = l.raw[start+l.headSize : end]
}

// pcr returns the PCR of the event at a place of starts.
func (l *Log) pcr(i int) uint32 { return binary.LittleEndian.Uint32(l.raw[l.starts[i]:]) }

const (
	maxAlgs     = 8  // digest algorithms of one log; genuine logs have up to 4
	maxNoAction = 64 // events that extend nothing; genuine logs have up to 4
	noPCR       = 0xFFFFFFFF
)

// layout is what the header says about every event that follows.
type layout struct {
	algs [maxAlgs]Alg
	n    int
	at   int // where in an event the digest of the quoted bank is, 0 if there is none
	size int // bytes of an event before its data
}

// Parse reads a whole log. It proves, in this order, that the log
//
//  1. is there and within the limits,
//  2. starts with a crypto-agile Specification ID event whose algorithms are
//     known, have their right sizes, occur once, and contain the quoted bank,
//  3. consists of events that each carry exactly those algorithms, once, in
//     that order, up to the last byte,
//  4. names only PCRs that belong to a boot (0 to 9 and 11 to 14),
//  5. has events that extend nothing only of known kinds with zero digests,
//     and a startup locality only before anything was extended into PCR 0.
//
// Digests of other banks are stepped over and never read again. Event types and
// data are not judged here; see Facts. The error is a *verdict.Refusal.
func Parse(raw []byte, bank Alg, lim Limits) (*Log, error) {
	if err := checkSize(raw, bank, lim); err != nil {
		return nil, err
	}
	c := cursor{b: raw}
	lay, err := parseHeader(&c, bank)
	if err != nil {
		return nil, err
	}
	starts, err := findEvents(c, &lay, lim.Events)
	if err != nil {
		return nil, err
	}
	l := &Log{raw: raw, bank: bank, digestAt: lay.at, headSize: lay.size, starts: starts}
	if err := l.checkBoot(&lay); err != nil {
		return nil, err
	}
	return l, nil
}

func checkSize(raw []byte, bank Alg, lim Limits) error {
	if len(raw) == 0 {
		return verdict.Refuse(verdict.BootlogMissing, "", "no boot log", "a boot log")
	}
	if len(raw) > lim.Bytes {
		return verdict.Refuse(verdict.BootlogSize, "", fmt.Sprintf("%d bytes", len(raw)), fmt.Sprintf("at most %d bytes", lim.Bytes))
	}
	if !bank.bankable() {
		return verdict.Refuse(verdict.BootlogHeader, "", bank.String(), "a quoted bank of sha256 or longer")
	}
	return nil
}

var specSignature = []byte("Spec ID Event03\x00")

// parseHeader reads the one event in the old format, which describes the others.
func parseHeader(c *cursor, bank Alg) (layout, error) {
	pcr, kind, digest := c.u32(), EventType(c.u32()), c.take(20)
	spec := c.take(int(c.u32()))
	if c.bad {
		return layout{}, headerError(c, "truncated", "a complete Specification ID event")
	}
	if pcr != 0 || kind != EvNoAction || !isZero(digest) {
		return layout{}, headerError(c, "an event that is no header", "EV_NO_ACTION in PCR 0 with a zero digest")
	}
	return parseSpec(cursor{b: spec}, bank)
}

func parseSpec(c cursor, bank Alg) (layout, error) {
	if sig := c.take(16); !bytes.Equal(sig, specSignature) {
		return layout{}, headerError(&c, fmt.Sprintf("signature %q", sig), fmt.Sprintf("signature %q", specSignature))
	}
	class, minor, major := c.u32(), c.u8(), c.u8()
	c.u8() // errata: revisions differ in nothing that is read here
	width := c.u8()
	if class > 1 || major != 2 || minor != 0 || width < 1 || width > 2 {
		return layout{}, headerError(&c, fmt.Sprintf("class %d, version %d.%d, word size %d", class, major, minor, width), "class 0 or 1, version 2.0, word size 1 or 2")
	}
	lay, err := parseAlgs(&c, bank)
	if err != nil {
		return layout{}, err
	}
	c.take(int(c.u8()))
	if c.bad || c.left() != 0 {
		return layout{}, headerError(&c, "vendor information of another size", "vendor information up to the end of the header")
	}
	return lay, nil
}

func parseAlgs(c *cursor, bank Alg) (layout, error) {
	var lay layout
	n := c.u32()
	if c.bad || n == 0 || n > maxAlgs {
		return lay, headerError(c, fmt.Sprintf("%d algorithms", n), fmt.Sprintf("1 to %d algorithms", maxAlgs))
	}
	for i := range int(n) {
		alg, size := Alg(c.u16()), c.u16()
		if c.bad || alg.Size() == 0 || int(size) != alg.Size() {
			return lay, headerError(c, fmt.Sprintf("%s of %d bytes", alg, size), "a known algorithm with its own digest size")
		}
		for _, earlier := range lay.algs[:i] {
			if earlier == alg {
				return lay, headerError(c, alg.String()+" twice", "every algorithm once")
			}
		}
		if alg == bank {
			lay.at = 12 + lay.size + 2
		}
		lay.algs[i] = alg
		lay.n++
		lay.size += 2 + alg.Size()
	}
	lay.size += 12 + 4
	if lay.at == 0 {
		return lay, headerError(c, "no digests of "+bank.String(), "digests of the quoted bank "+bank.String())
	}
	return lay, nil
}

func headerError(c *cursor, got, want string) error {
	return verdict.Refuse(verdict.BootlogHeader, fmt.Sprintf("event 0 (offset %d)", c.off), got, want)
}

// findEvents returns the offsets of all events. It walks the log twice, so that
// one allocation of the right size holds them.
func findEvents(c cursor, lay *layout, limit int) ([]int, error) {
	n, err := countEvents(c, lay, limit)
	if err != nil {
		return nil, err
	}
	starts := make([]int, n)
	for i := range starts {
		starts[i] = c.off
		c.off += lay.size + int(binary.LittleEndian.Uint32(c.b[c.off+lay.size-4:]))
	}
	return starts, nil
}

// countEvents proves that the rest of the log is events, and counts them.
func countEvents(c cursor, lay *layout, limit int) (int, error) {
	n := 0
	for c.left() > 0 {
		n++
		if n >= limit {
			return 0, verdict.Refuse(verdict.BootlogSize, fmt.Sprintf("offset %d", c.off), fmt.Sprintf("more than %d events", limit), fmt.Sprintf("at most %d events", limit))
		}
		start := c.off
		if ok := stepEvent(&c, lay); !ok {
			return 0, explainStep(cursor{b: c.b, off: start}, lay, n)
		}
	}
	return n, nil
}

// stepEvent moves past one event and reports whether it has the header's layout.
func stepEvent(c *cursor, lay *layout) bool {
	head := c.take(lay.size)
	if c.bad || binary.LittleEndian.Uint32(head[8:]) != uint32(lay.n) {
		return false
	}
	at := 12
	for i := range lay.n {
		if Alg(binary.LittleEndian.Uint16(head[at:])) != lay.algs[i] {
			return false
		}
		at += 2 + lay.algs[i].Size()
	}
	n := binary.LittleEndian.Uint32(head[at:])
	if uint64(n) > uint64(c.left()) {
		return false
	}
	c.off += int(n)
	return true
}

// explainStep says in words why stepEvent refused the event at c.
func explainStep(c cursor, lay *layout, index int) error {
	where := fmt.Sprintf("event %d (offset %d)", index, c.off)
	c.take(8)
	n := c.u32()
	if c.bad {
		return verdict.Refuse(verdict.BootlogMalformed, where, fmt.Sprintf("%d bytes that are no event", len(c.b)-c.off), "an event or the end of the log")
	}
	if n != uint32(lay.n) {
		return verdict.Refuse(verdict.BootlogAlgorithms, where, fmt.Sprintf("%d digests", n), fmt.Sprintf("%d digests, as the header says", lay.n))
	}
	for _, alg := range lay.algs[:lay.n] {
		if got := Alg(c.u16()); !c.bad && got != alg {
			return verdict.Refuse(verdict.BootlogAlgorithms, where, "digest of "+got.String(), "digest of "+alg.String()+", in the header's order")
		}
		c.take(alg.Size())
	}
	size := c.u32()
	if c.bad {
		return verdict.Refuse(verdict.BootlogMalformed, where, "an event cut short", "a complete event")
	}
	return verdict.Refuse(verdict.BootlogMalformed, where, fmt.Sprintf("%d bytes of data", size), fmt.Sprintf("at most the %d bytes that are left", c.left()))
}

// checkBoot applies the rules that replay depends on.
func (l *Log) checkBoot(lay *layout) error {
	var quiet, inPCR0 int
	located := false
	e := new(Event)
	for i := range l.starts {
		l.read(i, e)
		if e.Type != EvNoAction {
			if err := l.checkExtending(e, &inPCR0); err != nil {
				return err
			}
			continue
		}
		if quiet++; quiet > maxNoAction {
			return verdict.Refuse(verdict.BootlogNoAction, e.Where(), "too many events that extend nothing", fmt.Sprintf("at most %d", maxNoAction))
		}
		signature, err := checkNoAction(e, l.raw, lay)
		if err != nil {
			return err
		}
		if signature != localitySignature {
			continue
		}
		if located || inPCR0 > 0 {
			return verdict.Refuse(verdict.BootlogLocality, e.Where(), "a startup locality in a later place", "one startup locality, before anything else in PCR 0")
		}
		located, l.locality = true, e.Data[len(localitySignature)]
	}
	return l.checkLocality()
}

// checkExtending judges an event that extends a PCR and notes an H-CRTM event,
// which has to be the first in PCR 0.
func (l *Log) checkExtending(e *Event, inPCR0 *int) error {
	if !bootPCR(e.PCR) {
		return verdict.Refuse(verdict.BootlogPCR, e.Where(), fmt.Sprintf("PCR %d", e.PCR), "PCR 0 to 9 or 11 to 14")
	}
	if e.Type == EvEFIHCRTMEvent {
		if e.PCR != 0 || *inPCR0 > 0 || !bytes.Equal(e.Data, hcrtmText) {
			return verdict.Refuse(verdict.BootlogLocality, e.Where(), "an H-CRTM event in a later place", `one H-CRTM event "HCRTM", first in PCR 0`)
		}
		l.hcrtm = true
	}
	if e.PCR == 0 {
		*inPCR0++
	}
	return nil
}

var hcrtmText = []byte("HCRTM")

// bootPCR reports whether a boot may extend the PCR: 10 belongs to IMA, 15 to
// the running system, 16 and 23 can be reset by anyone, 17 to 22 are dynamic.
func bootPCR(pcr uint32) bool { return pcr <= 14 && pcr != 10 }

const localitySignature = "StartupLocality\x00"

// noActions are the events that may extend nothing, with the size their data
// must have (0: any) and whether they may name no PCR at all.
var noActions = [...]struct {
	signature string
	size      int
	anywhere  bool
}{
	{localitySignature, len(localitySignature) + 1, false},
	{"SP800-155 Event\x00", 0, true},
	{"SP800-155 Event2", 0, true},
	{"SP800-155 Event3", 0, true},
	{"NvIndexInstance\x00", 0, true},
	{"NvIndexDynamic\x00", 0, true},
}

func checkNoAction(e *Event, raw []byte, lay *layout) (signature string, err error) {
	for _, known := range noActions {
		if !bytes.HasPrefix(e.Data, []byte(known.signature)) {
			continue
		}
		if e.PCR != 0 && (e.PCR != noPCR || !known.anywhere) {
			return "", verdict.Refuse(verdict.BootlogNoAction, e.Where(), fmt.Sprintf("%q in PCR %d", known.signature, e.PCR), "PCR 0")
		}
		if known.size != 0 && len(e.Data) != known.size {
			return "", verdict.Refuse(verdict.BootlogNoAction, e.Where(), fmt.Sprintf("%d bytes of data", len(e.Data)), fmt.Sprintf("%d bytes", known.size))
		}
		if !zeroDigests(raw, e.Offset, lay) {
			return "", verdict.Refuse(verdict.BootlogNoAction, e.Where(), "a digest that is not zero", "zero digests: the event extends nothing")
		}
		return known.signature, nil
	}
	return "", verdict.Refuse(verdict.BootlogNoAction, e.Where(), fmt.Sprintf("unknown event %q", e.Data[:min(16, len(e.Data))]), "a kind of event that is known to extend nothing")
}

// zeroDigests reports whether the digests of all banks are zero, which is the
// one time that other banks are looked at: a host must not hide an extension.
func zeroDigests(raw []byte, offset int, lay *layout) bool {
	c := cursor{b: raw, off: offset + 12}
	for _, alg := range lay.algs[:lay.n] {
		c.off += 2
		if !isZero(c.take(alg.Size())) {
			return false
		}
	}
	return true
}

func (l *Log) checkLocality() error {
	want := "0 or 3"
	ok := l.locality == 0 || l.locality == 3
	if l.hcrtm {
		want, ok = "4, as the H-CRTM event implies", l.locality == 4
	}
	if !ok {
		return verdict.Refuse(verdict.BootlogLocality, "PCR 0", fmt.Sprintf("startup locality %d", l.locality), want)
	}
	return nil
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
