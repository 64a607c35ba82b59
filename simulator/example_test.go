package simulator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/simulator/corpus"
	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/swtpm"
	"github.com/quorate/quorate/simulator/vendorca"
	"github.com/quorate/quorate/verifier/appraise"
	"github.com/quorate/quorate/verifier/eventlog"
)

// A host that an agent takes for a real one: a software TPM with a certificate, a
// boot, and programs that run. It needs the program swtpm.
func Example_host() {
	vendor, err := vendorca.New(vendorca.Options{Now: time.Now()})
	check(err)
	dir, err := os.MkdirTemp("", "host-")
	check(err)
	defer os.RemoveAll(dir)
	host, err := bootlog.NewHost(context.Background(), dir, swtpm.Options{Vendor: vendor})
	check(err)
	defer host.Close()
	check(host.Boot(bootlog.Debian()))
	check(host.Exec("/usr/bin/quorate-agent", sha256.Sum256([]byte("agent"))))
	fmt.Printf("device: %s\nbootLog: %s\nimaList: %s\n", host.Device(), host.BootLogPath(), host.IMAPath())
}

// A defective boot and a quote over its PCRs, without any TPM: what a verifier's
// parser is up against.
func Example_paper() {
	boot := bootlog.Debian()
	boot.CommandLine += " init=/bin/sh"
	composed := boot.Log()
	node := papertpm.NewNode("validator-1")
	node.PCRs = composed.PCRs()
	quote, signature, err := node.Sign(node.Quote([]byte("nonce"), 0, 4, 7, 8))
	check(err)
	parsed, err := eventlog.Parse(composed.Bytes(), eventlog.SHA256, eventlog.DefaultLimits)
	check(err)
	facts, err := parsed.Facts(nil)
	check(err)
	fmt.Println(len(quote) > 0, len(signature) > 0)
	fmt.Println(facts.CommandLines[0].Text)
	// Output:
	// true true
	// root=/dev/vda2 ro console=ttyS0 ima_policy=tcb init=/bin/sh
}

// Every case of the corpus comes to its verdict again.
func Example_corpus() {
	cases, err := corpus.Load()
	check(err)
	wrong := 0
	for _, c := range cases {
		again, err := appraise.Again(c.Set, c.Evidence)
		check(err)
		if again.Decision != c.Expect.Decision {
			wrong++
		}
	}
	fmt.Println(wrong, "wrong")
	// Output:
	// 0 wrong
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}

// The example with a TPM runs too, where there is one.
func TestExampleHost(t *testing.T) {
	swtpm.Require(t)
	Example_host()
}
