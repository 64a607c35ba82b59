package evidence

import (
	"bytes"
	"crypto"
	"testing"
)

func TestHashes(t *testing.T) {
	for alg, hashes := range map[uint16]map[crypto.Hash]bool{
		algSHA256: {crypto.SHA256: true, crypto.SHA384: false}, algSHA384: {crypto.SHA256: false, crypto.SHA384: true}, 0x0004: {crypto.SHA256: false, crypto.SHA384: false},
	} {
		for hash, want := range hashes {
			if sameHash(alg, hash) != want {
				t.Errorf("0x%04x as %v: %v", alg, hash, !want)
			}
		}
	}
	if (&AK{scheme: 9}).valid(nil, signature{}) {
		t.Error("an unknown scheme verifies")
	}
}

func TestDERSignatures(t *testing.T) {
	for _, row := range []struct{ n, want []byte }{
		{nil, []byte{2, 1, 0}}, {[]byte{0}, []byte{2, 1, 0}}, {[]byte{0, 0}, []byte{2, 1, 0}}, {[]byte{5}, []byte{2, 1, 5}}, {[]byte{0, 5}, []byte{2, 1, 5}},
		{[]byte{0x80}, []byte{2, 2, 0, 0x80}}, {[]byte{0, 0x80}, []byte{2, 2, 0, 0x80}}, {[]byte{0x7f, 0}, []byte{2, 2, 0x7f, 0}},
	} {
		if got := derInteger(nil, row.n); !bytes.Equal(got, row.want) {
			t.Errorf("%x: %x, want %x", row.n, got, row.want)
		}
	}
	full, more := bytes.Repeat([]byte{0xff}, 32), append([]byte{0}, bytes.Repeat([]byte{1}, 32)...)
	if der, ok := derSignature(nil, full, full); !ok || len(der) != maxDER || int(der[1]) != len(der)-2 {
		t.Errorf("%x, %v", der, ok)
	}
	if _, ok := derSignature(nil, more, full); ok {
		t.Error("r of 33 bytes")
	}
	if _, ok := derSignature(nil, full, more); ok {
		t.Error("s of 33 bytes")
	}
}

func TestKeepsWhatIsThere(t *testing.T) {
	blobs := map[Digest][]byte{}
	if d := keep(blobs, nil); !d.IsZero() || len(blobs) != 0 {
		t.Errorf("nothing is kept as %v", d)
	}
	if d := keep(blobs, []byte{1}); d != Sum([]byte{1}) || len(blobs) != 1 {
		t.Errorf("one byte is kept as %v", d)
	}
}
