package appraise

import "github.com/quorate/quorate/verifier/eventlog"

// items visits what one check looks up.
type items func(f *eventlog.Facts, visit func(item))

// eventSet is a set of events, by index.
type eventSet []bool

func newEventSet(f *eventlog.Facts) eventSet { return make(eventSet, f.EventCount) }

func (s eventSet) add(event int) {
	if event >= 0 && event < len(s) {
		s[event] = true
	}
}

func (s eventSet) has(event int) bool { return event >= 0 && event < len(s) && s[event] }

// firmwareItems are the version event and every blob of firmware.
func firmwareItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.Firmware.Blobs {
		visit(item{f.Firmware.Blobs[i].Measurement, f.Firmware.Blobs[i].NameClaimed})
	}
}

// imageItems are the loaded PE images. A kernel that was started as an image is
// among them: which image is the kernel follows from the order of events alone.
func imageItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.Images {
		visit(item{f.Images[i].Measurement, f.Images[i].PathClaimed})
	}
}

func kernelItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.Kernels {
		visit(item{f.Kernels[i].Measurement, f.Kernels[i].PathClaimed})
	}
}

func initrdItems(f *eventlog.Facts, visit func(item)) {
	for i := range f.Initrds {
		visit(item{f.Initrds[i].Measurement, f.Initrds[i].PathClaimed})
	}
}

// commandItems are the texts that GRUB measured, but those which are kernel
// command lines.
func commandItems(f *eventlog.Facts, visit func(item)) {
	lines := newEventSet(f)
	for i := range f.CommandLines {
		lines.add(f.CommandLines[i].Event)
	}
	for i := range f.Grub.Commands {
		if c := &f.Grub.Commands[i]; !lines.has(c.Event) {
			visit(item{c.Measurement, c.Text})
		}
	}
}

// loaderItems are the files that GRUB read beside kernels and RAM disks.
func loaderItems(f *eventlog.Facts, visit func(item)) {
	known := newEventSet(f)
	for i := range f.Kernels {
		known.add(f.Kernels[i].Event)
	}
	for i := range f.Initrds {
		known.add(f.Initrds[i].Event)
	}
	for i := range f.Grub.Files {
		if file := &f.Grub.Files[i]; !known.has(file.Event) {
			visit(item{file.Measurement, file.PathClaimed})
		}
	}
}

// otherItems are the events that no other fact covers: kinds that nobody knows,
// and what systemd's stub took in beside the image.
func otherItems(f *eventlog.Facts, visit func(item)) {
	for _, m := range f.Unlisted {
		visit(item{m, ""})
	}
}
