package admission_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/quorate/quorate/admission"
)

func grantKey(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// A verifier may have a grant key. It is part of the file's digest, and a file
// without one reads and is named as it always was.
func TestGrantKeyOfAVerifier(t *testing.T) {
	n, file := fullFile(t)
	if strings.Contains(file, "grantKey") {
		t.Fatal("a file without a grant key names one")
	}
	c := *n.Consortium
	c.Verifiers = append([]admission.Verifier(nil), n.Verifiers...)
	key := grantKey(t, elliptic.P256())
	c.Verifiers[1].GrantKey = key
	with := parse(t, &c)
	if v, _ := with.Verifier(c.Verifiers[1].Name); v.GrantKey != key || with.Digest() == n.Digest() {
		t.Errorf("read back as %+v", v)
	}
	for name, bad := range map[string]string{
		"P-384":        grantKey(t, elliptic.P384()),
		"noise":        base64.StdEncoding.EncodeToString([]byte("noise")),
		"not base64":   "!" + key[1:],
		"line break":   key[:8] + "\n" + key[8:],
		"unpadded":     strings.TrimRight(key, "="),
		"ed25519":      "MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"another's":    "",
		"its TLS key":  "tls",
		"trailing DER": base64.StdEncoding.EncodeToString(append(mustDecode(t, key), 0)),
	} {
		d := c
		d.Verifiers = append([]admission.Verifier(nil), c.Verifiers...)
		switch d.Verifiers[0].GrantKey = bad; bad {
		case "":
			d.Verifiers[0].GrantKey = key
		case "tls":
			d.Verifiers[0].GrantKey = grantKey(t, elliptic.P256())
			d.Verifiers[0].TLSKey = sha256.Sum256(mustDecode(t, d.Verifiers[0].GrantKey))
		}
		text, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var problems *admission.ConsortiumError
		if _, err := admission.ParseConsortium(text); !errors.As(err, &problems) || !strings.Contains(err.Error(), "grantKey") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustDecode(t *testing.T, text string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
