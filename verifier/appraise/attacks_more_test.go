package appraise

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/simulator/bootlog"
	"github.com/quorate/quorate/verifier/evidence"
	"github.com/quorate/quorate/verifier/policy"
	"github.com/quorate/quorate/verifier/verdict"
)

// minimum is the learned policy with another minimum of TPM firmware.
func minimum(t *testing.T, h *host, firmware map[string]string) *policy.Set {
	t.Helper()
	p, manifests := learned(t, h)
	p.TPM.MinFirmware = firmware
	return compile(t, p, manifests)
}

// The vendor mended a leak of signing keys in one version: older ones are out, by
// the version that the quote carries.
func TestA058_LeakyFirmware(t *testing.T) {
	h := start(t, bootlog.Debian())
	h.node.Firmware = 0x00490004_00000000 // 73.4
	set := minimum(t, h, map[string]string{"IBM": "73.4"})
	admitted(t, judge(set, h))
	for _, old := range []uint64{0x00490003_ffffffff, 0x00480063_00000000, 0} {
		h.node.Firmware = old
		denied(t, judge(set, h), verdict.TPMFirmware)
	}
}

// A vendor without a minimum is a vendor that nobody looked into. What counts is
// the quoted version: the enrolment has no say in it.
func TestA059_UnknownVendor(t *testing.T) {
	h := start(t, bootlog.Debian())
	set := minimum(t, h, map[string]string{"IBM": "0.1"})
	admitted(t, judge(set, h))
	for _, vendor := range []string{"XYZ", "", "ibm", "IBM "} {
		denied(t, Appraise(set, h.whole(), History{TPM: TPM{Class: chip.Class, Vendor: vendor, Model: chip.Model}}, noon), verdict.TPMVendor)
	}
	h.node.Firmware = 0
	denied(t, judge(set, h), verdict.TPMFirmware)
}

// The TPM is the enrolled one, the board around it is not.
func TestA068_TransplantedTPM(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	admitted(t, judge(set, h))
	board := bootlog.Debian()
	board.FirmwareVersion, board.Firmware = "F12", [][]byte{[]byte("another vendor's PEI"), []byte("another vendor's DXE")}
	h.reboot(board)
	denied(t, judge(set, h), verdict.FirmwareBlob)
	h.reboot(bootlog.Debian())
	admitted(t, judge(set, h))
}

// relist begins the IMA list anew, for a boot log that a test changed.
func (h *host) relist() {
	h.list = bootlog.NewList(h.log.PCRs())
	h.run("/usr/sbin/init")
}

// file is what a verifier would archive of the host's present evidence.
func (h *host) file(set *policy.Set) *evidence.File {
	h.t.Helper()
	raw, want := h.evidence()
	v, err := evidence.Verify(raw, want)
	r, blobs := evidence.NewRecord(raw, want, v, noon)
	r.PolicySet = set.Digest()
	history, jsonErr := json.Marshal(History{TPM: chip})
	if jsonErr != nil {
		h.t.Fatal(jsonErr)
	}
	r.History = history
	if err == nil {
		r.Verdict = Appraise(set, v, History{TPM: chip}, noon)
	} else if r.Verdict, err = refusedAgain(set, err, noon); err != nil {
		h.t.Fatal(err)
	}
	f := &evidence.File{Record: r, Blobs: blobs}
	text, err := f.Marshal()
	if err != nil {
		h.t.Fatal(err)
	}
	again, err := evidence.ParseFile(text)
	if err != nil {
		h.t.Fatal(err)
	}
	return again
}

// Whoever judges the same evidence gets the same bytes: the service as it goes, an
// auditor from the archived file, an operator trying a policy on that file.
func TestA103_EverybodyJudgesAlike(t *testing.T) {
	set := debianSet(t)
	vectors := slices.Concat([]bootlog.Mutation{""}, bootlog.WellFormedMutations(), bootlog.Mutations())
	for _, m := range vectors {
		t.Run(string(m), func(t *testing.T) {
			h := start(t, bootlog.Debian())
			if m != "" {
				h = start(t, bootlog.Debian(), m)
			}
			f := h.file(set)
			again, err := Again(set, f)
			if err != nil {
				t.Fatal(err)
			}
			alone, err := Alone(set, f, noon)
			if err != nil {
				t.Fatal(err)
			}
			recorded := bytesOf(t, f.Record.Verdict)
			if !bytes.Equal(recorded, bytesOf(t, again)) || !bytes.Equal(recorded, bytesOf(t, alone)) {
				t.Errorf("recorded %s\nagain %s\nalone %s", recorded, bytesOf(t, again), bytesOf(t, alone))
			}
			if defect := slices.Contains(bootlog.Mutations(), m); (defect || m == "") && (again.Decision == verdict.Admitted) == defect {
				t.Errorf("decision %v", again.Decision)
			}
		})
	}
}

func bytesOf(t *testing.T, v verdict.Verdict) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// outcome admits the boot as it is, and denies each change of it by the checks.
func outcome(t *testing.T, set *policy.Set, changes map[string]func(*bootlog.Boot), want ...verdict.CheckID) {
	t.Helper()
	admitted(t, judge(set, start(t, bootlog.Debian())))
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			b := bootlog.Debian()
			change(&b)
			denied(t, judge(set, start(t, b)), want...)
		})
	}
}

func TestA105_SameKernelOtherStart(t *testing.T) {
	set := debianSet(t)
	outcome(t, set, map[string]func(*bootlog.Boot){
		"rescue":      func(b *bootlog.Boot) { b.CommandLine += " rd.break" },
		"no IMA":      func(b *bootlog.Boot) { b.CommandLine += " ima_appraise=off" },
		"no lockdown": func(b *bootlog.Boot) { b.CommandLine += " lockdown=none" },
		"shell":       func(b *bootlog.Boot) { b.CommandLine += " init=/bin/sh" },
		"spaces":      func(b *bootlog.Boot) { b.CommandLine += " " },
		"shortened":   func(b *bootlog.Boot) { b.CommandLine = "root=/dev/vda2 ro" },
	}, verdict.BootCommandLine, verdict.BootLoaderCommand, verdict.BootLoaderFile)
	outcome(t, set, map[string]func(*bootlog.Boot){
		"initrd": func(b *bootlog.Boot) { b.Initrd.Content = append(b.Initrd.Content, 0) },
	}, verdict.BootInitrd)
}

// Firmware started the images because a listed key signed them. That is not
// enough: each image has to be listed itself, and the revocation list as well.
func TestA107_SignedButNotListed(t *testing.T) {
	set := debianSet(t)
	outcome(t, set, map[string]func(*bootlog.Boot){
		"old shim": func(b *bootlog.Boot) { b.Shim.Content = []byte("shim 15.4") },
		"old GRUB": func(b *bootlog.Boot) { b.Loader.Content = []byte("grub 2.04") },
	}, verdict.BootImage)
	outcome(t, set, map[string]func(*bootlog.Boot){
		"no revocations":    func(b *bootlog.Boot) { b.DBX = nil },
		"other revocations": func(b *bootlog.Boot) { b.DBX = bootlog.DigestList(sha256.Sum256([]byte("something harmless"))) },
	}, verdict.SecureBootDBX)
	outcome(t, set, map[string]func(*bootlog.Boot){
		"older level": func(b *bootlog.Boot) { b.SBAT = "sbat,1,2021030218\n" },
		"no level":    func(b *bootlog.Boot) { b.SBAT = "sbat,1,\n" },
	}, verdict.SecureBootAuthority)
}

func TestA108_PlatformKeyMadeForTests(t *testing.T) {
	key := func(name string) func(*bootlog.Boot) {
		return func(b *bootlog.Boot) { b.PK = bootlog.CertificateLists(bootlog.Certificate(name)) }
	}
	outcome(t, debianSet(t), map[string]func(*bootlog.Boot){
		"shipped by mistake": key("DO NOT TRUST - AMI Test PK"),
		"another test key":   key("DO NOT SHIP - PK"),
		"second key": func(b *bootlog.Boot) {
			b.PK = append(slices.Clone(b.PK), bootlog.CertificateLists(bootlog.Certificate("second"))...)
		},
		"longer by nothing": func(b *bootlog.Boot) {
			b.PK = bootlog.CertificateLists(append(bootlog.Certificate("Quorate Simulated Platform Key"), 0))
		},
	}, verdict.SecureBootPK)
}

// What vouched for the first image is known by its whole event, not by the name
// of the certificate in it.
func TestA109_NearlyTheListedAuthority(t *testing.T) {
	set := debianSet(t)
	admitted(t, judge(set, start(t, bootlog.Debian())))
	for at := range 16 { // every 16th part of the event, the certificate and its owner among them
		h := start(t, bootlog.Debian())
		i := slices.IndexFunc(h.log.Events, func(e bootlog.Event) bool { return e.Type == bootlog.EvEFIVariableAuthority })
		e := &h.log.Events[i]
		e.Data = slices.Clone(e.Data)
		e.Data[32+len("db")*2+at*(len(e.Data)-40)/16] ^= 0x20
		e.Digest = sha256.Sum256(e.Data)
		h.relist()
		denied(t, judge(set, h), verdict.SecureBootAuthority)
	}
	h := start(t, bootlog.Debian())
	i := slices.IndexFunc(h.log.Events, func(e bootlog.Event) bool { return e.Type == bootlog.EvEFIVariableAuthority })
	h.log.Events = slices.Insert(h.log.Events, i+1, authority(h.log.Events[i], "one more certificate"))
	h.relist()
	denied(t, judge(set, h), verdict.SecureBootAuthority)
}

// authority is an authority event for another certificate of db.
func authority(like bootlog.Event, name string) bootlog.Event {
	value := append(slices.Clone(like.Data[36:52]), bootlog.Certificate(name)...) // the same owner
	data := slices.Clone(like.Data[:36])
	binary.LittleEndian.PutUint64(data[24:], uint64(len(value)))
	data = append(data, value...)
	like.Data, like.Digest = data, sha256.Sum256(data)
	return like
}

// A firmware whose log is full stops writing, and goes on booting. Wherever the
// log ends, what must have run is missing.
func TestA111_LogThatEndsEarly(t *testing.T) {
	set := debianSet(t)
	events := len(bootlog.Debian().Log().Events)
	for n := range events + 1 {
		h := start(t, bootlog.Debian())
		h.log.CutAfter(n)
		h.relist()
		raw, want := h.evidence()
		v, err := evidence.Verify(raw, want)
		passed := err == nil && Appraise(set, v, History{TPM: chip}, noon).Decision == verdict.Admitted
		if passed != (n == events) {
			t.Errorf("%d of %d events: admitted %v, %v", n, events, passed, err)
		}
	}
	for _, gone := range [][]bootlog.Mutation{{"initrd-gone"}, {"kernel-image-gone", "kernel-file-gone"}} {
		raw, want := start(t, bootlog.Debian(), gone...).evidence()
		if v, err := evidence.Verify(raw, want); err == nil && Appraise(set, v, History{TPM: chip}, noon).Decision == verdict.Admitted {
			t.Errorf("%s: admitted", gone)
		}
	}
}

// tables is a boot whose firmware measures its ACPI tables into PCR 1.
func tables(t *testing.T, content string) *host {
	t.Helper()
	const handoffTables = 0x80000009
	h := start(t, bootlog.Debian())
	i := slices.IndexFunc(h.log.Events, func(e bootlog.Event) bool { return e.PCR == 1 && e.Type == bootlog.EvSeparator })
	h.log.Events = slices.Insert(h.log.Events, i, bootlog.Event{
		PCR: 1, Type: handoffTables, Digest: sha256.Sum256([]byte(content)), Data: []byte("ACPI"),
	})
	h.relist()
	return h
}

// ACPI tables hold code that the kernel runs. A policy pins PCR 1 to them.
func TestA114_OtherACPITables(t *testing.T) {
	h := tables(t, "tables of the listed machine")
	p, manifests := learned(t, h)
	pcr1, _ := h.whole().PCR(1)
	p.Boot.PCRs = map[int][]string{1: {fmt.Sprintf("sha256:%x", pcr1)}}
	set := compile(t, p, manifests)
	admitted(t, judge(set, tables(t, "tables of the listed machine")))
	denied(t, judge(set, tables(t, "tables with a method more")), verdict.BootPCR)
	denied(t, judge(set, start(t, bootlog.Debian())), verdict.BootPCR)
}

func TestA115_VirtualMachineAsHost(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	admitted(t, judge(set, h))
	for _, class := range []string{"virtual", "firmware", "Discrete", ""} {
		denied(t, Appraise(set, h.whole(), History{TPM: TPM{Class: class, Vendor: chip.Vendor}}, noon), verdict.TPMClass)
	}
}

// Rules of the kernel that are loaded at run time show as an entry; only listed
// ones pass.
func TestA127_WeakerIMAPolicy(t *testing.T) {
	strict, weak := []byte("measure func=BPRM_CHECK\n"), []byte("dont_measure fsmagic=0x01021994\n")
	h := start(t, bootlog.Debian())
	h.measure(bootlog.BufferEntry("ima_policy", strict))
	p, manifests := learned(t, h)
	set := compile(t, p, manifests)
	admitted(t, judge(set, h))
	h.measure(bootlog.BufferEntry("ima_policy", weak))
	denied(t, judge(set, h), verdict.RuntimeIMAUnlisted)
}

// verity is the learned policy of a host whose root is bound to its command line.
func verity(t *testing.T, arguments string) (*policy.Set, bootlog.Boot) {
	t.Helper()
	b := bootlog.Debian()
	b.CommandLine = "root=/dev/mapper/root ro " + arguments
	p, manifests := learned(t, start(t, b))
	return compile(t, p, manifests), b
}

// With dm-verity the root hash on the command line stands for every block.
func TestA129_OtherRootHash(t *testing.T) {
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte("root file system")))
	set, b := verity(t, "roothash="+hash)
	admitted(t, judge(set, start(t, b)))
	for _, arguments := range []string{"roothash=" + fmt.Sprintf("%x", sha256.Sum256([]byte("altered"))), "roothash=" + hash[:63], ""} {
		other := b
		other.CommandLine = "root=/dev/mapper/root ro " + arguments
		v := judge(set, start(t, other))
		if f := find(t, v, verdict.BootCommandLine); v.Decision != verdict.Denied || f.Want != b.CommandLine {
			t.Errorf("%q: %v, %v", arguments, v.Decision, f)
		}
	}
}

// Whatever key a running host loads, and signs its files with, lists nothing.
func TestA131_KeyLearnedAtRunTime(t *testing.T) {
	set := debianSet(t)
	h := start(t, bootlog.Debian())
	admitted(t, judge(set, h))
	tool := bootlog.FileEntry("/usr/bin/tool", sha256.Sum256([]byte("tool")))
	tool.Signature = []byte{3, 2, 4, 1, 2, 3, 4, 0, 1, 1} // version 2, SHA-256, a key id, one byte
	h.measure(bootlog.BufferEntry(".ima", bootlog.Certificate("the host's own key")))
	h.measure(tool)
	v := judge(set, h)
	denied(t, v, verdict.RuntimeIMAUnlisted)
	if len(v.Findings) != 2 {
		t.Errorf("key and file are not both refused: %v", v.Findings)
	}

	listed := start(t, bootlog.Debian()) // a signature takes nothing from a listed file
	agent := bootlog.FileEntry("/usr/bin/agent", sha256.Sum256([]byte("/usr/bin/agent")))
	agent.Signature = tool.Signature
	listed.measure(agent)
	admitted(t, judge(set, listed))
}

// Signed modules and lockdown are asked for on the command line; a boot without
// them is another boot.
func TestA134_ModulesWithoutSignature(t *testing.T) {
	set, b := verity(t, "module.sig_enforce=1 lockdown=integrity")
	admitted(t, judge(set, start(t, b)))
	for _, arguments := range []string{"module.sig_enforce=0 lockdown=integrity", "module.sig_enforce=1", "module.sig_enforce=1 lockdown=integrity lockdown=none"} {
		other := b
		other.CommandLine = "root=/dev/mapper/root ro " + arguments
		v := judge(set, start(t, other))
		if find(t, v, verdict.BootCommandLine); v.Decision != verdict.Denied {
			t.Errorf("%q: %v", arguments, v.Decision)
		}
	}
}

// Firmware that was listed is out from the moment its manifest says so.
func TestA116_FirmwareRollback(t *testing.T) {
	h := start(t, bootlog.Debian())
	p, manifests := learned(t, h)
	admitted(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon))
	older := bootlog.Debian()
	older.FirmwareVersion = "2021.08"
	denied(t, judge(compile(t, p, manifests), start(t, older)), verdict.FirmwareBlob)
	i := slices.IndexFunc(manifests, func(m *policy.Manifest) bool { return m.Name == "validators-firmware" })
	manifests[i].Status, manifests[i].Since = policy.Revoked, noon.Add(-time.Minute)
	denied(t, Appraise(compile(t, p, manifests), h.whole(), History{TPM: chip}, noon), verdict.FirmwareBlob)
}
