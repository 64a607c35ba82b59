package parts_test

import (
	"bytes"
	"testing"

	"github.com/quorate/quorate/proto/parts"
	pb "github.com/quorate/quorate/proto/quorate/v1"
)

func file(size int, with byte) []byte { return bytes.Repeat([]byte{with}, size) }

func TestFilesComeBackWhole(t *testing.T) {
	want := [][]byte{file(10, 'p'), file(parts.Size, 'a'), file(2*parts.Size+1, 'b'), file(1, 'c')}
	j := parts.Joiner{Limit: 3*parts.Size + 12}
	count := 0
	for p := range parts.Split(want...) {
		if len(p.Data) > parts.Size {
			t.Errorf("a part of %d bytes", len(p.Data))
		}
		if err := j.Add(p); err != nil {
			t.Fatal(err)
		}
		count++
	}
	policy, manifests, err := j.Files()
	if err != nil || count != 6 {
		t.Fatalf("%d parts, %v", count, err)
	}
	for i, got := range append([][]byte{policy}, manifests...) {
		if !bytes.Equal(got, want[i]) {
			t.Errorf("file %d has %d bytes, want %d", i, len(got), len(want[i]))
		}
	}
}

func TestSplitStopsWhenAsked(t *testing.T) {
	for range parts.Split(file(3*parts.Size, 'x')) {
		break
	}
}

func TestPartsOutOfOrder(t *testing.T) {
	part := func(n uint32, size int) *pb.PolicyPart { return &pb.PolicyPart{File: n, Data: file(size, 'x')} }
	for name, all := range map[string][]*pb.PolicyPart{
		"empty":       {part(0, 0)},
		"none":        {nil},
		"not first":   {part(1, 1)},
		"skipped":     {part(0, 1), part(2, 1)},
		"back":        {part(0, 1), part(1, 1), part(0, 1)},
		"too long":    {part(0, 101)},
		"together":    {part(0, 50), part(1, 51)},
		"far too far": {part(0, 1), part(1<<32-1, 1)},
	} {
		j := parts.Joiner{Limit: 100}
		for _, p := range all[:len(all)-1] {
			if err := j.Add(p); err != nil {
				t.Fatalf("%s: the twin: %v", name, err)
			}
		}
		if j.Add(all[len(all)-1]) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	var many parts.Joiner
	many.Limit = 2 * parts.MaxFiles
	for i := range uint32(parts.MaxFiles) {
		if err := many.Add(part(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if many.Add(part(parts.MaxFiles, 1)) == nil {
		t.Error("too many files: taken")
	}
	if _, _, err := new(parts.Joiner).Files(); err == nil {
		t.Error("no part: files")
	}
}
