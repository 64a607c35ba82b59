package attestedtls

import (
	"context"
	"testing"

	"github.com/quorate/quorate/agent/device"
	"github.com/quorate/quorate/agent/key"
	"github.com/quorate/quorate/simulator/swtpm"
)

// tpmKey is the node key of a host's TPM, as its agent has it.
func tpmKey(t *testing.T) *key.Keys {
	t.Helper()
	swtpm.Require(t)
	tpm, err := swtpm.New(context.Background(), t.TempDir(), swtpm.Options{})
	check(t, err)
	t.Cleanup(func() { tpm.Close() })
	keys, err := key.Open(t.Context(), device.Wrap(tpm), 0)
	check(t, err)
	t.Cleanup(func() { keys.Close() })
	return keys
}

// Both ends have their node keys in TPMs.
func TestNodeKeysInTPMs(t *testing.T) {
	n := newNetwork(t)
	first, second := tpmKey(t), tpmKey(t)
	a, b := n.hostWith("a", first.Signer()), n.hostWith("b", second.Signer())
	c, err := a.connect(b.echo())
	check(t, err)
	if got := c.Peer().NodeKey(); got != second.NodeKeyDigest() {
		t.Errorf("the peer's key is %v, the TPM's %x", got, second.NodeKeyDigest())
	}
}
