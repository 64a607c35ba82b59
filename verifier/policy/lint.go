package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Lint returns what is allowed but doubtful: layers that only warn, things that
// nothing judges, and times that are longer than good habits.
func (p *Policy) Lint() []Problem {
	var all []Problem
	warn := func(key, format string, args ...any) {
		all = append(all, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	p.lintModes(warn)
	p.lintGaps(warn)
	if p.Timing.AdmissionFor > 48*time.Hour {
		warn("timing.admissionFor", "a bundle stays valid for %s after a node was refused, for a ledger that does not follow the roster", formatDuration(p.Timing.AdmissionFor))
	}
	if p.Timing.ChallengeEvery > 5*time.Minute {
		warn("timing.challengeEvery", "what runs on a host is noticed up to %s later", formatDuration(p.Timing.ChallengeEvery))
	}
	for i, s := range p.Boot.CommandLine {
		if word := risky(s); word != "" {
			warn(fmt.Sprintf("boot.commandLine.allow[%d]", i), "%q weakens the host", word)
		}
	}
	return all
}

func (p *Policy) lintModes(warn func(key, format string, args ...any)) {
	modes := map[string]Mode{"tpm": p.TPM.Mode, "secureBoot": p.SecureBoot.Mode, "boot": p.Boot.Mode}
	if p.Firmware != nil {
		modes["firmware"] = p.Firmware.Mode
	}
	if p.Runtime != nil {
		modes["runtime.ima"] = p.Runtime.Mode
	}
	for _, layer := range []string{"tpm", "firmware", "secureBoot", "boot", "runtime.ima"} {
		if modes[layer] == Warn {
			warn(layer+".mode", "this layer only warns: what it finds refuses nobody")
		}
	}
	for i, r := range p.Rules {
		if r.Mode == Warn {
			warn(fmt.Sprintf("rules[%d].mode", i), "rule %s only warns", r.ID)
		}
	}
}

func (p *Policy) lintGaps(warn func(key, format string, args ...any)) {
	if p.Firmware == nil {
		warn("firmware", "no layer firmware: any firmware version is accepted")
	}
	if p.Runtime == nil {
		warn("runtime", "no layer runtime: any program may run after the boot")
	} else if !p.Runtime.Required {
		warn("runtime.ima.required", "a host without an IMA list is accepted")
	}
	if !p.SecureBoot.Required {
		warn("secureBoot.required", "hosts without Secure Boot are accepted")
	}
	if p.SecureBoot.Required && p.SecureBoot.DBX == nil {
		warn("secureBoot.dbx", "any list of forbidden signatures is accepted, an old one too")
	}
	if p.SecureBoot.Required && p.SecureBoot.PK == nil {
		warn("secureBoot.pk", "any platform key is accepted, a published test key too")
	}
	if p.Boot.LoaderCommands == nil && (slices.Contains(p.Boot.Profiles, "shim-grub") || slices.Contains(p.Boot.Profiles, "grub")) {
		warn("boot.loaderCommands", "GRUB may run any command, also one typed at its prompt, and without Secure Boot some of them write to memory; only files and command lines are judged")
	}
	if len(p.Boot.PCRs) > 0 {
		warn("boot.pcrs", "values by PCR number break with every update and cannot say what changed")
	}
	if slices.Contains(p.TPM.Classes, "virtual") {
		warn("tpm.classes", "whoever runs the hypervisor controls a virtual TPM")
	}
}

// risky returns the first argument that is known to weaken a host.
func risky(commandLine string) string {
	for arg := range strings.FieldsSeq(commandLine) {
		key, value, _ := strings.Cut(arg, "=")
		switch {
		case slices.Contains([]string{"rd.break", "rd.shell", "single", "emergency", "init", "rdinit", "systemd.debug-shell"}, key),
			key == "ima_appraise" && value == "off", key == "lockdown" && value == "none",
			key == "selinux" && value == "0", key == "apparmor" && value == "0", key == "module.sig_enforce" && value == "0":
			return arg
		}
	}
	return ""
}

// interpreters run whatever text they are given, which IMA does not measure.
var interpreters = []string{"ash", "awk", "bash", "busybox", "dash", "gawk", "guile", "ksh", "lua", "mawk", "node", "perl", "php", "python", "ruby", "sh", "tclsh", "zsh"}

// interpreter returns the interpreter that a path names, versions included, "" if none.
func interpreter(file string) string {
	base := strings.TrimRight(path.Base(file), "0123456789.")
	if slices.Contains(interpreters, base) {
		return base
	}
	return ""
}

// lintManifests names interpreters among the files that may run, a few by name.
func lintManifests(p *Policy, byName map[string]*Manifest) []Problem {
	if p.Runtime == nil {
		return nil
	}
	var all []Problem
	for _, name := range p.Runtime.Manifests {
		var found []string
		for _, e := range byName[name].Entries {
			if e.Kind == KindFile && interpreter(e.Path) != "" {
				found = append(found, e.Path)
			}
		}
		if len(found) > 0 {
			all = append(all, Problem{Key: "runtime.ima", Text: fmt.Sprintf("manifest %s allows interpreters, which run text that nothing measures: %s", name, some(found, 5))})
		}
	}
	return all
}

func some(all []string, max int) string {
	if len(all) <= max {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:max], ", "), len(all)-max)
}
