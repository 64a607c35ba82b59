// Package agent is the attester: it enrols a host's TPM with the verifiers of a
// consortium and holds one session with each of them, answering their
// challenges with quotes until it is told to stop.
//
// The agent dials out and listens nowhere. It keeps no secret on disk: every
// private key it uses stays in the TPM.
package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/agent/measure"
)

// Version is what the agent tells verifiers about itself. Releases set it with
// the linker.
var Version = "devel"

// DefaultConfigPath is where the agent looks for its configuration.
const DefaultConfigPath = "/etc/quorate/agent.yaml"

// maxConfigBytes bounds the configuration file.
const maxConfigBytes = 64 << 10

// Config is the agent's configuration file. Its keys are the field names below
// in lower camel case; unknown keys are refused.
type Config struct {
	// Node is this host's id in the consortium, "<member>/<name>". Required.
	Node string `yaml:"node"`
	// Consortium is the path of the consortium file, which names the ledger
	// and pins every verifier's keys. Required.
	Consortium string `yaml:"consortium"`
	// StateDir holds public state only: which verifiers know this node, their
	// admissions, the bundle, the status. Created with mode 0700.
	StateDir string `yaml:"stateDir"`
	// Device is the TPM: "/dev/tpmrm0", "swtpm:/path/of/socket" or
	// "swtpm:host:port".
	Device string `yaml:"device"`
	// TPMClass overrides the agent's guess of what kind of TPM this is:
	// "discrete", "firmware" or "virtual". The consortium file names one EK
	// template per class.
	TPMClass string `yaml:"tpmClass"`
	// BootLog is the binary TCG event log of this boot.
	BootLog string `yaml:"bootLog"`
	// IMAList is the kernel's binary IMA list.
	IMAList string `yaml:"imaList"`
	// BootID holds the kernel's random id of this boot, by which a verifier
	// tells a reboot from a TPM that was reset under a running host.
	BootID string `yaml:"bootId"`
	// Signer is for "quorate-agent signer".
	Signer SignerConfig `yaml:"signer"`
}

// SignerConfig says which node may use the consensus key, and where it is.
type SignerConfig struct {
	// Address is the node's priv_validator_laddr: "unix:///path" or
	// "tcp://host:port". The node listens, the signer dials.
	Address string `yaml:"address"`
	// Callers are who may be there: over a unix socket, users by name or number
	// (by default the signer's own user); over tcp, node ids, at least one.
	Callers []string `yaml:"callers"`
	// Ledger is the RPC address of this host's node behind a gate, such as
	// "http://127.0.0.1:26657". A host that is no longer admitted then goes on
	// signing until the ledger has taken its power away, for at most ten seconds,
	// and, while the gate has frozen its set or holds the host's lapse back since
	// verifiers are down, for at most twelve hours: so neither
	// an outage of verifiers nor a mistaken policy halts the ledger.
	Ledger string `yaml:"ledger"`
}

// DefaultConfig returns the settings of a usual Linux host. Node and
// Consortium have no default.
func DefaultConfig() Config {
	return Config{
		StateDir: "/var/lib/quorate-agent",
		Device:   "/dev/tpmrm0",
		BootLog:  measure.DefaultBootLog,
		IMAList:  measure.DefaultIMAList,
		BootID:   measure.DefaultBootID,
	}
}

// LoadConfig reads a configuration file over the defaults. Relative paths in it
// are relative to the file's directory.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("agent: open configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("agent: read configuration: %w", err)
	}
	cfg, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg.resolve(filepath.Dir(path)), nil
}

// ParseConfig decodes one YAML document strictly over the defaults and checks
// that the required fields are present.
func ParseConfig(data []byte) (Config, error) {
	if len(data) > maxConfigBytes {
		return Config{}, fmt.Errorf("agent: configuration exceeds %d bytes", maxConfigBytes)
	}
	cfg := DefaultConfig()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil {
		return Config{}, fmt.Errorf("agent: configuration: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("agent: configuration holds more than one document")
	}
	return cfg, cfg.check()
}

// check names the first setting that cannot work.
func (c Config) check() error {
	required := []struct{ name, value string }{
		{"node", c.Node}, {"consortium", c.Consortium}, {"stateDir", c.StateDir},
		{"device", c.Device}, {"bootLog", c.BootLog}, {"imaList", c.IMAList}, {"bootId", c.BootID},
	}
	for _, r := range required {
		if r.value == "" {
			return fmt.Errorf("agent: configuration: %s is not set", r.name)
		}
	}
	switch c.TPMClass {
	case "", "discrete", "firmware", "virtual":
		return nil
	}
	return fmt.Errorf("agent: configuration: tpmClass %q is none of discrete, firmware, virtual", c.TPMClass)
}

// resolve makes relative paths relative to dir.
func (c Config) resolve(dir string) Config {
	for _, p := range []*string{&c.Consortium, &c.StateDir, &c.BootLog, &c.IMAList, &c.BootID} {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c
}

// Override returns the configuration with every non-empty field of over in
// place of its own. Relative paths in over are relative to the working
// directory.
func (c Config) Override(over Config) (Config, error) {
	for _, f := range []struct {
		to   *string
		from string
		path bool
	}{
		{&c.Node, over.Node, false}, {&c.Consortium, over.Consortium, true}, {&c.StateDir, over.StateDir, true},
		{&c.Device, over.Device, false}, {&c.TPMClass, over.TPMClass, false},
		{&c.BootLog, over.BootLog, true}, {&c.IMAList, over.IMAList, true},
		{&c.BootID, over.BootID, true},
	} {
		if f.from == "" {
			continue
		}
		*f.to = f.from
		if f.path {
			absolute, err := filepath.Abs(f.from)
			if err != nil {
				return c, fmt.Errorf("agent: configuration: %w", err)
			}
			*f.to = absolute
		}
	}
	return c, nil
}
