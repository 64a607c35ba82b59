package eventlog

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/account"
)

func TestAlgorithms(t *testing.T) {
	for _, row := range []struct {
		alg      Alg
		size     int
		hash     crypto.Hash
		text     string
		bankable bool
		empty    string // beginning of the digest of nothing
	}{
		{SHA1, 20, crypto.SHA1, "sha1", false, "da39a3ee"}, {SHA256, 32, crypto.SHA256, "sha256", true, "e3b0c442"}, {SHA384, 48, crypto.SHA384, "sha384", true, "38b060a7"},
		{SHA512, 64, crypto.SHA512, "sha512", true, "cf83e135"}, {sm3, 32, 0, "sm3_256", false, "00000000"}, {0x27, 0, 0, "alg 0x0027", false, "00000000"}, {0, 0, 0, "alg 0x0000", false, "00000000"},
	} {
		var sum [MaxDigest]byte
		row.alg.sum(&sum, nil)
		if row.alg.Size() != row.size || row.alg.Hash() != row.hash || row.alg.String() != row.text || row.alg.bankable() != row.bankable || hex.EncodeToString(sum[:4]) != row.empty {
			t.Errorf("%s: %d, %v, %v, %x", row.alg, row.alg.Size(), row.alg.Hash(), row.alg.bankable(), sum[:4])
		}
	}
	if DefaultLimits != (Limits{Bytes: 1048576, Events: 20000}) {
		t.Errorf("%+v", DefaultLimits)
	}
}

// A bad cursor stays bad, gives zeros and moves no more.
func TestCursor(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	c := cursor{b: b}
	if c.u8() != 1 || c.u16() != 0x0302 || c.u32() != 0x07060504 || c.u64() != 0x0f0e0d0c0b0a0908 || c.left() != 0 || c.bad {
		t.Errorf("%+v", c)
	}
	for name, read := range map[string]func(c *cursor) uint64{
		"u8": func(c *cursor) uint64 { return uint64(c.u8()) }, "u16": func(c *cursor) uint64 { return uint64(c.u16()) }, "u32": func(c *cursor) uint64 { return uint64(c.u32()) }, "u64": (*cursor).u64,
		"take": func(c *cursor) uint64 { return uint64(len(c.take(1))) }, "negative": func(c *cursor) uint64 { return uint64(len(c.take(-1))) },
	} {
		c := cursor{b: b, off: len(b)}
		if got := read(&c); got != 0 || !c.bad || c.off != len(b) {
			t.Errorf("%s at the end: %d, %+v", name, got, c)
		}
		c = cursor{b: b, bad: true}
		if got := read(&c); got != 0 || !c.bad || c.off != 0 {
			t.Errorf("%s of a bad one: %d, %+v", name, got, c)
		}
	}
	c = cursor{b: b}
	if got := c.take(0); got == nil || len(got) != 0 || c.bad {
		t.Errorf("nothing: %v, %+v", got, c)
	}
	if got := c.take(len(b)); len(got) != len(b) || cap(got) != len(b) {
		t.Errorf("all: %v", got)
	}
}

// node is a device path's node.
func node(kind, sub byte, body ...byte) []byte {
	return append([]byte{kind, sub, byte(4 + len(body)), byte((4 + len(body)) >> 8)}, body...)
}

var pathEnd = []byte{0x7f, 0xff, 4, 0}

func counted(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i + 1)
	}
	return b
}

// TestPathsAccount holds the words of device paths of every kind of node in every
// size, and of a path that is cut or changed at any byte.
func TestPathsAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	say := func(name string, data []byte) {
		text, err := DevicePath(data)
		w.say(name, fmt.Sprintf("%.150q, %v", text, err))
	}
	for kind := range byte(6) {
		for sub := range byte(26) {
			for size := range 44 {
				name := fmt.Sprintf("node %d,%d of %d", kind, sub, size)
				if _, known := pathNames[[2]uint8{kind, sub}]; known || size == 3 {
					say(name, append(node(kind, sub, counted(size)...), pathEnd...))
				}
			}
		}
	}
	for _, sub := range []byte{4, 7} {
		for _, size := range []int{62, 63, 64, 65, 66, 79, 80, 81, 100} {
			say(fmt.Sprintf("node 9,%d of %d", sub, size), append(node(9, sub, counted(size)...), pathEnd...))
			say(fmt.Sprintf("node 4,%d of %d", sub, size), append(node(4, sub, counted(size)...), pathEnd...))
		}
	}
	root := node(2, 1, 0xd0, 0x41, 0x03, 0x0a, 1, 0, 0, 0)
	say("PCI express", append(node(2, 1, 0xd0, 0x41, 0x08, 0x0a, 2, 0, 0, 0), pathEnd...))
	for _, format := range [][2]byte{{2, 2}, {1, 2}, {2, 1}, {1, 1}} {
		disk := counted(38)
		disk[36], disk[37] = format[0], format[1]
		say(fmt.Sprintf("disk of format %v", format), append(node(4, 1, disk...), pathEnd...))
	}
	for _, text := range []string{"", "a", `\EFI\x`, strings.Repeat("a", 1022), strings.Repeat("a", 1023), strings.Repeat("a", 1024), "ä根"} {
		say(fmt.Sprintf("file of %d letters, %.9q", len(text), text), append(node(4, 4, append(encodeUTF16(text), 0, 0)...), pathEnd...))
	}
	say("file without NUL", append(node(4, 4, 'a', 0), pathEnd...))
	say("file with half a NUL", append(node(4, 4, 'a', 0, 0, 1), pathEnd...))
	say("file with another half", append(node(4, 4, 'a', 0, 1, 0), pathEnd...))
	say("file with NUL inside", append(node(4, 4, 0, 0, 0, 0), pathEnd...))
	for _, n := range []int{0, 1, 62, 63, 64, 65} {
		say(fmt.Sprintf("%d nodes", n), append(bytes.Repeat(node(1, 1, 2, 3), n), pathEnd...))
	}
	whole := slices.Concat(root, node(1, 1, 2, 3), []byte{0x7f, 1, 4, 0}, node(4, 4, append(encodeUTF16("x"), 0, 0)...), pathEnd)
	say("two paths", whole)
	for n := range whole {
		say(fmt.Sprintf("%d bytes", n), whole[:n])
	}
	for i := range whole {
		for _, change := range []byte{1, 2, 0x80, 0xff} {
			bad := slices.Clone(whole)
			bad[i] ^= change
			say(fmt.Sprintf("byte %d ^ %#02x", i, change), bad)
		}
	}
	say("one byte more", append(slices.Clone(whole), 0))
	say("an end with a body", node(0x7f, 0xff, 1))
	say("an end of a path with a body", append(node(0x7f, 1, 1), pathEnd...))
	for _, size := range []uint64{0, 1, 32, 33, 1 << 32, 1<<64 - 1} {
		data := binary.LittleEndian.AppendUint64(make([]byte, 24), size)
		w.say(fmt.Sprintf("an image of %d bytes of path", size), fmt.Sprintf("%q", imagePath(append(data, append(root, append(bytes.Repeat(node(1, 1, 2, 3), 2), pathEnd...)...)...))))
	}
	for n := range 45 {
		data := binary.LittleEndian.AppendUint64(make([]byte, 24), 16)
		data = append(data, slices.Concat(root, pathEnd)...)
		w.say(fmt.Sprintf("an image event of %d bytes", n), fmt.Sprintf("%q", imagePath(data[:min(n, len(data))])))
	}
	w.flush()
	account.Hold(t, "testdata/paths.txt", out.Bytes())
}

// TestRecordsAccount holds how variables, signature lists, load options,
// partition tables and texts read when they are cut or changed at any byte.
func TestRecordsAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	each := func(name string, good []byte, read func(b []byte) string) {
		w.say(name, read(good))
		for n := range good {
			w.say(fmt.Sprintf("%s, %d bytes", name, n), read(good[:n]))
		}
		for i := range good {
			for _, change := range []byte{1, 2, 0x80, 0xff} {
				bad := slices.Clone(good)
				bad[i] ^= change
				w.say(fmt.Sprintf("%s, byte %d ^ %#02x", name, i, change), read(bad))
			}
		}
		w.say(name+", one byte more", read(append(slices.Clone(good), 0)))
	}
	each("variable", variableRecord(7, 0, guidGlobal, "PK", "xy").data, func(b []byte) string {
		v, err := ParseVariable(b)
		first, rest, _ := splitVariable(b)
		return fmt.Sprintf("%s %q %q, %v; %q and %d more", v.GUID, v.Name, v.Data, err, first.Name, len(rest))
	})
	for _, chars := range []int{0, 1, maxNameChars, maxNameChars + 1} {
		v, err := ParseVariable(variableRecord(7, 0, guidShim, strings.Repeat("n", chars), "").data)
		w.say(fmt.Sprintf("a name of %d letters", chars), fmt.Sprintf("%d, %v", len(v.Name), err))
	}
	for _, name := range []string{"a\x00", "\x00a", "a\x00b"} { // a NUL in the name
		_, err := ParseVariable(variableRecord(7, 0, guidShim, name, "").data)
		w.say(fmt.Sprintf("name %q", name), fmt.Sprint(err))
	}
	list := func(kind GUID, size int, entries ...byte) []byte {
		return slices.Concat(kind[:], binary.LittleEndian.AppendUint32(nil, uint32(28+len(entries))), make([]byte, 4), binary.LittleEndian.AppendUint32(nil, uint32(size)), entries)
	}
	lists := func(b []byte) string {
		all, err := ParseSignatureLists(b)
		words := fmt.Sprintf("%v;", err)
		for _, l := range all {
			words += fmt.Sprintf(" %s", l.Type)
			for _, e := range l.Entries {
				words += fmt.Sprintf(" %.8s:%x", e.Owner, e.Data[:min(4, len(e.Data))])
			}
		}
		return words
	}
	each("signature lists", slices.Concat(list(SignatureX509, 18, counted(36)...), list(SignatureSHA256, 48, counted(48)...)), lists)
	kinds := make([]string, 0, len(signatureSizes))
	byText := map[string]GUID{}
	for kind := range signatureSizes {
		kinds, byText[kind.String()] = append(kinds, kind.String()), kind
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		for size := 15; size <= 280; size++ {
			if err := walkSignatureLists(list(byText[kind], size, make([]byte, 2*size)...), nil); err == nil && (signatureSizes[byText[kind]] != 0 || size < 18) {
				w.say(fmt.Sprintf("lists of %s", kind), fmt.Sprintf("entries of %d bytes are read", size))
			}
		}
	}
	option := slices.Concat([]byte{1, 0, 0, 0, 10, 0}, encodeUTF16("os"), []byte{0, 0}, node(1, 1, 2, 3), pathEnd, []byte("more"))
	each("load option", option, func(b []byte) string {
		description, path := loadOption(b)
		return fmt.Sprintf("%q at %q", description, path)
	})
	table := make([]byte, gptHeader)
	copy(table, "EFI PART")
	copy(table[56:], counted(16))
	binary.LittleEndian.PutUint32(table[84:], gptEntry)
	entry := make([]byte, gptEntry)
	copy(entry, counted(48))
	copy(entry[56:], encodeUTF16("root"))
	read := func(b []byte) string {
		g, err := parseGPT(b)
		return fmt.Sprintf("%+v, %v", g, err)
	}
	each("partition table", slices.Concat(table, binary.LittleEndian.AppendUint64(nil, 1), entry), read)
	for _, n := range []int{0, 2, maxGPT, maxGPT + 1} {
		g, err := parseGPT(slices.Concat(table, binary.LittleEndian.AppendUint64(nil, uint64(n)), bytes.Repeat(entry, n)))
		w.say(fmt.Sprintf("%d partitions", n), fmt.Sprintf("%d, %v", len(g.Partitions), err))
	}
	for _, text := range []string{
		"", "a", "a\x00", "ab\x00\x00", "a\x00b\x00", "a\x00b\x00\x00\x00", "a\x00b\x00\x00", "a\x00b\x00c", "a\x00bc", "\x00\x00\x00\x00", "\x00a\x00b", "abc\x00\x00", "\xff\xfe", strings.Repeat("\xff", 40), "a\x00\x00\xd8",
		"a\x00b\x00\x00\xd8\x00\xdc", "a\x00b\x00\x00\xd8", "\x00", "a\x00\x00b", "a\x00\x00\x00b\x00", "ab\x00c",
		"\x00\x00", "a\x00\x00\xd8b\x00", "\x3d\xd8\x00\xdea\x00b\x00", "\x3d\xd8\x00\xde", "a\x00b\x00\x00", "a\x00b\x00c\x00\x00", "a\x00b\x00c", "ab\x00\x00c", "a\x00bcd", "a\x00b\x00cd\x00", "a\x00\x00\x00", "\x00\x00a\x00", "a\x00bb\x00",
		"a\x00b\x01", "ab\x00\x00\x00\x00", "a\x00b\x00\x00\x00\x00\x00", "abcd\x00", "a\x00bb\x00\x00",
	} {
		decoded, ok := decodeUTF16([]byte(text))
		record, okRecord := utf16Record([]byte(text))
		w.say(fmt.Sprintf("text %q", text), fmt.Sprintf("%q; %q %v; %q %v; %v %v", looseText([]byte(text)), decoded, ok, record, okRecord, isCString([]byte(text)), isText(text)))
	}
	for _, c := range []byte{0x1f, 0x20, 0x7e, 0x7f, 0x80} {
		w.say(fmt.Sprintf("character %#x", c), fmt.Sprint(isText(string([]byte{'a', c}))))
	}
	for _, word := range []string{"", "/x", "(hd0)", "0", "9", "/", ":", "a", ".", "linux"} {
		label, loads := kernelLabel(word)
		w.say(fmt.Sprintf("word %q", word), fmt.Sprintf("%v %q %v", namesFile(word), label, loads))
	}
	for _, verb := range []string{"linux", "linuxefi", "linux16", "multiboot", "multiboot2", "xen_hypervisor", "module", "module2", "xen_module", "linuxx", "initrd a b", "initrdefi a", "initrd16 a", "initrd", "initrdx a", "set a"} {
		label, loads := kernelLabel(verb)
		w.say(fmt.Sprintf("command %q", verb), fmt.Sprintf("%q %v %q %v", label, loads, initrdPaths(verb), loadsInitrd(verb)))
	}
	for _, s := range []string{"", "sha256:", hash256(""), strings.ToUpper(hash256("")), hash256("") + "00", hash256("")[:70], "sha384:" + strings.Repeat("ab", 48), "sha512:" + strings.Repeat("ab", 64), "sha1:" + strings.Repeat("ab", 20), "sha384:" + strings.Repeat("ab", 32), "x" + hash256("")} {
		var d Digest
		var c Content
		errD, errC := d.UnmarshalText([]byte(s)), c.UnmarshalText([]byte(s))
		w.say(fmt.Sprintf("digest %.20q of %d", s, len(s)), fmt.Sprintf("%v %v %v; %v %v", validDigest(s), d == "", errD, c.String() == s, errC))
	}
	for _, s := range []string{"claimed", "measured", "", "Measured"} {
		p := Provenance(7)
		err := p.UnmarshalText([]byte(s))
		w.say(fmt.Sprintf("provenance %q", s), fmt.Sprintf("%d %s, %v", p, p, err))
	}
	w.flush()
	account.Hold(t, "testdata/records.txt", out.Bytes())
}

func hash256(s string) string { return sha256Text([]byte(s)) }

// The signature types and their sizes are those of the UEFI specification.
func TestSignatureSizes(t *testing.T) {
	want := map[string]int{
		"a5c059a1-94e4-4aa7-87b5-ab155c2bf072": 0, "c1c41626-504c-4092-aca9-41f936934328": 48, "3bd2a492-96c0-4079-b420-fcf98ef103ed": 64, "7076876e-80c2-4ee6-aad2-28b349a6865b": 80,
		"446dbf63-2502-4cda-bcfa-2465d2b0fe9d": 96, "826ca512-cf10-4ac9-b187-be01496631bd": 36, "0b6e5233-a65c-44c9-9407-d9ab83bfc8bd": 44, "ff3e5307-9fd0-48c9-85f1-8ad56c701e01": 64,
		"093e0fae-a6c4-4f50-9f1b-d41e2b89c19a": 80, "3c5766e8-269c-4e34-aa14-ed776e85b3b6": 272, "e2b36190-879b-4a3d-ad8d-f2e7bba32784": 272, "67f8444f-8743-48f1-a328-1eaab8736080": 272,
		"452e8ced-dfff-4b8c-ae01-5118862e682c": 17,
	}
	if len(signatureSizes) != len(want) {
		t.Errorf("%d types", len(signatureSizes))
	}
	for kind, size := range signatureSizes {
		if listed, ok := want[kind.String()]; !ok || listed != size {
			t.Errorf("%s: %d", kind, size)
		}
	}
	for want, g := range map[string]GUID{
		"8be4df61-93ca-11d2-aa0d-00e098032b8c": guidGlobal, "d719b2cb-3d3a-4596-a3bc-dad00e67656f": guidSecurity, "605dab50-e046-4300-abb6-3dd810dd8b23": guidShim,
	} {
		if g.String() != want {
			t.Errorf("%s, want %s", g, want)
		}
	}
}

// Each word that a rule or a person reads has its one form.
func TestEventWhere(t *testing.T) {
	e := Event{Index: 41, Offset: 9120, PCR: 8}
	if e.Where() != "event 41 (offset 9120), PCR 8" {
		t.Error(e.Where())
	}
	for kind, name := range typeNames {
		if kind.String() != name {
			t.Errorf("%#x", uint32(kind))
		}
	}
}

// Limits hold to the byte and the event.
func TestLimitsToTheEvent(t *testing.T) {
	raw := composed()["debian"].Log().Bytes()
	l, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	n := len(l.Events())
	for events, want := range map[int]bool{n: false, n + 1: true, n + 2: true} {
		if _, err := Parse(raw, SHA256, Limits{Bytes: len(raw), Events: events}); (err == nil) != want {
			t.Errorf("%d events of %d: %v", events, n, err)
		}
	}
	if _, err := Parse(raw, SHA256, Limits{Bytes: len(raw) - 1, Events: n + 1}); err == nil {
		t.Error("a byte too many")
	}
	for index, want := range map[int]bool{-1: false, 0: false, 1: true, n: true, n + 1: false} {
		if e, ok := l.Event(index); ok != want || ok && e.Index != index {
			t.Errorf("event %d: %+v", index, e)
		}
	}
}

// Banks answer for the registers that there are.
func TestBanks(t *testing.T) {
	l, err := Parse(composed()["debian"].Log().Bytes(), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	b := l.Replay()
	if b.Alg() != SHA256 || l.Bank() != SHA256 {
		t.Error("another bank")
	}
	for _, pcr := range []int{-1, NumPCRs, NumPCRs + 1} {
		if b.Value(pcr) != nil || b.Extended(pcr) != 0 {
			t.Errorf("PCR %d", pcr)
		}
	}
	for pcr := range NumPCRs {
		reset := byte(0)
		if pcr >= 17 && pcr <= 22 {
			reset = 0xff
		}
		if v := b.Value(pcr); len(v) != 32 || b.Extended(pcr) == 0 && !bytes.Equal(v, bytes.Repeat([]byte{reset}, 32)) {
			t.Errorf("PCR %d: %x", pcr, v)
		}
	}
	if v := new(Log).Replay().Value(0); len(v) != 0 {
		t.Errorf("a log of nothing: %x", v)
	}
}

// Verify wants a value of the right size for each register, and says which does
// not fit.
func TestVerifySaysWhy(t *testing.T) {
	l, err := Parse(composed()["uki"].Log().Bytes(), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	b := l.Replay()
	value := func(pcr int) []byte { return slices.Clone(b.Value(pcr)) }
	other := bytes.Repeat([]byte{7}, 32)
	for want, row := range map[string]struct {
		pcrs   []int
		values [][]byte
	}{
		"":                             {[]int{0, 10, 23}, [][]byte{value(0), other, value(23)}},
		"0 values for 0 PCRs":          {nil, nil},
		"1 values for 2 PCRs":          {[]int{0, 1}, [][]byte{value(0)}},
		"2 values for 1 PCRs":          {[]int{0}, [][]byte{value(0), value(1)}},
		"at PCR -1: got a value of 32": {[]int{-1}, [][]byte{other}},
		"at PCR 24: got a value of 32": {[]int{24}, [][]byte{other}},
		"at PCR 10: got a value of 31": {[]int{10}, [][]byte{other[:31]}},
		"at PCR 0: got a value of 0":   {[]int{0}, [][]byte{nil}},
		"at PCR 1 (":                   {[]int{0, 1}, [][]byte{value(0), other}},
		"at PCR 11 (":                  {[]int{11}, [][]byte{other}},
	} {
		err := l.Verify(row.pcrs, row.values)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	at := [MaxDigest]byte{}
	copy(at[:], value(11))
	var joined [2 * MaxDigest]byte
	for i, word := range []string{"enter-initrd", "leave-initrd", "sysinit", "ready", "shutdown"} {
		SHA256.extend(&at, hash(word), &joined)
		if err := l.Verify([]int{11}, [][]byte{at[:32]}); (err == nil) != (i < 4) {
			t.Errorf("after %s: %v", word, err)
		}
		if err := l.Verify([]int{12}, [][]byte{at[:32]}); err == nil {
			t.Errorf("PCR 12 after %s", word)
		}
	}
	stub, err := Parse(composed()["stub"].Log().Bytes(), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	var fresh [MaxDigest]byte
	SHA256.extend(&fresh, hash("enter-initrd"), &joined)
	if err := stub.Verify([]int{11}, [][]byte{fresh[:32]}); err == nil {
		t.Error("phases without a unified image")
	}
}
