package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/operator"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/admission/watch"
)

// watching is what the command is told.
type watching struct {
	consortium, key, state, peers string
	rpc, preset                   string
	role                          string
	maxAge, window                time.Duration
}

func (c *cli) watchCommand() *cobra.Command {
	w := &watching{}
	cmd := &cobra.Command{
		Use:   "watch --consortium FILE --key FILE --state FILE (--preset NAME --rpc URL --peers FILE | [--peers FILE] -- COMMAND…)",
		Short: "Tell any other ledger which nodes may be its peers",
		Long: `watch follows the verifiers' rosters and tells a ledger, one by one and in order,
which nodes are admitted and which no longer are. What it has to tell is in the
state file before it tells it, so nothing is lost when it is killed; a change may
then be told twice.

The ledger is told by running a command,

    COMMAND… add org-a/validator-1 enode://… 17
    COMMAND… remove org-a/validator-1 enode://… 18

which has taken the change when it exits with 0 (the last argument numbers the
changes), or by JSON-RPC: preset besu calls perm_addNodesToAllowlist and
perm_removeNodesFromAllowlist, preset geth admin_addTrustedPeer, admin_addPeer and
their opposites. A change that is not taken is told again until it is, and those
behind it wait.

The peers file says how the ledger's network knows the nodes; others are left out:

    peers:
      org-a/validator-1: enode://6f8a…@10.0.0.1:30303

A node is added once fresh rosters of enough members list it, and removed when so
many bar it, or have let its admission end, that the rest could not admit it.
Verifiers that do not answer change nothing. At most a third less one of the nodes
leave within the window; past that nothing changes, and an alarm says so.

The key is that of an operator in the consortium file; the role gate is enough.`,
		Example: `  quorate-gate watch --consortium consortium.yaml --key gate.key --state watch.json \
    --peers peers.yaml --preset besu --rpc http://127.0.0.1:8545
  quorate-gate watch --consortium consortium.yaml --key gate.key --state watch.json -- ./peer.sh`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return c.watch(cmd.Context(), w, args) },
	}
	f := cmd.Flags()
	f.StringVar(&w.consortium, "consortium", os.Getenv("QUORATE_CONSORTIUM"), "consortium `file`")
	f.StringVar(&w.key, "key", os.Getenv("QUORATE_KEY"), "operator's key `file`")
	f.StringVar(&w.state, "state", "", "`file` for what the ledger was told; its folder must be there")
	f.StringVar(&w.peers, "peers", "", "`file` with the nodes' peer names")
	f.StringVar(&w.preset, "preset", "", "`kind` of ledger node: "+strings.Join(slices.Sorted(maps.Keys(watch.Presets)), " or "))
	f.StringVar(&w.rpc, "rpc", "", "`URL` of the ledger node's JSON-RPC")
	f.StringVar(&w.role, "role", "validator", "`role` of the nodes that count")
	f.DurationVar(&w.maxAge, "max-age", 5*time.Minute, "oldest roster that adds a node; verifiers issue them more often")
	f.DurationVar(&w.window, "window", time.Hour, "time in which at most a third less one may leave")
	return cmd
}

func (c *cli) watch(ctx context.Context, w *watching, args []string) error {
	ledger, err := w.ledger(args)
	if err != nil {
		return err
	}
	rules, key, err := w.rules()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(c.err, nil))
	if c.json {
		log = slog.New(slog.NewJSONHandler(c.out, nil))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rosters, followed := w.follow(ctx, rules.Consortium, key, log)
	watcher := watch.Watcher{
		Rules: rules, Ledger: ledger, Outbox: watch.OpenOutbox(w.state), Rosters: rosters, Log: log.Info, Now: time.Now,
	}
	err = watcher.Run(ctx)
	cancel()
	followed.Wait()
	if err != nil {
		return unknown(err, "is the state file's folder there, and the disk not full?")
	}
	return nil
}

// ledger is whom to tell.
func (w *watching) ledger(args []string) (watch.Ledger, error) {
	preset, known := watch.Presets[w.preset]
	switch {
	case w.state == "":
		return nil, usagef("more: quorate-gate watch --help", "--state is missing")
	case w.maxAge <= 0 || w.window <= 0:
		return nil, usagef("more: quorate-gate watch --help", "--max-age and --window must be positive")
	case len(args) > 0 && w.preset == "" && w.rpc == "":
		return watch.Command(args), nil
	case len(args) > 0:
		return nil, usagef("give a command, or --preset with --rpc", "there are two ways to tell the ledger")
	case !known:
		return nil, usagef("--preset besu or geth with --rpc, or -- COMMAND", "no way to tell the ledger")
	case w.rpc == "" || w.peers == "":
		return nil, usagef("more: quorate-gate watch --help", "--preset needs --rpc and --peers")
	}
	return watch.RPC{URL: w.rpc, Preset: preset}, nil
}

func (w *watching) rules() (watch.Rules, *operator.Key, error) {
	file, err := os.ReadFile(w.consortium)
	if err != nil {
		return watch.Rules{}, nil, unknown(err, "--consortium or QUORATE_CONSORTIUM says where the consortium file is")
	}
	consortium, err := admission.ParseConsortium(file)
	if err != nil {
		return watch.Rules{}, nil, fmt.Errorf("%s: %w", w.consortium, err)
	}
	key, err := operator.ReadKey(w.key)
	if err != nil {
		return watch.Rules{}, nil, unknown(err, "--key or QUORATE_KEY says which key file is used")
	}
	peer := func(string) (string, bool) { return "", true }
	if w.peers != "" {
		names, err := readPeers(w.peers)
		if err != nil {
			return watch.Rules{}, nil, err
		}
		peer = func(node string) (string, bool) { name, known := names[node]; return name, known }
	}
	return watch.Rules{Consortium: consortium, Role: w.role, MaxAge: w.maxAge, Window: w.window, Peer: peer}, key, nil
}

// follow follows all verifiers.
func (w *watching) follow(ctx context.Context, consortium *admission.Consortium, key *operator.Key, log *slog.Logger) (<-chan *admission.VerifiedRoster, *sync.WaitGroup) {
	rosters, followed := make(chan *admission.VerifiedRoster), &sync.WaitGroup{}
	for _, v := range consortium.Verifiers {
		followed.Go(func() {
			client, err := roster.New(roster.Config{Consortium: consortium, Verifier: v.Name, Key: key, MaxAge: w.maxAge, Now: time.Now})
			if err != nil {
				log.Error("cannot follow", "verifier", v.Name, "error", err)
				return
			}
			for r, err := range client.Watch(ctx) {
				if err != nil {
					log.Warn("no roster", "verifier", v.Name, "error", err)
					continue
				}
				select {
				case rosters <- r:
				case <-ctx.Done():
				}
			}
		})
	}
	return rosters, followed
}

const maxPeers = 16 << 20 // bytes of a peers file

// readPeers reads a peers file, strictly: whoever misspells a node leaves it out.
func readPeers(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, unknown(err, "--peers says where the peers file is")
	}
	names, err := parsePeers(text)
	if err != nil {
		return nil, usagef("quorate-gate watch --help shows the form", "%s: %v", path, err)
	}
	return names, nil
}

func parsePeers(text []byte) (map[string]string, error) {
	if len(text) > maxPeers {
		return nil, fmt.Errorf("%d bytes, more than %d", len(text), maxPeers)
	}
	var file struct {
		Peers map[string]string `yaml:"peers"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if len(file.Peers) == 0 {
		return nil, errors.New("no peers")
	}
	nodes := map[string]string{}
	for _, node := range slices.Sorted(maps.Keys(file.Peers)) {
		peer := file.Peers[node]
		switch {
		case !admission.ValidNodeID(node):
			return nil, fmt.Errorf("%.100q is not a node id such as org-a/validator-1", node)
		case peer == "" || len(peer) > 1024 || strings.ContainsFunc(peer, func(r rune) bool { return r <= ' ' || r > '~' }):
			return nil, fmt.Errorf("%s: %.100q is not a peer name", node, peer)
		case nodes[peer] != "":
			return nil, fmt.Errorf("%s and %s have one peer name", nodes[peer], node)
		}
		nodes[peer] = node
	}
	return file.Peers, nil
}
