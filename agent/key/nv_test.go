package key

import (
	"bytes"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/vendorca"
)

func chain(t testing.TB) [][]byte {
	t.Helper()
	ca, err := vendorca.New(vendorca.Options{Seed: "chain", Now: time.Unix(1_800_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{ca.Intermediate, ca.Root}
}

func TestChainInNV(t *testing.T) {
	list := chain(t)
	stream := bytes.Join(list, nil)
	for _, tail := range [][]byte{nil, make([]byte, 40), bytes.Repeat([]byte{0xff}, 9), []byte("rest")} {
		if got := splitCertificates(append(bytes.Clone(stream), tail...)); len(got) != 2 || !bytes.Equal(got[1], list[1]) {
			t.Errorf("tail %x: %d certificates", tail, len(got))
		}
	}
	if got := splitCertificates(bytes.Repeat(list[0], maxIntermediates+1)); len(got) != maxIntermediates {
		t.Errorf("%d certificates, at most %d", len(got), maxIntermediates)
	}
}

func TestPadding(t *testing.T) {
	for b, want := range map[string]bool{"": true, "\x00\x00": true, "\xff": true, "\x00\xff": false, "x": false} {
		if isPadding([]byte(b)) != want {
			t.Errorf("%x: %v", b, !want)
		}
	}
}

func FuzzSplitCertificates(f *testing.F) {
	list := chain(f)
	if len(list) == 0 {
		f.Fatal("no seeds")
	}
	f.Add(bytes.Join(list, nil))
	f.Add(append(bytes.Clone(list[0]), 0, 0, 0))
	f.Fuzz(func(t *testing.T, stream []byte) {
		parts := splitCertificates(stream)
		if !bytes.HasPrefix(stream, bytes.Join(parts, nil)) {
			t.Error("certificates are not what the stream begins with")
		}
	})
}
