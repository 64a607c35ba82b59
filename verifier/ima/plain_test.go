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

// damaged is a plain entry with one byte changed or a number put in.
func damaged(signature, at int, put ...byte) []byte {
	b := plainEntry("/usr/bin/ls", signature)
	copy(b[at:], put)
	return b
}

// What scan recognises is exactly plain: each byte of the frame counts.
func TestPlainFrame(t *testing.T) {
	const data = plainName + len("ima-ng") + 4
	recorded := damaged(-1, 4, bytes.Repeat([]byte{0xaa}, recordedSize)...)
	var e plain
	if !e.scan(recorded) {
		t.Error("the recorded digest was looked at")
	}
	for _, signature := range []int{-1, 0} {
		name := plainName + len("ima-ng") + 1 + signature
		for at, original := range plainEntry("/usr/bin/ls", signature) {
			recordedByte := at >= 4 && at < 4+recordedSize
			digest := at >= name+4+plainDigest && at < name+4+plainDigest+sha256.Size
			text := at >= name+4+plainPath && at < name+4+plainPath+len("/usr/bin/ls")
			for _, change := range []byte{0x01, 0x80} {
				if got := e.scan(damaged(signature, at, original^change)); got != (recordedByte || digest || text) {
					t.Errorf("signature %d, byte %d: %v", signature, at, got)
				}
			}
		}
	}
	for size := range plainPath + 14 { // of the data, which is as long as before
		if size != plainPath+12 && e.scan(damaged(-1, data-4, byte(size))) {
			t.Errorf("data of %d bytes", size)
		}
		if size != 12 && e.scan(damaged(-1, data+plainPath-4, byte(size))) {
			t.Errorf("a path of %d bytes", size)
		}
		if e.scan(damaged(0, data+1-4, byte(size))) && size != plainPath+16 {
			t.Errorf("data of %d bytes with a signature", size)
		}
	}
	for _, path := range []string{"", "x"} {
		whole := plainEntry(path, 0)
		if got := e.scan(whole); got != (path != "") {
			t.Errorf("%q with a signature field: %v", path, got)
		}
		if e.scan(whole[:len(whole)-1]) || e.scan(plainEntry(path, -1)[:plainLeast-1]) {
			t.Errorf("%q, cut", path)
		}
	}
	nameless := plainEntry("", 0) // without even a NUL
	nameless = append(nameless[:data+1+plainPath], nameless[data+1+plainPath+1:]...)
	nameless[data+1-4]--
	nameless[data+1+plainPath-4] = 0
	if e.scan(nameless) {
		t.Error("a path of no bytes")
	}
}

// plainText is exact where one byte is odd.
func TestPlainText(t *testing.T) {
	for at := range 8 {
		for c := range 256 {
			word := []byte("abc d~ef")
			word[at] = byte(c)
			if got, want := plainText(binary.LittleEndian.Uint64(word)), c >= 0x20 && c < 0x7f; got != want {
				t.Errorf("%q: %v", word, got)
			}
		}
	}
}

func TestUnknownAlgorithmDigestsNothing(t *testing.T) {
	if digests("md5", nil, nil) {
		t.Error("an unknown algorithm's digest was believed")
	}
}

// Iterating ends with what is not an entry, and when it is told to.
func TestExceptEnds(t *testing.T) {
	for entry := range (&Segment{list: []byte{1}}).Entries() {
		t.Errorf("%+v", entry)
	}
	violation := plainEntry("/violated", -1)
	copy(violation[4:], noDigest)
	s := &Segment{list: plainEntry(aggregateName, -1)}
	for i := range 3 * Batch {
		if s.list = append(s.list, plainEntry("/file", -1)...); i == Batch {
			s.list = append(s.list, violation...)
		}
	}
	unknown := func(_, _ [][]byte, known []bool) { clear(known) }
	for stop := range 3*Batch + 2 {
		seen := 0
		for e := range s.Except(0, unknown) {
			if seen++; e.Index != uint64(seen-1) {
				t.Fatalf("entry %d comes as number %d", e.Index, seen)
			}
			if seen > stop {
				break
			}
		}
		if seen != stop+1 {
			t.Fatalf("%d entries, stopped at %d", seen, stop+1)
		}
	}
	for e := range (&Segment{list: append(bytes.Clone(s.list), 1)}).Except(0, unknown) {
		if e.Template == "" {
			t.Fatal("an entry of nothing")
		}
	}
	for range (&Segment{list: []byte{1}}).Except(9, unknown) {
		t.Fatal("an entry of nothing")
	}
}

// Entries before the wanted one are passed without asking, the others are asked
// about in full batches.
func TestExceptAsksSparingly(t *testing.T) {
	s := &Segment{list: plainEntry(aggregateName, -1)}
	for range 8 * Batch {
		s.list = append(s.list, plainEntry("/file", -1)...)
	}
	for from, want := range map[uint64][]int{
		0: {0, Batch, Batch, Batch, Batch, Batch, Batch, Batch, Batch}, 6*Batch + 1: {0, Batch, Batch}, 7*Batch + 2: {0, Batch - 1}, 8*Batch + 1: {0, 0},
	} {
		var got []int
		for e := range s.Except(from, func(paths, digests [][]byte, known []bool) {
			got = append(got, len(paths))
			for i := range known {
				known[i] = true
			}
		}) {
			if e.Index != 0 {
				t.Fatalf("entry %d", e.Index)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %d: asked about %v, want %v", from, got, want)
		}
	}
}
