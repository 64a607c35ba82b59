package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cometbft/cometbft/mempool"
	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/cmd/internal/program"
)

// submitView is what became of what was submitted.
type submitView struct {
	Accepted bool               `json:"accepted"`
	Hash     string             `json:"hash"`             // of the transaction
	Height   int64              `json:"height,omitempty"` // of the block that holds it; 0 if none does
	Refusal  *admission.Refusal `json:"refusal,omitempty"`
}

func (c *cli) submitCommand() *cobra.Command {
	var node string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit a bundle, a roster or a signed command, and wait for the block",
		Long: `submit sends a file to the ledger as a transaction of the gate, and waits until
a block holds it: the bundle that quorate-agent keeps, a verifier's roster, or a
command that operators signed. Anyone may submit; what counts are the signatures
inside.

Exit code 0: accepted. 1: refused, and the check says why. 3: no answer in time.`,
		Example: "  quorate-gate submit --node http://127.0.0.1:26657 /var/lib/quorate/bundle",
		Args:    program.Exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return c.submit(ctx, node, args[0])
		},
	}
	cmd.Flags().StringVar(&node, "node", "http://127.0.0.1:26657", "`URL` of a node's RPC server")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how `long` to wait")
	return cmd
}

func (c *cli) submit(ctx context.Context, node, path string) error {
	payload, err := os.ReadFile(path)
	if err != nil {
		return program.Untold(err, "")
	}
	client, err := rpchttp.New(node, "/websocket")
	if err != nil {
		return program.Wrongf("", "--node: %v", err)
	}
	view, err := send(ctx, client, payload)
	if err != nil {
		return program.Untold(err, "is the node running, and its RPC server at "+node+"?")
	}
	if c.json {
		program.PrintJSON(c.out, view)
	} else {
		c.printSubmit(view)
	}
	if !view.Accepted {
		return program.Answered(program.Refused)
	}
	return nil
}

// send broadcasts the transaction and waits for it in a block.
func send(ctx context.Context, client *rpchttp.HTTP, payload []byte) (submitView, error) {
	tx := cmttypes.Tx(cometbft.Tx(payload))
	view := submitView{Hash: fmt.Sprintf("%X", tx.Hash())}
	res, err := client.BroadcastTxSync(ctx, tx)
	switch {
	case inCache(err): // submitted before
	case err != nil:
		return view, err
	case res.Code != 0:
		view.Refusal = refusalOf(res.Log)
		return view, nil
	}
	err = view.await(ctx, client, tx.Hash())
	return view, err
}

// await polls until a block holds the transaction.
func (v *submitView) await(ctx context.Context, client *rpchttp.HTTP, hash []byte) error {
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		tx, err := client.Tx(ctx, hash, false)
		if err == nil {
			tick.Stop()
			v.Height, v.Accepted, v.Refusal = tx.Height, tx.TxResult.Code == 0, refusalOf(tx.TxResult.Log)
			return nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("transaction %s is in no block that the node has indexed: %w", v.Hash, ctx.Err())
		case <-tick.C:
		}
	}
}

// inCache reports whether a node refused a transaction because it has had it.
func inCache(err error) bool {
	return err != nil && strings.Contains(err.Error(), mempool.ErrTxInCache.Error())
}

// refusalOf reads a log of the gate.
func refusalOf(log string) *admission.Refusal {
	if log == "" {
		return nil
	}
	r := &admission.Refusal{}
	if json.Unmarshal([]byte(log), r) != nil {
		r.Message = log
	}
	return r
}

func (c *cli) printSubmit(v submitView) {
	if v.Accepted {
		fmt.Fprintf(c.out, "accepted in block %d, transaction %s\n", v.Height, v.Hash)
		return
	}
	fmt.Fprintln(c.out, "refused")
	if r := v.Refusal; r != nil {
		for _, line := range [][2]string{
			{"check", string(r.Check)}, {"what", r.Message}, {"where", r.Where}, {"got", r.Got}, {"want", r.Want}, {"remedy", r.Remedy},
		} {
			if line[1] != "" {
				fmt.Fprintf(c.out, "  %-7s %s\n", line[0], line[1])
			}
		}
	}
}
