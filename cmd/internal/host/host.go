// Package host is what the programs that run beside a TPM have in common: the
// flags that every command has, the configuration, and the TPM.
package host

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/cmd/internal/program"
)

// Flags are the flags that every command has.
type Flags struct {
	Config string       // the configuration's file
	JSON   bool         // print JSON
	Over   agent.Config // non-empty fields override the file
}

// Add gives them to a command and all below it.
func (f *Flags) Add(root *cobra.Command) {
	p := root.PersistentFlags()
	p.StringVar(&f.Config, "config", agent.DefaultConfigPath, "configuration file (YAML)")
	p.BoolVar(&f.JSON, "json", false, "print JSON")
	p.StringVar(&f.Over.Node, "node", "", "override node: this host's id, member/name")
	p.StringVar(&f.Over.Consortium, "consortium", "", "override consortium: path of the consortium file")
	p.StringVar(&f.Over.StateDir, "state-dir", "", "override stateDir: directory for public state")
	p.StringVar(&f.Over.Device, "device", "", "override device: /dev/tpmrm0, swtpm:/path/of/socket or swtpm:host:port")
	p.StringVar(&f.Over.TPMClass, "tpm-class", "", "override tpmClass: discrete, firmware or virtual")
	p.StringVar(&f.Over.BootLog, "boot-log", "", "override bootLog: binary TCG event log")
	p.StringVar(&f.Over.IMAList, "ima-list", "", "override imaList: binary IMA list")
	p.StringVar(&f.Over.BootID, "boot-id", "", "override bootId: file with the kernel's id of this boot")
	root.SetFlagErrorFunc(program.FlagError)
	root.CompletionOptions.DisableDefaultCmd = true
}

// Load reads the configuration. The default file may be absent when flags say
// enough.
func (f *Flags) Load(cmd *cobra.Command) (agent.Config, error) {
	cfg, err := agent.LoadConfig(f.Config)
	if errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("config") {
		cfg, err = agent.DefaultConfig(), nil
	}
	if err != nil {
		return cfg, program.Wrong(err, "README.md shows a configuration of two lines; --config says where it is")
	}
	cfg, err = cfg.Override(f.Over)
	if err != nil {
		return cfg, program.Wrong(err, "more: "+cmd.CommandPath()+" --help")
	}
	return cfg, nil
}

// Member is Load for commands that need to know which node and consortium this
// host belongs to.
func (f *Flags) Member(cmd *cobra.Command) (agent.Config, error) {
	cfg, err := f.Load(cmd)
	switch {
	case err != nil:
		return cfg, err
	case cfg.Node == "":
		return cfg, program.Wrongf("write node: MEMBER/NAME into "+f.Config+", or give --node", "the node id is not known")
	case cfg.Consortium == "":
		return cfg, program.Wrongf("write consortium: FILE into "+f.Config+", or give --consortium", "the consortium file is not known")
	}
	return cfg, nil
}

// OpenTPM opens the TPM and says what to look at when that fails.
func OpenTPM(ctx context.Context, cfg agent.Config) (*device.Device, error) {
	dev, err := device.Open(ctx, cfg.Device)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, program.Untold(err, "is a TPM 2.0 enabled in firmware setup, and its kernel driver loaded?")
	case errors.Is(err, fs.ErrPermission):
		return nil, program.Untold(err, "run as root, or as a member of the group that owns the device (often tss)")
	}
	return dev, err
}
