package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxPolicy is the longest policy, in bytes.
const MaxPolicy = 1 << 20

// Classes are the TPM classes that a policy may accept.
var Classes = []string{"discrete", "firmware", "virtual"}

// Profiles are the boot chains that a policy may accept; verifier/eventlog knows
// what a complete log of each looks like.
var Profiles = []string{"efi-stub", "grub", "shim-grub", "systemd-boot", "uki"}

// Parse reads a policy. The error is an *Error with every problem found.
//
// The layers tpm, secureBoot, boot and timing must be written: a layer that was
// left out by mistake would otherwise accept everything, and a default would
// change what a signed text means when the default changes. firmware, runtime
// and rules only add to what is refused, so they may be left out.
func Parse(text []byte) (*Policy, error) {
	d := &decoder{}
	p := d.policy(text)
	if err := refuse("policy", d.problems); err != nil {
		return nil, err
	}
	return p, nil
}

func (d *decoder) policy(text []byte) *Policy {
	root := d.document(text, MaxPolicy)
	if root == nil {
		return nil
	}
	p := &Policy{}
	lines := map[string]int{}
	at := func(key string, read func(*yaml.Node, string)) func(*yaml.Node) {
		return func(n *yaml.Node) { lines[key] = n.Line; read(n, key) }
	}
	d.mapping(root, "", []field{
		{"policy", true, func(n *yaml.Node) { d.oneOf(n, "policy", Version) }},
		{"name", true, at("name", func(n *yaml.Node, key string) { p.Name = d.name(n, key) })},
		{"version", true, at("version", func(n *yaml.Node, key string) { p.Version = d.number(n, key) })},
		{"roles", true, at("roles", func(n *yaml.Node, key string) { p.Roles = d.set(n, key, d.name) })},
		{"tpm", true, at("tpm", func(n *yaml.Node, key string) { p.TPM = d.tpm(n, key) })},
		{"firmware", false, at("firmware", func(n *yaml.Node, key string) { p.Firmware = d.firmware(n, key) })},
		{"secureBoot", true, at("secureBoot", func(n *yaml.Node, key string) { p.SecureBoot = d.secureBoot(n, key) })},
		{"boot", true, at("boot", func(n *yaml.Node, key string) { p.Boot = d.boot(n, key) })},
		{"runtime", false, at("runtime", func(n *yaml.Node, key string) { p.Runtime = d.runtime(n, key) })},
		{"rules", false, at("rules", func(n *yaml.Node, key string) { p.Rules = d.rules(n, key) })},
		{"timing", true, at("timing", func(n *yaml.Node, key string) { p.Timing = d.timing(n, key) })},
	})
	if p.TPM.Mode == Warn && p.Boot.Mode == Warn {
		d.add(lines["boot"], "boot.mode", "tpm and boot both only warn, so the policy would admit any host; let one of them enforce")
	}
	return p
}

func (d *decoder) tpm(n *yaml.Node, key string) (t TPM) {
	d.mapping(n, key, []field{
		{"mode", false, func(n *yaml.Node) { t.Mode = d.mode(n, key+".mode") }},
		{"classes", true, func(n *yaml.Node) {
			t.Classes = d.set(n, key+".classes", func(n *yaml.Node, key string) string { return d.oneOf(n, key, Classes...) })
		}},
		{"minFirmware", false, func(n *yaml.Node) { t.MinFirmware = d.minFirmware(n, key+".minFirmware") }},
	})
	return t
}

func (d *decoder) minFirmware(n *yaml.Node, key string) map[string]string {
	least := map[string]string{}
	d.pairs(n, key, func(k, v *yaml.Node) {
		if !validVendor(k.Value) {
			d.add(k.Line, key, "%q is not a TPM vendor identifier such as STM or IFX", bounded(k.Value))
		}
		s, ok := d.raw(v, join(key, k.Value))
		if !ok {
			return
		}
		version, err := ParseFirmwareVersion(s)
		if err != nil {
			d.add(v.Line, join(key, k.Value), "%v", err)
		}
		least[k.Value] = version.String()
	})
	return least
}

// validVendor accepts TCG vendor letters, or an unprintable identifier's hex digits.
func validVendor(s string) bool {
	return len(s) >= 1 && len(s) <= 8 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) < 0
}

func (d *decoder) firmware(n *yaml.Node, key string) *Firmware {
	f := &Firmware{}
	d.mapping(n, key, []field{
		{"mode", false, func(n *yaml.Node) { f.Mode = d.mode(n, key+".mode") }},
		{"manifests", true, func(n *yaml.Node) { f.Code.Manifests = d.set(n, key+".manifests", d.name) }},
	})
	return f
}

func (d *decoder) secureBoot(n *yaml.Node, key string) (s SecureBoot) {
	d.mapping(n, key, []field{
		{"mode", false, func(n *yaml.Node) { s.Mode = d.mode(n, key+".mode") }},
		{"required", true, func(n *yaml.Node) { s.Required = d.boolean(n, key+".required") }},
		d.references(key, "pk", &s.PK),
		d.references(key, "kek", &s.KEK),
		d.references(key, "db", &s.DB),
		d.references(key, "dbx", &s.DBX),
		d.references(key, "authorities", &s.Authorities),
		d.references(key, "mok", &s.MOK),
	})
	return s
}

// references is an optional key whose value names manifests.
func (d *decoder) references(key, name string, to **References) field {
	return field{name, false, func(n *yaml.Node) {
		r := d.manifests(n, join(key, name))
		*to = &r
	}}
}

func (d *decoder) manifests(n *yaml.Node, key string) (r References) {
	d.mapping(n, key, []field{
		{"manifests", true, func(n *yaml.Node) { r.Manifests = d.set(n, key+".manifests", d.name) }},
	})
	return r
}

func (d *decoder) boot(n *yaml.Node, key string) (b Boot) {
	d.mapping(n, key, []field{
		{"mode", false, func(n *yaml.Node) { b.Mode = d.mode(n, key+".mode") }},
		{"profile", true, func(n *yaml.Node) { b.Profiles = d.profiles(n, key+".profile") }},
		{"images", true, func(n *yaml.Node) { b.Images = d.manifests(n, key+".images") }},
		{"kernel", true, func(n *yaml.Node) { b.Kernel = d.manifests(n, key+".kernel") }},
		d.references(key, "initrd", &b.Initrd),
		{"commandLine", true, func(n *yaml.Node) { b.CommandLine = d.commandLine(n, key+".commandLine") }},
		d.references(key, "loaderCommands", &b.LoaderCommands),
		d.references(key, "loaderFiles", &b.LoaderFiles),
		d.references(key, "other", &b.Other),
		{"pcrs", false, func(n *yaml.Node) { b.PCRs = d.pcrs(n, key+".pcrs") }},
	})
	return b
}

// profiles reads one profile, or a list of several.
func (d *decoder) profiles(n *yaml.Node, key string) []string {
	one := func(n *yaml.Node, key string) string { return d.oneOf(n, key, Profiles...) }
	if n.Kind == yaml.SequenceNode {
		return d.set(n, key, one)
	}
	return []string{one(n, key)}
}

func (d *decoder) commandLine(n *yaml.Node, key string) (allow []string) {
	d.mapping(n, key, []field{
		{"allow", true, func(n *yaml.Node) {
			allow = d.set(n, key+".allow", func(n *yaml.Node, key string) string {
				s, ok := d.text(n, key)
				if ok && (len(s) > 4096 || strings.ContainsFunc(s, isControl)) {
					d.add(n.Line, key, "must be one line of at most 4096 bytes")
				}
				return s
			})
		}},
	})
	return allow
}

// pcrs reads values by PCR number. Only registers that hold the boot and nothing
// else are accepted: 10 belongs to runtime.ima, 15 and above are not quoted, and
// anybody on the host can reset 16 and 23.
func (d *decoder) pcrs(n *yaml.Node, key string) map[int][]string {
	values := map[int][]string{}
	d.pairs(n, key, func(k, v *yaml.Node) {
		number, err := strconv.Atoi(k.Value)
		if err != nil || strconv.Itoa(number) != k.Value || number < 0 || number > 14 || number == 10 {
			d.add(k.Line, key, "%q is not a PCR that a policy can match: 0 to 9 and 11 to 14", bounded(k.Value))
			return
		}
		values[number] = d.set(v, join(key, k.Value), d.digest)
	})
	return values
}

func (d *decoder) runtime(n *yaml.Node, key string) *IMA {
	r := &IMA{Required: true}
	d.mapping(n, key, []field{
		{"ima", true, func(n *yaml.Node) { d.ima(n, key+".ima", r) }},
	})
	return r
}

func (d *decoder) ima(n *yaml.Node, key string, r *IMA) {
	d.mapping(n, key, []field{
		{"mode", false, func(n *yaml.Node) { r.Mode = d.mode(n, key+".mode") }},
		{"required", false, func(n *yaml.Node) { r.Required = d.boolean(n, key+".required") }},
		{"manifests", true, func(n *yaml.Node) { r.Manifests = d.set(n, key+".manifests", d.name) }},
		// The one value exists so that the text says what happens to other files.
		{"unknown", true, func(n *yaml.Node) { d.oneOf(n, key+".unknown", "deny") }},
	})
}

func (d *decoder) timing(n *yaml.Node, key string) (t Timing) {
	d.mapping(n, key, []field{
		d.span(key, "challengeEvery", &t.ChallengeEvery, time.Second, time.Hour),
		d.span(key, "lateAfter", &t.LateAfter, 2*time.Second, 24*time.Hour),
		d.span(key, "admissionFor", &t.AdmissionFor, 2*time.Second, 30*24*time.Hour),
	})
	if t.ChallengeEvery > 0 && t.LateAfter > 0 && t.LateAfter <= t.ChallengeEvery {
		d.add(n.Line, key+".lateAfter", "must be longer than challengeEvery, or every node is late between two challenges")
	}
	if t.LateAfter > 0 && t.AdmissionFor > 0 && t.AdmissionFor < t.LateAfter {
		d.add(n.Line, key+".admissionFor", "must not be shorter than lateAfter, or admissions end before a node counts as late")
	}
	return t
}

func (d *decoder) span(key, name string, to *time.Duration, least, most time.Duration) field {
	key = join(key, name)
	return field{name, true, func(n *yaml.Node) {
		s, ok := d.raw(n, key)
		if !ok {
			return
		}
		v, err := parseDuration(s)
		if err != nil {
			d.add(n.Line, key, "%v", err)
		} else if v < least || v > most {
			d.add(n.Line, key, "must be from %s to %s", formatDuration(least), formatDuration(most))
		}
		*to = v
	}}
}

// set reads a list whose order means nothing: sorted, and nothing twice.
func (d *decoder) set(n *yaml.Node, key string, read func(*yaml.Node, string) string) []string {
	var all []string
	seen := map[string]bool{}
	d.list(n, key, func(n *yaml.Node, key string) {
		s := read(n, key)
		if seen[s] {
			d.add(n.Line, key, "%q appears twice", bounded(s))
		}
		seen[s] = true
		all = append(all, s)
	})
	slices.Sort(all)
	return all
}
