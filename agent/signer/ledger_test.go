package signer

import (
	"encoding/base64"
	"fmt"
	"testing"
)

// What a gate says of a key: its power, and whether its lapse is held back. Of a key
// that the gate does not name, and of a node without a gate, nothing is believed.
func TestParseStatus(t *testing.T) {
	answer := func(code int, status string) []byte {
		return fmt.Appendf(nil, `{"result":{"response":{"code":%d,"value":%q}}}`, code, base64.StdEncoding.EncodeToString([]byte(status)))
	}
	status := `{"frozen":7,"validators":[{"key":"ed25519:A","effective":10,"held":true},{"key":"ed25519:B","effective":5}]}`
	st, err := parseStatus(answer(0, status))
	if err != nil || st.Frozen != 7 {
		t.Fatalf("%+v %v", st, err)
	}
	for key, want := range map[string]struct {
		power int64
		held  bool
	}{"ed25519:A": {10, true}, "ed25519:B": {5, false}, "ed25519:C": {0, false}} {
		if power, held := st.power(key); power != want.power || held != want.held {
			t.Errorf("%s: power %d, held %t", key, power, held)
		}
	}
	for name, bad := range map[string][]byte{
		"no gate": answer(1, status), "nothing": answer(0, ""), "no JSON": []byte("x"), "other JSON": answer(0, "[]"),
	} {
		if _, err := parseStatus(bad); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}
