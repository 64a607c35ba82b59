package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
)

// logSeeds are all logs of testdata.
func logSeeds(f *testing.F) [][]byte {
	var seeds [][]byte
	for _, c := range corpus {
		raw, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, raw)
	}
	return nonEmpty(f, seeds)
}

func nonEmpty(f *testing.F, seeds [][]byte) [][]byte {
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s)
	}
	return seeds
}

// eventData collects the data of genuine events of the given types.
func eventData(f *testing.F, kinds ...EventType) [][]byte {
	var out [][]byte
	for _, c := range corpus {
		raw, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			f.Fatal(err)
		}
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			continue
		}
		for _, e := range l.Events() {
			for _, kind := range kinds {
				if e.Type == kind {
					out = append(out, e.Data)
				}
			}
		}
	}
	return out
}

// A log that parses is used up to the last byte, and no step on it panics.
func FuzzParse(f *testing.F) {
	logSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		weigh.Bounded(t, len(raw), func() { _, _ = judge(raw) })
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			isRefusalOfAnyKind(t, err)
			return
		}
		events := l.Events()
		for i, e := range events {
			end := len(raw)
			if i+1 < len(events) {
				end = events[i+1].Offset
			}
			if e.Index != i+1 || !bytes.HasSuffix(raw[:end], e.Data) || len(e.Digest) != 32 {
				t.Fatalf("event %d does not end where the next begins", i)
			}
			_ = Describe(e)
		}
		if printed := reprint(raw, l); !bytes.Equal(printed, raw) {
			t.Fatalf("printed otherwise:\n%x\n%x", raw, printed)
		}
		pcrs, values := quoted(l.Replay())
		if err := l.Verify(pcrs, values); err != nil {
			t.Fatalf("its own replay is refused: %v", err)
		}
		_ = Diff(l, l)
		facts, err := l.Facts(nil)
		if err != nil {
			isRefusalOfAnyKind(t, err)
			return
		}
		if _, err := json.Marshal(facts); err != nil || !facts.ExitBootServices || facts.Profile == "" {
			t.Fatalf("%v: %+v", err, facts)
		}
	})
}

// reprint writes a log from what was read of it. The header and the digests of other
// banks, which nobody reads, are copied.
func reprint(raw []byte, l *Log) []byte {
	le := binary.LittleEndian
	if len(l.Events()) == 0 {
		return raw
	}
	out := slices.Clone(raw[:l.Events()[0].Offset])
	for _, e := range l.Events() {
		dataAt := e.Offset + l.headSize
		digests := slices.Clone(raw[e.Offset+8 : dataAt-4])
		copy(digests[l.digestAt-8:], e.Digest)
		out = le.AppendUint32(le.AppendUint32(out, e.PCR), uint32(e.Type))
		out = le.AppendUint32(append(out, digests...), uint32(len(e.Data)))
		out = append(out, e.Data...)
	}
	return out
}

// Lists that parse are made of exactly their entries.
func FuzzSignatureList(f *testing.F) {
	var seeds [][]byte
	for _, data := range eventData(f, EvEFIVariableDriverConfig) {
		if v, err := ParseVariable(data); err == nil && len(v.Data) > 1 {
			seeds = append(seeds, v.Data)
		}
	}
	nonEmpty(f, seeds)
	f.Fuzz(func(t *testing.T, data []byte) {
		weigh.Bounded(t, len(data), func() { _, _ = ParseSignatureLists(data) })
		lists, err := ParseSignatureLists(data)
		if err != nil {
			return
		}
		if printed := printLists(t, lists); !bytes.Equal(printed, data) {
			t.Fatalf("printed otherwise:\n%x\n%x", data, printed)
		}
	})
}

// printLists writes signature lists.
func printLists(t *testing.T, lists []SignatureList) (out []byte) {
	le := binary.LittleEndian
	for _, l := range lists {
		if len(l.Entries) == 0 {
			t.Fatal("a list without entries")
		}
		size := ownerSize + len(l.Entries[0].Data)
		out = append(out, l.Type[:]...)
		out = le.AppendUint32(out, uint32(listHeader+size*len(l.Entries)))
		out = le.AppendUint32(out, 0)
		out = le.AppendUint32(out, uint32(size))
		for _, e := range l.Entries {
			out = append(append(out, e.Owner[:]...), e.Data...)
		}
	}
	return out
}

// printPath writes a device path.
func printPath(nodes []pathNode) (out []byte) {
	for _, n := range nodes {
		out = append(out, n.kind, n.sub)
		out = binary.LittleEndian.AppendUint16(out, uint16(nodeHead+len(n.body)))
		out = append(out, n.body...)
	}
	return out
}

// A path that reads is written back to the same bytes.
func FuzzDevicePath(f *testing.F) {
	var seeds [][]byte
	for _, data := range eventData(f, EvEFIBootServicesApp, EvEFIBootServicesDriver) {
		if len(data) > 32 {
			seeds = append(seeds, data[32:])
		}
	}
	nonEmpty(f, seeds)
	f.Fuzz(func(t *testing.T, data []byte) {
		weigh.Bounded(t, len(data), func() { _, _ = DevicePath(data) })
		nodes, err := readPath(data)
		if err == nil {
			if again := printPath(nodes); !bytes.Equal(again, data) {
				t.Fatalf("%x became %x", data, again)
			}
		}
		if text, textErr := DevicePath(data); (err == nil) != (textErr == nil) || len(text) > 64+6*len(data)+maxPathNodes*64 {
			t.Fatalf("%v, and %d bytes of path give %d bytes of text, %v", err, len(data), len(text), textErr)
		}
		_ = imagePath(data)
		_, _ = loadOption(data)
	})
}

// A variable that parses is written back to the same bytes.
func FuzzVariable(f *testing.F) {
	nonEmpty(f, eventData(f, EvEFIVariableDriverConfig, EvEFIVariableAuthority, EvEFIVariableBoot))
	f.Fuzz(func(t *testing.T, data []byte) {
		weigh.Bounded(t, len(data), func() { _, _ = ParseVariable(data) })
		v, err := ParseVariable(data)
		if err != nil {
			return
		}
		name := encodeUTF16(v.Name)
		again := binary.LittleEndian.AppendUint64(slices.Clone(v.GUID[:]), uint64(len(name)/2))
		again = binary.LittleEndian.AppendUint64(again, uint64(len(v.Data)))
		if again = append(append(again, name...), v.Data...); !bytes.Equal(again, data) {
			t.Fatalf("%x became %x", data, again)
		}
	})
}

func FuzzGPT(f *testing.F) {
	nonEmpty(f, eventData(f, EvEFIGPTEvent))
	f.Fuzz(func(t *testing.T, data []byte) {
		weigh.Bounded(t, len(data), func() { _, _ = parseGPT(data) })
		if table, err := parseGPT(data); err == nil && gptHeader+8+gptEntry*len(table.Partitions) != len(data) {
			t.Fatalf("%d partitions in %d bytes", len(table.Partitions), len(data))
		}
	})
}

// One more measured event anywhere never takes from a policy's view what the log
// showed without it.
func FuzzInsert(f *testing.F) {
	n := 0
	for i, e := range genuine(f).events {
		n++
		f.Add(uint(i), e.pcr, uint32(e.kind), e.data)
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
	want := admitted(f, genuine(f).bytes())
	f.Fuzz(func(t *testing.T, at uint, pcr, kind uint32, data []byte) {
		b := genuine(t)
		r := measured(pcr, EventType(kind), string(data))
		if EventType(kind) == EvNoAction {
			r.digest = make([]byte, 32)
		}
		b.insert(int(at%uint(len(b.events)+1)), r)
		got, err := judge(b.bytes())
		if err != nil {
			isRefusalOfAnyKind(t, err)
			return
		}
		if !bytes.Contains([]byte(meaning(got)), []byte(want.CommandLines[0].Text)) || got.SecureBoot.Enabled != want.SecureBoot.Enabled {
			t.Fatalf("%s", meaning(got))
		}
		if len(got.Images) < len(want.Images) || len(got.Grub.Files) < len(want.Grub.Files) || got.SecureBoot.DBX.Data.String() != want.SecureBoot.DBX.Data.String() {
			t.Fatalf("facts are hidden: %+v", got)
		}
	})
}
