package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/admission/power"
	"github.com/quorate/quorate/cmd/internal/program"
)

// answering is a node's RPC server whose gate has the status.
func answering(t *testing.T, s power.Status) string {
	t.Helper()
	value, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			ID json.RawMessage `json:"id"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		answer := map[string]any{"jsonrpc": "2.0", "id": asked.ID, "result": map[string]any{"response": map[string]any{"value": value}}}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// status rings an alarm for a frozen set and for a held seat, and for nothing else.
func TestStatusRings(t *testing.T) {
	seen := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	node := power.NodeStatus{Node: "org-a/validator-1", Role: power.RoleValidator, Host: strings.Repeat("0a", 32), Ends: seen}
	stands, held := node, node
	stands.Stands, held.Held = true, true
	for name, c := range map[string]struct {
		status power.Status
		code   int
		says   string
	}{
		"a quorum":         {power.Status{Height: 7, Total: 40, Quorum: &seen, Nodes: []power.NodeStatus{stands}}, program.Good, "true    2026-11-27T12:00:00Z"},
		"lapsed":           {power.Status{Height: 7, Total: 40, Quorum: &seen, Nodes: []power.NodeStatus{node}}, program.Good, "false   2026-11-27T12:00:00Z"},
		"frozen":           {power.Status{Height: 7, Total: 40, Frozen: 5}, program.Refused, "FROZEN since height 5"},
		"held":             {power.Status{Height: 7, Total: 40, Held: 10, Quorum: &seen, Nodes: []power.NodeStatus{held}}, program.Refused, "HELD: power 10 "},
		"held, since when": {power.Status{Height: 7, Total: 40, Held: 10, Quorum: &seen}, program.Refused, "seen last 2026-11-27T12:00:00Z"},
		"held, never seen": {power.Status{Height: 7, Total: 40, Held: 10}, program.Refused, "seen last never"},
		"held, by node":    {power.Status{Height: 7, Total: 40, Held: 10, Nodes: []power.NodeStatus{held}}, program.Refused, "held    2026-11-27T12:00:00Z"},
	} {
		url := answering(t, c.status)
		code, out, errs := quorateGate("status", "--node", url)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, %s%s", name, code, out, errs)
		}
		if code, out, _ := quorateGate("status", "--json", "--node", url); code != c.code || !json.Valid([]byte(out)) {
			t.Errorf("%s, as JSON: exit %d, %s", name, code, out)
		}
	}
}
