package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// told writes what is said, one line for all changes in a row of which the same
// is said.
type told struct {
	out                io.Writer
	first, last, words string
}

func (w *told) say(name, words string) {
	if words != w.words {
		w.flush()
		w.first, w.words = name, words
	}
	w.last = name
}

func (w *told) flush() {
	if w.words != "" {
		name := w.first
		if w.first != w.last {
			name += " … " + w.last
		}
		fmt.Fprintf(w.out, "%s: %s\n", name, w.words)
	}
	w.words = ""
}

// wording is a refusal in full, long values cut.
func wording(err error) string {
	var r *verdict.Refusal
	if !errors.As(err, &r) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%s at %q: got %.70q, want %.60q", r.Check, r.Where, r.Got, r.Want)
}

// facts is what a log proves, or why it is refused.
func facts(raw []byte, bank Alg) (*Facts, error) {
	l, err := Parse(raw, bank, DefaultLimits)
	if err != nil {
		return nil, err
	}
	return l.Facts(nil)
}

// tellFacts writes all facts, a line for each, digests cut.
func tellFacts(out io.Writer, f *Facts) {
	v := reflect.ValueOf(*f)
	for i := range v.NumField() {
		name, field := v.Type().Field(i).Name, v.Field(i)
		if field.Kind() != reflect.Slice {
			tellValue(out, name, field.Interface())
			continue
		}
		for j := range field.Len() {
			tellValue(out, fmt.Sprintf("%s[%d]", name, j), field.Index(j).Interface())
		}
	}
}

func tellValue(out io.Writer, name string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	cut := strings.NewReplacer(`"sha256:`, `"`)
	fmt.Fprintf(out, "  %s %s\n", name, cut.Replace(string(text)))
}

// differences names the facts that differ between two accounts of a boot.
func differences(f, good *Facts) string {
	var names []string
	a, b := reflect.ValueOf(*f), reflect.ValueOf(*good)
	for i := range a.NumField() {
		if x, y := a.Field(i), b.Field(i); !reflect.DeepEqual(x.Interface(), y.Interface()) {
			name := a.Type().Field(i).Name
			if x.Kind() == reflect.Slice {
				name += fmt.Sprintf("(%d)", x.Len())
			}
			names = append(names, name)
		}
	}
	return "read, other " + strings.Join(names, " ")
}

// composed are the logs of the simulator's chains.
func composed() map[string]bootlog.Boot {
	debian := bootlog.Debian()
	stub, uki, insecure := debian, debian, debian
	stub.Chain, uki.Chain, insecure.SecureBoot = bootlog.EFIStub, bootlog.UKI, false
	insecure.Drivers = []bootlog.Image{{Path: "rom", Content: []byte("rom")}}
	return map[string]bootlog.Boot{"debian": debian, "stub": stub, "uki": uki, "insecure": insecure}
}

// TestFactsAccount holds every fact of every composed and genuine log, every
// oddity, and every refusal of a mutation.
func TestFactsAccount(t *testing.T) {
	var out bytes.Buffer
	logs := composed()
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		raw := logs[name].Log().Bytes()
		f, err := facts(raw, SHA256)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s\n", name)
		tellFacts(&out, f)
		for _, m := range slices.Concat(bootlog.Mutations(), bootlog.WellFormedMutations()) {
			if name != "debian" {
				continue // which the mutations are made for
			}
			l := logs[name].Log()
			if err := l.Mutate(m); err != nil {
				t.Fatal(err)
			}
			changed, err := facts(l.Bytes(), SHA256)
			if err != nil {
				fmt.Fprintf(&out, "%s, %s: %s\n", name, m, wording(err))
			} else {
				fmt.Fprintf(&out, "%s, %s: %s\n", name, m, differences(changed, f))
			}
		}
	}
	for _, c := range corpus {
		raw := readLog(t, c.file)
		for _, bank := range []Alg{SHA256, SHA384, SHA512, SHA1, 0x27} {
			f, err := facts(raw, bank)
			if err != nil {
				fmt.Fprintf(&out, "== %s, %s: %s\n", c.file, bank, wording(err))
				continue
			}
			text, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "== %s, %s: %s, %d bytes of facts, %s\n", c.file, bank, f.Profile, len(text), sha256Text(text))
			for _, odd := range f.Oddities {
				fmt.Fprintf(&out, "  %s\n", odd)
			}
		}
	}
	for _, name := range []string{"genuine/shim-grub.log", "genuine/uki.log", "genuine/efi-stub.log"} {
		f, err := facts(readLog(t, name), SHA256)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s\n", name)
		tellFacts(&out, f)
	}
	account.Hold(t, "testdata/facts.txt", out.Bytes())
}

// TestBytesAccount holds what is said of a short log that is cut at any byte, and
// of every byte of it changed.
func TestBytesAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	header := bootlog.Header("Spec ID Event03", []byte{1, 2}, bootlog.Algorithm{Alg: 4, Size: 20}, bootlog.Algorithm{Alg: 0xb, Size: 32})
	both := []Alg{SHA1, SHA256}
	zero := [][]byte{make([]byte, 20), make([]byte, 32)}
	some := [][]byte{bytes.Repeat([]byte{1}, 20), bytes.Repeat([]byte{2}, 32)}
	raw := appendEvent(slices.Clone(header), record{0, EvNoAction, nil, []byte("StartupLocality\x00\x03")}, both, zero)
	raw = appendEvent(raw, record{0, EvSCRTMVersion, nil, []byte("v1")}, both, some)
	raw = appendEvent(raw, record{4, EvEFIAction, nil, nil}, both, some)
	say := func(name string, raw []byte) {
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			w.say(name, wording(err))
			return
		}
		w.say(name, fmt.Sprintf("%d events, locality %d, PCR 0 %x", len(l.Events()), l.locality, l.Replay().Value(0)[:4]))
	}
	for n := range raw {
		say(fmt.Sprintf("%d bytes", n), raw[:n])
	}
	for i := range raw {
		for _, change := range []byte{1, 2, 0x80, 0xff} {
			bad := slices.Clone(raw)
			bad[i] ^= change
			say(fmt.Sprintf("byte %d ^ %#02x", i, change), bad)
		}
	}
	say("one byte more", append(slices.Clone(raw), 0))
	for locality := range byte(6) {
		for _, pcr := range []uint32{0, 1, noPCR} {
			for _, hcrtm := range []bool{false, true} {
				raw := appendEvent(slices.Clone(header), record{pcr, EvNoAction, nil, append([]byte(localitySignature), locality)}, both, zero)
				if hcrtm {
					raw = appendEvent(raw, record{0, EvEFIHCRTMEvent, nil, []byte("HCRTM")}, both, some)
				}
				say(fmt.Sprintf("locality %d in PCR %#x, H-CRTM %v", locality, pcr, hcrtm), raw)
			}
		}
	}
	version := record{0, EvSCRTMVersion, nil, []byte("v")}
	cases := map[string][]record{
		"locality after firmware": {version, {0, EvNoAction, nil, []byte("StartupLocality\x00\x03")}},
		"locality twice":          {{0, EvNoAction, nil, []byte("StartupLocality\x00\x03")}, {0, EvNoAction, nil, []byte("StartupLocality\x00\x03")}},
		"locality too long":       {{0, EvNoAction, nil, []byte("StartupLocality\x00\x03\x00")}},
		"locality too short":      {{0, EvNoAction, nil, []byte("StartupLocality\x00")}},
		"H-CRTM after firmware":   {version, {0, EvEFIHCRTMEvent, nil, []byte("HCRTM")}},
		"H-CRTM in PCR 1":         {{1, EvEFIHCRTMEvent, nil, []byte("HCRTM")}},
		"H-CRTM of another text":  {{0, EvEFIHCRTMEvent, nil, []byte("HCRTN")}},
		"H-CRTM, no locality":     {{0, EvEFIHCRTMEvent, nil, []byte("HCRTM")}},
		"SP800-155 anywhere":      {{noPCR, EvNoAction, nil, []byte("SP800-155 Event\x00more")}},
		"SP800-155 in PCR 0":      {{0, EvNoAction, nil, []byte("SP800-155 Event2")}},
		"SP800-155 in PCR 1":      {{1, EvNoAction, nil, []byte("SP800-155 Event3")}},
		"unknown":                 {{0, EvNoAction, nil, []byte("SP800-155 Event4, long")}},
		"unknown, short":          {{0, EvNoAction, nil, []byte("x")}},
		"nothing":                 {{0, EvNoAction, nil, nil}},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		for i, digests := range [][][]byte{zero, some, {zero[0], some[1]}, {some[0], zero[1]}} {
			raw := slices.Clone(header)
			for _, e := range cases[name] {
				raw = appendEvent(raw, e, both, digests)
			}
			say(fmt.Sprintf("%s, digests %d", name, i), raw)
		}
	}
	w.flush()
	account.Hold(t, "testdata/bytes.txt", out.Bytes())
}

// TestEventsAccount holds what is made of each event of a boot in another PCR, of
// another type, moved, doubled or gone.
func TestEventsAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	logs := composed()
	types := slices.Sorted(maps.Keys(typeNames))
	types = append(types, 0x77)
	for _, name := range []string{"debian", "stub", "uki"} {
		raw := logs[name].Log().Bytes()
		good, err := facts(raw, SHA256)
		if err != nil {
			t.Fatal(err)
		}
		b := takeApart(t, raw)
		judge := func(what string, events []record) {
			changed := bootLog{b.header, events}
			f, err := facts(changed.bytes(), SHA256)
			if err != nil {
				w.say(name+", "+what, wording(err))
			} else {
				w.say(name+", "+what, differences(f, good))
			}
		}
		seen := map[string]bool{}
		for i, e := range b.events {
			put := func(what string, r ...record) {
				judge(fmt.Sprintf("event %d %s", i+1, what), slices.Concat(b.events[:i], r, b.events[i+1:]))
			}
			put("gone")
			put("twice", e, e)
			if i+1 < len(b.events) {
				judge(fmt.Sprintf("event %d swapped", i+1), slices.Concat(b.events[:i], []record{b.events[i+1], e}, b.events[i+2:]))
			}
			judge(fmt.Sprintf("event %d last", i+1), slices.Concat(b.events[:i], b.events[i+1:], []record{e}))
			judge(fmt.Sprintf("event %d first", i+1), slices.Concat([]record{e}, b.events[:i], b.events[i+1:]))
			if key := fmt.Sprint(e.pcr, e.kind); name != "debian" && e.pcr < 8 || seen[key] {
				continue // as in the first log
			} else {
				seen[key] = true
			}
			for pcr := range uint32(16) {
				if other := e; pcr != e.pcr {
					other.pcr = pcr
					put(fmt.Sprintf("in PCR %d", pcr), other)
				}
			}
			for _, kind := range types {
				if other := e; kind != e.kind {
					other.kind = kind
					put("as "+kind.String(), other)
				}
			}
			other := e
			other.digest = hash("other")
			put("with another digest", other)
			for _, value := range []string{"\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x01\x00\x00\x00"} {
				other.digest = hash(value)
				put(fmt.Sprintf("with the digest of %x", value), other)
			}
		}
		for n := range b.events {
			judge(fmt.Sprintf("%d events", n), b.events[:n])
		}
	}
	w.flush()
	account.Hold(t, "testdata/events.txt", out.Bytes())
}

// TestDataAccount holds what is made of each byte of each event's data, changed
// or cut off, with the TPM going along.
func TestDataAccount(t *testing.T) {
	var out bytes.Buffer
	w := &told{out: &out}
	logs := composed()
	for _, name := range []string{"debian", "stub", "uki"} {
		raw := logs[name].Log().Bytes()
		good, err := facts(raw, SHA256)
		if err != nil {
			t.Fatal(err)
		}
		b := takeApart(t, raw)
		seen := map[string]bool{}
		for i, e := range b.events {
			if key := fmt.Sprint(e.pcr, e.kind, len(e.data)); name != "debian" && e.pcr < 8 || seen[key] {
				continue // as in the first log
			} else {
				seen[key] = true
			}
			put := func(what string, data []byte) {
				other := e
				other.data = data
				switch {
				case bytes.Equal(e.digest, hash(string(e.data))):
					other.digest = hash(string(data))
				case e.pcr == 8 && len(data) > 0:
					if _, text, ok := strings.Cut(string(data[:len(data)-1]), ": "); ok {
						other.digest = hash(text)
					}
				case e.pcr == 1:
					if v, err := ParseVariable(data); err == nil {
						other.digest = hash(string(v.Data))
					}
				}
				changed := bootLog{b.header, slices.Concat(b.events[:i], []record{other}, b.events[i+1:])}
				f, err := facts(changed.bytes(), SHA256)
				name := fmt.Sprintf("%s, event %d (%s) %s", name, i+1, e.kind, what)
				if err != nil {
					w.say(name, wording(err))
				} else {
					w.say(name, differences(f, good))
				}
			}
			for n := range e.data {
				put(fmt.Sprintf("cut at %d", n), e.data[:n])
			}
			put("and more", append(slices.Clone(e.data), 0))
			for at := range e.data {
				for _, change := range []byte{1, 0x80, 0xff} {
					bad := slices.Clone(e.data)
					bad[at] ^= change
					put(fmt.Sprintf("byte %d ^ %#02x", at, change), bad)
				}
			}
		}
	}
	w.flush()
	account.Hold(t, "testdata/data.txt", out.Bytes())
}

// TestDifferencesAccount holds the words about what differs between logs, and
// what each event is called.
func TestDifferencesAccount(t *testing.T) {
	var out bytes.Buffer
	parse := func(raw []byte) *Log {
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	all := map[string]*Log{}
	for name, b := range composed() {
		all[name] = parse(b.Log().Bytes())
	}
	for _, name := range []string{"genuine/shim-grub.log", "genuine/uki.log", "go-tpm-tools/gdc-host.bin", "go-tpm-tools/rhel8-uefi.bin"} {
		all[name] = parse(readLog(t, name))
	}
	for _, m := range bootlog.WellFormedMutations() {
		l := bootlog.Debian().Log()
		if err := l.Mutate(m); err != nil {
			t.Fatal(err)
		}
		all["debian, "+string(m)] = parse(l.Bytes())
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&out, "== %s and debian\n", name)
		for _, d := range slices.Concat(Diff(all[name], all["debian"]), Diff(all["debian"], all[name])) {
			fmt.Fprintf(&out, "  %s (%d, %d): %s: %.90q %.90q\n", d.Where, d.EventA, d.EventB, d.What, d.A, d.B)
		}
		if strings.HasPrefix(name, "debian, ") {
			continue
		}
		for _, e := range all[name].Events() {
			fmt.Fprintf(&out, "  %s: %.120s\n", e.Where(), Describe(e))
		}
	}
	for _, kind := range append(slices.Sorted(maps.Keys(typeNames)), 0x77) {
		for _, data := range []string{"", "text", "t\x00\x00\x00", "\x04name and more", strings.Repeat("\x01\x00\x00\x00\x00\x00\x00\x00", 2), "\xff\xfe"} {
			fmt.Fprintf(&out, "%s of %q in PCR 5: %s\n", kind, data, Describe(Event{PCR: 5, Type: kind, Data: []byte(data)}))
		}
	}
	for pcr := range uint32(16) {
		for _, kind := range []EventType{EvIPL, EvEventTag} {
			fmt.Fprintf(&out, "%s in PCR %d: %s, %s\n", kind, pcr, Describe(Event{PCR: pcr, Type: kind, Data: []byte("grub_cmd: ls\x00")}), Describe(Event{PCR: pcr, Type: kind, Data: binary.LittleEndian.AppendUint32(nil, tagInitrd)}))
		}
	}
	account.Hold(t, "testdata/differences.txt", out.Bytes())
}
