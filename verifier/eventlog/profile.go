package eventlog

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

// finish judges the log as a whole.
func (x *extractor) finish() error {
	for pcr, done := range x.separated {
		if !done {
			return verdict.Refuse(verdict.BootlogSeparator, fmt.Sprintf("PCR %d", pcr), "no separator", "one separator of four zero bytes in each of PCR 0 to 7")
		}
	}
	if x.secure != len(secureOrder) {
		return verdict.Refuse(verdict.BootlogSecureBoot, "PCR 7", "no variable "+secureOrder[x.secure].name, "SecureBoot, PK, KEK, db, dbx, in this order")
	}
	if x.counts[0] == 0 {
		return x.incomplete("firmware in PCR 0")
	}
	if x.section != "" {
		return x.incomplete("content of section " + x.section)
	}
	if err := x.chain(); err != nil {
		return err
	}
	if x.left != exitDone {
		return verdict.Refuse(verdict.BootlogExit, "", "a log that ends before the firmware is left", "Exit Boot Services Invocation, then Returned with Success, last")
	}
	x.f.ExitBootServices = true
	return nil
}

// chain reads the boot loaders' facts, detects the profile and checks it.
func (x *extractor) chain() error {
	if err := x.grubLines(); err != nil {
		return err
	}
	x.grubFiles()
	x.stubFacts()
	p := x.detect()
	if p == nil {
		return verdict.Refuse(verdict.BootlogProfile, "", "events in "+x.used(), "the PCRs of a known boot chain")
	}
	if !x.f.Grub.Present && len(x.f.Grub.Files) > 0 {
		return verdict.Refuse(verdict.BootlogLabel, where(x.f.Grub.Files[0].Measurement), "a file read by GRUB in a boot without GRUB", "what the kernel's EFI stub measures")
	}
	x.f.Profile = p.name
	x.lastImage(p)
	for _, need := range p.needs {
		if !need.holds(x) {
			return x.incomplete(need.what)
		}
	}
	return nil
}

func (x *extractor) incomplete(what string) error {
	got := "no " + what
	if x.f.Profile != "" {
		got += " in a " + string(x.f.Profile) + " boot"
	}
	return verdict.Refuse(verdict.BootlogIncomplete, "", got, "a complete log")
}

// profile describes the complete log of one boot chain.
type profile struct {
	name   Profile
	uses   []int // PCRs that the chain always extends
	unused []int // PCRs that it never extends
	images int   // images of PCR 4 before the kernel's own
	needs  []need
}

type need struct {
	what  string
	holds func(*extractor) bool
}

var (
	needLines  = need{"kernel command line", func(x *extractor) bool { return len(x.f.CommandLines) > 0 }}
	needKernel = need{"kernel", func(x *extractor) bool { return len(x.f.Kernels) > 0 }}
	needFile   = need{"kernel among the files that GRUB read", func(x *extractor) bool { return x.hasKernelFile() }}
	needStub   = need{"command line of the kernel's EFI stub", func(x *extractor) bool { return x.hasLine("stub") }}
	needLoader = need{"command line of the boot loader", func(x *extractor) bool { return x.hasLine("loader") }}
	needFiles  = need{"file read by GRUB", func(x *extractor) bool { return len(x.f.Grub.Files) > 0 }}
	needInitrd = need{"initrd, though GRUB was told to load one", func(x *extractor) bool { return !x.wantsInitrd() || len(x.f.Initrds) > 0 }}
	needLinux  = need{"section .linux", func(x *extractor) bool { return x.hasSection(".linux") }}
)

func needImages(n int) need {
	return need{fmt.Sprintf("%d images in PCR 4", n), func(x *extractor) bool { return x.counts4() >= n }}
}

// profiles are tried in order; the first whose PCRs fit names the log.
var profiles = []profile{
	{ProfileUKI, []int{4, 11}, []int{8}, 0, []need{needImages(1), needLinux, needLines, needKernel}},
	{ProfileShimGrub, []int{4, 8, 9, 14}, []int{11, 12, 13}, 2, []need{needImages(2), needLines, needFiles, needFile, needInitrd}},
	{ProfileGrub, []int{4, 8, 9}, []int{11, 12, 13, 14}, 1, []need{needImages(1), needLines, needFiles, needFile, needInitrd}},
	{ProfileSystemdBoot, []int{4, 9, 12}, []int{8, 11}, 0, []need{needImages(2), needLoader, needStub, needKernel}},
	{ProfileEFIStub, []int{4, 9}, []int{8, 11, 12, 13}, 0, []need{needImages(1), needStub, needKernel}},
}

func (x *extractor) detect() *profile {
	for i := range profiles {
		if x.fits(&profiles[i]) {
			return &profiles[i]
		}
	}
	return nil
}

func (x *extractor) fits(p *profile) bool {
	for _, pcr := range p.uses {
		if x.counts[pcr] == 0 {
			return false
		}
	}
	for _, pcr := range p.unused {
		if x.counts[pcr] != 0 {
			return false
		}
	}
	return true
}

// lastImage names the kernel among the images of PCR 4: the last one that was
// started, if there are more than the boot loaders before it.
func (x *extractor) lastImage(p *profile) {
	var last *Image
	n := 0
	for i := range x.f.Images {
		if x.f.Images[i].PCR == 4 {
			last = &x.f.Images[i]
			n++
		}
	}
	if n > p.images {
		x.f.Kernels = append(x.f.Kernels, Kernel{last.Measurement, "image", last.PathClaimed})
	}
}

func (x *extractor) counts4() int {
	n := 0
	for _, image := range x.f.Images {
		if image.PCR == 4 {
			n++
		}
	}
	return n
}

func (x *extractor) hasKernelFile() bool {
	for _, k := range x.f.Kernels {
		if k.Kind == "file" {
			return true
		}
	}
	return false
}

func (x *extractor) hasLine(kind string) bool {
	for _, line := range x.f.CommandLines {
		if line.Kind == kind {
			return true
		}
	}
	return false
}

func (x *extractor) wantsInitrd() bool {
	for i := range x.f.Grub.Commands {
		if loadsInitrd(x.f.Grub.Commands[i].Text) {
			return true
		}
	}
	return false
}

func (x *extractor) hasSection(name string) bool {
	for _, s := range x.f.UKI.Sections {
		if s.Name == name {
			return true
		}
	}
	return false
}

// used lists the extended PCRs in words.
func (x *extractor) used() string {
	var parts []string
	for pcr, n := range x.counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("PCR %d", pcr))
		}
	}
	return strings.Join(parts, ", ")
}

func where(m Measurement) string { return fmt.Sprintf("event %d, PCR %d", m.Event, m.PCR) }
