package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// tellTime bounds one attempt to tell a ledger of one change.
const tellTime = 30 * time.Second

// Command is a ledger that is told by running a program, with the action, the
// node, its peer name and the change's number as its last arguments. Exit code 0
// means that it took the change.
type Command []string

// Tell implements Ledger.
func (c Command) Tell(ctx context.Context, change Change) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	args := append(slices.Clone(c[1:]), change.Action, change.Node, change.Peer, strconv.FormatUint(change.Number, 10))
	cmd := exec.CommandContext(ctx, c[0], args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.200q", c[0], err, out)
	}
	return nil
}

// Preset is how a kind of ledger node is told by JSON-RPC.
type Preset struct {
	calls map[string][]call // by action, in order
	list  string            // method that returns the peers allowed now; empty if calls may be repeated
}

type call struct {
	method string
	nested bool // the peer is in a list of its own
}

// Presets are the kinds of ledger nodes that are known by name.
var Presets = map[string]Preset{
	// Besu refuses to add a node that is listed and to remove one that is not, which
	// is what the second delivery of a change does. The list says what is so.
	"besu": {map[string][]call{
		Add:    {{"perm_addNodesToAllowlist", true}},
		Remove: {{"perm_removeNodesFromAllowlist", true}},
	}, "perm_getNodesAllowlist"},
	"geth": {map[string][]call{
		Add:    {{"admin_addTrustedPeer", false}, {"admin_addPeer", false}},
		Remove: {{"admin_removeTrustedPeer", false}, {"admin_removePeer", false}},
	}, ""},
}

// RPC is a ledger node with JSON-RPC over HTTP.
type RPC struct {
	URL string
	Preset
}

// Tell implements Ledger.
func (r RPC) Tell(ctx context.Context, change Change) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	for _, c := range r.calls[change.Action] {
		params := []any{change.Peer}
		if c.nested {
			params = []any{params}
		}
		_, err := r.call(ctx, c.method, params)
		var no *rpcError
		if errors.As(err, &no) && r.settled(ctx, change) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settled reports whether the ledger node already is as the change wants it.
func (r RPC) settled(ctx context.Context, change Change) bool {
	if r.list == "" {
		return false
	}
	result, err := r.call(ctx, r.list, []any{})
	var peers []string
	if err != nil || json.Unmarshal(result, &peers) != nil {
		return false
	}
	return slices.Contains(peers, change.Peer) == (change.Action == Add)
}

// rpcError is the ledger node's own answer that it will not.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%d %.200q", e.Code, e.Message) }

const maxAnswer = 4 << 20

func (r RPC) call(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return readAnswer(method, response)
}

func readAnswer(method string, response *http.Response) (json.RawMessage, error) {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *rpcError       `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("%s: %s, no JSON-RPC answer", method, response.Status)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s: %w", method, answer.Error)
	}
	if len(answer.Result) == 0 || string(answer.Result) == "null" || string(answer.Result) == "false" {
		return nil, fmt.Errorf("%s: the node answered %.20q", method, answer.Result)
	}
	return answer.Result, nil
}
