package rpc

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission"
	pb "github.com/quorate/quorate/proto/quorate/v1"
	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/verdict"
)

// An admission states the block that its challenge named; evidence that claims
// another block, or none, does not count.
func TestBeaconReachesTheAdmission(t *testing.T) {
	hash := bytes.Repeat([]byte{7}, 32)
	ledger := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(out, `{"result":{"node_info":{"network":"example-1"},"sync_info":{"latest_block_hash":"%X","latest_block_height":"42"}}}`, hash)
	}))
	t.Cleanup(ledger.Close)
	w := newWorld(t, manyHosts, func(w *world) { w.config.Beacon = ledger.URL })
	w.teach()
	p := w.enrolledPaper("validator-1")
	s := p.open()
	challenge := s.challenge()
	for ; challenge.BeaconHeight == 0; challenge = s.challenge() { // until the ledger's node has answered
		must(t, s.send(s.evidence(challenge)))
		s.verdict()
	}
	if challenge.BeaconHeight != 42 || !bytes.Equal(challenge.BeaconHash, hash) {
		t.Fatalf("the challenge names block %d %x", challenge.BeaconHeight, challenge.BeaconHash)
	}
	challenge.BeaconHeight, challenge.BeaconHash = 41, bytes.Repeat([]byte{6}, 32)
	must(t, s.send(s.evidence(challenge)))
	if v := s.verdict(); v.Decision == "admitted" || v.Findings[0].Check != string(verdict.QuoteNonce) {
		t.Errorf("evidence for another block: %v", v)
	}

	good := w.newHost("validator-2", bootlog.Debian())
	w.run(good)
	w.learn(good)
	w.awaitState(good.id, "admitted")
	a, err := w.consortium.VerifyBundle(w.bundle(good), w.want(good), time.Now())
	must(t, err)
	if got := a.Statements()[0].Beacon; got != (admission.Beacon{Height: 42, Hash: admission.Digest(hash)}) {
		t.Errorf("the admission states %s", got)
	}
}

// A node of another chain is not asked for blocks, and a verifier does not start
// on an address that is none.
func TestBeaconOfAnotherChain(t *testing.T) {
	ledger := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(out, `{"result":{"node_info":{"network":"other"},"sync_info":{"latest_block_hash":"%s","latest_block_height":"42"}}}`, strings.Repeat("07", 32))
	}))
	t.Cleanup(ledger.Close)
	w := newWorld(t, manyHosts, func(w *world) { w.config.Beacon = ledger.URL })
	w.eventually("the alarm", func() bool {
		st, err := w.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		must(t, err)
		return strings.Contains(fmt.Sprint(st.Alarms), `chain "other"`)
	})
	if c := w.enrolledPaper("validator-1").open().challenge(); c.BeaconHeight != 0 || len(c.BeaconHash) != 0 {
		t.Errorf("the challenge names block %d of another chain", c.BeaconHeight)
	}
}
