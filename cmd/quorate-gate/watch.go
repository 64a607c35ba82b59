package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/admission/watch"
	"github.com/quorate/quorate/admission/watch/allowlist"
	"github.com/quorate/quorate/cmd/internal/program"
)

// watching is what the command is told.
type watching struct {
	consortium, key, peers, data, role string
	maxAge, window                     time.Duration
	rpc, preset                        string
}

func (c *cli) watchCommand() *cobra.Command {
	w := &watching{}
	cmd := &cobra.Command{
		Use:   "watch --consortium FILE --key FILE --peers FILE --data DIR {--preset NAME --rpc URL | -- COMMAND...}",
		Short: "Tell any other ledger which nodes may be its peers",
		Long: `watch follows the rosters of all verifiers and tells a ledger node of every
change: which node is to be a peer, and which one is not any more. It calls the
node's JSON-RPC, or runs a command with four more arguments: add or remove, the
node, its peer name, and the change's number. Exit code 0 means that the ledger
took the change.

Every change is written down first, and told in order until the ledger took it,
also after a crash; so the ledger may be told something twice.

A node joins when fresh rosters of enough members list it. It leaves when so many
members bar it, or list it no more, that the others could not make up for it. A
verifier that cannot be reached is silent, and silence puts nobody out. Less than
a third of the nodes may leave within the window; beyond that, nobody joins and no
lapsed node leaves, and an alarm says so. Who is to leave in spite of that, a
person takes out of the peers' file; no limit binds that. The file is read at the
start:

  peers:
    org-a/validator-1: enode://6f8a…@192.0.2.1:30303

Presets:
  besu   perm_addNodesToAllowlist, perm_removeNodesFromAllowlist
  geth   admin_addTrustedPeer, admin_removeTrustedPeer and admin_removePeer

It prints one line for each event, with --json one JSON object; look at those
with an alarm. Exit code 0: it was stopped. 2: a file or flag is wrong. 3: its
state could not be read or kept.`,
		Example: `  quorate-gate watch --consortium consortium.yaml --key gate.key --peers peers.yaml --data /var/lib/quorate/watch \
    --preset besu --rpc http://127.0.0.1:8545
  quorate-gate watch --consortium consortium.yaml --key gate.key --peers peers.yaml --data watch -- /usr/local/bin/firewall --zone ledger`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return c.watch(cmd.Context(), w, args) },
	}
	f := cmd.Flags()
	f.StringVar(&w.consortium, "consortium", "", "consortium `file`")
	f.StringVar(&w.key, "key", "", "`file` with the secret key of an operator with the role gate")
	f.StringVar(&w.peers, "peers", "", "`file` that maps nodes to the ledger's peers")
	f.StringVar(&w.data, "data", "", "`folder` for what the ledger was told")
	f.StringVar(&w.role, "role", "validator", "`role` of the nodes that count")
	f.DurationVar(&w.maxAge, "max-age", 5*time.Minute, "`age` at which a roster is silence")
	f.DurationVar(&w.window, "window", time.Hour, "`time` in which less than a third may leave")
	f.StringVar(&w.rpc, "rpc", "", "`URL` of the ledger node's JSON-RPC server")
	f.StringVar(&w.preset, "preset", "", "`kind` of ledger node: besu or geth")
	return cmd
}

func (c *cli) watch(ctx context.Context, w *watching, command []string) error {
	config, err := w.config(command)
	if err != nil {
		return err
	}
	config.Report = c.printEvent
	config.Outbox, err = watch.OpenOutbox(w.data)
	if err != nil {
		return program.Untold(err, "is another quorate-gate watch running on this folder?")
	}
	defer config.Outbox.Close()
	if err := watch.Run(ctx, config); err != nil {
		hint := "see whether the disk is full or the folder is not writable; nothing is lost"
		if errors.Is(err, allowlist.ErrState) {
			hint = "put back a copy of the file; or clear the ledger's list, remove the file and start again"
		}
		return program.Untold(err, hint)
	}
	return nil
}

// config reads the files.
func (w *watching) config(command []string) (watch.Config, error) {
	for _, f := range []struct{ flag, value string }{{"--consortium", w.consortium}, {"--key", w.key}, {"--peers", w.peers}, {"--data", w.data}} {
		if f.value == "" {
			return watch.Config{}, program.Wrongf("more: quorate-gate watch --help", "%s is missing", f.flag)
		}
	}
	ledger, err := w.ledger(command)
	if err != nil {
		return watch.Config{}, err
	}
	consortium, err := load(w.consortium, admission.ParseConsortium)
	if err != nil {
		return watch.Config{}, err
	}
	peers, err := load(w.peers, allowlist.ParsePeers)
	if err != nil {
		return watch.Config{}, err
	}
	rules := allowlist.Rules{Consortium: consortium, Role: w.role, MaxAge: w.maxAge, Window: w.window, Peers: peers}
	if err := rules.Check(); err != nil {
		return watch.Config{}, program.Wrongf("--role is a label, --max-age and --window are longer than nothing", "%v", err)
	}
	followers, err := w.followers(consortium)
	return watch.Config{Rules: rules, Followers: followers, Ledger: ledger, Now: time.Now}, err
}

// ledger is a command or a server, and not both.
func (w *watching) ledger(command []string) (watch.Ledger, error) {
	byRPC := w.rpc != "" || w.preset != ""
	if byRPC == (len(command) > 0) {
		return nil, program.Wrongf("give --preset NAME --rpc URL, or a command after --", "how is the ledger told of changes?")
	}
	if !byRPC {
		return watch.Command(command), nil
	}
	rpc, err := watch.NewRPC(w.rpc, w.preset)
	if err != nil {
		return nil, program.Wrongf("--preset is besu or geth, --rpc like http://127.0.0.1:8545", "%v", err)
	}
	return rpc, nil
}

// load reads a file; one that does not parse is a mistake of whoever wrote it.
func load[T any](path string, parse func([]byte) (T, error)) (T, error) {
	var none T
	raw, err := os.ReadFile(path)
	if err != nil {
		return none, program.Untold(err, "")
	}
	out, err := parse(raw)
	if err != nil {
		return none, program.Wrongf("", "%s: %v", path, err)
	}
	return out, nil
}

func (w *watching) followers(consortium *admission.Consortium) ([]*roster.Client, error) {
	key, err := operator.ReadKey(w.key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, program.Untold(err, "")
	}
	if err != nil {
		return nil, program.Wrongf("the file holds the secret key of an operator in the consortium file", "%v", err)
	}
	var all []*roster.Client
	for _, v := range consortium.Verifiers {
		client, err := roster.New(roster.Config{Consortium: consortium, Verifier: v.Name, Key: key, MaxAge: w.maxAge, Now: time.Now})
		if err != nil {
			return nil, err
		}
		all = append(all, client)
	}
	return all, nil
}

// printEvent prints one line.
func (c *cli) printEvent(e watch.Event) {
	if c.json {
		program.PrintLine(c.out, e)
		return
	}
	line := e.Event
	if e.Alarm {
		line = "ALARM " + line
	}
	if e.Verifier != "" {
		line += " " + e.Verifier
	}
	if e.Number > 0 {
		line += fmt.Sprintf(" number %d", e.Number)
	}
	if e.Change != nil {
		line += fmt.Sprintf(" %d: %s %s %s (%s)", e.Change.Number, e.Change.Action, e.Change.Node, e.Change.Peer, e.Change.Reason)
	}
	if e.Why != "" {
		line += ": " + e.Why
	}
	fmt.Fprintln(c.out, line)
}
