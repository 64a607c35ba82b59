package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/agent/launch"
	"github.com/quorate/quorate/cmd/internal/host"
	"github.com/quorate/quorate/cmd/internal/program"
)

func newExec(o *host.Flags) *cobra.Command {
	var onLoss, name string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "exec [flags] -- COMMAND [ARG...]",
		Short: "Run a ledger node while this host is admitted",
		Long: `exec waits until the agent that runs on this host has a bundle of enough
verifiers, and then starts COMMAND. It forwards signals to it and ends with its exit
code. COMMAND finds the bundle's path in QUORATE_BUNDLE and the node id in
QUORATE_NODE; the agent keeps renewing that file.

When the admission is gone, because it ended or because so many verifiers refuse the
host that the others are too few, exec does what --on-loss says:

  stop    SIGTERM, and SIGKILL after --grace; exec then ends with code 1
  signal  --signal, once for each loss
  report  only the log says so

For a validator whose chain has the gate take report or signal: the gate takes the
power of a host that lost its admission, and when very many lose theirs at once, in
an outage or by a mistaken policy, it freezes its set instead. A chain whose nodes
were all stopped does not get that far, and halts. stop is for hosts outside of
consensus: full nodes, sentries, miners.

Under systemd use Type=notify and Restart=always: the unit is ready when COMMAND
was started, and starts again, waiting, when the admission was lost.`,
		Example: `  quorate-agent exec --on-loss report -- cometbft node --home /var/lib/cometbft    a validator behind the gate
  quorate-agent exec -- cometbft node --home /var/lib/sentry                       a host outside of consensus
  quorate-agent exec --on-loss signal --signal SIGUSR1 -- ./node`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return program.Wrongf("", "no command: write it after --, as in quorate-agent exec -- cometbft node")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.Member(cmd)
			if err != nil {
				return err
			}
			number := unix.SignalNum(name)
			if number == 0 {
				return program.Wrongf("", "no signal %q; write for example SIGUSR1", name)
			}
			options := launch.Options{Command: args, OnLoss: launch.OnLoss(onLoss), Signal: syscall.Signal(number), Grace: grace}
			if err := options.Check(); err != nil {
				return program.Wrong(err, "")
			}
			err = launch.Run(cmd.Context(), cfg, options, os.Stdin, os.Stdout, os.Stderr, program.Logger(cmd.ErrOrStderr(), false))
			return execError(err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&onLoss, "on-loss", "stop", "when the admission is gone: stop, signal or report")
	f.StringVar(&name, "signal", "SIGUSR1", "for --on-loss signal")
	f.DurationVar(&grace, "grace", 30*time.Second, "between SIGTERM and SIGKILL")
	return cmd
}

// execError turns the end of the program into ours.
func execError(err error) error {
	var exit *launch.ExitError
	switch {
	case errors.As(err, &exit):
		return program.Answered(exit.Code)
	case errors.Is(err, launch.ErrLost):
		return program.Answered(program.Refused)
	}
	return err
}
