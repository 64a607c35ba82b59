package ima_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/quorate/quorate/simulator/weigh"
	"github.com/quorate/quorate/verifier/ima"
)

// reprint writes an entry from what was read of it. The SHA-1 digest beside it, which
// nobody reads, is copied, as are the further fields of ima-modsig.
func reprint(t *testing.T, raw []byte, e ima.Entry) []byte {
	data := fields(digest(e.DigestAlg, e.Digest), append(bytes.Clone(e.Path), 0))
	switch e.Template {
	case "ima-sig":
		data = append(data, fields(e.Signature)...)
	case "ima-buf":
		data = append(data, fields(e.Buffer)...)
	case "ima-modsig":
		data = append(data, fields(e.Signature)...)
		if !bytes.HasPrefix(e.Data, data) {
			t.Fatalf("%x does not begin as %x", e.Data, data)
		}
		data = e.Data
	}
	out := binary.LittleEndian.AppendUint32(nil, ima.PCR)
	out = append(out, raw[e.Offset+4:e.Offset+24]...)
	return append(out, fields([]byte(e.Template), data)...)
}

// FuzzReplay feeds hostile lists. Whatever replays has to be what PCR 10 says:
// extending the entries' template digests gives the quoted value again.
func FuzzReplay(f *testing.F) {
	seeds := 0
	add := func(raw []byte, quoted ima.Quoted) {
		if len(raw) == 0 {
			f.Fatal("an empty seed")
		}
		f.Add(raw, quoted.PCR10[:], quoted.BootAggregate[:])
		seeds++
	}
	for _, name := range captured {
		add(genuine(f, name))
	}
	all := newList().file("/a").add("ima-sig", content("s"), path("/s"), signatureV2(64)).
		add("ima-buf", content("b"), path("kexec-cmdline"), []byte("b")).
		add("ima-modsig", content("m"), path("/m.ko"), nil, content("u"), []byte("pkcs7")).
		violation("ima-ng", digest("sha256", make([]byte, 20)), path("/v"))
	add(all.raw, all.quoted())
	if seeds != len(captured)+1 {
		f.Fatalf("%d seeds", seeds)
	}
	f.Fuzz(func(t *testing.T, raw, pcr10, aggregate []byte) {
		var quoted ima.Quoted
		copy(quoted.PCR10[:], pcr10)
		copy(quoted.BootAggregate[:], aggregate)
		weigh.Bounded(t, len(raw), func() { _, _ = ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits) })
		s, err := ima.Replay(ima.State{}, raw, quoted, ima.DefaultLimits)
		if err != nil {
			return
		}
		var pcr [32]byte
		n := uint64(0)
		var printed []byte
		for e := range s.Entries() {
			printed = append(printed, reprint(t, raw, e)...)
			extended := e.TemplateDigest()
			if e.Violation() {
				extended = [32]byte(bytes.Repeat([]byte{0xff}, 32))
			}
			pcr = sha256.Sum256(append(pcr[:], extended[:]...))
			n++
		}
		if !bytes.Equal(printed, raw[:s.End.Bytes]) {
			t.Fatalf("printed otherwise:\n%x\n%x", raw[:s.End.Bytes], printed)
		}
		if n != s.Len() || pcr != quoted.PCR10 || int(s.End.Bytes)+s.Ignored != len(raw) {
			t.Fatalf("%d of %d entries lead to %x, quoted %x", n, s.Len(), pcr, quoted.PCR10)
		}
	})
}
