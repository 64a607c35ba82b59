package eventlog

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/quorate/quorate/verifier/verdict"
)

// Facts reads a log as one complete boot. It proves, in this order, that
//
//  1. every event is of a kind that its PCR knows, with its data covered by its
//     digest wherever the specification says so,
//  2. PCR 0 to 7 each have exactly one separator of four zero bytes, nothing
//     carries a separator's digest under another name, and after it comes only
//     what the specification allows,
//  3. the Secure Boot variables are measured once each, in order, well formed,
//  4. the labels that boot loaders put beside their digests fit each other,
//  5. the log shows one known boot chain and all that this chain measures,
//  6. the log ends with the firmware being left, and nothing after it.
//
// Facts does not compare with any quote: Verify does. Known contents spare hashing
// them again and change nothing else; nil will do. The error is a *verdict.Refusal.
func (l *Log) Facts(known *Contents) (*Facts, error) {
	x := newExtractor(l)
	x.known = known
	e := new(Event)
	for i := range l.starts {
		l.read(i, e)
		if err := x.event(e); err != nil {
			return nil, err
		}
	}
	if err := x.finish(); err != nil {
		return nil, err
	}
	return x.f, nil
}

type extractor struct {
	log       *Log
	known     *Contents
	bank      Alg
	f         *Facts
	text      string          // the log from textAt on, so that texts and digests of boot loaders are parts of it
	textAt    int             // byte offset in the log
	digests   string          // digests of the events before that, one after the other
	zeroSep   [MaxDigest]byte // digest of a separator
	errorSep  [MaxDigest]byte // digest of a separator that reports an error
	oneSep    [MaxDigest]byte // the same, as the specification has it since TPM 2.0
	separated [8]bool
	counts    [NumPCRs]int // extending events, separators apart
	names     map[nameKey]bool
	secure    int // how many of secureOrder were measured
	bootForm  varForm
	left      exitState
	stubs     []stubEvent
	section   string // name of the unified image's section that is next
	odd       map[string]bool
}

type nameKey struct {
	pcr  uint32
	guid GUID
	name string
}

func newExtractor(l *Log) *extractor {
	x := &extractor{log: l, bank: l.bank, textAt: l.firstText(), names: map[nameKey]bool{}, odd: map[string]bool{}}
	x.text = string(l.raw[x.textAt:])
	x.digests = l.digestsBefore(x.textAt)
	x.bank.sum(&x.zeroSep, make([]byte, 4))
	x.bank.sum(&x.errorSep, bytes.Repeat([]byte{0xFF}, 4))
	x.bank.sum(&x.oneSep, []byte{1, 0, 0, 0})
	x.f = &Facts{
		Bank: l.bank.String(), Locality: int(l.locality), EventCount: len(l.starts) + 1,
		Firmware:   Firmware{VersionEvent: -1, Blobs: []Blob{}, Config: []Measurement{}},
		SecureBoot: SecureBoot{Event: -1, Others: []Variable{}, Authorities: []Authority{}, Actions: []Action{}},
		Boot:       Boot{OrderEvent: -1, Order: []int{}, Entries: []BootEntry{}, Actions: []Action{}},
		GPT:        []GPT{}, Images: []Image{}, Kernels: []Kernel{}, Initrds: []Initrd{}, CommandLines: []CommandLine{},
		Shim: Shim{Lists: []Blob{}}, Grub: Grub{Commands: make([]Command, 0, l.count(8)), Files: make([]File, 0, l.count(9))},
		UKI:      UKI{Sections: []Section{}, Extra: []Blob{}},
		Unlisted: []Measurement{}, Oddities: []string{},
	}
	return x
}

type handler func(*extractor, *Event) error

// kinds says how each type of event reads in each PCR. A type without a row is
// refused, except where firmware may measure what only its maker knows (see
// digestOnly). As types are not measured, none of them takes an event out of the
// view of a policy: PCR 0 is all firmware and PCR 2 all option ROMs, whatever
// their events call themselves.
var kinds = [15]map[EventType]handler{
	0: {
		EvSCRTMVersion: version, EvSCRTMContents: blob, EvPostCode: blob, EvPostCode2: blob, EvNonhostCode: blob,
		EvEFIPlatformFirmwareBlob: blob, EvEFIPlatformFwBlob2: blob, EvCPUMicrocode: blob, EvEFIHCRTMEvent: blob,
		EvEFIBootServicesDriver: blob, EvEFIRuntimeServices: blob, EvEFIBootServicesApp: blob,
		EvNonhostInfo: blob, EvNonhostConfig: blob, EvPlatformConfigFlags: blob,
	},
	1: {
		EvCPUMicrocode: config, EvPlatformConfigFlags: config, EvTableOfDevices: config, EvNonhostConfig: config,
		EvNonhostInfo: config, EvEFIHandoffTables: config, EvEFIHandoffTables2: config, EvPostCode: config,
		EvPostCode2: config, EvEFIVariableDriverConfig: driverConfig, EvEFIVariableBoot: bootVariable,
		EvEFIVariableBoot2: bootVariable, EvEFIAction: action,
	},
	2: {
		EvEFIBootServicesDriver: image, EvEFIRuntimeServices: image, EvEFIBootServicesApp: image,
		EvEFIPlatformFirmwareBlob: image, EvEFIPlatformFwBlob2: image, EvEFISPDMFirmwareBlob: image, EvNonhostCode: image,
	},
	3: {EvNonhostConfig: config, EvNonhostInfo: config, EvPlatformConfigFlags: config, EvEFISPDMFirmwareConfig: config},
	4: {
		EvEFIAction: bootAction, EvOmitBootDeviceEvents: bootAction,
		EvEFIBootServicesApp: image, EvEFIBootServicesDriver: image, EvEFIRuntimeServices: image,
	},
	5: {EvEFIGPTEvent: gpt, EvEFIGPTEvent2: gpt, EvEFIAction: bootAction, EvEventTag: extra},
	6: {},
	7: {
		EvEFIVariableDriverConfig: driverConfig, EvEFIVariableAuthority: authority, EvEFIAction: action,
		EvEFISPDMDevicePolicy: driverConfig, EvEFISPDMDeviceAuthority: unlisted,
	},
	8:  {EvIPL: grubCommand},
	9:  {EvIPL: grubFile, EvEventTag: stubMeasurement},
	11: {EvIPL: ukiSection},
	12: {EvIPL: loaderText, EvEventTag: extra},
	13: {EvIPL: extra, EvEventTag: extra},
	14: {EvIPL: shimList},
}

// digestOnly are the PCRs whose unknown types are kept by digest: option ROMs
// and vendors measure with types of their own, before the separator.
var digestOnly = [15]bool{0: true, 1: true, 2: true, 3: true, 6: true}

// afterSeparator lists what may follow a PCR's separator. The specification ends
// PCR 0 to 3 and 6 there; genuine firmware still measures the boot variables and
// handoff tables into PCR 1 afterwards.
var afterSeparator = [8][]EventType{
	1: {EvEFIHandoffTables, EvEFIHandoffTables2, EvEFIVariableBoot, EvEFIVariableBoot2},
	4: {EvEFIAction, EvEFIBootServicesApp},
	5: {EvEFIGPTEvent, EvEFIGPTEvent2, EvEFIAction, EvEventTag},
	7: {EvEFIVariableAuthority, EvEFISPDMDeviceAuthority},
}

// event judges one event and files it under the facts it proves.
func (x *extractor) event(e *Event) error {
	if e.Type == EvNoAction {
		return nil
	}
	if e.Type == EvSeparator {
		return x.separator(e)
	}
	if err := x.place(e); err != nil {
		return err
	}
	x.counts[e.PCR]++
	if read, ok := kinds[e.PCR][e.Type]; ok {
		return read(x, e)
	}
	if !digestOnly[e.PCR] {
		return verdict.Refuse(verdict.BootlogType, e.Where(), e.Type.String(), fmt.Sprintf("a type that PCR %d knows", e.PCR))
	}
	x.f.Unlisted = append(x.f.Unlisted, x.measurement(e))
	switch e.PCR {
	case 0:
		return blob(x, e)
	case 2:
		return image(x, e)
	}
	return nil
}

// unlisted keeps an event by its digest.
func unlisted(x *extractor, e *Event) error {
	x.f.Unlisted = append(x.f.Unlisted, x.measurement(e))
	return nil
}

// place refuses an event that stands on the wrong side of its PCR's separator,
// or is a separator under another name, or comes after the firmware was left.
func (x *extractor) place(e *Event) error {
	n := x.bank.Size()
	if bytes.Equal(e.Digest, x.zeroSep[:n]) || bytes.Equal(e.Digest, x.errorSep[:n]) {
		return verdict.Refuse(verdict.BootlogSeparator, e.Where(), "a separator's digest under "+e.Type.String(), "EV_SEPARATOR")
	}
	if x.left == exitDone {
		return verdict.Refuse(verdict.BootlogExit, e.Where(), e.Type.String()+" after the firmware was left", "nothing after Exit Boot Services Returned with Success")
	}
	if e.PCR > 7 || !x.separated[e.PCR] {
		return nil
	}
	for _, allowed := range afterSeparator[e.PCR] {
		if e.Type == allowed {
			return nil
		}
	}
	if x.lateEncryption(e) {
		x.oddity(oddLateEncryption)
		return nil
	}
	return verdict.Refuse(verdict.BootlogAfter, e.Where(), e.Type.String(), fmt.Sprintf("nothing of this kind after the separator of PCR %d", e.PCR))
}

var zeroData = []byte{0, 0, 0, 0}

// separator proves that this is the PCR's first separator, and that it is the
// one which reports no error.
func (x *extractor) separator(e *Event) error {
	want := "one separator of four zero bytes in each of PCR 0 to 7"
	if e.PCR > 7 {
		return verdict.Refuse(verdict.BootlogSeparator, e.Where(), fmt.Sprintf("a separator in PCR %d", e.PCR), want)
	}
	if x.separated[e.PCR] {
		return verdict.Refuse(verdict.BootlogSeparator, e.Where(), "a second separator", want)
	}
	if x.reportsError(e) {
		return verdict.Refuse(verdict.BootlogSeparator, e.Where(), "a separator that reports a firmware error", want)
	}
	if !bytes.Equal(e.Data, zeroData) || !bytes.Equal(e.Digest, x.zeroSep[:x.bank.Size()]) {
		return verdict.Refuse(verdict.BootlogSeparator, e.Where(), fmt.Sprintf("a separator of %x", e.Data[:min(16, len(e.Data))]), want)
	}
	x.separated[e.PCR] = true
	return nil
}

// reportsError reports whether a separator has the digest by which firmware says that
// something failed. The data beside it may be a text. (A genuine BootOrder of two
// entries can have that digest too, so it says nothing under another type.)
func (x *extractor) reportsError(e *Event) bool {
	n := x.bank.Size()
	return bytes.Equal(e.Digest, x.errorSep[:n]) || bytes.Equal(e.Digest, x.oneSep[:n])
}

// covers reports whether the event's digest is that of exactly these bytes.
func (x *extractor) covers(e *Event, data []byte) bool {
	return x.known.knows(x.bank, e.Digest, data) || x.bank.covers(e.Digest, data)
}

// mustCover refuses an event whose digest is not that of exactly these bytes.
func (x *extractor) mustCover(e *Event, data []byte) error {
	if x.covers(e, data) {
		return nil
	}
	var sum [MaxDigest]byte
	x.bank.sum(&sum, data)
	return verdict.Refuse(verdict.BootlogDigest, fmt.Sprintf("%s, %s", e.Where(), e.Type), hex.EncodeToString(sum[:x.bank.Size()]), hex.EncodeToString(e.Digest))
}

func (x *extractor) measurement(e *Event) Measurement {
	m := Measurement{Event: e.Index, PCR: int(e.PCR)}
	if size := len(e.Digest); e.Offset < x.textAt {
		m.Digest = Digest(x.digests[(e.Index-1)*size : e.Index*size])
	} else {
		m.Digest = Digest(x.part(e.Offset+x.log.digestAt, e.Digest))
	}
	return m
}

// dataText returns a part of an event's data as a string. Texts of boot loaders,
// which may be thousands, are not copied one by one.
func (x *extractor) dataText(e *Event, from, to int) string {
	return x.part(e.Offset+x.log.headSize+from, e.Data[from:to])
}

// part returns bytes that the log has at an offset as a string.
func (x *extractor) part(offset int, b []byte) string {
	if at := offset - x.textAt; at >= 0 {
		return x.text[at : at+len(b)]
	}
	return string(b)
}

// firstText returns where the events of GRUB begin. Firmware's large variables
// come before it.
func (l *Log) firstText() int {
	for i, start := range l.starts {
		if pcr := l.pcr(i); pcr == 8 || pcr == 9 {
			return start
		}
	}
	return len(l.raw)
}

// digestsBefore gathers the digests of the events before an offset.
func (l *Log) digestsBefore(offset int) string {
	n := 0
	for n < len(l.starts) && l.starts[n] < offset {
		n++
	}
	var all strings.Builder
	all.Grow(n * l.bank.Size())
	for i := range n {
		at := l.starts[i] + l.digestAt
		all.Write(l.raw[at : at+l.bank.Size()])
	}
	return all.String()
}

// count returns how many events name the PCR.
func (l *Log) count(pcr uint32) int {
	n := 0
	for i := range l.starts {
		if l.pcr(i) == pcr {
			n++
		}
	}
	return n
}

// text prints a digest of this algorithm: "sha256:<hex>".
func (a Alg) text(digest []byte) string { return a.String() + ":" + hex.EncodeToString(digest) }

func malformed(e *Event, got, want string) error {
	return verdict.Refuse(verdict.BootlogVariable, fmt.Sprintf("%s, %s", e.Where(), e.Type), got, want)
}
