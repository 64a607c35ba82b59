package eventlog

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// Every test here changes a genuine log so that the TPM agrees with the change,
// and each has its twin: the log without the defect, which is accepted.

func TestA024_PCRWithoutEvents(t *testing.T) {
	b := genuine(t)
	l, _ := Parse(b.bytes(), SHA256, DefaultLimits)
	pcrs, values := quoted(l.Replay())
	if err := l.Verify(pcrs, values); err != nil {
		t.Fatalf("twin: %v", err)
	}
	junk := slices.Clone(values)
	junk[13] = hash("junk")
	isRefusal(t, l.Verify(pcrs, junk), verdict.BootlogReplay)

	b.events = slices.DeleteFunc(b.events, func(r record) bool { return r.pcr == 14 })
	without, _ := Parse(b.bytes(), SHA256, DefaultLimits)
	isRefusal(t, without.Verify(pcrs, values), verdict.BootlogReplay)
	isRefusal(t, l.Verify(nil, nil), verdict.BootlogReplay)
	isRefusal(t, l.Verify(pcrs, values[1:]), verdict.BootlogReplay)
	isRefusal(t, l.Verify([]int{24}, [][]byte{nil}), verdict.BootlogReplay)
	isRefusal(t, l.Verify([]int{-1}, [][]byte{nil}), verdict.BootlogReplay)
	isRefusal(t, new(Log).Verify([]int{0}, [][]byte{nil}), verdict.BootlogReplay)
}

// twoBanks writes the log with a SHA-1 bank beside the SHA-256 one.
func twoBanks(b *bootLog, sha1 func(i int) []byte, tail func(i int) []byte) []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00\x00\x00\x00\x00\x00\x02\x00\x02"), 2, 0, 0, 0)
	for _, alg := range []Alg{SHA1, SHA256} {
		spec = le.AppendUint16(spec, uint16(alg))
		spec = le.AppendUint16(spec, uint16(alg.Size()))
	}
	spec = append(spec, 0)
	out := append([]byte{0, 0, 0, 0, 3, 0, 0, 0}, make([]byte, 20)...)
	out = append(le.AppendUint32(out, uint32(len(spec))), spec...)
	for i, e := range b.events {
		out = appendEvent(out, e, []Alg{SHA1, SHA256}, [][]byte{sha1(i), tail(i)})
	}
	return out
}

func TestA028_OtherBankReplays(t *testing.T) {
	b := genuine(t)
	own := func(i int) []byte { return b.events[i].digest }
	old := func(i int) []byte { return b.events[i].digest[:20] }
	pcrs, values := readPCRs(t, "genuine/shim-grub.pcrs")
	verify := func(raw []byte) error {
		l, err := Parse(raw, SHA256, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		return l.Verify(pcrs, values)
	}
	if err := verify(twoBanks(b, old, own)); err != nil {
		t.Fatalf("twin: %v", err)
	}
	junk := func(int) []byte { return hash("junk")[:20] }
	if err := verify(twoBanks(b, junk, own)); err != nil {
		t.Fatalf("another bank was read: %v", err)
	}
	altered := func(i int) []byte {
		if b.events[i].pcr == 4 {
			return hash("altered")
		}
		return own(i)
	}
	isRefusal(t, verify(twoBanks(b, old, altered)), verdict.BootlogReplay)
	if _, err := Parse(twoBanks(b, old, own), SHA384, DefaultLimits); err == nil {
		t.Error("a bank that is not in the log was accepted")
	}
	_, err := Parse(twoBanks(b, old, own), SHA1, DefaultLimits)
	isRefusal(t, err, verdict.BootlogHeader)
}

func TestA029_DigestLength(t *testing.T) {
	b := genuine(t)
	admitted(t, b.bytes())
	for _, n := range []int{0, 31, 33} {
		c := genuine(t)
		c.events[20].digest = append(c.events[20].digest, 0)[:n]
		refused(t, c.bytes(), verdict.BootlogMalformed, verdict.BootlogAlgorithms, verdict.BootlogSize)
	}
	l, _ := Parse(b.bytes(), SHA256, DefaultLimits)
	pcrs, values := quoted(l.Replay())
	values[7] = values[7][:31]
	isRefusal(t, l.Verify(pcrs, values), verdict.BootlogReplay)
}

func TestA033_InitialValueRecord(t *testing.T) {
	b := genuine(t)
	b.insert(0, quiet(0, "StartupLocality\x00\x03"))
	if facts := admitted(t, b.bytes()); facts.Locality != 3 {
		t.Errorf("locality %d", facts.Locality)
	}
	for _, at := range []int{20, len(genuine(t).events)} {
		c := genuine(t)
		c.insert(at, quiet(0, "StartupLocality\x00\x03"))
		refused(t, c.bytes(), verdict.BootlogLocality)
		c = genuine(t)
		c.insert(at, quiet(4, "PCR initial value"))
		refused(t, c.bytes(), verdict.BootlogNoAction)
	}
}

// Relabelling any event as any other type never gives facts that say something
// else about the boot, and hides no image. (It may add an image that no list
// holds, which only refuses.)
func TestA081_EventTypeIsNotMeasured(t *testing.T) {
	raw := genuine(t).bytes()
	want := admitted(t, raw)
	kinds := []EventType{0x12345678}
	for kind := range typeNames {
		kinds = append(kinds, kind)
	}
	for i := range genuine(t).events {
		for _, kind := range kinds {
			b := genuine(t)
			if b.events[i].kind == kind {
				continue
			}
			b.events[i].kind = kind
			got, err := judge(b.bytes())
			if err != nil {
				continue
			}
			if meaning(got) != meaning(want) {
				t.Errorf("event %d as %s: %s", i+1, kind, meaning(got))
			}
			for _, image := range want.Images {
				if !slices.ContainsFunc(got.Images, func(i Image) bool { return i.Digest == image.Digest }) {
					t.Errorf("event %d as %s hides image %s", i+1, kind, image.Digest)
				}
			}
		}
	}
}

// meaning is what a policy can match of a boot.
func meaning(f *Facts) string {
	var lines []string
	for _, c := range f.CommandLines {
		lines = append(lines, c.Image+" "+c.Text)
	}
	return fmt.Sprint(f.Profile, lines, f.SecureBoot.Enabled, f.SecureBoot.DB.Data, f.SecureBoot.DBX.Data, len(f.Grub.Commands), len(f.Grub.Files))
}

// Changing an event's data alone never changes a measured fact.
func TestA082_DataNotCovered(t *testing.T) {
	want := meaning(admitted(t, genuine(t).bytes()))
	strict := map[EventType]bool{EvSeparator: true, EvEFIAction: true, EvEFIVariableDriverConfig: true, EvEFIGPTEvent: true, EvEFIVariableBoot: true, EvEFIVariableAuthority: true}
	for i := range genuine(t).events {
		b := genuine(t)
		b.events[i].data[len(b.events[i].data)-1] ^= 1
		got, err := judge(b.bytes())
		if err == nil && strict[b.events[i].kind] {
			t.Errorf("event %d: changed data of %s was accepted", i+1, b.events[i].kind)
		}
		if err == nil && meaning(got) != want {
			t.Errorf("event %d: %s", i+1, meaning(got))
		}
	}
}

func TestA083_Separators(t *testing.T) {
	admitted(t, genuine(t).bytes())
	for pcr := uint32(0); pcr < 8; pcr++ {
		at := genuine(t).find(t, inPCR(pcr, EvSeparator))
		missing, twice, failed, disguised, ascii := genuine(t), genuine(t), genuine(t), genuine(t), genuine(t)
		missing.remove(at)
		twice.insert(at, twice.events[at])
		failed.events[at] = measured(pcr, EvSeparator, "\xff\xff\xff\xff")
		disguised.events[at].kind = EvIPL
		ascii.events[at] = measured(pcr, EvSeparator, "WBCL")
		for _, b := range []*bootLog{missing, twice, failed, disguised, ascii} {
			refused(t, b.bytes(), verdict.BootlogSeparator)
		}
	}
	late := genuine(t)
	late.insert(late.find(t, inPCR(8, EvIPL)), measured(8, EvSeparator, "\x00\x00\x00\x00"))
	refused(t, late.bytes(), verdict.BootlogSeparator)
}

func TestA084_AfterTheSeparator(t *testing.T) {
	b := genuine(t)
	at := b.find(t, inPCR(7, EvEFIVariableAuthority))
	b.insert(at, variableRecord(7, EvEFIVariableAuthority, guidSecurity, "db", "another authority"))
	admitted(t, b.bytes())
	for _, r := range []record{
		variableRecord(7, EvEFIVariableDriverConfig, guidGlobal, "SecureBoot", "\x01"),
		measured(7, EvEFIAction, "UEFI Debug Mode"),
		measured(0, EvSCRTMVersion, "2"), measured(2, EvEFIBootServicesDriver, "driver"),
		measured(3, EvNonhostConfig, "x"), measured(6, EvCompactHash, "x"), measured(1, EvPlatformConfigFlags, "x"),
	} {
		c := genuine(t)
		c.insert(at, r)
		refused(t, c.bytes(), verdict.BootlogAfter)
	}
}

func TestA084_SecureBootOrder(t *testing.T) {
	admitted(t, genuine(t).bytes())
	b := genuine(t)
	sb := b.find(t, named("SecureBoot"))
	b.insert(sb+1, variableRecord(7, EvEFIVariableDriverConfig, guidGlobal, "SecureBoot", "\x00"))
	refused(t, b.bytes(), verdict.BootlogSecureBoot)

	b = genuine(t)
	db, dbx := b.find(t, named("db")), b.find(t, named("dbx"))
	b.events[db], b.events[dbx] = b.events[dbx], b.events[db]
	refused(t, b.bytes(), verdict.BootlogSecureBoot)

	b = genuine(t)
	b.remove(dbx)
	refused(t, b.bytes(), verdict.BootlogSecureBoot)

	b = genuine(t)
	b.events[sb] = variableRecord(7, EvEFIVariableDriverConfig, guidShim, "SecureBoot", "\x01")
	refused(t, b.bytes(), verdict.BootlogSecureBoot)
}

func TestA085_CutLog(t *testing.T) {
	whole := genuine(t)
	admitted(t, whole.bytes())
	for n := range whole.events {
		b := &bootLog{whole.header, whole.events[:n]}
		if _, err := judge(b.bytes()); err == nil {
			t.Errorf("a log of %d events was accepted", n)
		}
	}
	for _, name := range []string{"genuine/efi-stub.log", "genuine/uki.log"} {
		whole := takeApart(t, readLog(t, name))
		for n := range whole.events {
			if _, err := judge((&bootLog{whole.header, whole.events[:n]}).bytes()); err == nil {
				t.Errorf("%s: a log of %d events was accepted", name, n)
			}
		}
	}
	b := genuine(t)
	call := b.find(t, holding(exitCall))
	b.insert(call, b.events[call])
	refused(t, b.bytes(), verdict.BootlogExit)
	b = genuine(t)
	b.insert(len(b.events), record{4, EvEFIBootServicesApp, hash("late"), nil})
	refused(t, b.bytes(), verdict.BootlogExit)
}

func TestA086_NoAction(t *testing.T) {
	b := genuine(t)
	b.insert(0, quiet(0, "SP800-155 Event3 and more"))
	b.insert(5, quiet(noPCR, "SP800-155 Event2"))
	admitted(t, b.bytes())
	digest, elsewhere, unknown, many, nowhere := genuine(t), genuine(t), genuine(t), genuine(t), genuine(t)
	digest.insert(0, record{0, EvNoAction, hash("x"), []byte("SP800-155 Event3")})
	elsewhere.insert(0, quiet(4, "SP800-155 Event3"))
	unknown.insert(0, quiet(0, "Nothing To See\x00\x00"))
	nowhere.insert(0, quiet(noPCR, "StartupLocality\x00\x00"))
	for range 10_000 {
		many.insert(0, quiet(0, "SP800-155 Event3"))
	}
	for _, b := range []*bootLog{digest, elsewhere, unknown, many, nowhere} {
		refused(t, b.bytes(), verdict.BootlogNoAction)
	}
}

func TestA087_StartupLocality(t *testing.T) {
	for _, locality := range []byte{0, 3} {
		b := genuine(t)
		b.insert(0, quiet(0, "StartupLocality\x00"+string(rune(locality))))
		admitted(t, b.bytes())
	}
	for _, value := range []string{"\x05", "\x01", "\x04"} {
		b := genuine(t)
		b.insert(0, quiet(0, "StartupLocality\x00"+value))
		refused(t, b.bytes(), verdict.BootlogLocality)
	}
	twice, late, long := genuine(t), genuine(t), genuine(t)
	twice.insert(0, quiet(0, "StartupLocality\x00\x03"), quiet(0, "StartupLocality\x00\x03"))
	late.insert(1, quiet(0, "StartupLocality\x00\x03"))
	long.insert(0, quiet(0, "StartupLocality\x00\x03\x00"))
	refused(t, twice.bytes(), verdict.BootlogLocality)
	refused(t, late.bytes(), verdict.BootlogLocality)
	refused(t, long.bytes(), verdict.BootlogNoAction)
}

func TestA088_HCRTM(t *testing.T) {
	event := record{0, EvEFIHCRTMEvent, hash("measured by hardware"), []byte("HCRTM")}
	b := genuine(t)
	b.insert(0, quiet(0, "StartupLocality\x00\x04"), event)
	if facts := admitted(t, b.bytes()); facts.Locality != 4 {
		t.Errorf("locality %d", facts.Locality)
	}
	late, alone, elsewhere := genuine(t), genuine(t), genuine(t)
	late.insert(0, quiet(0, "StartupLocality\x00\x04"))
	late.insert(2, event)
	alone.insert(0, event)
	elsewhere.insert(0, record{1, EvEFIHCRTMEvent, event.digest, event.data})
	for _, b := range []*bootLog{late, alone, elsewhere} {
		refused(t, b.bytes(), verdict.BootlogLocality)
	}
}

func TestA097_EmptyLog(t *testing.T) {
	admitted(t, genuine(t).bytes())
	refused(t, nil, verdict.BootlogMissing)
	refused(t, genuine(t).header, verdict.BootlogSeparator)
}

func TestA104_PartialLoader(t *testing.T) {
	admitted(t, genuine(t).bytes())
	for _, event := range []string{"kernel_cmdline: ", "/initrd.img", "/vmlinuz\x00"} {
		b := genuine(t)
		b.remove(b.find(t, func(r record) bool { return strings.HasPrefix(string(r.data), event) }))
		refused(t, b.bytes(), verdict.BootlogIncomplete)
	}

	for _, text := range []string{"/vmlinuz root=/dev/vda2 ro console=ttyS0 ima_policy=tcb init=/bin/sh", "/vmlinuz root=/dev/vda2 ro console=ttyS0 ima_policy=tcb\x00"} {
		b := genuine(t)
		at := b.find(t, holding("kernel_cmdline: "))
		b.events[at] = grub("kernel_cmdline: ", text)
		refused(t, b.bytes(), verdict.BootlogLabel, verdict.BootlogVariable)
	}
	stub := takeApart(t, readLog(t, "genuine/efi-stub.log"))
	stub.events[stub.find(t, holding("LoadOptions"))].digest = hash("root=/dev/vda2 ro console=ttyS0 ima_policy=tcb initrd=initrd")
	if facts := admitted(t, stub.bytes()); facts.CommandLines[0].Matches("root=/dev/vda2 ro console=ttyS0 ima_policy=tcb initrd=initrd") {
		t.Error("a command line of one byte a character was taken for UTF-16")
	}
}

// A host that typed text at GRUB's prompt cannot show it as the command line,
// nor hide the line it booted by calling it a command.
func TestA081_GrubLabels(t *testing.T) {
	admitted(t, genuine(t).bytes())
	evil := "/vmlinuz root=/dev/vda2 ro init=/bin/sh"
	good := "/vmlinuz root=/dev/vda2 ro console=ttyS0 ima_policy=tcb"
	boot := genuine(t)
	at := boot.find(t, holding("kernel_cmdline: "))
	boot.events[at-4] = grub("grub_cmd: ", "linux "+evil)
	boot.events[at] = grub("kernel_cmdline: ", evil)
	if i := boot.find(t, holding("grub_cmd: linux ")); i != at-4 {
		t.Fatalf("the command is event %d", i)
	}
	if got := admitted(t, boot.bytes()).CommandLines; len(got) != 1 || got[0].Matches(good) {
		t.Fatalf("command lines %+v", got)
	}
	hidden := &bootLog{boot.header, slices.Clone(boot.events)}
	hidden.events[at] = grub("grub_cmd: ", evil)
	hidden.insert(at+1, grub("kernel_cmdline: ", good))
	refused(t, hidden.bytes(), verdict.BootlogLabel)
	hidden.events[at+1] = grub("grub_cmd: ", good)
	refused(t, hidden.bytes(), verdict.BootlogIncomplete)
}

// An Authenticode digest is over bytes of the image, which the host has. It could
// log them as what the firmware said, in place of the image that it ran.
func TestA081_ImageAsAction(t *testing.T) {
	before := admitted(t, genuine(t).bytes())
	b := genuine(t)
	b.insert(b.find(t, inPCR(4, EvEFIBootServicesApp)), measured(4, EvEFIAction, "MZ an image, but for its checksum and signature"))
	b.insert(b.find(t, inPCR(5, EvEFIGPTEvent)), measured(5, EvEFIAction, "editor yes"))
	facts := admitted(t, b.bytes())
	if len(facts.Images) != len(before.Images)+1 || facts.Images[0].Digest != Digest(hash("MZ an image, but for its checksum and signature")) {
		t.Errorf("images %+v", facts.Images)
	}
	if len(facts.Unlisted) != len(before.Unlisted)+1 {
		t.Errorf("unlisted %+v", facts.Unlisted)
	}
	b = genuine(t)
	b.insert(b.find(t, inPCR(4, EvEFIBootServicesApp)), measured(4, EvEFIAction, "Returning from EFI Application from Boot Option"))
	if facts := admitted(t, b.bytes()); len(facts.Images) != len(before.Images) || len(facts.Boot.Actions) != len(before.Boot.Actions)+1 {
		t.Errorf("images %+v, actions %+v", facts.Images, facts.Boot.Actions)
	}
}

// Some commands of GRUB load a kernel and are not among those known here. What
// they load has its command line measured all the same, and no label hides it.
func TestA081_GrubLineOfAnUnknownCommand(t *testing.T) {
	before := admitted(t, genuine(t).bytes())
	for _, evil := range []string{"/vmlinuz init=/bin/sh", "(hd0,gpt2)/vmlinuz init=/bin/sh", "2048+99 init=/bin/sh"} {
		b := genuine(t)
		b.insert(b.find(t, holding("grub_cmd: linux ")), grub("grub_cmd: ", "legacy_kernel "+evil), grub("grub_cmd: ", evil))
		facts := admitted(t, b.bytes())
		if len(facts.CommandLines) != len(before.CommandLines)+1 || facts.CommandLines[0].Text != "init=/bin/sh" {
			t.Errorf("%s: command lines %+v", evil, facts.CommandLines)
		}
	}
}

// Every text is an allowed one, but their order boots the kernel alone.
func TestA105_InitrdDropped(t *testing.T) {
	admitted(t, genuine(t).bytes())
	b := genuine(t)
	linux, line := b.find(t, holding("grub_cmd: linux ")), b.find(t, holding("kernel_cmdline: "))
	again := []record{b.events[linux], b.events[line]}
	b.insert(b.find(t, func(r record) bool { return string(r.data) == "/initrd.img\x00" })+1, again...)
	refused(t, b.bytes(), verdict.BootlogIncomplete)

	b.insert(b.find(t, holding("grub_cmd: boot")), b.events[b.find(t, holding("grub_cmd: initrd "))])
	admitted(t, b.bytes())
}

func TestA081_StubLabels(t *testing.T) {
	raw := readLog(t, "genuine/efi-stub.log")
	admitted(t, raw)
	b := takeApart(t, raw)
	line, initrd := b.find(t, holding("LoadOptions")), b.find(t, holding("Linux initrd"))
	b.events[line].data, b.events[initrd].data = b.events[initrd].data, b.events[line].data
	refused(t, b.bytes(), verdict.BootlogLabel)
	b = takeApart(t, raw)
	b.insert(line, b.events[line])
	refused(t, b.bytes(), verdict.BootlogLabel)
	b = takeApart(t, raw)
	b.remove(line)
	refused(t, b.bytes(), verdict.BootlogIncomplete)
}

func TestA081_UKISections(t *testing.T) {
	raw := readLog(t, "genuine/uki.log")
	admitted(t, raw)
	b := takeApart(t, raw)
	at := b.find(t, inPCR(11, EvIPL))
	b.events[at].data = append(encodeUTF16(".initrd"), 0, 0)
	b.events[at+1].data = b.events[at].data
	refused(t, b.bytes(), verdict.BootlogDigest)
	b = takeApart(t, raw)
	b.remove(at + 1)
	refused(t, b.bytes(), verdict.BootlogLabel)
	b = takeApart(t, raw)
	b.insert(at, grub("grub_cmd: ", "echo hello"))
	refused(t, b.bytes(), verdict.BootlogProfile)
}

func TestA106_WeakMode(t *testing.T) {
	b := genuine(t)
	at := b.find(t, inPCR(7, EvSeparator))
	b.insert(at, measured(7, EvEFIAction, "UEFI Debug Mode"), variableRecord(7, EvEFIVariableDriverConfig, guidGlobal, "SetupMode", "\x01"))
	sb := admitted(t, b.bytes()).SecureBoot
	if len(sb.Actions) != 1 || sb.Actions[0].Text != "UEFI Debug Mode" || sb.SetupMode == nil || !*sb.SetupMode {
		t.Errorf("Secure Boot %+v", sb)
	}
	if sb := admitted(t, genuine(t).bytes()).SecureBoot; len(sb.Actions) != 0 || sb.SetupMode != nil {
		t.Errorf("Secure Boot %+v", sb)
	}
}

func TestA110_NoWorkarounds(t *testing.T) {
	admitted(t, readLog(t, "genuine/shim-grub.log"))
	refused(t, readLog(t, "go-attestation/ebs_event_missing_eventlog"), verdict.BootlogHeader)
	b := genuine(t)
	b.remove(b.find(t, holding(exitCall)))
	refused(t, b.bytes(), verdict.BootlogExit)
}

func TestA081_FilesWithoutGrub(t *testing.T) {
	raw := readLog(t, "genuine/efi-stub.log")
	admitted(t, raw)
	b := takeApart(t, raw)
	b.events[b.find(t, holding("Linux initrd"))] = record{9, EvIPL, hash("initrd"), []byte("readme.txt\x00")}
	refused(t, b.bytes(), verdict.BootlogLabel)
}

func TestA081_ModeAsAuthority(t *testing.T) {
	b := genuine(t)
	at := b.find(t, inPCR(7, EvSeparator))
	b.insert(at, variableRecord(7, EvEFIVariableDriverConfig, guidGlobal, "SetupMode", "\x01"))
	admitted(t, b.bytes())
	b.events[at].kind = EvEFIVariableAuthority
	refused(t, b.bytes(), verdict.BootlogLabel)
}

func TestA081_OptionROMUnderAnotherType(t *testing.T) {
	for _, kind := range []EventType{EvEFIBootServicesDriver, EvEFIPlatformFirmwareBlob, EvNonhostConfig, EvEventTag} {
		b := genuine(t)
		b.insert(1, record{2, kind, hash("option ROM"), nil})
		if facts := admitted(t, b.bytes()); facts.Images[0].PCR != 2 {
			t.Errorf("%s: images %+v", kind, facts.Images)
		}
	}
}

// systemd extends fixed words into PCR 11 once a unified kernel image runs.
func TestPhases(t *testing.T) {
	l, err := Parse(readLog(t, "genuine/uki.log"), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	extend := func(value []byte, word string) []byte { return hash(string(value) + string(hash(word))) }
	value := l.Replay().Value(11)
	for _, word := range []string{"enter-initrd", "leave-initrd", "sysinit", "ready"} {
		value = extend(value, word)
		if err := l.Verify([]int{11}, [][]byte{value}); err != nil {
			t.Errorf("after %s: %v", word, err)
		}
	}
	isRefusal(t, l.Verify([]int{11}, [][]byte{extend(value, "ready")}), verdict.BootlogReplay)
	isRefusal(t, l.Verify([]int{11}, [][]byte{extend(l.Replay().Value(11), "ready")}), verdict.BootlogReplay)
	isRefusal(t, l.Verify([]int{12}, [][]byte{extend(l.Replay().Value(12), "enter-initrd")}), verdict.BootlogReplay)
}
