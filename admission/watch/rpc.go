package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/quorate/quorate/admission/watch/allowlist"
)

// Preset is how one kind of ledger node is told by JSON-RPC.
type Preset struct {
	calls  map[allowlist.Action][]string // methods, in order
	nested bool                          // the peer stands in a list of its own
	list   string                        // method that returns the peers allowed now; empty if calls may be repeated
}

// Presets are the kinds of ledger nodes that are known by name.
var Presets = map[string]Preset{
	// Besu refuses to add a node that is listed and to remove one that is not, which
	// is just what happens when a change is delivered again. The list then decides.
	"besu": {map[allowlist.Action][]string{
		allowlist.Add: {"perm_addNodesToAllowlist"}, allowlist.Remove: {"perm_removeNodesFromAllowlist"},
	}, true, "perm_getNodesAllowlist"},
	// A peer of geth that is trusted no more stays connected until it is removed.
	"geth": {map[allowlist.Action][]string{
		allowlist.Add: {"admin_addTrustedPeer"}, allowlist.Remove: {"admin_removeTrustedPeer", "admin_removePeer"},
	}, false, ""},
}

// RPC tells a ledger node by JSON-RPC over HTTP.
type RPC struct {
	url    string
	preset Preset
	client *http.Client
}

// NewRPC names the node's RPC server, http or https, and one of the Presets.
func NewRPC(address, preset string) (*RPC, error) {
	p, ok := Presets[preset]
	if !ok {
		return nil, fmt.Errorf("watch: no preset %q", preset)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("watch: %q is not an http or https URL", address)
	}
	return &RPC{address, p, &http.Client{
		Transport:     &http.Transport{MaxIdleConns: 1}, // no proxy: the node is near
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Tell implements Ledger.
func (r *RPC) Tell(ctx context.Context, change allowlist.Change) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	params := []any{change.Peer}
	if r.preset.nested {
		params = []any{params}
	}
	for _, method := range r.preset.calls[change.Action] {
		_, err := r.call(ctx, method, params)
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

// settled reports whether the node already is as the change wants it.
func (r *RPC) settled(ctx context.Context, change allowlist.Change) bool {
	if r.preset.list == "" {
		return false
	}
	result, err := r.call(ctx, r.preset.list, []any{})
	var peers []string
	if err != nil || json.Unmarshal(result, &peers) != nil {
		return false
	}
	there := slices.ContainsFunc(peers, func(p string) bool { return samePeer(p, change.Peer) })
	return there == (change.Action == allowlist.Add)
}

// samePeer compares two enode URLs without what follows the address.
func samePeer(a, b string) bool {
	a, _, _ = strings.Cut(a, "?")
	b, _, _ = strings.Cut(b, "?")
	return strings.EqualFold(a, b)
}

func (r *RPC) call(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	result, err := parseAnswer(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", method, response.Status, err)
	}
	return result, nil
}

// rpcError is the node's own answer that it will not.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *rpcError) Error() string { return fmt.Sprintf("error %d, %.200q", e.Code, e.Message) }

const maxAnswer = 4 << 20 // bytes

var errAnswer = errors.New("not an answer of JSON-RPC 2.0 to this call")

// parseAnswer returns the result of a call that succeeded: an answer to call 1
// with a result that is neither null nor false, and without an error.
func parseAnswer(text []byte) (json.RawMessage, error) {
	var answer struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  json.RawMessage `json:"result"`
		Error   *rpcError       `json:"error"`
	}
	if len(text) > maxAnswer || json.Unmarshal(text, &answer) != nil || answer.Version != "2.0" || string(answer.ID) != "1" {
		return nil, errAnswer
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	if r := string(answer.Result); r == "" || r == "null" || r == "false" {
		return nil, fmt.Errorf("the result is %q", r)
	}
	return answer.Result, nil
}
