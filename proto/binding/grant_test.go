package binding_test

import (
	"encoding/hex"
	"testing"

	"github.com/quorate/quorate/proto/binding"
)

var someGrant = binding.Grant{ChainID: "example-1", Genesis: "sha256:00", Node: "org-a/validator-1", ConsensusKey: "ed25519:AAAA"}

// Keys on hosts are sealed with these bytes: others would leave them closed.
func TestGrantVector(t *testing.T) {
	ref := someGrant.PolicyRef()
	digest := someGrant.Digest([]byte("0123456789abcdef"), 300)
	if got := hex.EncodeToString(ref[:]); got != "f7de97353b18aac3eba6b9b0a747e13590b34cd9cdf08033b55feebbc2cac5bd" {
		t.Errorf("policyRef is %s", got)
	}
	if got := hex.EncodeToString(digest[:]); got != "0733f9564eb99c2e6f366f9f992ae26dd1b21859a8abf24963538ead048ed914" {
		t.Errorf("aHash is %s", got)
	}
}

// Every field counts, and none runs into the next.
func TestGrantsDiffer(t *testing.T) {
	nonce := []byte("0123456789abcdef")
	seen := map[[32]byte]string{someGrant.Digest(nonce, 300): "the grant"}
	put := func(name string, digest [32]byte) {
		if other, taken := seen[digest]; taken {
			t.Errorf("%s is signed like %s", name, other)
		}
		seen[digest] = name
	}
	for name, change := range map[string]func(*binding.Grant){
		"chain": func(g *binding.Grant) { g.ChainID = "example-2" }, "genesis": func(g *binding.Grant) { g.Genesis = "sha256:01" },
		"node": func(g *binding.Grant) { g.Node = "org-a/validator-2" }, "key": func(g *binding.Grant) { g.ConsensusKey = "ed25519:BBBB" },
		"shifted": func(g *binding.Grant) { g.ChainID, g.Genesis = "example-1s", "ha256:00" },
	} {
		g := someGrant
		change(&g)
		put(name, g.Digest(nonce, 300))
	}
	put("longer", someGrant.Digest(nonce, 301))
	put("another start", someGrant.Digest([]byte("0123456789abcdeg"), 300))
}
