package reftpm

import (
	"bytes"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

var _ transport.TPMCloser = (*TPM)(nil)

func ek(t *testing.T, tpm transport.TPM) []byte {
	t.Helper()
	created, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(tpm2.ECCEKTemplate),
	}.Execute(tpm)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: created.ObjectHandle}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	return created.OutPublic.Bytes()
}

func TestSeedDecidesTheKeys(t *testing.T) {
	keys := map[string][]byte{}
	for _, run := range []struct {
		name string
		seed int64
	}{{"one", 1}, {"again", 1}, {"two", 2}} {
		tpm, err := Open(run.seed)
		if err != nil {
			t.Fatal(err)
		}
		keys[run.name] = ek(t, tpm)
		if err := tpm.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(keys["one"], keys["again"]) || bytes.Equal(keys["one"], keys["two"]) {
		t.Error("the EK does not follow the seed")
	}
}
