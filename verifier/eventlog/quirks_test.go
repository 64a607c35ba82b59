package eventlog

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// oddities are all rows of the table of tolerated departures.
var oddities = []string{
	oddVersion, oddHandoff, oddEarlyApp, oddExitFailure, oddLateBootVariables, oddValueOnly, oddEmptySecureBoot, oddLateEncryption, oddShimAuthority, oddGrubSpace,
}

// Images of clouds boot as others do, from firmware that keeps several banks, has no
// Secure Boot or the provider's keys, and names itself in its own way. (Genuine logs
// of one provider are in the corpus.)
func TestCloudImages(t *testing.T) {
	three := bootlog.Quirks()[slices.IndexFunc(bootlog.Quirks(), func(q bootlog.Quirk) bool { return q.Name == "three banks" })]
	identity := bootlog.Quirks()[slices.IndexFunc(bootlog.Quirks(), func(q bootlog.Quirk) bool { return q.Name == "platform identity without a PCR" })]
	aws, azure, stub := bootlog.Debian(), bootlog.Debian(), bootlog.Debian()
	aws.Chain, aws.SecureBoot, aws.PK, aws.KEK, aws.DB, aws.DBX = bootlog.Grub, false, nil, nil, nil, nil
	aws.FirmwareVersion = "1.0"
	azure.FirmwareVersion = "Hyper-V UEFI Release v4.1"
	stub.Chain = bootlog.UKI
	for name, c := range map[string]struct {
		boot   bootlog.Boot
		quirks []bootlog.Quirk
		want   Profile
		secure bool
	}{
		"no shim, no keys":         {aws, []bootlog.Quirk{three}, ProfileGrub, false},
		"shim and Secure Boot":     {azure, []bootlog.Quirk{identity, three}, ProfileShimGrub, true},
		"a unified kernel image":   {stub, []bootlog.Quirk{identity, three}, ProfileUKI, true},
		"shim, Secure Boot is off": {func() bootlog.Boot { b := azure; b.SecureBoot = false; return b }(), nil, ProfileShimGrub, false},
	} {
		log := c.boot.Log()
		for _, q := range c.quirks {
			q.Apply(log)
		}
		facts := admitted(t, log.Bytes())
		if facts.Profile != c.want || facts.SecureBoot.Enabled != c.secure || !facts.SecureBoot.Known || facts.Firmware.Version != c.boot.FirmwareVersion {
			t.Errorf("%s: profile %s, Secure Boot %v, firmware %q", name, facts.Profile, facts.SecureBoot.Enabled, facts.Firmware.Version)
		}
		line := facts.CommandLines[0]
		if !line.Matches(c.boot.CommandLine) {
			t.Errorf("%s: command line %+v", name, line)
		}
		for what, without := range map[string]func(*bootlog.Log){
			"its last event": func(l *bootlog.Log) { l.Events = l.Events[:len(l.Events)-1] },
			"its command line": func(l *bootlog.Log) {
				l.Events = slices.DeleteFunc(l.Events, func(e bootlog.Event) bool { return e.PCR == 8 || e.PCR == 9 || e.PCR == 12 })
			},
		} {
			cut := c.boot.Log()
			without(cut)
			if _, err := judge(cut.Bytes()); err == nil {
				t.Errorf("%s: a log without %s is complete", name, what)
			}
		}
	}
}

// Genuine machines differ. Whatever one of them does that hides nothing is read, and
// told where the specification has it otherwise; whatever hides something is refused
// by name. Every tolerated departure has a composed log that shows it.
func TestQuirks(t *testing.T) {
	twin := admitted(t, bootlog.Debian().Log().Bytes())
	shown := map[string]bool{}
	for _, q := range bootlog.Quirks() {
		t.Run(q.Name, func(t *testing.T) {
			log := bootlog.Debian().Log()
			q.Apply(log)
			if q.Check != "" {
				refused(t, log.Bytes(), q.Check)
				return
			}
			facts := admitted(t, log.Bytes())
			for _, odd := range facts.Oddities {
				shown[odd] = true
			}
			told := slices.ContainsFunc(facts.Oddities, func(odd string) bool { return !slices.Contains(twin.Oddities, odd) })
			if told != q.Odd {
				t.Errorf("oddities %q", facts.Oddities)
			}
			if len(facts.CommandLines) != len(twin.CommandLines) || len(facts.Images) < len(twin.Images) || len(facts.Kernels) != len(twin.Kernels) {
				t.Errorf("the boot reads otherwise: %+v", facts)
			}
		})
	}
	for _, odd := range oddities {
		if !shown[odd] {
			t.Errorf("no composed log shows: %s", odd)
		}
	}
	if len(shown) != len(oddities) {
		t.Errorf("%d departures are shown, the table has %d", len(shown), len(oddities))
	}
}

// What AMD's firmware measures after the separator of PCR 2 is one byte that its
// digest covers. Anything else that calls itself so is refused there.
func TestLateEncryptionIsExact(t *testing.T) {
	late := func(pcr, kind uint32, data, measured string) []byte {
		log := bootlog.Debian().Log()
		at := slices.IndexFunc(log.Events, func(e bootlog.Event) bool { return e.PCR == pcr && e.Type == bootlog.EvSeparator })
		log.Events = slices.Insert(log.Events, at+1, bootlog.Event{PCR: pcr, Type: kind, Digest: sha256.Sum256([]byte(measured)), Data: []byte(data)})
		return log.Bytes()
	}
	for _, state := range []string{"\x00", "\x01"} {
		facts := admitted(t, late(2, 0x8401, state, state))
		if !slices.Contains(facts.Oddities, oddLateEncryption) || len(facts.Unlisted) != 1 {
			t.Fatalf("state %q: oddities %q, unlisted %+v", state, facts.Oddities, facts.Unlisted)
		}
		if !slices.ContainsFunc(facts.Images, func(i Image) bool { return i.Measurement == facts.Unlisted[0] }) {
			t.Errorf("state %q is not among the images of PCR 2: %+v", state, facts.Images)
		}
	}
	for name, log := range map[string][]byte{
		"an image under its name": late(2, 0x8401, "\x01", "an option ROM"),
		"another state":           late(2, 0x8401, "\x02", "\x02"),
		"two bytes":               late(2, 0x8401, "\x01\x00", "\x01\x00"),
		"no byte":                 late(2, 0x8401, "", ""),
		"another type":            late(2, 0x8402, "\x01", "\x01"),
		"another PCR":             late(3, 0x8401, "\x01", "\x01"),
	} {
		t.Run(name, func(t *testing.T) { refused(t, log, verdict.BootlogAfter) })
	}
}

// The boot option that firmware names is an action. Any other text that calls itself
// an action in PCR 4 stays an image, which a policy has to list.
func TestBootOptionByName(t *testing.T) {
	twin := admitted(t, bootlog.Debian().Log().Bytes())
	for text, action := range map[string]bool{
		"Booting to Boot0001 Option":          true,
		"Booting to BootFA00 Option":          true,
		"Booting to Boot00fa Option":          false,
		"Booting to Boot00010 Option":         false,
		"Booting to Boot001 Option":           false,
		"Booting to Boot0001 Option\x00":      false,
		" Booting to Boot0001 Option":         false,
		"Booting to Boot0001  Opti":           false,
		"Booting to Boot\x00\x00\x00\x00 Opt": false,
	} {
		log := bootlog.Debian().Log()
		at := slices.IndexFunc(log.Events, func(e bootlog.Event) bool { return e.PCR == 4 && e.Type == bootlog.EvSeparator })
		log.Events = slices.Insert(log.Events, at, bootlog.Event{PCR: 4, Type: uint32(EvEFIAction), Digest: sha256.Sum256([]byte(text)), Data: []byte(text)})
		facts := admitted(t, log.Bytes())
		actions, images := len(facts.Boot.Actions)-len(twin.Boot.Actions), len(facts.Images)-len(twin.Images)
		if action && (actions != 1 || images != 0) || !action && (actions != 0 || images != 1) {
			t.Errorf("%q: %d more actions, %d more images", text, actions, images)
		}
		log.Events[at].Digest[0] ^= 1
		refused(t, log.Bytes(), verdict.BootlogDigest)
	}
}
