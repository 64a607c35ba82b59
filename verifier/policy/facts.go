package policy

// Facts is what rules may look at: measured facts only. Text that a host merely
// claims, such as the device path beside an image's digest, has no field here,
// so no rule can come to depend on it.
//
// The names in the tags are the policy language; docs/policy.md lists them.
type Facts struct {
	TPM        TPMFacts
	Firmware   FirmwareFacts
	SecureBoot SecureBootFacts
	Boot       BootFacts
}

// TPMFacts is the variable "tpm".
type TPMFacts struct {
	Class    string `cel:"class"`    // "discrete", "firmware", "virtual"
	Vendor   string `cel:"vendor"`   // "STM"
	Model    string `cel:"model"`    // as the endorsement certificate says
	Firmware string `cel:"firmware"` // "1.769"
}

// Measured is one extended digest.
type Measured struct {
	Event  int64  `cel:"event"`  // index of the event in the boot log
	PCR    int64  `cel:"pcr"`    //
	Digest string `cel:"digest"` // "sha256:<hex>"
}

// FirmwareFacts is the variable "firmware".
type FirmwareFacts struct {
	Version string     `cel:"version"` // S-CRTM version, empty unless its text is measured
	Blobs   []Measured `cel:"blobs"`   // firmware code
	Config  []Measured `cel:"config"`  // platform configuration
}

// SecureBootFacts is the variable "secureBoot".
type SecureBootFacts struct {
	Enabled     bool           `cel:"enabled"`     // measured as on
	SetupMode   bool           `cel:"setupMode"`   // measured as on
	AuditMode   bool           `cel:"auditMode"`   // measured as on
	Deployed    bool           `cel:"deployed"`    // DeployedMode measured as on
	Variables   []VariableFact `cel:"variables"`   // PK, KEK, db, dbx and further ones
	Authorities []Measured     `cel:"authorities"` // what vouched for each image
}

// VariableFact is one measured variable.
type VariableFact struct {
	Name   string `cel:"name"`
	Digest string `cel:"digest"` // as extended
	Data   string `cel:"data"`   // SHA-256 of the value
	Size   int64  `cel:"size"`   // bytes of the value
}

// BootFacts is the variable "boot".
type BootFacts struct {
	Profile      string      `cel:"profile"`      //
	Images       []Measured  `cel:"images"`       // loaded PE images, in order
	Kernels      []Measured  `cel:"kernels"`      //
	Initrds      []Measured  `cel:"initrds"`      //
	CommandLines []TextFact  `cel:"commandLines"` // kernel command lines
	Commands     []TextFact  `cel:"commands"`     // GRUB's commands
	Files        []Measured  `cel:"files"`        // files GRUB read
	Actions      []TextFact  `cel:"actions"`      // EFI actions
	Order        []int64     `cel:"order"`        // boot order, empty unless measured with its name
	SBAT         string      `cel:"sbat"`         // shim's SBAT level, empty if not measured
	Lists        []Measured  `cel:"lists"`        // shim's lists
	Sections     []Measured  `cel:"sections"`     // sections of a unified kernel image
	Partitions   []Partition `cel:"partitions"`   // of every measured partition table
}

// TextFact is one measured text.
type TextFact struct {
	Event int64  `cel:"event"`
	PCR   int64  `cel:"pcr"`
	Text  string `cel:"text"`
}

// Partition is one measured partition.
type Partition struct {
	Disk string `cel:"disk"` // GUID
	Type string `cel:"type"` // GUID
	ID   string `cel:"id"`   // GUID
	Name string `cel:"name"`
}
