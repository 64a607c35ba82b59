package signer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/quorate/quorate/agent/signer/permit"
)

// How the gate beside the node is asked.
const (
	ledgerEvery   = time.Second
	ledgerTimeout = 3 * time.Second
	maxAnswer     = 4 << 20 // bytes
	statusQuery   = `/abci_query?path="/quorate/status"`
)

// checkLedger refuses an address through which others could speak for the gate.
func checkLedger(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Path != "" || u.RawQuery != "" {
		return fmt.Errorf("signer: ledger %q is not like http://127.0.0.1:26657", address)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("signer: ledger %q is not on this host", address)
	}
	return nil
}

// follow asks the gate again and again whether the ledger needs the key.
func (s *Signer) follow(ctx context.Context) {
	client := &http.Client{Timeout: ledgerTimeout}
	for ctx.Err() == nil {
		if st, err := askGate(ctx, client, s.cfg.Signer.Ledger); err == nil {
			power, held := st.power(s.key.Terms.PublicKey)
			s.learn(func(f *permit.Facts) {
				f.Ledger = permit.Ledger{Asked: time.Now(), Power: power, Keeps: held || st.Frozen > 0}
			})
		}
		pause(ctx, ledgerEvery)
	}
}

// gateStatus is the part of the gate's status that matters here.
type gateStatus struct {
	Frozen     uint64 `json:"frozen"`
	Validators []struct {
		Key       string `json:"key"`
		Effective int64  `json:"effective"`
		Held      bool   `json:"held"`
	} `json:"validators"`
}

// power returns the key's power, and whether the gate holds its lapse back.
func (g gateStatus) power(key string) (effective int64, held bool) {
	for _, v := range g.Validators {
		if v.Key == key {
			return v.Effective, v.Held
		}
	}
	return 0, false
}

// askGate asks through the node's RPC server.
func askGate(ctx context.Context, client *http.Client, address string) (gateStatus, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+statusQuery, nil)
	if err != nil {
		return gateStatus{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return gateStatus{}, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return gateStatus{}, err
	}
	return parseStatus(raw)
}

// parseStatus reads the node's answer.
func parseStatus(raw []byte) (out gateStatus, err error) {
	var node struct {
		Result struct {
			Response struct {
				Code  uint32 `json:"code"`
				Value []byte `json:"value"`
			} `json:"response"`
		} `json:"result"`
	}
	if err := json.Unmarshal(raw, &node); err != nil {
		return out, err
	}
	if r := node.Result.Response; r.Code != 0 || len(r.Value) == 0 {
		return out, errors.New("signer: there is no gate behind the node")
	}
	return out, json.Unmarshal(node.Result.Response.Value, &out)
}
