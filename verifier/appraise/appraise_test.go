package appraise

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// admitted fails the test unless the verdict admits.
func admitted(t *testing.T, v verdict.Verdict) {
	t.Helper()
	if v.Decision != verdict.Admitted || v.Denies() {
		t.Fatalf("denied: %v", v.Findings)
	}
}

// denied fails the test unless the verdict denies with exactly these checks.
func denied(t *testing.T, v verdict.Verdict, want ...verdict.CheckID) {
	t.Helper()
	var got []verdict.CheckID
	for _, f := range v.Findings {
		if f.Severity == verdict.Deny && !slices.Contains(got, f.Check) {
			got = append(got, f.Check)
		}
		if f.Remedy == "" || f.Message == "" {
			t.Errorf("%s has no message or no remedy", f.Check)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if v.Decision != verdict.Denied || !slices.Equal(got, want) {
		t.Fatalf("%v with %v, want denied with %v\n%v", v.Decision, got, want, v.Findings)
	}
}

func find(t *testing.T, v verdict.Verdict, id verdict.CheckID) verdict.Finding {
	t.Helper()
	for _, f := range v.Findings {
		if f.Check == id {
			return f
		}
	}
	t.Fatalf("no finding of %s in %v", id, v.Findings)
	return verdict.Finding{}
}

func judge(set *policy.Set, h *host) verdict.Verdict {
	return Appraise(set, h.whole(), History{TPM: chip}, noon)
}

func TestLearnedBootIsAdmitted(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	v := judge(set, h)
	admitted(t, v)
	for _, id := range Required(set) {
		if !slices.Contains(v.Passed, id) {
			t.Errorf("%s is not among the passed checks", id)
		}
	}
	h.reboot(bootlog.Debian())
	admitted(t, judge(set, h))
}

// TestAnyOtherBootIsRefused alters one thing at a time. Its admitted twin is the
// boot of TestLearnedBootIsAdmitted.
func TestAnyOtherBootIsRefused(t *testing.T) {
	set := debianSet(t)
	option := bootlog.Image{Path: "rom", Content: []byte("an option ROM")}
	other := []byte("something else")
	rows := map[string]struct {
		alter func(*bootlog.Boot)
		want  []verdict.CheckID
	}{
		"A105 command line": {func(b *bootlog.Boot) { b.CommandLine += " lockdown=none" }, []verdict.CheckID{verdict.BootCommandLine, verdict.BootLoaderCommand, verdict.BootLoaderFile}},
		"A105 initrd":       {func(b *bootlog.Boot) { b.Initrd.Content = other }, []verdict.CheckID{verdict.BootInitrd}},
		"A104 kernel":       {func(b *bootlog.Boot) { b.Kernel.Content = other }, []verdict.CheckID{verdict.BootImage, verdict.BootKernel}},
		"A107 shim":         {func(b *bootlog.Boot) { b.Shim.Content = other }, []verdict.CheckID{verdict.BootImage}},
		"A107 GRUB":         {func(b *bootlog.Boot) { b.Loader.Content = other }, []verdict.CheckID{verdict.BootImage}},
		"A106 option ROM":   {func(b *bootlog.Boot) { b.Drivers = []bootlog.Image{option} }, []verdict.CheckID{verdict.BootImage}},
		"A107 dbx":          {func(b *bootlog.Boot) { b.DBX = nil }, []verdict.CheckID{verdict.SecureBootDBX}},
		"A108 platform key": {func(b *bootlog.Boot) {
			b.PK = bootlog.CertificateLists(bootlog.Certificate("DO NOT TRUST - AMI Test PK"))
		}, []verdict.CheckID{verdict.SecureBootPK}},
		"key exchange keys": {func(b *bootlog.Boot) { b.KEK = bootlog.CertificateLists(bootlog.Certificate("other")) }, []verdict.CheckID{verdict.SecureBootKEK}},
		"A116 firmware":     {func(b *bootlog.Boot) { b.FirmwareVersion = "2021.08" }, []verdict.CheckID{verdict.FirmwareBlob}},
		"firmware volume":   {func(b *bootlog.Boot) { b.Firmware[0] = other }, []verdict.CheckID{verdict.FirmwareBlob}},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			b := bootlog.Debian()
			row.alter(&b)
			v := judge(set, start(t, b))
			denied(t, v, row.want...)
			if v.Policy != set.String() || !v.At.Equal(noon) {
				t.Errorf("verdict says policy %q at %v", v.Policy, v.At)
			}
		})
	}
}

func TestCommandLineFindingShowsBoth(t *testing.T) {
	set := debianSet(t)
	b := bootlog.Debian()
	allowed := b.CommandLine
	b.CommandLine += " init=/bin/sh"
	f := find(t, judge(set, start(t, b)), verdict.BootCommandLine)
	if f.Got != b.CommandLine || f.Want != allowed {
		t.Errorf("got %q, want %q", f.Got, f.Want)
	}
	if !strings.Contains(f.Where, "PCR 8") {
		t.Errorf("where is %q", f.Where)
	}
}

func TestNearestCommandLine(t *testing.T) {
	allowed := []string{"root=/dev/sda1 ro quiet", "root=/dev/vda2 ro lockdown=integrity", "root=/dev/vda2 rw"}
	for text, want := range map[string]string{
		"root=/dev/vda2 ro lockdown=none": allowed[1],
		"root=/dev/sda1 ro":               allowed[0],
		"":                                allowed[2],
	} {
		if got := nearest(text, allowed); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestSecureBootOff(t *testing.T) {
	set := debianSet(t)
	b := bootlog.Debian()
	b.SecureBoot = false
	v := judge(set, start(t, b))
	if f := find(t, v, verdict.SecureBootOff); v.Decision != verdict.Denied || f.Got != "SecureBoot = 0" {
		t.Errorf("%v, %v", v.Decision, f)
	}
}

func TestA106_WeakenedSecureBoot(t *testing.T) {
	set := debianSet(t)
	admitted(t, judge(set, start(t, bootlog.Debian())))
	for m, want := range map[bootlog.Mutation][]verdict.CheckID{
		"debug-mode":         {verdict.SecureBootWeakened},
		"dma-unprotected":    {verdict.SecureBootWeakened},
		"setup-mode":         {verdict.SecureBootMode},
		"secure-boot-empty":  {verdict.SecureBootOff},
		"test-platform-key":  {verdict.SecureBootPK},
		"dbx-empty":          {verdict.SecureBootDBX},
		"grub-extra-file":    {verdict.BootLoaderFile},
		"grub-extra-command": {verdict.BootLoaderCommand},
	} {
		t.Run(string(m), func(t *testing.T) {
			denied(t, judge(set, start(t, bootlog.Debian(), m)), want...)
		})
	}
}

func TestA098_NoPolicyDenies(t *testing.T) {
	ev := start(t, bootlog.Debian()).verified()
	denied(t, Appraise(nil, ev, History{TPM: chip}, noon), verdict.PolicyNone)
	denied(t, Appraise(debianSet(t), nil, History{TPM: chip}, noon), verdict.PolicyNone)
}

func TestTPM(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	for name, row := range map[string]struct {
		alter func(*policy.Policy, *History)
		want  verdict.CheckID
	}{
		"as learned":        {func(*policy.Policy, *History) {}, ""},
		"class":             {func(_ *policy.Policy, h *History) { h.TPM.Class = "virtual" }, verdict.TPMClass},
		"no class":          {func(_ *policy.Policy, h *History) { h.TPM.Class = "" }, verdict.TPMClass},
		"vendor":            {func(_ *policy.Policy, h *History) { h.TPM.Vendor = "XYZ" }, verdict.TPMVendor},
		"old firmware":      {func(p *policy.Policy, _ *History) { p.TPM.MinFirmware = map[string]string{"IBM": "65535.0"} }, verdict.TPMFirmware},
		"firmware rollback": {func(_ *policy.Policy, h *History) { h.Firmware = 1<<63 - 1 }, verdict.TPMRollback},
		"clock":             {func(_ *policy.Policy, h *History) { h.At = noon.Add(time.Hour) }, verdict.TimingClock},
	} {
		t.Run(name, func(t *testing.T) {
			altered, history := *p, History{TPM: chip}
			row.alter(&altered, &history)
			v := Appraise(compile(t, &altered, manifests), h.whole(), history, noon)
			if row.want == "" {
				admitted(t, v)
			} else {
				denied(t, v, row.want)
			}
		})
	}
}

func TestModeWarnRefusesNobody(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	b := bootlog.Debian()
	b.CommandLine += " debug"
	h.reboot(b)
	denied(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon), verdict.BootCommandLine, verdict.BootLoaderCommand, verdict.BootLoaderFile)
	p.Boot.Mode = policy.Warn
	v := Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon)
	admitted(t, v)
	if f := find(t, v, verdict.BootCommandLine); f.Severity != verdict.Warn {
		t.Errorf("severity %v", f.Severity)
	}
	if slices.Contains(v.Passed, verdict.BootCommandLine) {
		t.Error("a check with a finding counts as passed")
	}
}

func TestRules(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	p.Rules = []policy.Rule{{ID: "no-serial", Deny: "boot.commands.exists(c, c.text.contains('serial'))", Message: "a serial console is on", Remedy: "turn it off"}}
	f := find(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon), verdict.RuleDenied)
	if f.Where != "rule no-serial" || f.Message != "a serial console is on" || f.Remedy != "turn it off" {
		t.Errorf("%+v", f)
	}
	p.Rules[0].Deny = "boot.commands[1000].text == ''"
	denied(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon), verdict.RuleDenied)
	p.Rules[0].Deny = "boot.images.exists(i, i.pcr == 2)"
	admitted(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon))
}

func TestPCRs(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	value, _ := h.whole().PCR(4)
	p.Boot.PCRs = map[int][]string{4: {fmt.Sprintf("sha256:%x", value)}}
	admitted(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon))
	p.Boot.PCRs[4][0] = "sha256:" + strings.Repeat("ab", 32)
	denied(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon), verdict.BootPCR)
}

func TestA116_RevokedTakesEffectAtItsTime(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	i := slices.IndexFunc(manifests, func(m *policy.Manifest) bool { return m.Name == "validators-boot" })
	manifests[i].Status, manifests[i].Since = policy.Revoked, noon.Add(time.Hour)
	set := compile(t, p, manifests)

	v, history := Next(set, h.whole(), History{TPM: chip}, noon)
	admitted(t, v)
	if f := find(t, v, verdict.PolicyOutdated); f.Severity != verdict.Warn || !strings.Contains(f.Message, "will be revoked") {
		t.Errorf("%+v", f)
	}
	if from := history.From(set, h.clock.Epoch, noon.Add(time.Hour)); from != 0 {
		t.Errorf("the IMA list is asked for from entry %d after a revocation", from)
	}
	v, _ = Next(set, h.whole(), history, noon.Add(time.Hour))
	denied(t, v, verdict.BootImage, verdict.BootKernel, verdict.BootInitrd, verdict.BootLoaderCommand, verdict.BootLoaderFile)
}

func TestVerdictIsDeterministic(t *testing.T) {
	set := debianSet(t)
	b := bootlog.Debian()
	b.CommandLine, b.DBX = "single", nil
	ev := start(t, b).verified()
	first, err := json.Marshal(Appraise(set, ev, History{TPM: chip}, noon))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		again, err := json.Marshal(Appraise(set, ev, History{TPM: chip}, noon))
		if err != nil || string(again) != string(first) {
			t.Fatalf("another verdict: %s\n%s", first, again)
		}
	}
}

func TestSkippedCheckDenies(t *testing.T) {
	set := debianSet(t)
	r := newReport(0, 0)
	r.passed = append(r.passed, Required(set)[1:]...)
	denied(t, r.verdict(set, noon), verdict.PolicySkipped)
	r = newReport(0, 0)
	r.passed = append(r.passed, Required(set)...)
	admitted(t, r.verdict(set, noon))
}

func TestHistoryIsSerialisable(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	h.run("/tmp/x")
	_, history := Next(set, h.verified(), History{TPM: chip}, noon)
	text, err := json.Marshal(history)
	if err != nil {
		t.Fatal(err)
	}
	var again History
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(history, again) {
		t.Errorf("%v\n%+v\n%+v", err, history, again)
	}
}

func TestExplainAccountsForEveryCheck(t *testing.T) {
	set := debianSet(t)
	b := bootlog.Debian()
	b.CommandLine += " debug"
	h := start(t, b)
	h.run("/tmp/x")
	a := Explain(set, h.whole(), History{TPM: chip}, noon)
	results := map[verdict.CheckID]string{}
	for _, l := range a.Layers {
		for _, line := range l.Lines {
			results[line.Check] = line.Result
		}
	}
	for _, id := range Required(set) {
		want := "pass"
		if slices.Contains([]verdict.CheckID{verdict.BootCommandLine, verdict.BootLoaderCommand, verdict.BootLoaderFile, verdict.RuntimeIMAUnlisted}, id) {
			want = "deny"
		}
		if results[id] != want {
			t.Errorf("%s: %q, want %q", id, results[id], want)
		}
	}
}

func TestLearnRefuses(t *testing.T) {
	if _, _, err := Learn(lesson, nil, noon); err == nil {
		t.Error("learned from nothing")
	}
	h := start(t, bootlog.Debian())
	h.measure(bootlog.ViolationEntry("/var/log/x"))
	if _, _, err := Learn(lesson, []Sample{{h.whole(), chip}}, noon); err == nil || !strings.Contains(err.Error(), "runtime.ima-violation") {
		t.Errorf("learned a violation: %v", err)
	}
	h = start(t, bootlog.Debian())
	h.verified()
	h.run("/usr/bin/more")
	if _, _, err := Learn(lesson, []Sample{{h.verified(), chip}}, noon); err == nil || !strings.Contains(err.Error(), "starts at entry") {
		t.Errorf("learned from half a list: %v", err)
	}
}

func TestLearnFromTwoHosts(t *testing.T) {
	a, b := start(t, bootlog.Debian()), bootlog.Debian()
	b.CommandLine, b.Kernel.Content = b.CommandLine+" quiet", []byte("linux 6.2")
	second := start(t, b)
	second.run("/usr/bin/other")
	p, manifests, err := Learn(lesson, []Sample{{a.whole(), chip}, {second.whole(), chip}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	set := compile(t, p, manifests)
	admitted(t, judge(set, a))
	admitted(t, judge(set, second))
	again, _, err := Learn(lesson, []Sample{{second.whole(), chip}, {a.whole(), chip}}, noon)
	if err != nil || again.Digest() != p.Digest() {
		t.Errorf("the order of samples matters: %v", err)
	}
}

func TestLearnOtherChains(t *testing.T) {
	for _, chain := range []bootlog.Chain{bootlog.EFIStub, bootlog.UKI} {
		t.Run(string(chain), func(t *testing.T) {
			b := bootlog.Debian()
			b.Chain = chain
			h := start(t, b)
			l := lesson
			l.CommandLines = []string{b.CommandLine}
			p, manifests, err := Learn(l, []Sample{{h.whole(), chip}}, noon)
			if err != nil {
				t.Fatal(err)
			}
			set := compile(t, p, manifests)
			admitted(t, judge(set, h))
			b.CommandLine += " single"
			v := judge(set, start(t, b))
			if f := find(t, v, verdict.BootCommandLine); v.Decision != verdict.Denied || f.Want != p.Boot.CommandLine[0] {
				t.Errorf("%v: %v", v.Decision, f)
			}
		})
	}
}
