package eventlog

import (
	"encoding/hex"
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
	}
	return strings.ToLower(strings.TrimPrefix(e.Type.String(), "EV_")), looseText(e.Data)
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
		return "boot order", hex.EncodeToString(v.Data)
	}
	description, path := loadOption(v.Data)
	return "boot entry " + v.Name, strings.TrimSpace(description + " " + path)
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
