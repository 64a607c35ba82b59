package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Print returns the canonical text: fixed keys in fixed order, every default
// written out, one spelling of each value. It is what digests and signatures are
// over, so its form is our own and not a YAML library's.
func (p *Policy) Print() []byte {
	w := &printer{}
	w.line(0, "policy", Version)
	w.line(0, "name", word(p.Name))
	w.line(0, "version", fmt.Sprint(p.Version))
	w.line(0, "roles", flow(p.Roles))
	w.tpm(p.TPM)
	if f := p.Firmware; f != nil {
		w.head(0, "firmware")
		w.line(1, "mode", f.Mode.String())
		w.line(1, "manifests", flow(f.Code.Manifests))
	}
	w.secureBoot(p.SecureBoot)
	w.boot(p.Boot)
	w.runtime(p.Runtime)
	w.rules(p.Rules)
	w.head(0, "timing")
	w.line(1, "challengeEvery", formatDuration(p.Timing.ChallengeEvery))
	w.line(1, "lateAfter", formatDuration(p.Timing.LateAfter))
	w.line(1, "admissionFor", formatDuration(p.Timing.AdmissionFor))
	return []byte(w.b.String())
}

type printer struct{ b strings.Builder }

func (w *printer) head(depth int, key string) {
	w.b.WriteString(strings.Repeat("  ", depth) + key + ":\n")
}

func (w *printer) line(depth int, key, value string) {
	w.b.WriteString(strings.Repeat("  ", depth) + key + ": " + value + "\n")
}

func (w *printer) references(key string, r *References) {
	if r != nil {
		w.line(1, key, "{manifests: "+flow(r.Manifests)+"}")
	}
}

func (w *printer) items(depth int, key string, all []string) {
	w.head(depth, key)
	for _, s := range all {
		w.b.WriteString(strings.Repeat("  ", depth+1) + "- " + quoted(s) + "\n")
	}
}

func (w *printer) tpm(t TPM) {
	w.head(0, "tpm")
	w.line(1, "mode", t.Mode.String())
	w.line(1, "classes", flow(t.Classes))
	if len(t.MinFirmware) == 0 {
		return
	}
	w.head(1, "minFirmware")
	for _, vendor := range slices.Sorted(maps.Keys(t.MinFirmware)) {
		w.line(2, quoted(vendor), quoted(t.MinFirmware[vendor]))
	}
}

func (w *printer) secureBoot(s SecureBoot) {
	w.head(0, "secureBoot")
	w.line(1, "mode", s.Mode.String())
	w.line(1, "required", fmt.Sprint(s.Required))
	w.references("pk", s.PK)
	w.references("kek", s.KEK)
	w.references("db", s.DB)
	w.references("dbx", s.DBX)
	w.references("authorities", s.Authorities)
	w.references("mok", s.MOK)
}

func (w *printer) boot(b Boot) {
	w.head(0, "boot")
	w.line(1, "mode", b.Mode.String())
	w.line(1, "profile", flow(b.Profiles))
	w.references("images", &b.Images)
	w.references("kernel", &b.Kernel)
	w.references("initrd", b.Initrd)
	w.head(1, "commandLine")
	w.items(2, "allow", b.CommandLine)
	w.references("loaderCommands", b.LoaderCommands)
	w.references("loaderFiles", b.LoaderFiles)
	w.references("other", b.Other)
	if len(b.PCRs) == 0 {
		return
	}
	w.head(1, "pcrs")
	for _, number := range slices.Sorted(maps.Keys(b.PCRs)) {
		w.items(2, fmt.Sprint(number), b.PCRs[number])
	}
}

func (w *printer) runtime(r *IMA) {
	if r == nil {
		return
	}
	w.head(0, "runtime")
	w.head(1, "ima")
	w.line(2, "mode", r.Mode.String())
	w.line(2, "required", fmt.Sprint(r.Required))
	w.line(2, "manifests", flow(r.Manifests))
	w.line(2, "unknown", "deny")
}

func (w *printer) rules(rules []Rule) {
	if len(rules) == 0 {
		return
	}
	w.head(0, "rules")
	for _, r := range rules {
		w.b.WriteString("  - id: " + quoted(r.ID) + "\n")
		w.line(2, "mode", r.Mode.String())
		w.line(2, "deny", quoted(r.Deny))
		w.line(2, "message", quoted(r.Message))
		w.line(2, "remedy", quoted(r.Remedy))
	}
}

// flow prints a list of names on one line.
func flow(all []string) string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = word(s)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// word prints a name bare where YAML reads it back as the same text.
func word(s string) string {
	if validName(s) && s[0] >= 'a' && s != "true" && s != "false" && s != "null" && s != "yes" && s != "no" && s != "on" && s != "off" && s != "y" && s != "n" {
		return s
	}
	return quoted(s)
}

// quoted prints text in double quotes; JSON's escapes are YAML's. YAML takes some
// characters only as escapes that JSON would print as they are.
func quoted(s string) string {
	if plain(s) {
		return `"` + s + `"`
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A string always encodes; invalid UTF-8 was refused when it was read.
	_ = enc.Encode(s)
	text := strings.TrimSuffix(b.String(), "\n")
	if strings.IndexFunc(text, unwritable) < 0 {
		return text
	}
	b.Reset()
	for _, r := range text {
		if unwritable(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unwritable reports whether a YAML text may hold the character only escaped.
func unwritable(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff
}

func formatDate(t time.Time) string { return t.UTC().Format(time.RFC3339) }
