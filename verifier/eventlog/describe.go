package eventlog

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

// Describe puts an event into words for people, on one printable line. It
// repeats what the event claims; only Facts knows what of it was measured.
func Describe(e Event) string {
	kind, text := describe(e)
	if text == "" {
		return kind
	}
	return verdict.Quote(kind + ": " + text)
}

// describe gives an event's kind ("kernel command line") and its own text.
func describe(e Event) (kind, text string) {
	switch e.Type {
	case EvSeparator:
		return "separator", ""
	case EvNoAction:
		return "not measured", looseText(e.Data)
	case EvEFIBootServicesApp, EvEFIBootServicesDriver, EvEFIRuntimeServices:
		return "image (" + imageStages[e.Type] + ")", imagePath(e.Data)
	case EvEFIAction:
		return "action", looseText(e.Data)
	case EvEFIGPTEvent, EvEFIGPTEvent2:
		return describeGPT(e)
	case EvEFIVariableDriverConfig, EvEFIVariableAuthority, EvEFIVariableBoot, EvEFIVariableBoot2:
		return describeVariable(e)
	case EvIPL, EvEventTag:
		return describeLoader(e)
	case EvSCRTMVersion:
		return "firmware version", looseText(e.Data)
	case EvEFIPlatformFirmwareBlob, EvEFIPlatformFwBlob2, EvEFIHandoffTables2:
		return kindWords[e.Type], blobText(e.Data)
	case EvEFIHandoffTables:
		return kindWords[e.Type], "" // counts and addresses
	}
	if kind, ok := kindWords[e.Type]; ok {
		return kind, looseText(e.Data)
	}
	return e.Type.String(), looseText(e.Data)
}

// kindWords are the kinds of events whose data is a text, if it is anything.
var kindWords = map[EventType]string{
	EvPrebootCert: "certificate before the boot", EvPostCode: "firmware code", EvPostCode2: "firmware code", EvAction: "action",
	EvSCRTMContents: "root of trust", EvCPUMicrocode: "microcode", EvPlatformConfigFlags: "platform configuration",
	EvTableOfDevices: "table of devices", EvCompactHash: "vendor's measurement", EvIPLPartitionData: "partition data",
	EvNonhostCode: "embedded controller's code", EvNonhostConfig: "embedded controller's configuration", EvNonhostInfo: "embedded controller's information",
	EvOmitBootDeviceEvents: "action", EvEFIPlatformFirmwareBlob: "firmware", EvEFIPlatformFwBlob2: "firmware",
	EvEFIHandoffTables: "handoff tables", EvEFIHandoffTables2: "handoff tables", EvEFIHCRTMEvent: "hardware root of trust",
	EvEFISPDMFirmwareBlob: "device's firmware", EvEFISPDMFirmwareConfig: "device's configuration",
	EvEFISPDMDevicePolicy: "device policy", EvEFISPDMDeviceAuthority: "device authority",
}

// blobText tells where a firmware volume lies, or what the second kind of record
// calls it: a length, a name, and the rest.
func blobText(data []byte) string {
	if len(data) == 16 {
		return volume(data)
	}
	if len(data) > 1 && len(data) > int(data[0]) {
		return looseText(data[1 : 1+int(data[0])])
	}
	return looseText(data)
}

// volume puts UEFI_PLATFORM_FIRMWARE_BLOB into words.
func volume(data []byte) string {
	return fmt.Sprintf("0x%x, %d bytes", binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:]))
}

func describeGPT(e Event) (kind, text string) {
	table, err := parseGPT(e.Data)
	if err != nil {
		return "partition table", ""
	}
	return "partition table", fmt.Sprintf("disk %s, %d partitions", table.Disk, len(table.Partitions))
}

func describeVariable(e Event) (kind, text string) {
	v, _, err := splitVariable(e.Data)
	switch {
	case err != nil:
		return "variable", ""
	case e.Type == EvEFIVariableAuthority:
		return "authority " + v.Name, fmt.Sprintf("%d bytes", len(v.Data))
	case e.Type == EvEFIVariableDriverConfig && len(v.Data) == 1:
		return "variable " + v.Name, fmt.Sprintf("%d", v.Data[0])
	case e.Type == EvEFIVariableDriverConfig:
		return "variable " + v.Name, fmt.Sprintf("%d bytes", len(v.Data))
	case v.Name == "BootOrder":
		return "boot order", orderText(v.Data)
	}
	description, path := loadOption(v.Data)
	return "boot entry " + v.Name, strings.TrimSpace(description + " " + path)
}

// orderText names the entries of a boot order.
func orderText(data []byte) string {
	var names []string
	for ; len(data) >= 2; data = data[2:] {
		names = append(names, fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(data)))
	}
	return strings.Join(names, ", ")
}

// describeLoader reads what boot loaders measure into PCR 8 to 14.
func describeLoader(e Event) (kind, text string) {
	if e.Type == EvEventTag {
		return "boot loader's measurement", looseText(e.Data[min(8, len(e.Data)):])
	}
	switch e.PCR {
	case 8:
		return describeGrub(looseText(e.Data))
	case 9:
		return "file read by GRUB", looseText(e.Data)
	case 11:
		return "section of the unified kernel image", looseText(e.Data)
	case 12:
		return "boot loader's command line", looseText(e.Data)
	case 14:
		return "shim's list", looseText(e.Data)
	}
	return "boot loader's measurement", looseText(e.Data)
}

var labelWords = map[string]string{
	labelCommand: "GRUB command", labelKernel: "kernel command line", labelModule: "module command line",
}

func describeGrub(record string) (kind, text string) {
	for _, label := range grubLabels {
		if text, ok := strings.CutPrefix(record, label.prefix); ok {
			return labelWords[label.kind], text
		}
	}
	return "text of PCR 8", record
}
