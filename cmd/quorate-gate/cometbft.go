package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	dbm "github.com/cometbft/cometbft-db"
	abcicli "github.com/cometbft/cometbft/abci/client"
	"github.com/cometbft/cometbft/abci/server"
	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
)

// between is what the command is told.
type between struct {
	listen, listenABCI string
	app, appABCI       string
	consortia          []string
	rules              string
	founding           []string
	trusted            []string
	adopt              string
	data               string
}

func (c *cli) cometbftCommand() *cobra.Command {
	p := &between{}
	cmd := &cobra.Command{
		Use:   "cometbft --listen ADDRESS --app ADDRESS --consortium FILE --data DIR",
		Short: "Gate voting power between a CometBFT node and its application",
		Long: `cometbft serves a CometBFT node (its proxy_app) and passes everything on to the
application, except transactions that begin with "` + cometbft.Prefix + `", and validators'
power, which it grants only to hosts with a standing admission.

Every node of the chain runs a gate with the same consortium file, rules and
founders: they are under the application hash, so that a gate with others shows
at once. When the node or the application hangs up, the gate ends; start all
three again, in any order. A gate that ended between two commits recovers.

The rules file, if given, says what holds from which height on; what it leaves
out is as shown:

  rules: ` + "quorate/power-rules/v1" + `
  from:
    - height: 1
      unattestedUntil: 0   # founders need no admission up to this height
      window: 3600         # blocks in which lapses may take a third of the power
      coolDown: 500000     # blocks before a host may serve another key
      beaconAge: 0         # blocks; 0 does not ask which block evidence answers
      notice: 24h          # what a retired verifier or policy still gets
      extension: 24h       # what break-glass adds
      capPerMille: 333     # of all power that one member may hold
      fairShares: 8        # or so many equal shares
      capFrom: 4           # members from which on caps bind
      outageGrace: 1h      # for renewals when verifiers are back; 0s: an outage evicts`,
		Example: `  quorate-gate cometbft --listen unix:///run/quorate/gate.sock --app unix:///run/app/app.sock \
    --consortium /etc/quorate/consortium.yaml --data /var/lib/quorate/gate`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&p.listen, "listen", "", "`address` for the node, unix://PATH or tcp://HOST:PORT")
	f.StringVar(&p.listenABCI, "abci", "socket", "how the node speaks: socket or grpc (its `abci` setting)")
	f.StringVar(&p.app, "app", "", "`address` of the application")
	f.StringVar(&p.appABCI, "app-abci", "socket", "how the application speaks: `socket or grpc`")
	f.StringArrayVar(&p.consortia, "consortium", nil, "consortium `file`; several if rules name them by height")
	f.StringVar(&p.rules, "rules", "", "rules `file`")
	f.StringArrayVar(&p.founding, "founder", nil, "bundle `file` of a genesis validator, or a command to start with; several, in the same order everywhere")
	f.StringArrayVar(&p.trusted, "trust-peer", nil, "peer `id` that this node lets in without an admission, with filter_peers; several")
	f.StringVar(&p.adopt, "adopt", "", "`file` of quorate-gate adopt, to put the gate before a chain that ran without one")
	f.StringVar(&p.data, "data", "", "`folder` for the gate's state")
	return cmd
}

func (p *between) run(cmd *cobra.Command) error {
	for flag, value := range map[string]string{"--listen": p.listen, "--app": p.app, "--data": p.data} {
		if value == "" {
			return program.Wrongf("more: quorate-gate cometbft --help", "%s is missing", flag)
		}
	}
	schedule, err := p.schedule()
	if err != nil {
		return err
	}
	founding, err := readAll(p.founding)
	if err != nil {
		return err
	}
	adoption, err := readAdoption(p.adopt)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		return program.Untold(err, "")
	}
	db, err := dbm.NewDB("gate", dbm.GoLevelDBBackend, filepath.Clean(p.data))
	if err != nil {
		return program.Untold(fmt.Errorf("%s: %w", p.data, err), "is another gate running on this folder?")
	}
	defer db.Close()
	return p.serve(cmd, cometbft.Config{Schedule: schedule, Founding: founding, Trusted: p.trusted, Adopt: adoption, Store: cometbft.NewStore(db)})
}

func (p *between) schedule() (*power.Schedule, error) {
	files, err := readAll(p.consortia)
	if err != nil {
		return nil, err
	}
	var consortia []*admission.Consortium
	for i, file := range files {
		consortium, err := admission.ParseConsortium(file)
		if err != nil {
			return nil, program.Wrongf("", "%s: %v", p.consortia[i], err)
		}
		consortia = append(consortia, consortium)
	}
	var rules []byte
	if p.rules != "" {
		if rules, err = os.ReadFile(p.rules); err != nil {
			return nil, program.Untold(err, "")
		}
	}
	schedule, err := power.ParseSchedule(rules, consortia...)
	if err != nil {
		return nil, program.Wrongf("give --consortium FILE; quorate-gate cometbft --help shows a rules file", "%v", err)
	}
	return schedule, nil
}

func readAll(paths []string) ([][]byte, error) {
	var out [][]byte
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, program.Untold(err, "")
		}
		out = append(out, raw)
	}
	return out, nil
}

// serve connects to the application, then listens, until one of them hangs up
// or the context ends.
func (p *between) serve(cmd *cobra.Command, cfg cometbft.Config) error {
	logger := cmtlog.NewTMLogger(cmtlog.NewSyncWriter(cmd.ErrOrStderr()))
	clients, err := p.dial(cmd.Context(), logger)
	defer func() {
		for _, c := range clients {
			_ = c.Stop() // fails only if it has stopped by itself
		}
	}()
	if err != nil {
		return err
	}
	cfg.Upstream = cometbft.Upstream{Consensus: clients[0], Mempool: clients[1], Query: clients[2], Snapshot: clients[3]}
	gate, err := cometbft.New(cfg)
	if err != nil {
		return err
	}
	s, err := server.NewServer(p.listen, p.listenABCI, gate)
	if err != nil {
		return program.Wrongf("", "%v", err)
	}
	s.SetLogger(logger.With("side", "node"))
	removeStale(p.listen)
	if err := s.Start(); err != nil {
		return program.Untold(err, "is the address in use?")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "gate listens on %s for %s\n", p.listen, p.app)
	err = wait(cmd.Context(), clients)
	return errors.Join(err, s.Stop())
}

// removeStale removes a socket that a gate left behind when it was killed. One
// that somebody listens on, and anything but a socket, stays.
func removeStale(address string) {
	path, ok := strings.CutPrefix(address, "unix://")
	info, err := os.Lstat(path)
	if !ok || err != nil || info.Mode().Type() != os.ModeSocket {
		return
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		_ = c.Close() // it was opened to see whether anybody answers
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // if it stays, the listener says so
	}
}

// dial opens the four connections that a node would open, and waits for an
// application that is not there yet.
func (p *between) dial(ctx context.Context, logger cmtlog.Logger) ([]abcicli.Client, error) {
	var clients []abcicli.Client
	for range 4 {
		client, err := abcicli.NewClient(p.app, p.appABCI, false)
		if err != nil {
			return clients, program.Wrongf("", "%v", err)
		}
		client.SetLogger(logger.With("side", "application"))
		started := make(chan error, 1)
		go func() { started <- client.Start() }()
		select {
		case err = <-started:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return clients, err
		}
		clients = append(clients, client)
	}
	return clients, nil
}

// wait returns when the context ends, or with an error when the application
// hangs up.
func wait(ctx context.Context, clients []abcicli.Client) error {
	gone := make(chan error, len(clients))
	for _, c := range clients {
		go func() {
			<-c.Quit()
			gone <- c.Error()
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-gone:
		return program.Untold(fmt.Errorf("the application hung up: %w", err), "start it again, then the gate and the node")
	}
}
