package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorate/quorate/admission"
	"github.com/quorate/quorate/agent"
	"github.com/quorate/quorate/agent/seal"
	"github.com/quorate/quorate/simulator/issuer"
)

// A grantor is a verifier of the consortium file that has a key there, or a file.
func TestGrantorsAreNamed(t *testing.T) {
	network, err := issuer.New(issuer.Setup{Threshold: 2, Ledger: admission.Ledger{ID: "example-1", Genesis: sha256.Sum256([]byte("genesis"))}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	grantKey, err := seal.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	network.Verifiers[0].GrantKey = string(grantKey)
	text, err := network.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := agent.DefaultConfig()
	cfg.Consortium = filepath.Join(dir, "consortium.yaml")
	if err := os.WriteFile(cfg.Consortium, text, 0o600); err != nil {
		t.Fatal(err)
	}
	private, public := filepath.Join(dir, "person.pem"), filepath.Join(dir, "person.pub.pem")
	if err := writeKeyPair(private, public); err != nil {
		t.Fatal(err)
	}
	person, err := readPublicPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	with, without := "verifier:"+network.Verifiers[0].Name, "verifier:"+network.Verifiers[1].Name
	for name, c := range map[string]struct {
		grantors []string
		strict   bool
		want     []seal.PublicKey
		says     string
	}{
		"none":                   {},
		"a verifier":             {[]string{with}, false, []seal.PublicKey{grantKey}, ""},
		"a person":               {[]string{public}, false, []seal.PublicKey{person}, ""},
		"both, strict":           {[]string{with, public}, true, []seal.PublicKey{grantKey, person}, ""},
		"a person, strict":       {[]string{public}, true, []seal.PublicKey{person}, ""},
		"strict alone":           {nil, true, nil, "--strict needs --grantor"},
		"only a verifier":        {[]string{with}, true, nil, "name a person's key too"},
		"a verifier without key": {[]string{without}, false, nil, "no grantKey"},
		"an unknown verifier":    {[]string{"verifier:nobody.example"}, false, nil, `no verifier "nobody.example"`},
		"no file":                {[]string{with + ".pem"}, false, nil, "no verifier"},
		"a missing file":         {[]string{filepath.Join(dir, "none.pem")}, false, nil, "none.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&conditions{authority: public, grantors: c.grantors, strict: c.strict}).read(cfg)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %q", err, c.says)
				}
				return
			}
			if err != nil || len(got.Grantors) != len(c.want) || got.Strict != c.strict {
				t.Fatalf("%+v, %v", got, err)
			}
			for i := range c.want {
				if got.Grantors[i] != c.want[i] {
					t.Errorf("grantor %d is another", i)
				}
			}
		})
	}
}
