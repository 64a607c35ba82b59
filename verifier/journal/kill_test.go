package journal

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"github.com/quorate/quorate/simulator/need"
)

const (
	childDir = "QUORATE_JOURNAL_TEST_DIR"
	childKey = "QUORATE_JOURNAL_TEST_KEY"
)

// child appends for ever, from four goroutines, and prints what was acknowledged.
// It is the test binary itself; TestMain calls it.
func child(dir string) {
	private, public, _ := strings.Cut(os.Getenv(childKey), "\n")
	signer, err := note.NewSigner(private)
	exitOn(err)
	verifier, err := note.NewVerifier(public)
	exitOn(err)
	j, err := Open(context.Background(), dir, Config{Signer: signer, Verifier: verifier})
	exitOn(err)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				entry := fmt.Sprintf("child %d writer %d entry %d", os.Getpid(), g, i)
				index, err := j.Append(context.Background(), []byte(entry))
				if err != nil {
					fmt.Printf("error %v\n", err)
					return
				}
				fmt.Printf("%d %s\n", index, entry) // one write each, so lines stay whole
			}
		})
	}
	wg.Wait()
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func start(t *testing.T, dir, key string) (*exec.Cmd, *bufio.Scanner, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childKey+"="+key)
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out), stderr
}

// TestA186_Kill kills a writing process at random instants. Every entry that was
// acknowledged is there afterwards, at its index, and the tree is sound.
func TestA186_Kill(t *testing.T) {
	t.Parallel()
	key, cfg := keys(t)
	dir := t.TempDir()
	acknowledged := map[uint64]string{}
	for range 8 {
		cmd, lines, stderr := start(t, dir, key)
		enough := rand.IntN(25)
		for n := 0; n <= enough && lines.Scan(); n++ {
			acknowledge(t, acknowledged, lines.Text())
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			acknowledge(t, acknowledged, lines.Text())
		}
		timer.Stop()
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the child ended by itself: %v\n%s", err, stderr)
		}
	}
	j := openJournal(t, dir, cfg)
	if _, err := j.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	for index, entry := range acknowledged {
		if got, err := j.Entry(t.Context(), index); err != nil || string(got) != entry {
			t.Errorf("entry %d was acknowledged as %q and is %q, %v", index, entry, got, err)
		}
	}
	if len(acknowledged) < 16 {
		t.Errorf("only %d entries were acknowledged", len(acknowledged))
	}
}

func acknowledge(t *testing.T, acknowledged map[uint64]string, line string) {
	t.Helper()
	number, entry, found := strings.Cut(line, " ")
	index, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil {
		t.Fatalf("the child said %q", line)
	}
	if other, taken := acknowledged[index]; taken {
		t.Fatalf("index %d was given to %q and to %q", index, other, entry)
	}
	acknowledged[index] = entry
}

// TestA186_FullDisk fills a real, tiny file system.
func TestA186_FullDisk(t *testing.T) {
	_, cfg := keys(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		need.Missing(t, fmt.Sprintf("mounting a tmpfs is not allowed here: %v (TestA186_NoSpace tests the same without)", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	log := filepath.Join(dir, "log")
	j := openJournal(t, log, cfg)
	written := fill(t, j, "entry", 3)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the file system is larger than asked for")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if index, err := j.Append(ctx, make([]byte, 4096)); err == nil {
		t.Fatalf("appended as %d to a full disk", index)
	}
	for index, entry := range written {
		if got, err := j.Entry(t.Context(), index); err != nil || string(got) != entry {
			t.Errorf("full disk: entry %d: %q, %v", index, got, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	index, err := j.Append(t.Context(), []byte("twin"))
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if got, err := j.Entry(t.Context(), index); err != nil || string(got) != "twin" {
		t.Errorf("entry %d: %q, %v", index, got, err)
	}
	closeJournal(t, j)
}
