package eventlog

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

// version reads EV_S_CRTM_VERSION. Most firmware hashes the text; where it does
// not, the text is claimed and only the digest counts.
func version(x *extractor, e *Event) error {
	fw := &x.f.Firmware
	fw.VersionEvent = e.Index
	fw.VersionClaimed = looseText(e.Data)
	if len(e.Data) == 16 && !isText(fw.VersionClaimed) {
		fw.VersionClaimed = GUID(e.Data).String()
	}
	if x.covers(e, e.Data) {
		fw.Version = fw.VersionClaimed
	} else {
		x.oddity(oddVersion)
	}
	fw.Blobs = append(fw.Blobs, Blob{x.measurement(e), "S-CRTM version"})
	return nil
}

// isText reports whether all of s is printable ASCII.
func isText(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func blob(x *extractor, e *Event) error {
	name := looseText(e.Data)
	if len(e.Data) == 16 {
		name = volume(e.Data)
	}
	x.f.Firmware.Blobs = append(x.f.Firmware.Blobs, Blob{x.measurement(e), name})
	return nil
}

func config(x *extractor, e *Event) error {
	if e.PCR == 1 && x.separated[1] {
		x.oddity(oddHandoff)
	}
	x.f.Firmware.Config = append(x.f.Firmware.Config, x.measurement(e))
	return nil
}

// evEncryption is a type of AMD's own, of no specification: whether the firmware
// turned on the encryption of all memory.
const evEncryption EventType = 0x8401

// lateEncryption reports whether an event of PCR 2 is that and nothing else: one
// byte, 0 or 1, which its digest covers. So no image can pass for it, and it is
// filed with the images of PCR 2 all the same.
func (x *extractor) lateEncryption(e *Event) bool {
	return e.PCR == 2 && e.Type == evEncryption && len(e.Data) == 1 && e.Data[0] <= 1 && x.covers(e, e.Data)
}

var imageStages = map[EventType]string{
	EvEFIBootServicesApp: "boot-app", EvEFIBootServicesDriver: "driver", EvEFIRuntimeServices: "runtime-driver",
}

// image files a PE image. Its digest is measured (over the file's Authenticode
// form, which the log does not hold); where it came from is claimed.
func image(x *extractor, e *Event) error {
	if e.PCR == 4 && !x.separated[4] {
		x.oddity(oddEarlyApp)
	}
	stage, ok := imageStages[e.Type]
	if !ok {
		stage = "firmware"
	}
	x.f.Images = append(x.f.Images, Image{x.measurement(e), stage, imagePath(e.Data)})
	return nil
}

// exitState follows the firmware's account of being left.
type exitState uint8

const (
	exitNot exitState = iota
	exitCalled
	exitDone
)

const (
	exitCall    = "Exit Boot Services Invocation"
	exitFailure = "Exit Boot Services Returned with Failure"
	exitSuccess = "Exit Boot Services Returned with Success"
)

// bootActions are all that firmware says in PCR 4 and 5.
var bootActions = map[string]bool{
	"Calling EFI Application from Boot Option":        true,
	"Returning from EFI Application from Boot Option": true,
	"BOOT ATTEMPTS OMITTED":                           true, // EV_OMIT_BOOT_DEVICE_EVENTS: the firmware does not log what it tried
	exitCall:                                          true, exitFailure: true, exitSuccess: true,
}

// namesBootOption reports whether a text is "Booting to Boot#### Option" with four
// upper-case hexadecimal digits: what firmware says of the option it chose since
// revision 1.06 of the profile (section 8.4.2).
func namesBootOption(text string) bool {
	const before, digits, after = "Booting to Boot", 4, " Option"
	if len(text) != len(before)+digits+len(after) || !strings.HasPrefix(text, before) || !strings.HasSuffix(text, after) {
		return false
	}
	return strings.Trim(text[len(before):len(before)+digits], "0123456789ABCDEF") == ""
}

// bootAction reads an EFI action of PCR 4 or 5. What firmware does not say is
// nothing that a host may call an action: an image's digest covers bytes too, and
// whoever puts them into the log as an action's text would hide the image.
func bootAction(x *extractor, e *Event) error {
	if bootActions[string(e.Data)] || e.PCR == 4 && namesBootOption(string(e.Data)) {
		return action(x, e)
	}
	if err := x.mustCover(e, e.Data); err != nil {
		return err
	}
	if e.PCR == 4 {
		return image(x, e)
	}
	return extra(x, e)
}

// action files an EFI action, whose text has to be what was measured, and
// follows the ones that leave the firmware: failures, one call, one success.
func action(x *extractor, e *Event) error {
	if err := x.mustCover(e, e.Data); err != nil {
		return err
	}
	text := x.dataText(e, 0, len(e.Data))
	list := &x.f.Boot.Actions
	if e.PCR == 7 {
		list = &x.f.SecureBoot.Actions
	}
	*list = append(*list, Action{x.measurement(e), text})
	if text != exitCall && text != exitFailure && text != exitSuccess {
		return nil
	}
	switch {
	case e.PCR != 5:
		return verdict.Refuse(verdict.BootlogExit, e.Where(), text, "in PCR 5")
	case text == exitFailure && x.left == exitNot:
		x.oddity(oddExitFailure)
	case text == exitCall && x.left == exitNot:
		x.left = exitCalled
	case text == exitSuccess && x.left == exitCalled:
		x.left = exitDone
	default:
		return verdict.Refuse(verdict.BootlogExit, e.Where(), text, "one invocation, then one success")
	}
	return nil
}

// varForm says which bytes EV_EFI_VARIABLE_BOOT hashes. Firmware differs, but
// one firmware does not differ from itself.
type varForm uint8

const (
	formUnknown varForm = iota
	formWhole
	formValue
)

// bootVariable files BootOrder and Boot####.
func bootVariable(x *extractor, e *Event) error {
	v, err := ParseVariable(e.Data)
	if err != nil {
		return malformed(e, "no exact EFI variable", "an EFI variable and nothing else")
	}
	if err := x.checkForm(e, v); err != nil {
		return err
	}
	if x.separated[1] {
		x.oddity(oddLateBootVariables)
	}
	from := Claimed
	if x.bootForm == formWhole {
		from = Measured
	}
	if v.Name == "BootOrder" {
		return x.bootOrder(e, v, from)
	}
	entry := BootEntry{Measurement: x.measurement(e), Name: v.Name, NameFrom: from}
	entry.Description, entry.Path = loadOption(v.Data)
	x.f.Boot.Entries = append(x.f.Boot.Entries, entry)
	return nil
}

// checkForm proves that the digest covers the whole variable or only its value,
// and in the same way for all boot variables of the log.
func (x *extractor) checkForm(e *Event, v EFIVariable) error {
	form := x.bootForm
	if e.Type == EvEFIVariableBoot2 {
		form = formWhole
	}
	if form == formUnknown {
		form = formValue
		if x.covers(e, e.Data) {
			form = formWhole
		}
	}
	x.bootForm = form
	if form == formWhole {
		return x.mustCover(e, e.Data)
	}
	x.oddity(oddValueOnly)
	return x.mustCover(e, v.Data)
}

func (x *extractor) bootOrder(e *Event, v EFIVariable, from Provenance) error {
	if x.f.Boot.OrderEvent >= 0 || len(v.Data)%2 != 0 {
		return malformed(e, "a second BootOrder, or half an entry", "one BootOrder of 16-bit numbers")
	}
	x.f.Boot.OrderEvent, x.f.Boot.OrderFrom = e.Index, from
	for i := 0; i < len(v.Data); i += 2 {
		x.f.Boot.Order = append(x.f.Boot.Order, int(binary.LittleEndian.Uint16(v.Data[i:])))
	}
	return nil
}

// loadOption reads EFI_LOAD_OPTION for people: its text and device path. Vendors
// put other things into Boot#### too; those give no text.
func loadOption(data []byte) (description, path string) {
	c := cursor{b: data}
	c.u32()
	size := int(c.u16())
	var text []byte
	for !c.bad {
		unit := c.take(2)
		if len(unit) == 2 && unit[0] == 0 && unit[1] == 0 {
			break
		}
		text = append(text, unit...)
	}
	list := c.take(size)
	if c.bad {
		return "", ""
	}
	description, _ = decodeUTF16(text)
	path, _ = DevicePath(list)
	return description, path
}

var errGPT = errors.New("eventlog: malformed partition table")

const (
	gptHeader = 92
	gptEntry  = 128
	maxGPT    = 1024
)

// gpt files a partition table, whose bytes have to be what was measured.
func gpt(x *extractor, e *Event) error {
	if err := x.mustCover(e, e.Data); err != nil {
		return err
	}
	table, err := parseGPT(e.Data)
	if err != nil {
		return malformed(e, "no exact partition table", "a GPT header and its used entries, nothing else")
	}
	table.Measurement = x.measurement(e)
	x.f.GPT = append(x.f.GPT, table)
	return nil
}

// parseGPT reads UEFI_GPT_DATA: the disk's header, a count and the used entries.
func parseGPT(data []byte) (GPT, error) {
	c := cursor{b: data}
	header := c.take(gptHeader)
	n := c.u64()
	if c.bad || string(header[:8]) != "EFI PART" || binary.LittleEndian.Uint32(header[84:]) != gptEntry {
		return GPT{}, errGPT
	}
	if n > maxGPT || c.left() != int(n)*gptEntry {
		return GPT{}, errGPT
	}
	table := GPT{Disk: GUID(header[56:72]).String(), Partitions: make([]Partition, 0, n)}
	for range int(n) {
		table.Partitions = append(table.Partitions, parsePartition(c.take(gptEntry)))
	}
	return table, nil
}

func parsePartition(b []byte) Partition {
	return Partition{
		Type: GUID(b[:16]).String(), ID: GUID(b[16:32]).String(),
		First: binary.LittleEndian.Uint64(b[32:]), Last: binary.LittleEndian.Uint64(b[40:]),
		Name: looseText(b[56:gptEntry]),
	}
}
