package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/admission/roster"
	"github.com/quorate/quorate/cmd/internal/program"
)

// The pace of a courier. Each verifier renews its part of a bundle at its own
// moment; one transaction for all of them will do.
const (
	lookEvery  = time.Second
	carryEvery = 5 * time.Second
	againEvery = time.Minute
	answerTime = 10 * time.Second
)

// maxRosterAge is the oldest roster that is worth a transaction. Verifiers sign a
// new one every half minute.
const maxRosterAge = 5 * time.Minute

// courier is what the command is told, and what it made of that.
type courier struct {
	nodes, bundles  []string
	consortium, key string
	clients         []*rpchttp.HTTP
	log             *slog.Logger
}

func (c *cli) carryCommand() *cobra.Command {
	k := &courier{}
	cmd := &cobra.Command{
		Use:   "carry --node URL [--bundle FILE] [--consortium FILE --key FILE]",
		Short: "Carry renewed bundles and suspensions to the ledger, as a service",
		Long: `carry submits a host's bundle whenever its agent has renewed it, and a verifier's
roster whenever it bars other nodes than before: then a suspended host is out of the
set a few blocks later, and need not be waited for until its admission ends.

It follows the verifiers' rosters if it is given a consortium file and an operator's
key; the role gate is enough. Several nodes may be named: the first one that answers
is used. Any number of couriers may run; what is there already is there once.

Run one beside every validator, for its own bundle, and at least one in each
organisation that follows the rosters.`,
		Example: `  quorate-gate carry --node http://127.0.0.1:26657 --bundle /var/lib/quorate-agent/admission.bundle
  quorate-gate carry --node http://10.0.0.1:26657 --node http://10.0.0.2:26657 \
    --consortium consortium.yaml --key gate.key`,
		Args: program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.carry(cmd.Context(), k) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&k.nodes, "node", nil, "`URL` of a node's RPC server; several")
	f.StringArrayVar(&k.bundles, "bundle", nil, "bundle `file` to carry; several")
	f.StringVar(&k.consortium, "consortium", os.Getenv("QUORATE_CONSORTIUM"), "consortium `file`, to follow rosters")
	f.StringVar(&k.key, "key", os.Getenv("QUORATE_KEY"), "operator's key `file`, to follow rosters")
	return cmd
}

func (c *cli) carry(ctx context.Context, k *courier) error {
	const more = "more: quorate-gate carry --help"
	rosters := k.consortium != "" && k.key != ""
	switch {
	case len(k.nodes) == 0:
		return program.Wrongf(more, "--node is missing")
	case !rosters && len(k.bundles) == 0:
		return program.Wrongf(more, "nothing to carry: give --bundle, or --consortium and --key")
	}
	for _, url := range k.nodes {
		client, err := rpchttp.New(url, "/websocket")
		if err != nil {
			return program.Wrongf("", "--node: %v", err)
		}
		k.clients = append(k.clients, client)
	}
	k.log = slog.New(slog.NewTextHandler(c.err, nil))
	if c.json {
		k.log = slog.New(slog.NewJSONHandler(c.out, nil))
	}
	return k.run(ctx, rosters)
}

// run carries until the context ends.
func (k *courier) run(ctx context.Context, rosters bool) error {
	var group sync.WaitGroup
	defer group.Wait()
	for _, path := range k.bundles {
		group.Go(func() { k.carryBundle(ctx, path) })
	}
	if rosters {
		return k.carryRosters(ctx)
	}
	<-ctx.Done()
	return nil
}

// carryBundle submits the file whenever it is another one, and now and then the
// same again: a node may have lost it, or the ledger take it by now. Until the agent
// has written it there is nothing to do.
func (k *courier) carryBundle(ctx context.Context, path string) {
	var last []byte
	var next, again time.Time
	for rest(ctx, lookEvery) {
		bundle, err := os.ReadFile(path)
		now := time.Now()
		if err != nil || now.Before(next) || bytes.Equal(bundle, last) && now.Before(again) {
			continue
		}
		if k.submit(ctx, bundle, "bundle", path) {
			last, next, again = bundle, now.Add(carryEvery), now.Add(againEvery)
		}
	}
}

// carryRosters submits a verifier's roster whenever it bars other nodes than the
// one before, and now and then again.
func (k *courier) carryRosters(ctx context.Context) error {
	consortium, err := load(k.consortium, admission.ParseConsortium)
	if err != nil {
		return err
	}
	w := watching{key: k.key, maxAge: maxRosterAge}
	followers, err := w.followers(consortium)
	if err != nil {
		return err
	}
	rosters := make(chan *admission.VerifiedRoster)
	var group sync.WaitGroup
	defer group.Wait()
	for i, f := range followers {
		group.Go(func() { k.follow(ctx, consortium.Verifiers[i].Name, f, rosters) })
	}
	told, again := map[string]string{}, time.Now().Add(againEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-rosters: // every verifier signs one each half minute
			if time.Now().After(again) {
				clear(told)
				again = time.Now().Add(againEvery)
			}
			if now := barred(r); now != told[r.Verifier()] && k.submit(ctx, r.Note(), "roster", r.Verifier()) {
				told[r.Verifier()] = now
			}
		}
	}
}

// follow hands on the rosters of one verifier.
func (k *courier) follow(ctx context.Context, verifier string, client *roster.Client, rosters chan<- *admission.VerifiedRoster) {
	for r, err := range client.Watch(ctx) {
		if err != nil {
			k.log.Warn("no roster", "verifier", verifier, "error", err)
			continue
		}
		select {
		case rosters <- r:
		case <-ctx.Done():
		}
	}
}

// barred is the part of a roster that takes power away, in a form to compare.
// Nodes that are late lose none.
func barred(r *admission.VerifiedRoster) string {
	var out strings.Builder
	for _, b := range r.Roster().Barred {
		if b.State != admission.StateLate {
			fmt.Fprintln(&out, b.Node, b.Since)
		}
	}
	return out.String()
}

// submit hands the payload to the first node that answers. It reports whether one
// did, whatever the answer.
func (k *courier) submit(ctx context.Context, payload []byte, kind, name string) bool {
	for i, client := range k.clients {
		asked, cancel := context.WithTimeout(ctx, answerTime)
		err := offer(asked, client, payload)
		cancel()
		if refusal := (*admission.Refusal)(nil); errors.As(err, &refusal) {
			k.log.Warn("refused", kind, name, "node", k.nodes[i], "check", string(refusal.Check), "got", refusal.Got, "want", refusal.Want)
			return true
		}
		if err == nil {
			k.log.Info("carried", kind, name, "node", k.nodes[i])
			return true
		}
		k.log.Warn("no answer", kind, name, "node", k.nodes[i], "error", err)
	}
	return false
}

// offer puts a transaction into a node's mempool. What is there already, or on the
// ledger, or was overtaken by something newer, is where it should be.
func offer(ctx context.Context, client *rpchttp.HTTP, payload []byte) error {
	res, err := client.BroadcastTxSync(ctx, cometbft.Tx(payload))
	switch {
	case inCache(err):
		return nil
	case err != nil:
		return err
	case res.Code == 0:
		return nil
	}
	switch refusal := refusalOf(res.Log); {
	case refusal == nil:
		return fmt.Errorf("refused with code %d", res.Code)
	case refusal.Check == power.Known || refusal.Check == power.Older:
		return nil
	default:
		return refusal
	}
}

func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
