package policy

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// table builds a table of n files, as a distribution has them.
func table(n int) *fileTable {
	return newFileTable(n, func(visit func(fileEntry)) {
		for i := range n {
			visit(fileEntry{file(i), sha256.Sum256([]byte(file(i))), 1})
		}
	})
}

func file(i int) string {
	return fmt.Sprintf("/usr/lib/x86_64-linux-gnu/package-%d/libexample-%d.so.1", i/40, i)
}

func TestFileTableFindsAllAndNothingElse(t *testing.T) {
	const n = 50_000
	t1 := table(n)
	for i := range n {
		digest := sha256.Sum256([]byte(file(i)))
		if t1.lookup([]byte(file(i)), digest[:]) != 1 {
			t.Fatalf("file %d is not found", i)
		}
		if t1.lookup([]byte(file(i+1)), digest[:]) != 0 {
			t.Fatalf("the digest of file %d is found at another path", i)
		}
	}
	if newFileTable(0, nil).lookup([]byte("/x"), make([]byte, 32)) != 0 {
		t.Error("an empty table finds something")
	}
}

// TestLookupAll compares with lookup: listed files, other paths, other digests.
func TestLookupAll(t *testing.T) {
	const n = 5000
	t1 := table(n)
	for at := range n / Batch {
		var paths, digests [][]byte
		for i := at * Batch; i < (at+1)*Batch; i++ {
			digest := sha256.Sum256([]byte(file(i + i%5/4)))
			paths, digests = append(paths, []byte(file(i+i%7/6*n))), append(digests, digest[:32-i%11/10])
		}
		var found [Batch]uint16
		t1.lookupAll(paths, digests, found[:])
		for i := range paths {
			if want := t1.lookup(paths[i], digests[i]); found[i] != want {
				t.Fatalf("%s: %d, want %d", paths[i], found[i], want)
			}
		}
	}
}

func TestFileLookupDoesNotAllocate(t *testing.T) {
	t1 := table(1000)
	path, digest := []byte(file(500)), sha256.Sum256([]byte(file(500)))
	if n := testing.AllocsPerRun(100, func() { t1.lookup(path, digest[:]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFindFile(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			t1 := table(n)
			paths, digests := make([][]byte, 1024), make([][32]byte, 1024)
			for i := range paths {
				paths[i] = []byte(file(i * 7 % n))
				digests[i] = sha256.Sum256(paths[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if t1.lookup(paths[i%1024], digests[i%1024][:]) == 0 {
					b.Fatal("not found")
				}
			}
		})
	}
}
