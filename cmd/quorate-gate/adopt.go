package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	rpchttp "github.com/cometbft/cometbft/rpc/client/http"
	"github.com/spf13/cobra"

	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/cmd/internal/program"
)

func (c *cli) adoptCommand() *cobra.Command {
	var node, out string
	var height int64
	cmd := &cobra.Command{
		Use:   "adopt --height HEIGHT --out FILE",
		Short: "Write down the validators of a running chain, to put a gate before it",
		Long: `adopt asks a node of a chain without a gate for the set after a height, and
writes it into a file for ` + "`quorate-gate cometbft --adopt`" + `. The application must stop
by itself after that height on every node, and the set must not change in the
last two blocks before it. Ask before the chain has stopped there, and compare
the file with the other operators': it must be the same on every node.`,
		Example: "  quorate-gate adopt --height 120000 --out adoption.json",
		Args:    program.Exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" || height < 1 {
				return program.Wrongf("for example: --height 120000 --out adoption.json", "--height and --out are needed")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			return c.adopt(ctx, node, height, out)
		},
	}
	cmd.Flags().StringVar(&node, "node", "http://127.0.0.1:26657", "`URL` of a node's RPC server")
	cmd.Flags().Int64Var(&height, "height", 0, "last `height` without a gate")
	cmd.Flags().StringVar(&out, "out", "", "`file` to write")
	return cmd
}

func (c *cli) adopt(ctx context.Context, node string, height int64, out string) error {
	client, err := rpchttp.New(node, "/websocket")
	if err != nil {
		return program.Wrongf("", "--node: %v", err)
	}
	a, err := cometbft.AdoptionAt(ctx, client, height)
	if err != nil {
		return program.Untold(err, "has the node reached the height, and not forgotten it?")
	}
	raw, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return program.Untold(err, "")
	}
	if c.json {
		program.PrintJSON(c.out, a)
		return nil
	}
	fmt.Fprintf(c.out, "height %d of %s: %d validators, written to %s\n", a.Height, a.Time.Format(time.RFC3339), len(a.Validators), out)
	return nil
}

// readAdoption reads what adopt wrote.
func readAdoption(path string) (*cometbft.Adoption, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, program.Untold(err, "")
	}
	a := &cometbft.Adoption{}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, program.Wrongf("quorate-gate adopt writes such a file", "%s: %v", path, err)
	}
	return a, nil
}
