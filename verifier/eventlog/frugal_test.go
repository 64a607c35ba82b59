package eventlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
)

// everything does all that a verifier and its operators do with a log.
func everything(raw []byte) {
	l, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		return
	}
	_, _ = l.Facts(nil)
}

// grown is the genuine log with n more events of a kind at the place of the first
// event that fits.
func grown(t *testing.T, fits func(record) bool, more func(i int) record) func(n int) []byte {
	return func(n int) []byte {
		b := genuine(t)
		at := b.find(t, fits)
		added := make([]record, n)
		for i := range added {
			added[i] = more(i)
		}
		b.insert(at, added...)
		return b.bytes()
	}
}

// signatureLists is n lists of one small certificate each.
func signatureLists(n int) []byte {
	one := slices.Concat(SignatureX509[:], binary.LittleEndian.AppendUint32(nil, listHeader+ownerSize+1), make([]byte, 4),
		binary.LittleEndian.AppendUint32(nil, ownerSize+1), make([]byte, ownerSize+1))
	return []byte(strings.Repeat(string(one), n))
}

// Reading a log costs memory in proportion to it, whatever is in it: many events of
// any kind that facts are made of, texts, lists, and sizes that announce more than
// there is.
func TestFrugal(t *testing.T) {
	ipl := holding("grub_cmd: ")
	text := func(n int) string { return strings.Repeat("x", n) }
	empty := genuine(t)
	for name, c := range map[string]struct {
		most  int
		shape func(n int) []byte
		parse func([]byte)
	}{
		"commands":      {1 << 20, grown(t, ipl, func(i int) record { return grub("grub_cmd: ", fmt.Sprint("set a=", i)) }), everything},
		"one command":   {1 << 20, func(n int) []byte { return grown(t, ipl, func(int) record { return grub("grub_cmd: ", text(n)) })(1) }, everything},
		"files":         {1 << 20, grown(t, ipl, func(i int) record { return record{9, EvIPL, hash("f"), fmt.Appendf(nil, "/f%d\x00", i)} }), everything},
		"empty events":  {1 << 20, grown(t, ipl, func(int) record { return measured(9, EvIPL, "") }), everything},
		"unknown kinds": {1 << 20, grown(t, ipl, func(i int) record { return measured(9, EventType(0x9000+i), "") }), everything},
		"actions":       {1 << 20, grown(t, inPCR(4, EvSeparator), func(i int) record { return measured(4, EvEFIAction, fmt.Sprint("action ", i)) }), everything},
		"drivers":       {1 << 20, grown(t, inPCR(2, EvSeparator), func(int) record { return record{2, EvEFIBootServicesDriver, hash("d"), make([]byte, 32)} }), everything},
		"images":        {1 << 20, grown(t, inPCR(4, EvEFIBootServicesApp), func(int) record { return record{4, EvEFIBootServicesApp, hash("d"), make([]byte, 32)} }), everything},
		"options": {1 << 20, grown(t, inPCR(1, EvSeparator), func(i int) record {
			const value = "\x01\x00\x00\x00\x04\x00x\x00\x00\x00\x7f\xff\x04\x00"
			r := variableRecord(1, EvEFIVariableBoot, guidGlobal, fmt.Sprintf("Boot%04X", i&0xffff), value)
			r.digest = hash(value)
			return r
		}), everything},
		"firmware":      {1 << 20, grown(t, inPCR(0, EvSeparator), func(int) record { return record{0, EvEFIPlatformFirmwareBlob, hash("v"), make([]byte, 16)} }), everything},
		"configuration": {1 << 20, grown(t, inPCR(1, EvSeparator), func(int) record { return measured(1, EvPlatformConfigFlags, "x") }), everything},
		"authorities": {1 << 20, grown(t, inPCR(4, EvEFIBootServicesApp), func(int) record {
			return variableRecord(7, EvEFIVariableAuthority, guidSecurity, "db", strings.Repeat("x", 40))
		}), everything},
		"nothing extended": {1 << 20, grown(t, ipl, func(int) record { return quiet(0, "SP800-155 Event\x00") }), everything},
		"a large db": {1 << 20, func(n int) []byte {
			b := genuine(t)
			at := b.find(t, named("db"))
			b.events[at] = variableRecord(7, EvEFIVariableDriverConfig, guidSecurity, "db", string(signatureLists(n)))
			return b.bytes()
		}, everything},
		"a size of the end": {1 << 20, func(n int) []byte {
			raw := slices.Concat(empty.bytes(), make([]byte, n))
			binary.LittleEndian.PutUint32(raw[len(raw)-n-4:], 0xffffffff)
			return raw
		}, everything},
		"a count of digests": {1 << 20, func(n int) []byte {
			raw := slices.Concat(empty.header, make([]byte, n+12))
			binary.LittleEndian.PutUint32(raw[len(empty.header)+8:], 0xffffffff)
			return raw
		}, everything},
		"signature lists": {1 << 20, signatureLists, func(b []byte) { _, _ = ParseSignatureLists(b) }},
		"one list": {1 << 20, func(n int) []byte {
			size := ownerSize + 1
			return slices.Concat(SignatureX509[:], binary.LittleEndian.AppendUint32(nil, uint32(listHeader+n*size)), make([]byte, 4),
				binary.LittleEndian.AppendUint32(nil, uint32(size)), make([]byte, n*size))
		}, func(b []byte) { _, _ = ParseSignatureLists(b) }},
		"a huge entry": {1 << 20, func(n int) []byte {
			return slices.Concat(SignatureX509[:], []byte("\xff\xff\xff\x7f\x00\x00\x00\x00\xff\xff\xff\x7f"), make([]byte, n))
		}, func(b []byte) { _, _ = ParseSignatureLists(b) }},
		"a device path":  {1 << 16, func(n int) []byte { return []byte(strings.Repeat("\x04\x04\x06\x00x\x00", n) + "\x7f\xff\x04\x00") }, func(b []byte) { _, _ = DevicePath(b) }},
		"a path of ends": {1 << 16, func(n int) []byte { return []byte(strings.Repeat("\x7f\x01\x04\x00", n)) }, func(b []byte) { _, _ = DevicePath(b) }},
		"a long node": {1 << 16, func(n int) []byte {
			n = min(n, 0xfff0)
			return slices.Concat([]byte{9, 9, byte((n + 4) & 0xff), byte((n + 4) >> 8)}, make([]byte, n), []byte("\x7f\xff\x04\x00"), make([]byte, n/0xfff0*(1<<16)))
		}, func(b []byte) { _, _ = DevicePath(b) }},
		"a name": {1 << 20, func(n int) []byte {
			head := binary.LittleEndian.AppendUint64(make([]byte, 16), uint64(n))
			return slices.Concat(head, make([]byte, 8), []byte(strings.Repeat("x\x00", n)))
		}, func(b []byte) { _, _ = ParseVariable(b) }},
		"a name beyond all": {1 << 20, func(n int) []byte {
			return slices.Concat(make([]byte, 16), []byte(strings.Repeat("\xff", 16)), make([]byte, n))
		}, func(b []byte) { _, _ = ParseVariable(b) }},
		"partitions": {1 << 20, func(n int) []byte {
			raw := make([]byte, gptHeader+8+gptEntry*n)
			binary.LittleEndian.PutUint64(raw[gptHeader:], uint64(n))
			return raw
		}, func(b []byte) { _, _ = parseGPT(b) }},
		"partitions beyond all": {1 << 20, func(n int) []byte {
			raw := make([]byte, gptHeader+8+n)
			binary.LittleEndian.PutUint64(raw[gptHeader:], 1<<60)
			return raw
		}, func(b []byte) { _, _ = parseGPT(b) }},
	} {
		t.Run(name, func(t *testing.T) { weigh.Linear(t, c.most, c.shape, c.parse) })
	}
}
