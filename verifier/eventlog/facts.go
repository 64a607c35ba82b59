package eventlog

import (
	"bytes"
	"encoding/hex"
	"fmt"
)

// Provenance says how far a text of the log can be trusted.
type Provenance uint8

const (
	// Claimed is the zero value: text beside a digest, for people only.
	Claimed Provenance = iota
	// Measured means that the extended digest covers exactly these bytes.
	Measured
)

// String returns "claimed" or "measured".
func (p Provenance) String() string {
	if p == Measured {
		return "measured"
	}
	return "claimed"
}

// MarshalText makes provenances readable in JSON.
func (p Provenance) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (p *Provenance) UnmarshalText(text []byte) error {
	switch string(text) {
	case "claimed":
		*p = Claimed
	case "measured":
		*p = Measured
	default:
		return fmt.Errorf("eventlog: unknown provenance %q", text)
	}
	return nil
}

// Profile names the boot chain that a log shows.
type Profile string

// The boot chains whose complete logs are known.
const (
	ProfileShimGrub    Profile = "shim-grub"    // firmware, shim, GRUB, kernel
	ProfileGrub        Profile = "grub"         // firmware, GRUB without shim, kernel
	ProfileEFIStub     Profile = "efi-stub"     // firmware starts the kernel's own EFI stub
	ProfileUKI         Profile = "uki"          // a unified kernel image, with or without systemd-boot before it
	ProfileSystemdBoot Profile = "systemd-boot" // systemd-boot starts a kernel that is not unified
)

// Facts is what a complete log proves about a boot. Every fact carries the index
// of the event that proves it. Digests are "sha256:<hex>" in the quoted bank, or
// in SHA-256 where a field says so. Names that end in Claimed hold text which no
// digest covers: for people, never for policies.
type Facts struct {
	Profile          Profile       `json:"profile"`
	Bank             string        `json:"bank"`             // "sha256": the quoted bank
	Locality         int           `json:"locality"`         // startup locality: 0, 3 or 4
	EventCount       int           `json:"eventCount"`       // events, header included
	Firmware         Firmware      `json:"firmware"`         //
	SecureBoot       SecureBoot    `json:"secureBoot"`       //
	Boot             Boot          `json:"boot"`             // boot order and entries
	GPT              []GPT         `json:"gpt"`              // partition tables
	Images           []Image       `json:"images"`           // every loaded PE image, in order
	Kernels          []Kernel      `json:"kernels"`          // every kernel that was loaded
	Initrds          []Initrd      `json:"initrds"`          // every initrd that was loaded
	CommandLines     []CommandLine `json:"commandLines"`     // every kernel command line, all to be judged
	Shim             Shim          `json:"shim"`             //
	Grub             Grub          `json:"grub"`             //
	UKI              UKI           `json:"uki"`              //
	ExitBootServices bool          `json:"exitBootServices"` // the firmware was left properly
	Unlisted         []Measurement `json:"unlisted"`         // known by digest alone and by no fact above: deny unless listed
	Oddities         []string      `json:"oddities"`         // known firmware oddities met, in words
}

// Measurement is one extended digest and where it is.
type Measurement struct {
	Event  int    `json:"event"`  // index of the event
	PCR    int    `json:"pcr"`    //
	Digest Digest `json:"digest"` // as extended
}

// Digest is a digest of a quoted bank by its bytes, as extended: 32 of SHA-256,
// 48 of SHA-384, 64 of SHA-512. It is empty where nothing was measured, and
// prints as "sha256:<hex>".
type Digest string

// String returns "sha256:<hex>" and the like, or nothing if there is no digest.
func (d Digest) String() string {
	if d == "" {
		return ""
	}
	return d.alg().text([]byte(d))
}

// alg returns the algorithm whose digests have this length.
func (d Digest) alg() Alg {
	for _, alg := range [...]Alg{SHA256, SHA384, SHA512} {
		if len(d) == alg.Size() {
			return alg
		}
	}
	return 0
}

// MarshalText is String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts exactly what MarshalText prints.
func (d *Digest) UnmarshalText(text []byte) error {
	_, hexed, _ := bytes.Cut(text, []byte(":"))
	raw, err := hex.DecodeString(string(hexed))
	if got := Digest(raw); err == nil && (got == "" || got.alg() != 0) && got.String() == string(text) {
		*d = got
		return nil
	}
	return fmt.Errorf("eventlog: malformed digest %.150q", text)
}

// Firmware is what ran before any boot loader.
type Firmware struct {
	Version        string        `json:"version"`        // S-CRTM version; empty unless its digest covers the text
	VersionClaimed string        `json:"versionClaimed"` // the text of the version event, whatever its digest
	VersionEvent   int           `json:"versionEvent"`   // -1 if the log has no version event
	Blobs          []Blob        `json:"blobs"`          // every event of PCR 0, by digest
	Config         []Measurement `json:"config"`         // platform configuration of PCR 1 and 3, by digest
}

// Blob is a piece of firmware, known by digest.
type Blob struct {
	Measurement
	NameClaimed string `json:"nameClaimed"` // description or address, not measured
}

// SecureBoot is the firmware's Secure Boot state. Enabled and the modes are
// meaningful only when their Known field says that the log measured them.
type SecureBoot struct {
	Enabled     bool        `json:"enabled"`     // SecureBoot == 1
	Known       bool        `json:"known"`       // the SecureBoot variable was measured with a value
	Event       int         `json:"event"`       // event of the SecureBoot variable, -1 if none
	PK          Variable    `json:"pk"`          //
	KEK         Variable    `json:"kek"`         //
	DB          Variable    `json:"db"`          //
	DBX         Variable    `json:"dbx"`         //
	Others      []Variable  `json:"others"`      // further measured configuration, such as SetupMode or dbt
	SetupMode   *bool       `json:"setupMode"`   // nil unless measured
	AuditMode   *bool       `json:"auditMode"`   // nil unless measured
	Deployed    *bool       `json:"deployed"`    // DeployedMode, nil unless measured
	Authorities []Authority `json:"authorities"` // what allowed each image, by digest
	Actions     []Action    `json:"actions"`     // weaknesses that the firmware itself reports, such as "UEFI Debug Mode"
}

// Variable is one measured EFI variable of PCR 7.
type Variable struct {
	Measurement
	Name  string  `json:"name"`
	GUID  string  `json:"guid"`
	Data  Content `json:"data"`  // SHA-256 of the variable's value; empty if not measured
	Size  int     `json:"size"`  // bytes of the value
	Empty bool    `json:"empty"` // measured with no value
}

// Content is the SHA-256 of some bytes of the log, computed when it is asked for:
// a revocation list is long, and its event's digest says as much.
type Content struct {
	bytes  []byte // aliases the log; nil if digest is there
	digest string
}

// String returns "sha256:<hex>", or nothing if there are no bytes.
func (c Content) String() string {
	if c.bytes == nil {
		return c.digest
	}
	return sha256Text(c.bytes)
}

// MarshalText is String.
func (c Content) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText accepts what MarshalText prints.
func (c *Content) UnmarshalText(text []byte) error {
	if s := string(text); s == "" || validDigest(s) {
		*c = Content{digest: s}
		return nil
	}
	return fmt.Errorf("eventlog: malformed digest %.80q", text)
}

// Authority is a signature database entry (or shim's list) that vouched for an image.
type Authority struct {
	Measurement
	NameClaimed string     `json:"nameClaimed"` // "db", "MokList", "SbatLevel", …
	Data        Content    `json:"data"`        // SHA-256 of the entry
	From        Provenance `json:"from"`        // whether the digest covers name and entry
}

// Boot is the firmware's boot order, PCR 1, and what the firmware says it did.
type Boot struct {
	Order      []int       `json:"order"`      // BootOrder, boot numbers
	OrderEvent int         `json:"orderEvent"` // -1 if not measured
	OrderFrom  Provenance  `json:"orderFrom"`  // whether the digest covers the name beside the numbers
	Entries    []BootEntry `json:"entries"`    //
	Actions    []Action    `json:"actions"`    // EFI actions of every PCR but 7, in order
}

// BootEntry is one Boot#### variable. Its value is always measured, its name
// only on firmware that hashes the whole variable.
type BootEntry struct {
	Measurement
	Name        string     `json:"name"`        // "Boot0003"
	NameFrom    Provenance `json:"nameFrom"`    // whether the digest covers the name
	Description string     `json:"description"` // the load option's text
	Path        string     `json:"path"`        // the load option's device path in words
}

// Action is one EV_EFI_ACTION, whose text is measured.
type Action struct {
	Measurement
	Text string `json:"text"`
}

// GPT is a measured partition table.
type GPT struct {
	Measurement
	Disk       string      `json:"disk"` // disk GUID
	Partitions []Partition `json:"partitions"`
}

// Partition is one entry of a measured partition table.
type Partition struct {
	Type  string `json:"type"` // GUID
	ID    string `json:"id"`   // GUID
	Name  string `json:"name"`
	First uint64 `json:"first"` // first block
	Last  uint64 `json:"last"`  // last block, inclusive
}

// Image is a PE image by Authenticode digest: everything of PCR 2 (option ROMs)
// and every application of PCR 4.
type Image struct {
	Measurement
	Stage       string `json:"stage"`       // "driver", "runtime-driver", "boot-app" or "firmware"; by event type, so claimed
	PathClaimed string `json:"pathClaimed"` // device path in words
}

// Kernel is a kernel that GRUB read (its digest is measured, that it is the
// kernel is claimed) or that was started as the last image (measured).
type Kernel struct {
	Measurement
	Kind        string `json:"kind"`        // "image": Authenticode digest (PCR 4), "file": digest of the file (PCR 9), "section": of a UKI (PCR 11)
	PathClaimed string `json:"pathClaimed"` //
}

// Initrd is an initial RAM disk by the digest of its bytes.
type Initrd struct {
	Measurement
	Kind        string `json:"kind"`        // "stub": all that the kernel received (PCR 9), "file": one that GRUB read (PCR 9), "section": of a UKI (PCR 11)
	PathClaimed string `json:"pathClaimed"` //
}

// CommandLine is one kernel command line. A kernel's EFI stub measures its
// command line without logging it: such a line has a text only when another
// line of the log gives it and the digests agree. Use Matches to compare.
type CommandLine struct {
	Measurement
	Kind     string     `json:"kind"`     // "grub", "module" (GRUB), "loader" (PCR 12) or "stub" (load options, PCR 9)
	Text     string     `json:"text"`     // arguments, without the image's path; empty unless TextFrom is measured
	TextFrom Provenance `json:"textFrom"` // measured if the digest covers Text
	Image    string     `json:"image"`    // path of the image as the boot loader names it, measured with Text
}

// Shim is what shim measured.
type Shim struct {
	Present bool   `json:"present"`
	Lists   []Blob `json:"lists"` // PCR 14: MokList, MokListX, MokListTrusted, …, by digest of the content
	SBAT    string `json:"sbat"`  // SbatLevel text, measured; empty if absent
}

// Grub is what GRUB measured. Which file is the kernel or the initrd is claimed: a
// host can boot one initrd, read another, and exchange their names in the log. So
// a policy has to judge every file, not only those called kernel and initrd.
type Grub struct {
	Present  bool      `json:"present"`
	Commands []Command `json:"commands"` // every text of PCR 8, in order; its kind is claimed
	Files    []File    `json:"files"`    // every file of PCR 9, in order
}

// Command is one text that GRUB measured before it acted on it.
type Command struct {
	Measurement
	Text        string `json:"text"`        // measured
	KindClaimed string `json:"kindClaimed"` // "grub_cmd", "kernel_cmdline" or "module_cmdline"
}

// File is one file that GRUB read, by digest of its content.
type File struct {
	Measurement
	PathClaimed string `json:"pathClaimed"`
}

// UKI is what systemd-boot and systemd-stub measured.
type UKI struct {
	Present  bool      `json:"present"`
	Sections []Section `json:"sections"` // PCR 11: name and content, in order
	Extra    []Blob    `json:"extra"`    // PCR 5, 12 and 13: configuration, credentials, extensions, by digest; also in Unlisted
}

// Section is one section of a unified kernel image, by digest of its content.
type Section struct {
	Measurement
	Name string `json:"name"` // ".linux", measured by the event before
}

// Difference is one place where two boots differ, in words.
type Difference struct {
	Where  string `json:"where"`  // "PCR 8, event 41"
	What   string `json:"what"`   // "kernel command line differs"
	A      string `json:"a"`      // the first log's side, empty if it has no such event
	B      string `json:"b"`      // the second log's side, empty if it has no such event
	EventA int    `json:"eventA"` // index of the first log's event, -1 if it has none
	EventB int    `json:"eventB"` // index of the second log's event, -1 if it has none
}
