package ima_test

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/quorate/quorate/verifier/ima"
	"github.com/quorate/quorate/verifier/verdict"
)

func TestReadAgreesWithReplay(t *testing.T) {
	for _, name := range captured {
		raw, quoted := genuine(t, name)
		segment, err := ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		u, err := ima.Read(segment.Bytes(), ima.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if u.Entries != segment.Len() || !bytes.Equal(u.PCR10(crypto.SHA256), quoted.PCR10[:]) {
			t.Errorf("%s: %d entries lead to %x, quoted %x", name, u.Entries, u.PCR10(crypto.SHA256), quoted.PCR10)
		}
		if len(u.PCR10(crypto.SHA1)) != 20 || len(u.PCR10(crypto.SHA384)) != 48 {
			t.Error("values of other banks have the wrong size")
		}
		_, err = ima.Read(raw[:len(raw)-1], ima.DefaultLimits)
		mustRefuse(t, err, verdict.IMAFormat)
	}
}
