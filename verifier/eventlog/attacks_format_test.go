package eventlog

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

func TestA089_Header(t *testing.T) {
	raw := genuine(t).bytes()
	admitted(t, raw)
	refused(t, raw[65:], verdict.BootlogHeader)
	change := func(at int, b ...byte) []byte {
		out := slices.Clone(raw)
		copy(out[at:], b)
		return out
	}
	for _, bad := range [][]byte{
		change(0, 1), change(4, 4), change(8, 1), // PCR, type, digest
		change(32, 'T'), change(46, '2'), change(47, 1), // signature
		change(48, 2), change(52, 1), change(53, 1), change(55, 0), change(55, 3), // class, version, word size
		change(56, 0), change(56, 2), change(56, 255, 255, 255, 255), // number of algorithms
		change(60, byte(SHA1)), change(60, 0x99), change(62, 31), change(62, 0), // algorithm and its size
		change(64, 255), change(64, 1), // vendor information
		change(28, 255, 255, 255, 255), raw[:40], raw[:10],
	} {
		refused(t, bad, verdict.BootlogHeader)
	}
}

func TestA090_DuplicateDigests(t *testing.T) {
	b := genuine(t)
	admitted(t, b.bytes())
	good, bad := b.events[30].digest, hash("bad")
	for _, digests := range [][][]byte{{good, bad}, {bad, good}, {}} {
		out := slices.Clone(b.header)
		for i, e := range b.events {
			if i == 30 {
				out = appendEvent(out, e, slices.Repeat([]Alg{SHA256}, len(digests)), digests)
				continue
			}
			out = appendEvent(out, e, []Alg{SHA256}, [][]byte{e.digest})
		}
		refused(t, out, verdict.BootlogAlgorithms)
	}
	other := slices.Clone(b.header)
	other = appendEvent(other, b.events[0], []Alg{SHA1}, [][]byte{good[:20]})
	refused(t, other, verdict.BootlogAlgorithms)
	own := func(i int) []byte { return b.events[i].digest }
	old := func(i int) []byte { return b.events[i].digest[:20] }
	swapped := twoBanks(b, old, own)
	admitted(t, swapped)
	twice := bytes.Clone(swapped)
	binary.LittleEndian.PutUint16(twice[60:], uint16(SHA256))
	binary.LittleEndian.PutUint16(twice[62:], 32)
	refused(t, twice, verdict.BootlogHeader)
}

func TestA091_UnknownType(t *testing.T) {
	b := genuine(t)
	if facts := admitted(t, b.bytes()); len(facts.Images) != 4 {
		t.Errorf("images %+v", facts.Images)
	}
	b.insert(1, record{2, 0x8401, hash("option ROM"), []byte("vendor")})
	if facts := admitted(t, b.bytes()); len(facts.Unlisted) != 1 || facts.Unlisted[0].PCR != 2 || len(facts.Images) != 5 {
		t.Errorf("unlisted %+v", facts.Unlisted)
	}
	for _, pcr := range []uint32{4, 5, 7, 8, 9, 11, 12, 13, 14} {
		c := genuine(t)
		c.insert(1, measured(pcr, 0x12345678, "x"))
		refused(t, c.bytes(), verdict.BootlogType)
	}
	for _, pcr := range []uint32{10, 15, 16, 17, 23, 24, noPCR} {
		c := genuine(t)
		c.insert(1, measured(pcr, EvIPL, "x"))
		refused(t, c.bytes(), verdict.BootlogPCR)
	}
}

// signatureList composes one list.
func signatureList(kind GUID, total, header, size uint32, body int) []byte {
	le := binary.LittleEndian
	out := slices.Clone(kind[:])
	out = le.AppendUint32(out, total)
	out = le.AppendUint32(out, header)
	out = le.AppendUint32(out, size)
	return append(out, make([]byte, body)...)
}

func withDBX(t *testing.T, dbx []byte) []byte {
	b := genuine(t)
	b.events[b.find(t, named("dbx"))] = variableRecord(7, EvEFIVariableDriverConfig, guidSecurity, "dbx", string(dbx))
	return b.bytes()
}

func TestA092_SignatureListHeader(t *testing.T) {
	good := signatureList(SignatureSHA256, 28+2*48, 0, 48, 2*48)
	lists, err := ParseSignatureLists(slices.Concat(good, good))
	if err != nil || len(lists) != 2 || len(lists[1].Entries) != 2 || len(lists[0].Entries[0].Data) != 32 {
		t.Fatalf("twin: %v %v", lists, err)
	}
	facts := admitted(t, withDBX(t, good))
	if facts.SecureBoot.DBX.Data.String() != sha256Text(good) {
		t.Error("dbx is not compared as a whole")
	}
	for name, bad := range map[string][]byte{
		"vendor header": signatureList(SignatureSHA256, 28+16+48, 16, 48, 16+48),
		"no entries":    signatureList(SignatureSHA256, 28, 0, 48, 0),
		"remainder":     signatureList(SignatureSHA256, 28+49, 0, 48, 49),
		"trailing":      append(slices.Clone(good), 0),
		"other size":    signatureList(SignatureSHA256, 28+64, 0, 64, 64),
		"unknown type":  signatureList(guidShim, 28+48, 0, 48, 48),
		"short":         good[:27],
	} {
		if _, err := ParseSignatureLists(bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
		refused(t, withDBX(t, bad), verdict.BootlogSignatureList)
	}
}

func TestA093_SignatureListSizes(t *testing.T) {
	admitted(t, withDBX(t, signatureList(SignatureX509, 28+17, 0, 17, 17)))
	for _, size := range []uint32{0, 1, 15, 16, 0xFFFFFFFF} {
		refused(t, withDBX(t, signatureList(SignatureX509, 28+48, 0, size, 48)), verdict.BootlogSignatureList)
	}
	for _, total := range []uint32{0, 27, 28 + 49, 0xFFFFFFFF} {
		refused(t, withDBX(t, signatureList(SignatureX509, total, 0, 48, 48)), verdict.BootlogSignatureList)
	}
	huge := signatureList(SignatureX509, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
	if allocs := testing.AllocsPerRun(10, func() { _, _ = ParseSignatureLists(huge) }); allocs > 8 {
		t.Errorf("%v allocations for a list that is not there", allocs)
	}
}

func TestA094_SizeAndCount(t *testing.T) {
	b := genuine(t)
	raw := b.bytes()
	admitted(t, raw)
	big := slices.Clone(raw)
	binary.LittleEndian.PutUint32(big[65+12+34:], 0xFFFFFFFF)
	refused(t, big, verdict.BootlogMalformed)
	refused(t, append(slices.Clone(raw), make([]byte, 1<<20)...), verdict.BootlogSize)
	many := slices.Clone(b.header)
	for len(many) < 1<<20-50 {
		many = appendEvent(many, record{2, EvEFIBootServicesDriver, b.events[0].digest, nil}, []Alg{SHA256}, [][]byte{b.events[0].digest})
	}
	refused(t, many, verdict.BootlogSize)
	_, err := Parse(raw, SHA256, Limits{Bytes: len(raw), Events: len(b.events)})
	isRefusal(t, err, verdict.BootlogSize)
	if _, err := Parse(raw, SHA256, Limits{Bytes: len(raw), Events: len(b.events) + 1}); err != nil {
		t.Errorf("a log of exactly the limit: %v", err)
	}
}

// Nothing in a log nests: device paths are a flat list of bounded length, and
// Windows's nested records have no meaning here.
func TestA095_Recursion(t *testing.T) {
	end := []byte{0x7f, 0xff, 4, 0}
	node := []byte{1, 1, 6, 0, 0, 2}
	text, err := DevicePath(slices.Concat(node, node, end))
	if err != nil || text != "Pci(0x2,0x0)/Pci(0x2,0x0)" {
		t.Fatalf("twin: %q %v", text, err)
	}
	if _, err := DevicePath(append(bytes.Repeat(node, 100_000), end...)); err == nil {
		t.Error("a device path of 100000 nodes was accepted")
	}
	b := genuine(t)
	b.insert(b.find(t, inPCR(8, EvIPL)), measured(12, EvCompactHash, strings.Repeat("\x01\x00\x01\x40", 1000)))
	refused(t, b.bytes(), verdict.BootlogType)
}

func TestA096_TrailingBytes(t *testing.T) {
	raw := genuine(t).bytes()
	admitted(t, raw)
	refused(t, append(slices.Clone(raw), bytes.Repeat([]byte{0xff}, 100)...), verdict.BootlogAlgorithms)
	refused(t, append(slices.Clone(raw), 0), verdict.BootlogMalformed)
	refused(t, slices.Concat(raw, raw), verdict.BootlogAlgorithms, verdict.BootlogMalformed)
	refused(t, raw[:len(raw)-1], verdict.BootlogMalformed)
	b := genuine(t)
	b.insert(0, quiet(0, string(b.header[32:])))
	refused(t, b.bytes(), verdict.BootlogNoAction)
}
