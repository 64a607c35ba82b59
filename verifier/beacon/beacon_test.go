package beacon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/proto/binding"
)

// good is what a CometBFT node answers, shortened.
const good = `{"jsonrpc":"2.0","id":-1,"result":{"node_info":{"network":"example-1"},"sync_info":{` +
	`"latest_block_hash":"0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F20",` +
	`"latest_block_height":"42","catching_up":false}}}`

func TestParse(t *testing.T) {
	block, err := parse([]byte(good), "example-1")
	if err != nil || block.Height != 42 || block.Hash[0] != 1 || block.Hash[31] != 32 {
		t.Fatalf("%+v, %v", block, err)
	}
	for _, change := range [][2]string{
		{`"42"`, `"0"`}, {`"42"`, `"-1"`}, {`"42"`, `""`}, {`"42"`, `42`}, {`"42"`, `"18446744073709551615"`},
		{"1F20", "1F"}, {"1F20", "1F2G"}, {"1F20", "1F2000"}, {"example-1", "example-2"},
		{"false", "true"}, {"result", "error"}, {"{", ""},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if block, err := parse([]byte(text), "example-1"); err == nil || block != (binding.Beacon{}) {
			t.Errorf("%q: %+v, %v", change, block, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, rpc := range []string{"", "127.0.0.1:26657", "unix:///tmp/x", "http://", "http://u:p@host:1", "http://host:1/?x=1", "://"} {
		if _, err := New(rpc, "example-1"); err == nil {
			t.Errorf("%q accepted", rpc)
		}
	}
	if _, err := New("http://127.0.0.1:26657", "example-1"); err != nil {
		t.Error(err)
	}
}

func TestRun(t *testing.T) {
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case r.URL.Path == "/status":
			fmt.Fprint(w, good)
		}
	}))
	t.Cleanup(server.Close)
	s, err := New(server.URL, "example-1")
	if err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	reports := make(chan error, 8)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx, func(err error) { reports <- err }); close(ended) }()
	if err := <-reports; err == nil || s.Latest(time.Now()).Height != 0 {
		t.Fatalf("a node that sends elsewhere: %v, %+v", err, s.Latest(time.Now()))
	}
	down.Store(false)
	if err := <-reports; err != nil || s.Latest(time.Now()).Height != 42 {
		t.Fatalf("after the recovery: %v, %+v", err, s.Latest(time.Now()))
	}
	if b := s.Latest(time.Now().Add(2 * maxAge)); b.Height != 0 {
		t.Errorf("an old block counts as the latest: %+v", b)
	}
	cancel()
	<-ended
}

func TestAnswerIsBounded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 2 * maxAnswer / 1024 {
			fmt.Fprint(w, strings.Repeat(" ", 1024))
		}
	}))
	t.Cleanup(server.Close)
	s, err := New(server.URL, "example-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.poll(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
	server.Close()
	if err := s.poll(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Error("a node that is down:", err)
	}
}

func TestNone(t *testing.T) {
	var s *Source
	if b := s.Latest(time.Now()); b != (binding.Beacon{}) {
		t.Errorf("%+v", b)
	}
}
