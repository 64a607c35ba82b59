package eventlog

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/bootlog"
)

// oddities are all rows of the table of tolerated departures.
var oddities = []string{
	oddVersion, oddHandoff, oddEarlyApp, oddExitFailure, oddLateBootVariables, oddValueOnly, oddEmptySecureBoot, oddShimAuthority, oddGrubSpace,
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
