// Command quorate-agent runs on a mining or validator host. It proves to the
// verifiers of a consortium, with the host's TPM, which machine this is, what it
// booted and what it has run since.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/device"
)

// memoryLimit makes the collector work harder rather than let the agent, which
// shares its host with the ledger node, grow beyond 30 MiB resident.
const memoryLimit = 14 << 20

// Exit codes, the same for every command.
const (
	exitGood    = 0
	exitRefused = 1 // a verifier or a check said no
	exitUsage   = 2 // wrong flags, arguments or configuration
	exitUnknown = 3 // could not tell: no TPM, no network, not running
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	debug.SetMemoryLimit(memoryLimit)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitGood
	}
	if said := (standing{}); !errors.As(err, &said) {
		fmt.Fprintln(stderr, "quorate-agent:", err)
	}
	return exitCode(err)
}

// usageError is a mistake in what the person wrote.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// standing ends a command whose output already says why.
type standing struct{ code int }

func (s standing) Error() string { return fmt.Sprintf("exit code %d", s.code) }

func exitCode(err error) int {
	var said standing
	var usage usageError
	var refused *agent.RefusedError
	switch {
	case errors.As(err, &said):
		return said.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &refused):
		return exitRefused
	}
	return exitUnknown
}

// options are the flags that every command has.
type options struct {
	config string
	json   bool
	over   agent.Config // non-empty fields override the file
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "quorate-agent",
		Short: "Prove this host to the verifiers of a Quorate consortium",
		Long: `quorate-agent proves, with this host's TPM, which machine this is, what it
booted and what it has run since. It dials the verifiers that the consortium
file names and listens nowhere. Private keys never leave the TPM.

A first day with it:

  quorate-agent inspect                        see what this host would send
  quorate node invite org-a/validator-1        on an operator's machine: prints a join token
  quorate-agent join --token-file token.txt    bind this TPM to the node id
  quorate-agent run                            answer challenges (run it as a service)
  quorate-agent status                         what the verifiers decided, and why

Exit codes: 0 good, 1 refused, 2 wrong usage, 3 could not tell.`,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       agent.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&o.config, "config", agent.DefaultConfigPath, "configuration file (YAML)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.StringVar(&o.over.Node, "node", "", "override node: this host's id, member/name")
	f.StringVar(&o.over.Consortium, "consortium", "", "override consortium: path of the consortium file")
	f.StringVar(&o.over.StateDir, "state-dir", "", "override stateDir: directory for public state")
	f.StringVar(&o.over.Device, "device", "", "override device: /dev/tpmrm0, swtpm:/path/of/socket or swtpm:host:port")
	f.StringVar(&o.over.TPMClass, "tpm-class", "", "override tpmClass: discrete, firmware or virtual")
	f.StringVar(&o.over.BootLog, "boot-log", "", "override bootLog: binary TCG event log")
	f.StringVar(&o.over.IMAList, "ima-list", "", "override imaList: binary IMA list")
	f.StringVar(&o.over.BootID, "boot-id", "", "override bootId: file with the kernel's id of this boot")
	root.AddCommand(newJoin(o), newRun(o), newStatus(o), newInspect(o), newExec(o), newSigner())
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// load reads the configuration. The default file may be absent when flags say
// enough.
func (o *options) load(cmd *cobra.Command) (agent.Config, error) {
	cfg, err := agent.LoadConfig(o.config)
	if errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("config") {
		cfg, err = agent.DefaultConfig(), nil
	}
	if err != nil {
		return cfg, usageError{err}
	}
	cfg, err = cfg.Override(o.over)
	if err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// openDevice opens the TPM and says what to look at when that fails.
func openDevice(ctx context.Context, cfg agent.Config) (*device.Device, error) {
	dev, err := device.Open(ctx, cfg.Device)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w\nIs a TPM 2.0 enabled in firmware setup, and its kernel driver loaded?", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w\nRun as root, or as a member of the group that owns the device (often tss)", err)
	}
	return dev, err
}
