package eventlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorate/quorate/verifier/verdict"
)

// corpus says what each genuine log shows: a complete boot with its profile, its
// command line and its oddities, or the check that refuses it.
var corpus = []struct {
	file     string
	profile  Profile
	line     string // a part of the first command line
	oddities []string
	refused  verdict.CheckID
}{
	{"genuine/shim-grub.log", ProfileShimGrub, "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb", []string{oddValueOnly}, ""},
	{"genuine/efi-stub.log", ProfileEFIStub, "", []string{oddEarlyApp, oddValueOnly}, ""},
	{"genuine/uki.log", ProfileUKI, "root=/dev/vda2 ro console=ttyS0 ima_policy=tcb", []string{oddValueOnly}, ""},
	{"go-tpm-tools/cos-101-amd-sev.bin", ProfileShimGrub, "systemd boot=local rootwait ro", []string{oddValueOnly}, ""},
	{"go-tpm-tools/cos-85-amd-sev.bin", ProfileGrub, "cros_efi", []string{oddValueOnly, oddShimAuthority}, ""},
	{"go-tpm-tools/confidential-gke-debug-251000_eventlog.bin", ProfileShimGrub, "dm_verity", []string{oddValueOnly}, ""},
	{"go-tpm-tools/gdc-host.bin", ProfileShimGrub, "kvm_intel.tdx=on", []string{oddVersion, oddEarlyApp, oddValueOnly, oddHandoff}, ""},
	{"go-tpm-tools/rhel8-uefi.bin", ProfileShimGrub, "crashkernel=auto", []string{oddValueOnly, oddGrubSpace}, ""},
	{"go-tpm-tools/ubuntu-1804-amd-sev.bin", ProfileGrub, "root=LABEL=cloudimg-rootfs ro", []string{oddValueOnly}, ""},
	{"go-tpm-tools/ubuntu-2104-no-dbx.bin", ProfileShimGrub, "ima_hash=sha256", []string{oddValueOnly}, ""},
	{"go-tpm-tools/ubuntu-2404-amd-sevsnp.bin", ProfileShimGrub, "panic=-1", []string{oddValueOnly, oddExitFailure}, ""},
	{"go-attestation/coreos_36_shielded_vm_no_secure_boot_eventlog", ProfileShimGrub, "ignition.firstboot", []string{oddValueOnly}, ""},

	{"go-tpm-tools/cos-93-amd-sev.bin", ProfileGrub, "cros_efi", []string{oddValueOnly, oddShimAuthority}, ""},
	{"go-tpm-tools/ubuntu-2104-no-secure-boot.bin", ProfileShimGrub, "ro console=ttyS0", []string{oddValueOnly}, ""},
	{"go-tpm-tools/eventlogwithsp800155.bin", ProfileShimGrub, "ro", []string{oddValueOnly}, ""},

	// systemd-boot of 2021 on a kernel that drops the final events table.
	{"go-tpm-tools/arch-linux-workstation.bin", "", "", nil, verdict.BootlogVariable},
	// A firmware bug: the separator's digest under another type.
	{"go-tpm-tools/glinux-alex.bin", "", "", nil, verdict.BootlogSeparator},
	// The log ends before any boot loader measured anything.
	{"go-attestation/crypto_agile_eventlog", "", "", nil, verdict.BootlogProfile},
	{"go-attestation/sb_cert_eventlog", "", "", nil, verdict.BootlogSeparator},
	// SHA-1 only.
	{"go-tpm-tools/debian-10.bin", "", "", nil, verdict.BootlogHeader},
	{"go-attestation/ebs_event_missing_eventlog", "", "", nil, verdict.BootlogHeader},
	{"go-attestation/option_rom_eventlog", "", "", nil, verdict.BootlogHeader},
	{"go-attestation/short_no_action_eventlog", "", "", nil, verdict.BootlogHeader},
	{"go-eventlog/windows_gcp_shielded_vm.log", "", "", nil, verdict.BootlogHeader},
	{"go-eventlog/linux_tpm12.log", "", "", nil, verdict.BootlogHeader},
	// Logs of confidential machines, whose measurements are in no TPM.
	{"go-eventlog/CCEL_unpadded.data.bin", "", "", nil, verdict.BootlogHeader},
	{"go-eventlog/cos-113-intel-tdx-dupe-separator-unpadded.bin", "", "", nil, verdict.BootlogHeader},
}

func TestCorpus(t *testing.T) {
	for _, want := range corpus {
		t.Run(want.file, func(t *testing.T) {
			facts, err := judge(readLog(t, want.file))
			if want.refused != "" {
				isRefusal(t, err, want.refused)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if facts.Profile != want.profile || !facts.ExitBootServices {
				t.Errorf("profile %s, want %s", facts.Profile, want.profile)
			}
			if len(facts.CommandLines) == 0 || !holding(want.line)(record{data: []byte(facts.CommandLines[0].Text)}) {
				t.Errorf("command lines %+v, want %q", facts.CommandLines, want.line)
			}
			wantOddities(t, facts, want.oddities)
		})
	}
}

func wantOddities(t *testing.T, facts *Facts, want []string) {
	t.Helper()
	got := map[string]bool{}
	for _, odd := range facts.Oddities {
		got[odd] = true
	}
	for _, odd := range want {
		if !got[odd] {
			t.Errorf("oddity %q is not listed", odd)
		}
	}
	if len(got) != len(want) {
		t.Errorf("oddities %q, want %q", facts.Oddities, want)
	}
}

// Every file of testdata is in the table: an unused log shows nothing.
func TestCorpusIsComplete(t *testing.T) {
	listed := map[string]bool{}
	for _, c := range corpus {
		listed[c.file] = true
	}
	n := 0
	for _, dir := range []string{"genuine", "go-tpm-tools", "go-attestation", "go-eventlog"} {
		files, err := os.ReadDir(filepath.Join("testdata", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if filepath.Ext(f.Name()) == ".pcrs" {
				continue
			}
			n++
			if !listed[dir+"/"+f.Name()] {
				t.Errorf("%s/%s is not in the table", dir, f.Name())
			}
		}
	}
	if n != len(corpus) || n == 0 {
		t.Errorf("%d files, %d rows", n, len(corpus))
	}
}

// The logs recorded with their TPM's values explain every one of them, and with
// one bit changed in any PCR they do not.
func TestGenuinePCRs(t *testing.T) {
	checked := 0
	for _, c := range corpus {
		values := strings.TrimSuffix(c.file, filepath.Ext(c.file)) + ".pcrs"
		if _, err := os.Stat(filepath.Join("testdata", values)); err != nil {
			continue
		}
		l, err := Parse(readLog(t, c.file), SHA256, DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		pcrs, quoted := readPCRs(t, values)
		if err := l.Verify(pcrs, quoted); err != nil {
			t.Errorf("%s: %v", c.file, err)
		}
		for i := range quoted {
			quoted[i][7] ^= 1
			isRefusal(t, l.Verify(pcrs, quoted), verdict.BootlogReplay)
			quoted[i][7] ^= 1
		}
	}
	if checked < 16 {
		t.Errorf("only %d logs have values", checked)
	}
}

func TestShimGrubFacts(t *testing.T) {
	facts := admitted(t, readLog(t, "genuine/shim-grub.log"))
	sb := facts.SecureBoot
	if !sb.Enabled || !sb.Known || sb.DB.Size != 3143 || sb.DBX.Size != 76 || sb.PK.Name != "PK" || sb.KEK.Size != 2565 {
		t.Errorf("Secure Boot %+v", sb)
	}
	if len(sb.Authorities) != 3 || sb.Authorities[0].NameClaimed != "db" || sb.Authorities[0].From != Measured {
		t.Errorf("authorities %+v", sb.Authorities)
	}
	if !facts.Shim.Present || len(facts.Shim.Lists) != 3 || facts.Shim.Lists[0].NameClaimed != "MokList" || facts.Shim.SBAT[:5] != "sbat," {
		t.Errorf("shim %+v", facts.Shim)
	}
	if len(facts.Images) != 4 || !strings.HasSuffix(facts.Images[0].PathClaimed, `/HD(1,GPT,11111111-2222-4333-8444-555555555502)/\EFI\BOOT\BOOTX64.EFI`) {
		t.Errorf("images %+v", facts.Images)
	}
	if len(facts.Kernels) != 2 || facts.Kernels[0].Kind != "file" || facts.Kernels[0].PathClaimed != "/vmlinuz" || facts.Kernels[1].Kind != "image" {
		t.Errorf("kernels %+v", facts.Kernels)
	}
	if len(facts.Initrds) != 1 || facts.Initrds[0].PathClaimed != "/initrd.img" || facts.Initrds[0].Event != 45 {
		t.Errorf("initrds %+v", facts.Initrds)
	}
	line := facts.CommandLines[0]
	if line.Event != 43 || line.PCR != 8 || line.Image != "/vmlinuz" || line.TextFrom != Measured || !line.Matches("root=/dev/vda2 ro console=ttyS0 ima_policy=tcb") {
		t.Errorf("command line %+v", line)
	}
	if len(facts.Grub.Commands) != 11 || len(facts.Grub.Files) != 3 || len(facts.Unlisted) != 0 {
		t.Errorf("GRUB %+v, unlisted %+v", facts.Grub, facts.Unlisted)
	}
	if len(facts.Boot.Order) != 3 || len(facts.Boot.Entries) != 3 || facts.Boot.Entries[0].Path == "" {
		t.Errorf("boot order %+v", facts.Boot)
	}
}

func TestEFIStubFacts(t *testing.T) {
	facts := admitted(t, readLog(t, "genuine/efi-stub.log"))
	if facts.SecureBoot.Enabled || !facts.SecureBoot.Known || !facts.SecureBoot.PK.Empty {
		t.Errorf("Secure Boot %+v", facts.SecureBoot)
	}
	line := facts.CommandLines[0]
	if line.TextFrom != Claimed || !line.Matches("root=/dev/vda2 ro console=ttyS0 ima_policy=tcb initrd=initrd") || line.Matches("root=/dev/vda2 ro") || line.Matches("") {
		t.Errorf("command line %+v", line)
	}
	if len(facts.Initrds) != 1 || facts.Initrds[0].Kind != "stub" || len(facts.Kernels) != 1 || facts.Kernels[0].Kind != "image" {
		t.Errorf("kernels %+v, initrds %+v", facts.Kernels, facts.Initrds)
	}
}

func TestUKIFacts(t *testing.T) {
	facts := admitted(t, readLog(t, "genuine/uki.log"))
	var names []string
	for _, s := range facts.UKI.Sections {
		names = append(names, s.Name)
	}
	if len(names) != 4 || names[0] != ".linux" || names[2] != ".cmdline" {
		t.Errorf("sections %q", names)
	}
	for _, line := range facts.CommandLines {
		if !line.Matches("root=/dev/vda2 ro console=ttyS0 ima_policy=tcb") || line.TextFrom != Measured {
			t.Errorf("command line %+v", line)
		}
	}
	if len(facts.CommandLines) != 3 || facts.CommandLines[2].Kind != "stub" {
		t.Errorf("command lines %+v", facts.CommandLines)
	}
	if len(facts.Kernels) != 2 || facts.Kernels[0].Kind != "section" || len(facts.Initrds) != 2 {
		t.Errorf("kernels %+v, initrds %+v", facts.Kernels, facts.Initrds)
	}
}

// A log with three banks gives facts in whichever was quoted.
func TestOtherBank(t *testing.T) {
	l, err := Parse(readLog(t, "go-tpm-tools/rhel8-uefi.bin"), SHA384, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := l.Facts(nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Bank != "sha384" || len(l.Replay().Value(7)) != 48 {
		t.Errorf("bank %s", facts.Bank)
	}
}
