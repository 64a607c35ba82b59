package cometbft_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/abci/example/kvstore"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/proxy"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/admission/cometbft"
	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/simulator/issuer"
)

// gated puts a gate around an application. What it returns is what a node is
// given instead of the application's own client creator.
func gated(app abci.Application, consortiumFile []byte, founding [][]byte, dir string) (proxy.ClientCreator, error) {
	consortium, err := admission.ParseConsortium(consortiumFile)
	if err != nil {
		return nil, err
	}
	schedule, err := power.ParseSchedule(nil, consortium) // nil: the default rules
	if err != nil {
		return nil, err
	}
	db, err := dbm.NewGoLevelDB("gate", dir)
	if err != nil {
		return nil, err
	}
	gate, err := cometbft.New(cometbft.Config{
		Upstream: cometbft.InProcess(app),
		Schedule: schedule,
		Founding: founding, // bundles of the genesis validators
		Store:    cometbft.NewStore(db),
	})
	if err != nil {
		return nil, err
	}
	return proxy.NewLocalClientCreator(gate), nil
}

// A chain starts with the founders that are admitted, whatever its genesis
// document says.
func Example() {
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	net, _ := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	keys := []ed25519.PublicKey{keyOf(1), keyOf(2)}
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	bundle, _ := net.Bundle(issuer.Node{ID: "org-a/validator-1", ConsensusKey: keys[0], NotBefore: start, NotAfter: start.Add(time.Hour)})

	creator, err := gated(kvstore.NewInMemoryApplication(), net.File, [][]byte{bundle}, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	client, _ := creator.NewABCIClient()
	res, err := client.InitChain(context.Background(), &abci.RequestInitChain{ChainId: "example-1", Time: start, InitialHeight: 1, Validators: []abci.ValidatorUpdate{
		abci.UpdateValidator(keys[0], 10, "ed25519"), abci.UpdateValidator(keys[1], 10, "ed25519"),
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(res.Validators), "of 2 validators, power", res.Validators[0].Power)
	// Output:
	// 1 of 2 validators, power 10
}

// The lines that the documentation shows are lines of the example above.
func TestDocumentedLinesCompile(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../../docs/ledger.md", "../../README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, section, _ := strings.Cut(string(text), "<!-- admission/cometbft/example_test.go -->\n")
		block, _, ok := strings.Cut(strings.TrimPrefix(section, "```go\n"), "```")
		if !ok || len(block) < 100 {
			t.Fatalf("%s: no lines", name)
		}
		for line := range strings.Lines(block) {
			if !strings.Contains(string(source), strings.TrimSpace(line)+"\n") {
				t.Errorf("%s: %q is not in the example", name, line)
			}
		}
	}
}
