// Package policy is the language in which a consortium says which hosts it
// accepts: a policy, and the manifests of reference values that it refers to.
// docs/policy.md is the manual.
//
// A policy is decoded strictly. An unknown or repeated key, an unknown version,
// a reference to nothing, a rule that does not type-check, or a policy that
// would accept anything is refused, with every problem reported at once. What
// was accepted is printed in one canonical form and named by its digest.
//
//	p, err := policy.Parse(text)
//	m, err := policy.ParseManifest(text)
//	set, err := policy.NewSet(p, manifests) // compiled once, shared read-only
//
// The package is pure: no files, no clock, no goroutines.
package policy

import (
	"crypto/sha256"
	"time"
)

// Version is the value of the key "policy" or "manifest" in every file.
const Version = "quorate/v1"

// Mode says what a layer's findings do. The zero value enforces.
type Mode uint8

const (
	// Enforce lets the layer's findings refuse the node.
	Enforce Mode = iota
	// Warn shows and records the layer's findings; they refuse nothing.
	Warn
)

// String returns "enforce" or "warn".
func (m Mode) String() string {
	if m == Warn {
		return "warn"
	}
	return "enforce"
}

// Policy is a consortium's appraisal policy, as Parse accepted it. Lists whose
// order means nothing are sorted, so equal policies are equal values.
type Policy struct {
	Name       string     // names the policy across its versions
	Version    int        // counts up by each change, from 1
	Roles      []string   // the node roles it applies to, sorted
	TPM        TPM        //
	Firmware   *Firmware  // nil: firmware is not judged
	SecureBoot SecureBoot //
	Boot       Boot       //
	Runtime    *IMA       // nil: what runs after the boot is not judged
	Rules      []Rule     // in the order written
	Timing     Timing     //
}

// References names the manifests whose entries are accepted. nil: not judged.
type References struct {
	Manifests []string // names, sorted
}

// TPM is the layer "tpm": which TPMs are accepted.
type TPM struct {
	Mode        Mode
	Classes     []string          // "discrete", "firmware", "virtual"; sorted, never empty
	MinFirmware map[string]string // least firmware version by vendor; if given, vendors not in it are refused
}

// Firmware is the layer "firmware": which platform firmware is accepted.
type Firmware struct {
	Mode Mode
	Code References // every firmware blob must be listed as kind firmware
}

// SecureBoot is the layer "secureBoot".
type SecureBoot struct {
	Mode        Mode
	Required    bool        // Secure Boot must be measured as on, and in no weakened mode
	PK          *References // the platform key variable
	KEK         *References // the key exchange keys variable
	DB          *References // the allowed signatures variable
	DBX         *References // the forbidden signatures variable
	Authorities *References // every entry that vouched for an image
	MOK         *References // shim's own lists, SBAT level included
}

// Boot is the layer "boot": what the machine loaded, event by event.
type Boot struct {
	Mode           Mode
	Profiles       []string         // boot chains that are accepted, sorted, never empty
	Images         References       // every loaded PE image, drivers and option ROMs included
	Kernel         References       // every kernel
	Initrd         *References      // every initial RAM disk; nil: none may be loaded
	CommandLine    []string         // the kernel command lines allowed, byte for byte, sorted
	LoaderCommands *References      // every command the boot loader measured; nil: not judged
	LoaderFiles    *References      // every other file the boot loader read; nil: none may be read
	Other          *References      // events of no known kind; nil: none may occur
	PCRs           map[int][]string // accepted values by PCR number; discouraged
}

// IMA is the layer "runtime.ima": what was executed since the boot.
type IMA struct {
	Mode      Mode
	Required  bool     // a host without an IMA list is refused
	Manifests []string // whose files may run; names, sorted
}

// Rule is one CEL expression over the facts of a boot. It refuses the node when
// its expression is true, or cannot be evaluated.
type Rule struct {
	ID      string
	Mode    Mode
	Deny    string // CEL, bool
	Message string // what a person reads
	Remedy  string // what a person does
}

// Timing says how often a node proves itself and how long an admission lasts.
type Timing struct {
	ChallengeEvery time.Duration // between challenges, 1s to 1h
	LateAfter      time.Duration // without fresh evidence the node is late; more than ChallengeEvery, at most 24h
	AdmissionFor   time.Duration // validity of an admission; at least LateAfter, at most 30d
}

// Digest returns the SHA-256 of the canonical text.
func (p *Policy) Digest() [32]byte { return sha256.Sum256(p.Print()) }
