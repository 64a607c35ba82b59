package eventlog

import (
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

const (
	labelCommand = "grub_cmd"
	labelKernel  = "kernel_cmdline"
	labelModule  = "module_cmdline"
)

// grubLabels are the prefixes that GRUB puts before a text of PCR 8. Its digest
// is over the text alone: without the prefix, and without the NUL that ends the
// record, but for one label of Red Hat's GRUB. So the label itself is claimed.
var grubLabels = [...]struct {
	prefix string
	kind   string
	nul    bool // the digest covers the NUL too
	odd    bool
}{
	{"grub_cmd: ", labelCommand, false, false},
	{"kernel_cmdline: ", labelKernel, false, false},
	{"module_cmdline: ", labelModule, false, false},
	{"grub_cmd ", labelCommand, true, true},
	{"grub_kernel_cmdline ", labelKernel, false, true},
}

// grubCommand files one text of PCR 8, which has to be what was measured.
func grubCommand(x *extractor, e *Event) error {
	if !isCString(e.Data) {
		return malformed(e, "no text", "a label, a text and one NUL")
	}
	record := x.dataText(e, 0, len(e.Data)-1)
	for i := range grubLabels {
		label := &grubLabels[i]
		text, ok := strings.CutPrefix(record, label.prefix)
		if !ok {
			continue
		}
		measured := e.Data[len(label.prefix) : len(e.Data)-1]
		if label.nul {
			measured = e.Data[len(label.prefix):]
		}
		if label.odd {
			x.oddity(oddGrubSpace)
		}
		x.f.Grub.Present = true
		x.f.Grub.Commands = append(x.f.Grub.Commands, Command{x.measurement(e), text, label.kind})
		return x.mustCover(e, measured)
	}
	return verdict.Refuse(verdict.BootlogLabel, e.Where(), record, "one of GRUB's labels")
}

// grubFile files one file that GRUB read, by the digest of its content.
func grubFile(x *extractor, e *Event) error {
	if !isCString(e.Data) {
		return malformed(e, "no path", "a path and one NUL")
	}
	x.f.Grub.Files = append(x.f.Grub.Files, File{x.measurement(e), x.dataText(e, 0, len(e.Data)-1)})
	return nil
}

// kernelLabel knows GRUB's commands that load a kernel or module, with the label
// of the text that GRUB measures right after the command.
func kernelLabel(verb string) (label string, loads bool) {
	switch verb {
	case "linux", "linuxefi", "linux16", "multiboot", "multiboot2", "xen_hypervisor":
		return labelKernel, true
	case "module", "module2", "xen_module":
		return labelModule, true
	}
	return "", false
}

// grubLines reads the command lines from PCR 8. As labels are claimed, they are
// not what decides: every text that is a loading command gives a command line,
// and a text labelled as command line has to follow its command. So a host can
// neither hide a line by calling it a command, nor pass off a typed text as one.
func (x *extractor) grubLines() error {
	cmds := x.f.Grub.Commands
	last := grubLoad{kernel: -1, initrd: -1}
	for i := 0; i < len(cmds); i++ {
		if cmds[i].KindClaimed != labelCommand {
			return verdict.Refuse(verdict.BootlogLabel, where(cmds[i].Measurement), cmds[i].KindClaimed+": "+cmds[i].Text, "the command that loads it, right before")
		}
		verb, line, _ := strings.Cut(cmds[i].Text, " ")
		label, loads := kernelLabel(verb)
		switch {
		case namesFile(verb):
			x.addGrubLine(cmds[i].Measurement, labelKernel, cmds[i].Text)
			continue
		case loadsInitrd(cmds[i].Text):
			last.initrd = i
			continue
		case !loads:
			continue
		}
		at, lined := cmds[i].Measurement, false
		if label == labelKernel {
			last.kernel = i
		}
		if i+1 < len(cmds) && cmds[i+1].KindClaimed == label && unquoted(cmds[i+1].Text) == unquoted(line) {
			i++
			at, line, lined = cmds[i].Measurement, cmds[i].Text, true
		}
		last.lined = last.lined && label != labelKernel || lined
		x.addGrubLine(at, label, line)
	}
	return last.check(cmds)
}

// grubLoad is the kernel that GRUB loaded last, which is the one that it booted.
type grubLoad struct {
	kernel int  // index of the command, -1 if there was none
	lined  bool // its command line was measured behind the command
	initrd int  // index of the last command that loaded an initrd, -1 if there was none
}

// check proves that the kernel was loaded whole. Loading a kernel drops the one
// before and its initrd: whoever repeats an allowed command at GRUB's prompt
// boots without the initrd that the log shows.
func (g grubLoad) check(cmds []Command) error {
	switch {
	case g.kernel < 0:
		return nil
	case !g.lined:
		return verdict.Refuse(verdict.BootlogIncomplete, where(cmds[g.kernel].Measurement), "no command line behind "+cmds[g.kernel].Text, "the kernel's command line, measured when GRUB had loaded it")
	case g.initrd >= 0 && g.initrd < g.kernel:
		return verdict.Refuse(verdict.BootlogIncomplete, where(cmds[g.kernel].Measurement), "a kernel loaded after the initrd, which drops it", "the initrd after the kernel that is booted")
	}
	return nil
}

// namesFile reports whether a first word is a file: a path, or blocks of a disk.
// GRUB has no command of such a name, so the text is a command line that lost its
// label, by whichever command the kernel was loaded.
func namesFile(word string) bool {
	return word != "" && (word[0] == '/' || word[0] == '(' || word[0] >= '0' && word[0] <= '9')
}

func (x *extractor) addGrubLine(at Measurement, label, line string) {
	kind := "grub"
	if label == labelModule {
		kind = "module"
	}
	image, text, _ := strings.Cut(line, " ")
	x.f.CommandLines = append(x.f.CommandLines, CommandLine{Measurement: at, Kind: kind, Text: text, TextFrom: Measured, Image: image})
}

// unquoted drops the quotes and escapes that GRUB adds when it joins arguments
// to a command line, and which the command's own text does not have.
func unquoted(s string) string { return quotes.Replace(s) }

var quotes = strings.NewReplacer(`"`, "", `'`, "", `\`, "")

// grubFiles names the files of PCR 9 that the measured commands load. Paths are
// claimed, so these facts are for people; Grub.Files is what a policy judges.
func (x *extractor) grubFiles() {
	kernels := map[string]bool{"grub_linuxefi Kernel": true}
	initrds := map[string]bool{"grub_linuxefi Initrd": true}
	for _, line := range x.f.CommandLines {
		if line.Image != "" {
			kernels[line.Image] = true
		}
	}
	for i := range x.f.Grub.Commands {
		for _, path := range initrdPaths(x.f.Grub.Commands[i].Text) {
			initrds[path] = true
		}
	}
	for i := range x.f.Grub.Files {
		file := &x.f.Grub.Files[i]
		if kernels[file.PathClaimed] {
			x.f.Kernels = append(x.f.Kernels, Kernel{file.Measurement, "file", file.PathClaimed})
		}
		if initrds[file.PathClaimed] {
			x.f.Initrds = append(x.f.Initrds, Initrd{file.Measurement, "file", file.PathClaimed})
		}
	}
}

func loadsInitrd(command string) bool { return len(initrdPaths(command)) > 0 }

// initrdPaths are the files that a command loads as initrd.
func initrdPaths(command string) []string {
	if !strings.HasPrefix(command, "initrd") {
		return nil
	}
	verb, paths, _ := strings.Cut(command, " ")
	if verb != "initrd" && verb != "initrdefi" && verb != "initrd16" {
		return nil
	}
	return strings.Fields(paths)
}
