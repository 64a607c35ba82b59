package ima

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// plainEntry composes one entry; signature < 0 makes it an ima-ng.
func plainEntry(path string, signature int) []byte {
	field := func(b []byte, parts ...string) []byte {
		size := 0
		for _, part := range parts {
			size += len(part)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(size))
		for _, part := range parts {
			b = append(b, part...)
		}
		return b
	}
	digest := sha256.Sum256([]byte(path))
	data := field(nil, "sha256:\x00", string(digest[:]))
	data = field(data, path, "\x00")
	template := "ima-ng"
	if signature >= 0 {
		template = "ima-sig"
		data = field(data, string(make([]byte, signature)))
	}
	b := binary.LittleEndian.AppendUint32(nil, PCR)
	b = append(b, bytes.Repeat([]byte{7}, recordedSize)...)
	b = field(b, template)
	return field(b, string(data))
}

func TestPlainIsRecognised(t *testing.T) {
	for _, c := range []struct {
		entry []byte
		want  bool
	}{
		{plainEntry("/usr/bin/ls", -1), true},
		{plainEntry("/usr/bin/ls", 0), true},
		{plainEntry("x", -1), true},
		{plainEntry("", -1), false},
		{plainEntry("/usr/bin/ls", 12), false},
		{plainEntry(aggregateName, -1), false},
	} {
		var e plain
		if got := e.scan(c.entry); got != c.want {
			t.Errorf("%q: %v", c.entry, got)
		}
	}
}

// FuzzPlain holds the short way to the long one: what scan recognises, split takes
// apart in the same way, and check refuses for the bytes of the path alone.
func FuzzPlain(f *testing.F) {
	seeds := [][]byte{
		plainEntry("/usr/bin/ls", -1), plainEntry("/usr/bin/ls", 0), plainEntry("x", 0), plainEntry("/a\nb", -1),
		plainEntry("/usr/bin/ls", 12), plainEntry(aggregateName, -1), append(plainEntry("/a", -1), 1, 2, 3),
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var short plain
		if !short.scan(b) {
			return
		}
		p := parser{rest: b, index: 1, lim: DefaultLimits}
		at := p
		var e Entry
		if err := p.split(&e); err != nil {
			t.Fatalf("scan recognises what split refuses: %v", err)
		}
		if e.Kind != KindFile || e.DigestAlg != "sha256" || len(e.Signature) != 0 || len(e.Buffer) != 0 {
			t.Fatalf("%+v", e)
		}
		if !bytes.Equal(e.Path, short.path) || !bytes.Equal(e.Digest, short.digest) || !bytes.Equal(e.Data, short.data) || len(b)-len(p.rest) != short.size {
			t.Fatalf("%+v, %+v", e, short)
		}
		refused := len(short.data) > at.lim.Data || at.checkPath(short.path) != nil
		if err := at.check(&e); (err != nil) != refused {
			t.Fatalf("check: %v; path: %v", err, at.checkPath(short.path))
		}
	})
}

// TestExcept compares with Entries, for every start and for lists of all lengths
// around a batch, with special entries at any place.
func TestExcept(t *testing.T) {
	violation := plainEntry("/violated", -1)
	copy(violation[4:], noDigest)
	for _, size := range []int{1, 2, Batch - 1, Batch, Batch + 1, Batch + 2, 3*Batch + 5} {
		for _, special := range []int{-1, 1, Batch, size - 1} {
			s := &Segment{}
			for i := range size {
				entry := plainEntry("/file", i%2-1)
				switch i {
				case 0:
					entry = plainEntry(aggregateName, -1)
				case special:
					entry = violation
				}
				s.list = append(s.list, entry...)
			}
			for from := range uint64(size + 1) {
				compareExcept(t, s, from)
			}
		}
	}
}

// compareExcept knows every third file that it is asked about.
func compareExcept(t *testing.T, s *Segment, from uint64) {
	t.Helper()
	var want []uint64
	asked := 0
	for e := range s.Entries() {
		if e.Index < from {
			continue
		}
		if e.Kind == KindFile {
			if asked++; asked%3 == 0 {
				continue
			}
		}
		want = append(want, e.Index)
	}
	asked = 0
	var got []uint64
	for e := range s.Except(from, func(paths, digests [][]byte, known []bool) {
		for i := range paths {
			asked++
			known[i] = asked%3 == 0
		}
	}) {
		got = append(got, e.Index)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("from %d: %v, want %v", from, got, want)
	}
}
