package eventlog

import (
	"fmt"
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

// The tagged events of the Linux EFI stub, PCR 9. Their digests are over the
// command line in UTF-16 and over the initrd, neither of which is in the log.
const (
	tagInitrd      = 0x8F3B22EC
	tagLoadOptions = 0x8F3B22ED
	initrdText     = "Linux initrd\x00"
	optionsText    = "LOADED_IMAGE::LoadOptions\x00"
)

type stubEvent struct {
	Measurement
	tag uint32
}

// stubMeasurement files what the kernel's EFI stub measured. The stub measures
// its command line, then its initrd, once: as the tags are claimed, this order
// is what keeps one from being shown as the other.
func stubMeasurement(x *extractor, e *Event) error {
	c := cursor{b: e.Data}
	tag, size := c.u32(), c.u32()
	text := string(c.take(c.left()))
	if c.bad || uint64(size) != uint64(len(text)) {
		return malformed(e, "no exact tagged event", "a tag, a size and that many bytes")
	}
	if (tag != tagLoadOptions || text != optionsText) && (tag != tagInitrd || text != initrdText) {
		return verdict.Refuse(verdict.BootlogType, e.Where(), fmt.Sprintf("tag 0x%08x, %q", tag, text), "a tag of the kernel's EFI stub")
	}
	for _, earlier := range x.stubs {
		if earlier.tag == tag || earlier.tag == tagInitrd {
			return verdict.Refuse(verdict.BootlogLabel, e.Where(), fmt.Sprintf("%q again or too late", text), "the kernel's load options, then its initrd, once each")
		}
	}
	x.stubs = append(x.stubs, stubEvent{x.measurement(e), tag})
	return nil
}

// stubFacts files the stub's command line and initrd. The command line gets a
// text if one that is measured elsewhere has this digest.
func (x *extractor) stubFacts() {
	for _, s := range x.stubs {
		if s.tag == tagInitrd {
			x.f.Initrds = append(x.f.Initrds, Initrd{Measurement: s.Measurement, Kind: "stub"})
			continue
		}
		line := CommandLine{Measurement: s.Measurement, Kind: "stub"}
		for _, known := range x.f.CommandLines {
			if known.TextFrom == Measured && x.bank.stubDigest(known.asStub()) == s.Digest {
				line.Text, line.TextFrom, line.Image = known.Text, Measured, known.Image
				break
			}
		}
		x.f.CommandLines = append(x.f.CommandLines, line)
	}
}

// asStub is the line in UTF-16 as the kernel gets it: GRUB puts the image's path
// first and no NUL last, systemd and firmware end it with a NUL.
func (c CommandLine) asStub() []byte {
	if c.Kind == "grub" {
		return encodeUTF16(strings.TrimSuffix("BOOT_IMAGE="+c.Image+" "+c.Text, " "))
	}
	return append(encodeUTF16(c.Text), 0, 0)
}

// stubDigest is what the EFI stub measures for load options.
func (a Alg) stubDigest(options []byte) Digest {
	var sum [MaxDigest]byte
	a.sum(&sum, options)
	return Digest(sum[:a.Size()])
}

// Matches reports whether the command line is exactly text: by the measured
// text, or where the log has only the stub's digest, by the digest of text as
// firmware hands it over.
func (c CommandLine) Matches(text string) bool {
	if c.TextFrom == Measured {
		return c.Text == text
	}
	return c.Kind == "stub" && c.Digest != "" && c.Digest.alg().stubDigest(append(encodeUTF16(text), 0, 0)) == c.Digest
}

// ukiSection files one section of a unified kernel image. systemd-stub measures
// each section's name with its NUL, then its content, so the names are measured.
func ukiSection(x *extractor, e *Event) error {
	name, ok := utf16Record(e.Data)
	if !ok {
		return malformed(e, "no section name", "a section's name in UTF-16 and one NUL")
	}
	if x.section == "" {
		x.section = name
		return x.mustCover(e, append([]byte(name), 0))
	}
	if name != x.section {
		return verdict.Refuse(verdict.BootlogLabel, e.Where(), "content of "+name, "content of "+x.section+", whose name was measured before")
	}
	x.section = ""
	x.f.UKI.Present = true
	x.f.UKI.Sections = append(x.f.UKI.Sections, Section{x.measurement(e), name})
	switch name {
	case ".linux":
		x.f.Kernels = append(x.f.Kernels, Kernel{x.measurement(e), "section", name})
	case ".initrd":
		x.f.Initrds = append(x.f.Initrds, Initrd{x.measurement(e), "section", name})
	}
	return nil
}

// loaderText files a text that systemd-boot or systemd-stub measured into PCR 12:
// a command line if the digest covers it, otherwise something known by digest.
func loaderText(x *extractor, e *Event) error {
	text, ok := utf16Record(e.Data)
	if !ok || !x.covers(e, e.Data) {
		return extra(x, e)
	}
	x.f.CommandLines = append(x.f.CommandLines, CommandLine{Measurement: x.measurement(e), Kind: "loader", Text: text, TextFrom: Measured})
	return nil
}

// extra files what only its digest tells: configuration, credentials, extensions.
func extra(x *extractor, e *Event) error {
	data := e.Data
	if e.Type == EvEventTag {
		data = data[min(8, len(data)):]
	}
	x.f.UKI.Extra = append(x.f.UKI.Extra, Blob{x.measurement(e), looseText(data)})
	x.f.Unlisted = append(x.f.Unlisted, x.measurement(e))
	return nil
}

// utf16Record reads a text in UTF-16 with one NUL at its end.
func utf16Record(b []byte) (string, bool) {
	if len(b) < 2 || b[len(b)-1] != 0 || b[len(b)-2] != 0 {
		return "", false
	}
	return decodeUTF16(b[:len(b)-2])
}
