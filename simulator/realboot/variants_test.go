package realboot_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/quorate/quorate/simulator/realboot"
	"github.com/quorate/quorate/verifier/eventlog"
	"github.com/quorate/quorate/verifier/ima"
)

// imaPCR is the only register of the quoted ones that changes after the boot.
const imaPCR = 10

func bootPCRs(t *testing.T, guest *realboot.Guest) [][]byte {
	return slices.Delete(pcrs(t, guest), imaPCR, imaPCR+1)
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// TestSameImageSamePCRs: the same image and the same TPM twice measure the
// same, so whatever differs between two boots was changed by somebody. The
// bytes of the two logs may differ: an image's address in memory is in them,
// beside a digest that does not cover it.
func TestSameImageSamePCRs(t *testing.T) {
	l := newLab(t, realboot.ShimGrub)
	first := l.boot(t, realboot.BootOptions{SecureBoot: true})
	want := bootPCRs(t, first)
	checkLogs(t, first)
	shutdown(t, first)

	second := l.boot(t, realboot.BootOptions{SecureBoot: true})
	if got := bootPCRs(t, second); !same(got, want) {
		t.Errorf("the second boot of the same image measured something else:\n%x\nwant\n%x", got, want)
	}
	second.Kill() // a power cut, not a shutdown

	if err := l.image.SetCommandLine(t.Context(), realboot.CommandLine+" debug"); err != nil {
		t.Fatal(err)
	}
	third := l.boot(t, realboot.BootOptions{SecureBoot: true})
	if facts := checkBootLog(t, third); facts.CommandLines[0].Text != realboot.CommandLine+" debug" {
		t.Errorf("command lines %+v, want the new kernel argument", facts.CommandLines)
	}
	if same(bootPCRs(t, third), want) {
		t.Error("one more kernel argument and the same PCRs")
	}
	shutdown(t, third)
}

// checkLogs replays both logs to the values that the kernel reads from the TPM,
// before and after an unlisted program runs.
func checkLogs(t *testing.T, guest *realboot.Guest) {
	t.Helper()
	facts := checkBootLog(t, guest)
	if !facts.SecureBoot.Enabled || facts.Profile != eventlog.ProfileShimGrub {
		t.Errorf("Secure Boot %v, profile %s, want true and shim-grub", facts.SecureBoot.Enabled, facts.Profile)
	}
	before := checkIMA(t, guest, ima.State{}, nil)
	exec(t, guest, "unlisted")
	var paths []string
	checkIMA(t, guest, before, &paths)
	if !slices.Equal(paths, []string{"/usr/local/bin/unlisted"}) {
		t.Errorf("ran one program, IMA measured %q", paths)
	}
}

func checkBootLog(t *testing.T, guest *realboot.Guest) *eventlog.Facts {
	t.Helper()
	log, err := eventlog.Parse(file(t, guest, realboot.BootLogPath), eventlog.SHA256, eventlog.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	var indexes []int
	for pcr := range 15 {
		if pcr != imaPCR {
			indexes = append(indexes, pcr)
		}
	}
	if err := log.Verify(indexes, bootPCRs(t, guest)); err != nil {
		t.Error(err)
	}
	facts, err := log.Facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// checkIMA replays the list from a position on, and appends the paths it met.
func checkIMA(t *testing.T, guest *realboot.Guest, from ima.State, paths *[]string) ima.State {
	t.Helper()
	values := pcrs(t, guest)
	var boot [10][32]byte
	for i := range boot {
		boot[i] = [32]byte(values[i])
	}
	quoted := ima.Quoted{PCR10: [32]byte(values[imaPCR]), BootAggregate: ima.BootAggregate(boot)}
	segment, err := ima.Replay(from, file(t, guest, realboot.IMAPath)[from.Bytes:], quoted, ima.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if paths != nil {
		for entry := range segment.Entries() {
			*paths = append(*paths, string(entry.Path))
		}
	}
	return segment.End
}

// TestSecureBootOffLeavesNoLog: Debian's GRUB then starts the kernel past its
// EFI stub, and nobody hands the log over.
func TestSecureBootOffLeavesNoLog(t *testing.T) {
	l := newLab(t, realboot.ShimGrub)
	guest := l.boot(t, realboot.BootOptions{SecureBoot: false})
	if out := exec(t, guest, "test -e "+realboot.BootLogPath+" && echo there || echo absent"); out != "absent" {
		t.Errorf("boot log is %s, want absent", out)
	}
	shutdown(t, guest)
}

// TestUKILeavesLog: its twin, a chain that leaves a log with Secure Boot off.
func TestUKILeavesLog(t *testing.T) {
	l := newLab(t, realboot.UKI)
	guest := l.boot(t, realboot.BootOptions{SecureBoot: false})
	facts := checkBootLog(t, guest)
	if facts.SecureBoot.Enabled || facts.Profile != eventlog.ProfileUKI {
		t.Errorf("Secure Boot %v, profile %s, want false and uki", facts.SecureBoot.Enabled, facts.Profile)
	}
	shutdown(t, guest)
}

// TestEFIStubLeavesLog: no boot loader at all.
func TestEFIStubLeavesLog(t *testing.T) {
	l := newLab(t, realboot.EFIStub)
	guest := l.boot(t, realboot.BootOptions{SecureBoot: false})
	facts := checkBootLog(t, guest)
	if facts.Profile != eventlog.ProfileEFIStub || len(facts.Kernels) != 1 {
		t.Errorf("profile %s, kernels %+v, want %s and one", facts.Profile, facts.Kernels, eventlog.ProfileEFIStub)
	}
	if line := facts.CommandLines[0]; !line.Matches(realboot.CommandLine + " initrd=initrd") {
		t.Errorf("command line %+v, want QEMU's addition to ours", line)
	}
	shutdown(t, guest)
}

// TestUnsignedGrubIsRefused: Secure Boot is on indeed. One changed byte in GRUB
// and shim does not start it.
func TestUnsignedGrubIsRefused(t *testing.T) {
	l := newLab(t, realboot.ShimGrub)
	grub, err := os.ReadFile("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
	if err != nil {
		t.Fatal(err)
	}
	grub[len(grub)/2] ^= 1
	if err := l.image.ReplaceOnESP(t.Context(), "EFI/BOOT/grubx64.efi", grub); err != nil {
		t.Fatal(err)
	}
	guest, err := l.machine.Boot(t.Context(), l.image, realboot.BootOptions{SecureBoot: true})
	if err == nil {
		guest.Kill()
	}
	if !errors.Is(err, realboot.ErrRefused) {
		t.Errorf("boot of a changed GRUB with Secure Boot on: %v, want %v", err, realboot.ErrRefused)
	}
}
