package bootlog

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/simulator/papertpm"
	"github.com/quorate/quorate/simulator/swtpm"
)

func newHost(t *testing.T, dir string) *Host {
	t.Helper()
	swtpm.Require(t)
	h, err := NewHost(t.Context(), dir, swtpm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// readPCRs reads PCRs 0 to 14, eight at a time, as TPMs allow no more.
func readPCRs(t *testing.T, tpm transport.TPM) papertpm.PCRs {
	t.Helper()
	var pcrs papertpm.PCRs
	for first, mask := range map[int][]byte{0: {0xff, 0, 0}, 8: {0, 0x7f, 0}} {
		read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
			{Hash: tpm2.TPMAlgSHA256, PCRSelect: mask},
		}}}.Execute(tpm)
		if err != nil {
			t.Fatal(err)
		}
		for i, digest := range read.PCRValues.Digests {
			pcrs[first+i] = [32]byte(digest.Buffer)
		}
	}
	return pcrs
}

func samePCRs(t *testing.T, tpm transport.TPM, want papertpm.PCRs) {
	t.Helper()
	got := readPCRs(t, tpm)
	for i := range 15 {
		if got[i] != want[i] {
			t.Errorf("PCR %d is %x, want %x", i, got[i], want[i])
		}
	}
}

func TestHostBootsAndMeasures(t *testing.T) {
	h := newHost(t, t.TempDir())
	if err := h.Exec("/bin/true", sha256.Sum256(nil)); err == nil {
		t.Error("a machine that has not booted measured a program")
	}
	agent, err := swtpm.Dial(strings.TrimPrefix(h.Device(), "swtpm:"))
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	if err := h.Boot(Debian()); err != nil {
		t.Fatal(err)
	}
	if err := h.Exec("/usr/bin/cometbft", sha256.Sum256([]byte("cometbft"))); err != nil {
		t.Fatal(err)
	}
	checkHost(t, h, Debian(), FileEntry("/usr/bin/cometbft", sha256.Sum256([]byte("cometbft"))))

	changed := Debian()
	changed.CommandLine += " init=/bin/sh"
	if err := h.Boot(changed); err != nil {
		t.Fatal(err)
	}
	checkHost(t, h, changed)
}

// checkHost checks that files and PCRs are those of a machine that booted b.
func checkHost(t *testing.T, h *Host, b Boot, entries ...Entry) {
	t.Helper()
	log := b.Log()
	want := log.PCRs()
	list := NewList(want, entries...)
	list.Replay(&want)
	agent, err := swtpm.Dial(h.Mux.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	samePCRs(t, agent, want)
	for path, content := range map[string][]byte{h.BootLogPath(): log.Bytes(), h.IMAPath(): list.Bytes()} {
		got, err := os.ReadFile(path)
		if err != nil || !slices.Equal(got, content) {
			t.Errorf("%s differs, %v", path, err)
		}
	}
}

func TestHostFoundAgainHasNotBooted(t *testing.T) {
	dir := t.TempDir()
	h := newHost(t, dir)
	if err := h.Boot(Debian()); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	again := newHost(t, dir)
	if _, err := os.Stat(again.BootLogPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log of the last boot is still there: %v", err)
	}
	if err := again.Boot(Debian()); err != nil {
		t.Fatal(err)
	}
	checkHost(t, again, Debian())
}

func TestDefectiveLogsExtendTheTPMAlike(t *testing.T) {
	h := newHost(t, t.TempDir())
	for _, m := range []Mutation{"separator-missing", "secure-boot-duplicate", "extend-unlogged", "log-unextended"} {
		l := Debian().Log()
		if err := l.Mutate(m); err != nil {
			t.Fatal(err)
		}
		if err := h.BootLog(l); err != nil {
			t.Fatal(err)
		}
		want := l.PCRs()
		NewList(want).Replay(&want)
		samePCRs(t, h.TPM, want)
	}
}
