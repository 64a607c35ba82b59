package appraise

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/account"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// tell writes all that is said about an appraisal, and what is remembered of it.
func tell(out io.Writer, name string, set *policy.Set, h *host, prev History) {
	ev := h.whole()
	a := Explain(set, ev, prev, noon)
	fmt.Fprintf(out, "== %s: %s, at %s\n", name, a.Verdict.Decision, a.Verdict.At.Format(time.RFC3339))
	for _, l := range a.Layers {
		fmt.Fprintf(out, "%s, %s\n", l.Name, l.Mode)
		for _, line := range l.Lines {
			fmt.Fprintf(out, "  %s %s: %q of %q\n", line.Check, line.Result, line.Found, line.Required)
			tellFindings(out, line.Findings)
		}
	}
	fmt.Fprintf(out, "required %v\npassed %v\nfound", Required(set), a.Verdict.Passed)
	for _, f := range a.Verdict.Findings {
		fmt.Fprintf(out, " %s", f.Check)
	}
	fmt.Fprintln(out)
	_, next := Next(set, ev, prev, noon)
	fmt.Fprintf(out, "next: firmware %d, stage %d, %d judged, %d refused, %d in the boot, %d since; again from %d\n",
		next.Firmware, next.Stage, next.Judged, next.Refused, len(next.Boot), len(next.Runtime), next.From(set, ev.Epoch(), noon))
}

func tellFindings(out io.Writer, all []verdict.Finding) {
	for _, f := range all {
		fmt.Fprintf(out, "    %s %s at %q: got %q, want %q", f.Severity, f.Check, f.Where, f.Got, f.Want)
		usual := refusal(f.Check, "", "", "")
		if f.Message != usual.Message || f.Remedy != usual.Remedy {
			fmt.Fprintf(out, "; %s; %s", f.Message, f.Remedy)
		}
		fmt.Fprintln(out)
	}
}

// copied is a policy that a test may change.
func copied(p *policy.Policy) *policy.Policy {
	c := *p
	if p.Firmware != nil {
		f := *p.Firmware
		c.Firmware = &f
	}
	if p.Runtime != nil {
		r := *p.Runtime
		c.Runtime = &r
	}
	c.Rules = slices.Clone(p.Rules)
	return &c
}

// restated is the manifests with one of them in another state.
func restated(all []*policy.Manifest, status policy.Status, since time.Time, names ...string) []*policy.Manifest {
	out := make([]*policy.Manifest, len(all))
	for i, m := range all {
		c := *m
		if slices.Contains(names, strings.TrimPrefix(m.Name, lesson.Name+"-")) {
			c.Status, c.Since = status, since
		}
		out[i] = &c
	}
	return out
}

// widened is the manifests with more images accepted.
func widened(all []*policy.Manifest, more int) []*policy.Manifest {
	out := make([]*policy.Manifest, len(all))
	for i, m := range all {
		c := *m
		if m.Name == lesson.Name+"-boot" {
			c.Entries = slices.Clone(m.Entries)
			for n := range more {
				c.Entries = append(c.Entries, policy.Entry{Kind: policy.KindImage, Digest: bootlog.Text(sha256.Sum256([]byte{byte(n)}))})
			}
		}
		out[i] = &c
	}
	return out
}

// policies are the learned policy in every shape.
func policies(t *testing.T) map[string]*policy.Set {
	h := start(t, bootlog.Debian())
	h.run("/usr/bin/agent")
	h.measure(bootlog.BufferEntry("ima-policy", []byte("measure")))
	p, manifests := learned(t, h)
	drop := func(parts ...string) []*policy.Manifest {
		return slices.DeleteFunc(slices.Clone(manifests), func(m *policy.Manifest) bool {
			return slices.Contains(parts, strings.TrimPrefix(m.Name, lesson.Name+"-"))
		})
	}
	all := map[string]*policy.Set{"learned": compile(t, p, manifests)}
	add := func(name string, manifests []*policy.Manifest, change func(*policy.Policy)) {
		c := copied(p)
		change(c)
		all[name] = compile(t, c, manifests)
	}
	add("bare", drop(partFirmware, partSecureBoot, partRuntime), func(c *policy.Policy) {
		c.TPM.MinFirmware, c.Firmware, c.Runtime, c.Rules = nil, nil, nil, nil
		c.SecureBoot = policy.SecureBoot{}
		c.Boot.Initrd, c.Boot.LoaderCommands, c.Boot.LoaderFiles, c.Boot.Other = nil, nil, nil, nil
		c.Boot.Profiles = []string{"efi-stub"}
	})
	for _, profile := range []string{"grub", "shim-grub", "uki"} {
		add("only "+profile, drop(partFirmware, partSecureBoot, partRuntime), func(c *policy.Policy) {
			c.Firmware, c.Runtime, c.Rules, c.SecureBoot = nil, nil, nil, policy.SecureBoot{}
			c.Boot.LoaderFiles, c.Boot.LoaderCommands, c.Boot.Profiles = nil, nil, []string{profile}
		})
	}
	add("loader files, yet no GRUB", manifests, func(c *policy.Policy) { c.Boot.Profiles = []string{"efi-stub"} })
	add("most warn", manifests, func(c *policy.Policy) {
		c.Firmware.Mode, c.SecureBoot.Mode, c.Boot.Mode, c.Runtime.Mode = policy.Warn, policy.Warn, policy.Warn, policy.Warn
	})
	add("the TPM warns", manifests, func(c *policy.Policy) { c.TPM.Mode = policy.Warn })
	value, _ := h.whole().PCR(4)
	add("registers and rules", manifests, func(c *policy.Policy) {
		c.Boot.PCRs = map[int][]string{4: {fmt.Sprintf("sha256:%x", value)}, 7: {bootlog.Text([32]byte{7}), bootlog.Text([32]byte{8})}, 13: {bootlog.Text([32]byte{9})}}
		c.Rules = []policy.Rule{
			{ID: "denies", Deny: "tpm.vendor == 'IBM'", Message: "made by IBM", Remedy: "buy another"},
			{ID: "agrees", Deny: "tpm.vendor == 'XYZ'", Message: "m", Remedy: "r"},
			{ID: "fails", Deny: "boot.images[1000].pcr == 4", Message: "few images", Remedy: "r"},
			{ID: "warns", Mode: policy.Warn, Deny: "boot.profile == 'shim-grub'", Message: "shim", Remedy: "no shim"},
		}
	})
	add("one rule that agrees", manifests, func(c *policy.Policy) {
		c.Rules = []policy.Rule{{ID: "agrees", Deny: "tpm.vendor == 'XYZ'", Message: "m", Remedy: "r"}}
	})
	for _, more := range []int{0, 1} {
		c := copied(p)
		c.Boot.CommandLine = append([]string{"another line"}, c.Boot.CommandLine...)
		all[fmt.Sprintf("%d images more", more)] = compile(t, c, widened(manifests, more))
	}
	add("outdated", restated(manifests, policy.Outdated, noon, partBoot, partFirmware, partRuntime), func(*policy.Policy) {})
	add("outdated later", restated(manifests, policy.Outdated, noon.Add(time.Second), partBoot, partRuntime), func(*policy.Policy) {})
	add("revoked", restated(manifests, policy.Revoked, noon, partBoot, partRuntime), func(*policy.Policy) {})
	add("revoked later", restated(manifests, policy.Revoked, noon.Add(24*time.Hour), partBoot, partRuntime), func(*policy.Policy) {})
	add("warned of revoked", restated(manifests, policy.Revoked, noon, partBoot, partRuntime), func(c *policy.Policy) {
		c.Boot.Mode, c.Runtime.Mode = policy.Warn, policy.Warn
	})
	return all
}

// machines are hosts that boot and run all kinds of things.
func machines(t *testing.T) map[string]*host {
	all := map[string]*host{"as learned": start(t, bootlog.Debian())}
	all["as learned"].run("/usr/bin/agent")
	add := func(name string, change func(*bootlog.Boot)) *host {
		b := bootlog.Debian()
		change(&b)
		all[name] = start(t, b)
		return all[name]
	}
	busy := add("another line, busy", func(b *bootlog.Boot) { b.CommandLine += " debug" })
	busy.run("/usr/bin/agent", "/tmp/x")
	for _, e := range []bootlog.Entry{
		bootlog.FileEntry("/usr/bin/agent", sha256.Sum256([]byte("evil"))), bootlog.BufferEntry("ima-policy", []byte("measure")),
		bootlog.BufferEntry("ima-policy", []byte("dont_measure")), bootlog.ViolationEntry("/var/log/x"), bootlog.BufferEntry("kexec-cmdline", []byte("quiet")),
	} {
		busy.measure(e)
	}
	add("no Secure Boot", func(b *bootlog.Boot) { b.SecureBoot = false })
	add("a unified image", func(b *bootlog.Boot) { b.Chain = bootlog.UKI })
	add("the kernel's stub", func(b *bootlog.Boot) { b.Chain = bootlog.EFIStub })
	for _, n := range []int{maxRepeats, maxRepeats + 1} {
		h := add(fmt.Sprintf("%d drivers and programs", n), func(b *bootlog.Boot) {
			for i := range n {
				b.Drivers = append(b.Drivers, bootlog.Image{Path: "rom", Content: []byte{byte(i)}})
			}
		})
		for i := range n {
			h.run(fmt.Sprintf("/tmp/%d", i))
		}
	}
	return all
}

// TestAccount holds every text, in every mode and state, against an account.
func TestAccount(t *testing.T) {
	var out bytes.Buffer
	sets, hosts := policies(t), machines(t)
	for _, name := range keysOf(sets) {
		for _, machine := range []string{"as learned", "another line, busy"} {
			tell(&out, name+", "+machine, sets[name], hosts[machine], History{TPM: chip})
		}
	}
	for _, machine := range keysOf(hosts) {
		tell(&out, "learned, "+machine, sets["learned"], hosts[machine], History{TPM: chip})
		if !strings.HasSuffix(machine, "programs") {
			tell(&out, "bare, "+machine, sets["bare"], hosts[machine], History{TPM: chip})
		}
	}
	for _, m := range bootlog.WellFormedMutations() {
		if m != "command-line-gone" && m != "initrd-dropped" && m != "initrd-gone" && m != "kernel-file-gone" && m != "command-line-extra" {
			tell(&out, "learned, "+string(m), sets["learned"], start(t, bootlog.Debian(), m), History{TPM: chip})
		}
	}
	for name, prev := range map[string]History{"another TPM": {TPM: TPM{"virtual", "XYZ", "m"}, At: noon.Add(61 * time.Second), Firmware: 1 << 62}} {
		tell(&out, "learned, "+name, sets["learned"], hosts["as learned"], prev)
		tell(&out, "the TPM warns, "+name, sets["the TPM warns"], hosts["as learned"], prev)
	}
	account.Hold(t, "testdata/account.txt", out.Bytes())
}

func keysOf[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// TestFactsAccount holds what is found in facts that no log of a simulated boot
// has, one change at a time.
func TestFactsAccount(t *testing.T) {
	var out bytes.Buffer
	yes, no := true, false
	sets := policies(t)
	good := *machines(t)["as learned"].whole().Facts()
	stray := eventlog.Measurement{Event: 3, PCR: 9, Digest: eventlog.Digest(strings.Repeat("s", 32))}
	changes := map[string]func(*eventlog.Facts){
		"as learned":                    func(*eventlog.Facts) {},
		"no firmware":                   func(f *eventlog.Facts) { f.Firmware.Blobs = nil },
		"one blob of firmware, unknown": func(f *eventlog.Facts) { f.Firmware.Blobs = []eventlog.Blob{{Measurement: stray, NameClaimed: "PEI"}} },
		"no exit":                       func(f *eventlog.Facts) { f.ExitBootServices = false },
		"no image":                      func(f *eventlog.Facts) { f.Images = nil },
		"no kernel":                     func(f *eventlog.Facts) { f.Kernels = nil },
		"no initrd":                     func(f *eventlog.Facts) { f.Initrds = nil },
		"no command line":               func(f *eventlog.Facts) { f.CommandLines = nil },
		"unknown profile":               func(f *eventlog.Facts) { f.Profile = "network" },
		"a command line without text": func(f *eventlog.Facts) {
			f.CommandLines = []eventlog.CommandLine{{Measurement: stray, Text: "claimed"}}
		},
		"Secure Boot not measured":    func(f *eventlog.Facts) { f.SecureBoot.Known = false },
		"not measured, and empty key": func(f *eventlog.Facts) { f.SecureBoot.Known, f.SecureBoot.PK.Empty = false, true },
		"Secure Boot off, at event 5": func(f *eventlog.Facts) { f.SecureBoot.Enabled, f.SecureBoot.Event = false, 5 },
		"setup mode":                  func(f *eventlog.Facts) { f.SecureBoot.SetupMode = &yes },
		"setup mode off":              func(f *eventlog.Facts) { f.SecureBoot.SetupMode = &no },
		"audit mode":                  func(f *eventlog.Facts) { f.SecureBoot.AuditMode = &yes },
		"audit mode off":              func(f *eventlog.Facts) { f.SecureBoot.AuditMode = &no },
		"no platform key":             func(f *eventlog.Facts) { f.SecureBoot.PK.Empty = true },
		"platform key not measured":   func(f *eventlog.Facts) { f.SecureBoot.PK = eventlog.Variable{} },
		"a foreign authority": func(f *eventlog.Facts) {
			f.SecureBoot.Authorities = []eventlog.Authority{{Measurement: stray, NameClaimed: "db"}}
		},
		"a foreign list of shim": func(f *eventlog.Facts) { f.Shim.Lists = []eventlog.Blob{{Measurement: stray, NameClaimed: "MokList"}} },
		"an action": func(f *eventlog.Facts) {
			f.SecureBoot.Actions = []eventlog.Action{{Measurement: stray, Text: "UEFI Debug Mode"}}
		},
		"an event of no kind": func(f *eventlog.Facts) { f.Unlisted = []eventlog.Measurement{stray} },
		"a command beside the command line": func(f *eventlog.Facts) {
			f.Grub.Commands = append(slices.Clone(f.Grub.Commands), eventlog.Command{Measurement: stray, Text: "ls"})
		},
		"a file beside kernel and RAM disk": func(f *eventlog.Facts) {
			f.Grub.Files = append(slices.Clone(f.Grub.Files), eventlog.File{Measurement: stray, PathClaimed: "/x"})
		},
	}
	for _, name := range []string{"0 images more", "bare", "outdated"} {
		for _, change := range keysOf(changes) {
			facts := good
			changes[change](&facts)
			b := &boot{newReport(0, 0), sets[name], sets[name].Policy(), &facts, noon}
			b.firmware()
			b.secureBoot()
			b.chain()
			b.loaded()
			if len(b.findings) > 0 {
				fmt.Fprintf(&out, "== %s, %s: passed %v\n", name, change, b.passed)
				tellFindings(&out, b.findings)
			}
		}
	}
	account.Hold(t, "testdata/facts.txt", out.Bytes())
}

// A register that a policy wants and nobody quoted is no register that matches.
func TestRegisterNotQuoted(t *testing.T) {
	set := policies(t)["registers and rules"]
	b := &boot{newReport(0, 0), set, set.Policy(), nil, noon}
	b.pcrs(new(evidence.Verified))
	if len(b.findings) != 3 || b.findings[2].Where != "PCR 13" || b.findings[2].Got != "not quoted" {
		t.Errorf("%v", b.findings)
	}
}

// Again and Alone say why they have no verdict, and whose policy refused.
func TestAgainSaysWhy(t *testing.T) {
	set := debianSet(t)
	good := start(t, bootlog.Debian()).file(set)
	other := policies(t)["bare"]
	if v, err := Again(other, good); err == nil || !strings.Contains(err.Error(), "made with the policy set") || v.At != (time.Time{}) {
		t.Errorf("another policy: %+v, %v", v, err)
	}
	if v, err := Again(nil, good); err == nil || v.At != (time.Time{}) {
		t.Errorf("no policy: %+v, %v", v, err)
	}
	good.Record.History = []byte("{")
	for name, ask := range map[string]func() (verdict.Verdict, error){
		"again": func() (verdict.Verdict, error) { return Again(set, good) },
		"alone": func() (verdict.Verdict, error) { return Alone(set, good, noon) },
	} {
		if v, err := ask(); err == nil || !strings.HasPrefix(err.Error(), "appraise: the recorded history: ") || v.Findings != nil {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	good.Record.History = nil
	if v, err := Again(set, good); err != nil || v.Decision != verdict.Denied || v.Findings[0].Check != verdict.TPMClass {
		t.Errorf("no history: %+v, %v", v, err)
	}
	if h, err := Recorded(good.Record); err != nil || h.TPM != (TPM{}) {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestAgainWithoutPolicy(t *testing.T) {
	good := start(t, bootlog.Debian()).file(debianSet(t))
	good.Record.PolicySet = [32]byte{}
	v, err := Again(nil, good)
	if err != nil || v.Decision != verdict.Denied || len(v.Findings) != 1 || v.Findings[0].Check != verdict.PolicyNone || !v.At.Equal(noon) {
		t.Errorf("%+v, %v", v, err)
	}
	bad := start(t, bootlog.Debian(), bootlog.Mutations()[0]).file(debianSet(t))
	bad.Record.PolicySet = [32]byte{}
	if v, err := Again(nil, bad); err != nil || len(v.Findings) != 1 || v.Policy != "" || !v.At.Equal(noon) {
		t.Errorf("%+v, %v", v, err)
	}
}

// A refusal is a verdict, by name of the policy; anything else is an error.
func TestRefusedAgain(t *testing.T) {
	set := debianSet(t)
	refusal := verdict.Refuse(verdict.TimingClock, "w", "g", "v")
	v, err := refusedAgain(set, refusal, noon)
	if err != nil || v.Policy != set.String() || !v.At.Equal(noon) || len(v.Findings) != 1 || v.Findings[0].Check != verdict.TimingClock || v.Decision != verdict.Denied {
		t.Errorf("%+v, %v", v, err)
	}
	broken := errors.New("broken")
	if v, err := refusedAgain(set, broken, noon); err != broken || v.Findings != nil {
		t.Errorf("%+v, %v", v, err)
	}
}
