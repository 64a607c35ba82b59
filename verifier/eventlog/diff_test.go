package eventlog

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func parsed(t testing.TB, raw []byte) *Log {
	t.Helper()
	l, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDiffOfEqualLogs(t *testing.T) {
	b := genuine(t)
	if d := Diff(parsed(t, b.bytes()), parsed(t, b.bytes())); len(d) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestDiffCommandLine(t *testing.T) {
	a, b := genuine(t), genuine(t)
	line := "/vmlinuz root=/dev/vda2 ro console=ttyS0 ima_policy=tcb"
	at := b.find(t, holding("kernel_cmdline: "))
	b.events[at] = grub("kernel_cmdline: ", line+" init=/bin/sh")
	d := Diff(parsed(t, a.bytes()), parsed(t, b.bytes()))
	if len(d) != 1 {
		t.Fatalf("%+v", d)
	}
	want := Difference{"PCR 8, event 43", "kernel command line differs", line, line + " init=/bin/sh", 43, 43}
	if d[0] != want {
		t.Errorf("%+v, want %+v", d[0], want)
	}
}

func TestDiffAddedRemovedReplaced(t *testing.T) {
	a, b := genuine(t), genuine(t)
	b.remove(b.find(t, holding("grub_cmd: set timeout=0")))
	b.insert(b.find(t, holding("grub_cmd: linux")), grub("grub_cmd: ", "echo hello"))
	b.events[b.find(t, func(r record) bool { return string(r.data) == "/initrd.img\x00" })].digest = hash("another initrd")
	b.insert(0, quiet(0, "StartupLocality\x00\x03"))
	var got []string
	for _, d := range Diff(parsed(t, a.bytes()), parsed(t, b.bytes())) {
		got = append(got, d.What)
	}
	want := "startup locality differs; GRUB command is missing; GRUB command is new; file read by GRUB differs"
	if strings.Join(got, "; ") != want {
		t.Errorf("%s", strings.Join(got, "; "))
	}
}

// Logs of which nothing is alike are compared within bounds.
func TestDiffIsBounded(t *testing.T) {
	a, b := genuine(t), genuine(t)
	for i := range 3000 {
		a.insert(0, record{2, EvEFIBootServicesDriver, hash(fmt.Sprint("a", i)), nil})
		b.insert(0, record{2, EvEFIBootServicesDriver, hash(fmt.Sprint("b", i)), nil})
	}
	if d := Diff(parsed(t, a.bytes()), parsed(t, b.bytes())); len(d) != 3000 {
		t.Errorf("%d differences", len(d))
	}
}

func TestDescribe(t *testing.T) {
	l := parsed(t, readLog(t, "genuine/shim-grub.log"))
	for index, want := range map[int]string{
		4:  "variable SecureBoot: 1",
		7:  "variable db: 3143 bytes",
		9:  "separator",
		14: "action: Calling EFI Application from Boot Option",
		25: "shim's list: MokList",
		36: "GRUB command: set timeout=0",
		40: "file read by GRUB: /vmlinuz",
		43: "kernel command line: /vmlinuz root=/dev/vda2 ro console=ttyS0 ima_policy=tcb",
	} {
		e, ok := l.Event(index)
		if !ok || Describe(e) != want {
			t.Errorf("event %d: %q, want %q", index, Describe(e), want)
		}
	}
	if _, ok := l.Event(0); ok {
		t.Error("the header is no event")
	}
	if text := Describe(Event{Type: EvIPL, PCR: 8, Data: []byte("grub_cmd: \x1b[2J\xff\x00")}); strings.ContainsRune(text, 0x1b) || !utf8.ValidString(text) {
		t.Errorf("%q", text)
	}
}
