package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// readLog reads a log of testdata.
func readLog(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// readPCRs reads the values that a real TPM had after the boot of a log, as
// lines "index value", without PCR 10.
func readPCRs(t testing.TB, name string) (pcrs []int, values [][]byte) {
	t.Helper()
	for line := range strings.Lines(string(readLog(t, name))) {
		var pcr int
		var value []byte
		if _, err := fmt.Sscanf(line, "%d %x\n", &pcr, &value); err != nil || len(value) != 32 {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if pcr != imaPCR && pcr <= 14 {
			pcrs, values = append(pcrs, pcr), append(values, value)
		}
	}
	if len(pcrs) < 8 {
		t.Fatalf("%s: %d values", name, len(values))
	}
	return pcrs, values
}

// record is an event that a test may change before it is written again.
type record struct {
	pcr    uint32
	kind   EventType
	digest []byte
	data   []byte
}

// bootLog is a log of the SHA-256 bank alone, taken apart.
type bootLog struct {
	header []byte
	events []record
}

func takeApart(t testing.TB, raw []byte) *bootLog {
	t.Helper()
	l, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootLog{header: raw[:l.starts[0]]}
	for _, e := range l.Events() {
		b.events = append(b.events, record{e.PCR, e.Type, slices.Clone(e.Digest), slices.Clone(e.Data)})
	}
	return b
}

func genuine(t testing.TB) *bootLog { return takeApart(t, readLog(t, "genuine/shim-grub.log")) }

// bytes writes the log. The TPM of a composed log always agrees with it: a test
// gets the quoted values by replaying it.
func (b *bootLog) bytes() []byte {
	out := slices.Clone(b.header)
	for _, e := range b.events {
		out = appendEvent(out, e, []Alg{SHA256}, [][]byte{e.digest})
	}
	return out
}

func appendEvent(out []byte, e record, algs []Alg, digests [][]byte) []byte {
	le := binary.LittleEndian
	out = le.AppendUint32(out, e.pcr)
	out = le.AppendUint32(out, uint32(e.kind))
	out = le.AppendUint32(out, uint32(len(algs)))
	for i, alg := range algs {
		out = le.AppendUint16(out, uint16(alg))
		out = append(out, digests[i]...)
	}
	out = le.AppendUint32(out, uint32(len(e.data)))
	return append(out, e.data...)
}

// measured is a record whose digest is that of its data.
func measured(pcr uint32, kind EventType, data string) record {
	return record{pcr, kind, hash(data), []byte(data)}
}

// grub is a record as GRUB writes it.
func grub(label, text string) record {
	return record{8, EvIPL, hash(text), []byte(label + text + "\x00")}
}

func hash(data string) []byte {
	sum := sha256.Sum256([]byte(data))
	return sum[:]
}

func quiet(pcr uint32, data string) record {
	return record{pcr, EvNoAction, make([]byte, 32), []byte(data)}
}

// variableRecord is a record of a whole variable.
func variableRecord(pcr uint32, kind EventType, g GUID, name, value string) record {
	le := binary.LittleEndian
	data := slices.Clone(g[:])
	data = le.AppendUint64(data, uint64(len(name)))
	data = le.AppendUint64(data, uint64(len(value)))
	data = append(append(data, encodeUTF16(name)...), value...)
	return measured(pcr, kind, string(data))
}

// find returns the position of the first event that fits.
func (b *bootLog) find(t testing.TB, fits func(record) bool) int {
	t.Helper()
	i := slices.IndexFunc(b.events, fits)
	if i < 0 {
		t.Fatal("the log has no such event")
	}
	return i
}

func inPCR(pcr uint32, kind EventType) func(record) bool {
	return func(r record) bool { return r.pcr == pcr && r.kind == kind }
}

func named(name string) func(record) bool {
	return func(r record) bool {
		v, _, err := splitVariable(r.data)
		return err == nil && v.Name == name
	}
}

func holding(text string) func(record) bool {
	return func(r record) bool { return strings.Contains(string(r.data), text) }
}

func (b *bootLog) insert(at int, r ...record) { b.events = slices.Insert(b.events, at, r...) }
func (b *bootLog) remove(at int)              { b.events = slices.Delete(b.events, at, at+1) }

// judge runs all steps on a log whose TPM agrees with it.
func judge(raw []byte) (*Facts, error) {
	l, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		return nil, err
	}
	bank := l.Replay()
	pcrs, values := quoted(bank)
	if err := l.Verify(pcrs, values); err != nil {
		return nil, err
	}
	return l.Facts(nil)
}

// quoted lists PCR 0 to 14 with the values of a bank.
func quoted(bank *Bank) (pcrs []int, values [][]byte) {
	for pcr := range 15 {
		pcrs = append(pcrs, pcr)
		values = append(values, bank.Value(pcr))
	}
	return pcrs, values
}

func admitted(t testing.TB, raw []byte) *Facts {
	t.Helper()
	facts, err := judge(raw)
	if err != nil {
		t.Fatalf("the twin is refused: %v", err)
	}
	return facts
}

func refused(t testing.TB, raw []byte, want ...verdict.CheckID) {
	t.Helper()
	_, err := judge(raw)
	isRefusal(t, err, want...)
}

func isRefusal(t testing.TB, err error, want ...verdict.CheckID) {
	t.Helper()
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal by %v", err, want)
	}
	if !slices.Contains(want, r.Check) {
		t.Fatalf("got %v, want a refusal by %v", err, want)
	}
	if r.Remedy == "" || r.Message == "" {
		t.Fatalf("%s is not registered", r.Check)
	}
}

func isRefusalOfAnyKind(t testing.TB, err error) {
	t.Helper()
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
}
