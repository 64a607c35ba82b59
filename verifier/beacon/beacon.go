// Package beacon follows a ledger's blocks, so that a challenge can name a recent
// one. Evidence that answers such a challenge is younger than the block, and the
// ledger can judge its age in blocks, without believing any clock.
package beacon

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/quorate/quorate/proto/binding"
)

const (
	pollEvery   = 2 * time.Second
	pollTimeout = 5 * time.Second
	maxAge      = 30 * time.Second // of the last answer, before it counts as none
	maxAnswer   = 1 << 20          // bytes
)

// Source asks one CometBFT node, the organisation's own, for its latest block.
// What the node says is not believed: the ledger compares the block with its own
// when it sees the admission. Safe for concurrent use.
type Source struct {
	status string // URL of the status method
	chain  string
	client *http.Client

	mu     sync.Mutex
	latest binding.Beacon
	heard  time.Time
}

// New makes a source of the RPC address of a node, "http://host:port", of the
// chain with the given id. It does not connect; Run does.
func New(rpc, chain string) (*Source, error) {
	u, err := url.Parse(rpc)
	if err != nil {
		return nil, fmt.Errorf("beacon: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("beacon: %q is not the address of an RPC server, like http://127.0.0.1:26657", rpc)
	}
	client := &http.Client{
		Timeout:       pollTimeout,
		Transport:     &http.Transport{Proxy: nil, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirected elsewhere") },
	}
	return &Source{status: u.JoinPath("status").String(), chain: chain, client: client}, nil
}

// Run polls until ctx ends. It reports the first failure of a row, and the
// recovery from it as nil.
func (s *Source) Run(ctx context.Context, report func(error)) {
	failing := false
	for ticker := time.NewTicker(pollEvery); ; {
		err := s.poll(ctx)
		if ctx.Err() != nil {
			ticker.Stop()
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			report(err)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// Latest returns the latest block, or the zero Beacon if there was no answer
// lately. A nil Source has none.
func (s *Source) Latest(now time.Time) binding.Beacon {
	if s == nil {
		return binding.Beacon{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.heard) > maxAge {
		return binding.Beacon{}
	}
	return s.latest
}

func (s *Source) poll(ctx context.Context) error {
	body, err := s.get(ctx)
	if err != nil {
		return fmt.Errorf("beacon: %w", err)
	}
	block, err := parse(body, s.chain)
	if err != nil {
		return fmt.Errorf("beacon: %s: %w", s.status, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest, s.heard = block, time.Now()
	return nil
}

func (s *Source) get(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.status, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", s.status, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("%s: more than %d bytes", s.status, maxAnswer)
	}
	return body, err
}

// parse reads the answer of CometBFT's status method.
func parse(body []byte, chain string) (binding.Beacon, error) {
	var answer struct {
		Result struct {
			NodeInfo struct {
				Network string `json:"network"`
			} `json:"node_info"`
			SyncInfo struct {
				Hash       string `json:"latest_block_hash"`
				Height     string `json:"latest_block_height"`
				CatchingUp bool   `json:"catching_up"`
			} `json:"sync_info"`
		} `json:"result"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return binding.Beacon{}, err
	}
	info := answer.Result.SyncInfo
	if network := answer.Result.NodeInfo.Network; network != chain {
		return binding.Beacon{}, fmt.Errorf("the node is of chain %q, want %q", network, chain)
	}
	if info.CatchingUp {
		return binding.Beacon{}, errors.New("the node is still catching up with its chain")
	}
	height, err := strconv.ParseUint(info.Height, 10, 63)
	if err != nil || height == 0 {
		return binding.Beacon{}, fmt.Errorf("latest_block_height is %q", info.Height)
	}
	hash, err := hex.DecodeString(info.Hash)
	if err != nil || len(hash) != 32 || [32]byte(hash) == [32]byte{} {
		return binding.Beacon{}, fmt.Errorf("latest_block_hash is %q", info.Hash)
	}
	return binding.Beacon{Height: height, Hash: [32]byte(hash)}, nil
}
