package eventlog

import (
	"bytes"
	"slices"
	"testing"
)

// Every kind of event reads in words, and no text of a host's reaches a terminal as
// it is.
func TestEventsInWords(t *testing.T) {
	volume := []byte("\x00\x00\x82\x00\x00\x00\x00\x00\x00\x00\x0e\x00\x00\x00\x00\x00")
	wide := append(encodeUTF16("root=/dev/sda2 ro"), 0, 0)
	for _, c := range []struct {
		pcr  uint32
		kind EventType
		data []byte
		want string
	}{
		{0, EvEFIPlatformFirmwareBlob, volume, "firmware: 0x820000, 917504 bytes"},
		{0, EvEFIPlatformFwBlob2, append([]byte("\x06POST 1"), volume...), "firmware: POST 1"},
		{0, EvEFIPlatformFwBlob2, []byte("\xffPOST"), "firmware: ff504f5354"},
		{0, EvEFIPlatformFwBlob2, []byte("\x04POST"), "firmware: POST"},
		{0, EvEFIPlatformFwBlob2, []byte("\x01A"), "firmware: A"},
		{0, EvEFIPlatformFwBlob2, []byte("\x00"), "firmware"},
		{0, EvEFIPlatformFwBlob2, nil, "firmware"},
		{0, EvPostCode, []byte("ACPI DATA"), "firmware code: ACPI DATA"},
		{0, EvSCRTMVersion, []byte("v1"), "firmware version: v1"},
		{0, EvSCRTMContents, []byte("Boot Guard"), "root of trust: Boot Guard"},
		{0, EvNoAction, []byte("StartupLocality\x00\x03"), `not measured: StartupLocality\x00\x03`},
		{1, EvEFIHandoffTables, make([]byte, 32), "handoff tables"},
		{1, EvEFIHandoffTables2, []byte("\x04ACPI and more"), "handoff tables: ACPI"},
		{1, EvPlatformConfigFlags, nil, "platform configuration"},
		{1, EvEFIVariableBoot, variableRecord(1, 0, guidGlobal, "BootOrder", "\x01\x00\x0a\x00\x00\x00").data, "boot order: Boot0001, Boot000A, Boot0000"},
		{1, EvEFIVariableBoot, variableRecord(1, 0, guidGlobal, "BootOrder", "\x01\x00\x02").data, "boot order: Boot0001"},
		{1, EvEFIVariableBoot, variableRecord(1, 0, guidGlobal, "Boot0001", "x").data, "boot entry Boot0001"},
		{1, EvEFIVariableBoot, []byte("short"), "variable"},
		{2, EvEFISPDMFirmwareBlob, nil, "device's firmware"},
		{4, EvOmitBootDeviceEvents, []byte("BOOT ATTEMPTS OMITTED"), "action: BOOT ATTEMPTS OMITTED"},
		{4, EvEFIAction, []byte("\x1b[2J"), `action: \x1b[2J`},
		{5, EvEFIGPTEvent, []byte("short"), "partition table"},
		{6, EvCompactHash, []byte("Dell"), "vendor's measurement: Dell"},
		{7, EvSeparator, make([]byte, 4), "separator"},
		{7, EvEFISPDMDeviceAuthority, nil, "device authority"},
		{7, EvEFIVariableDriverConfig, variableRecord(7, 0, guidGlobal, "SecureBoot", "\x01").data, "variable SecureBoot: 1"},
		{8, EvIPL, []byte("grub_cmd: boot\x00"), "GRUB command: boot"},
		{8, EvIPL, wide, "text of PCR 8: root=/dev/sda2 ro"},
		{8, EvIPL, wide[:len(wide)-1], "text of PCR 8: root=/dev/sda2 ro"},
		{9, EvIPL, []byte("/vmlinuz\x00"), "file read by GRUB: /vmlinuz"},
		{12, EvIPL, wide, "boot loader's command line: root=/dev/sda2 ro"},
		{2, 0x8401, []byte("vendor"), "type 0x00008401: vendor"},
	} {
		if got := Describe(Event{PCR: c.pcr, Type: c.kind, Data: c.data}); got != c.want {
			t.Errorf("PCR %d, %s, %q: %q, want %q", c.pcr, c.kind, c.data, got, c.want)
		}
	}
	for kind := range typeNames {
		if text := Describe(Event{Type: kind}); text == kind.String() {
			t.Errorf("%s has no words", kind)
		}
	}
}

// Another bank of a log replays to what the same log says when that bank is quoted;
// one that the log does not have, to nothing.
func TestReplayOther(t *testing.T) {
	raw := readLog(t, "go-tpm-tools/rhel8-uefi.bin")
	log, err := Parse(raw, SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Parse(raw, SHA384, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	for alg, want := range map[Alg]*Bank{SHA256: log.Replay(), SHA384: other.Replay()} {
		bank := log.ReplayOther(alg)
		for pcr := range NumPCRs {
			if !bytes.Equal(bank.Value(pcr), want.Value(pcr)) || bank.Alg() != alg || bank.Extended(pcr) != want.Extended(pcr) {
				t.Errorf("%s, PCR %d: %x, want %x", alg, pcr, bank.Value(pcr), want.Value(pcr))
			}
		}
	}
	if bank := log.ReplayOther(SHA512); bank != nil {
		t.Error("a bank that the log does not have")
	}
	b := genuine(t)
	digests := func(i int) []byte { return b.events[i].digest }
	old := func(i int) []byte { return b.events[i].digest[:20] }
	two, err := Parse(twoBanks(b, old, digests), SHA256, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	var want [MaxDigest]byte
	var scratch [2 * MaxDigest]byte
	for _, e := range b.events {
		if e.pcr == 4 && e.kind != EvNoAction {
			SHA1.extend(&want, e.digest[:20], &scratch)
		}
	}
	if got := two.ReplayOther(SHA1).Value(4); !slices.Equal(got, want[:20]) {
		t.Errorf("SHA-1, PCR 4: %x, want %x", got, want[:20])
	}
}

// A separator by which firmware says that something failed, in both forms that
// specifications have had.
func TestSeparatorsOfErrors(t *testing.T) {
	for _, value := range []string{"\xff\xff\xff\xff", "\x01\x00\x00\x00"} {
		b := genuine(t)
		at := b.find(t, inPCR(2, EvSeparator))
		b.events[at] = measured(2, EvSeparator, value)
		_, err := judge(b.bytes())
		isRefusal(t, err, "bootlog.separator")
		if !bytes.Contains([]byte(err.Error()), []byte("reports a firmware error")) {
			t.Errorf("%x: %v", value, err)
		}
		b.events[at].data = []byte("error text")
		refused(t, b.bytes(), "bootlog.separator")
	}
}
