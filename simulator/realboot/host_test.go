package realboot

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/simulator/need"
)

func TestReleasesAreOrderedByNumber(t *testing.T) {
	names := []string{"vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz-6.12.0-1-cloud-amd64", "vmlinuz-6.1.0-9-cloud-amd64"}
	slices.SortFunc(names, compareReleases)
	want := []string{"vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz-6.12.0-1-cloud-amd64"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

func TestMissingErrorNamesOneCommand(t *testing.T) {
	var missing MissingError
	missing.add("ovmf", "b.fd")
	missing.add("gdisk", "sgdisk")
	missing.add("ovmf", "a.fd")
	if want := "sudo apt-get install --no-install-recommends gdisk ovmf"; !strings.HasSuffix(missing.Error(), want) {
		t.Errorf("%v does not end with %q", &missing, want)
	}
}

// TestCpioIsReadable: another implementation unpacks what we pack.
func TestCpioIsReadable(t *testing.T) {
	need.Program(t, "cpio", "cpio")
	archive, err := cpioArchive(func(w *cpioWriter) {
		w.add("bin", cpioDirectory, nil)
		w.add("bin/a", cpioFile, []byte("odd"))
		w.add("init", cpioFile, []byte("even"))
	})
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("cpio", "-t", "--quiet")
	list.Stdin = bytes.NewReader(archive)
	out, err := list.CombinedOutput()
	if err != nil || string(out) != "bin\nbin/a\ninit\n" {
		t.Errorf("cpio says %q, %v", out, err)
	}
}
