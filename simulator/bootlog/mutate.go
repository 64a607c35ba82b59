package bootlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Mutation names a defect of a log. The TPM is extended as the defective log
// says, so replay succeeds wherever the defect allows one at all.
type Mutation string

// Mutations returns the names of all defects, sorted. Every one of them turns a
// complete log into one that a verifier must refuse.
func Mutations() []Mutation { return slices.Sorted(maps.Keys(mutations)) }

// WellFormedMutations returns the names, sorted, of changes that leave a log
// which replays and has every mandatory stage. What they show has to be refused
// by the policy.
func WellFormedMutations() []Mutation { return slices.Sorted(maps.Keys(wellFormed)) }

// Mutate applies the defect to the log. The log must be one that Boot.Log made.
func (l *Log) Mutate(m Mutation) error {
	apply, ok := mutations[m]
	if !ok {
		apply, ok = wellFormed[m]
	}
	if !ok {
		return fmt.Errorf("bootlog: no mutation %q", m)
	}
	apply(l)
	return nil
}

var mutations = map[Mutation]func(*Log){
	// Separators.
	"separator-missing":   func(l *Log) { l.remove(l.separator(4)) },
	"separator-duplicate": func(l *Log) { l.insert(l.separator(4)+1, separator(4)) },
	"separator-error": func(l *Log) {
		l.Events[l.separator(2)] = hashed(2, EvSeparator, []byte{0xff, 0xff, 0xff, 0xff})
	},
	"separator-text":  func(l *Log) { l.Events[l.separator(6)] = hashed(6, EvSeparator, []byte("WBCL")) },
	"separator-typed": func(l *Log) { l.Events[l.separator(4)].Type = EvIPL },
	"separator-data":  func(l *Log) { l.Events[l.separator(3)].Data = []byte{1, 0, 0, 0} },

	// Secure Boot variables.
	"secure-boot-duplicate": func(l *Log) { l.insert(l.variable("SecureBoot")+1, l.Events[l.variable("SecureBoot")]) },
	"secure-boot-late":      func(l *Log) { l.insert(l.separator(7)+1, l.Events[l.variable("SecureBoot")]) },
	"secure-boot-missing":   func(l *Log) { l.remove(l.variable("SecureBoot")) },
	"dbx-late":              func(l *Log) { l.insert(l.separator(7)+1, l.remove(l.variable("dbx"))) },
	"dbx-before-db": func(l *Log) {
		db, dbx := l.variable("db"), l.variable("dbx")
		l.Events[db], l.Events[dbx] = l.Events[dbx], l.Events[db]
	},
	"dbx-vendor-header": func(l *Log) { l.dbx(signatureList(guidSHA256, make([]byte, 48), 48, make([]byte, 48))) },
	"dbx-no-entries":    func(l *Log) { l.dbx(signatureList(guidSHA256, nil, 48, nil)) },
	"dbx-remainder":     func(l *Log) { l.dbx(signatureList(guidSHA256, nil, 48, make([]byte, 50))) },
	"dbx-small-entries": func(l *Log) { l.dbx(signatureList(guidSHA256, nil, 15, make([]byte, 45))) },
	"dbx-huge-entries":  func(l *Log) { l.dbx(signatureList(guidSHA256, nil, 0xffffffff, make([]byte, 48))) },
	"variable-data":     func(l *Log) { l.flip(l.variable("db")) },
	"variable-name-size": func(l *Log) {
		e := &l.Events[l.variable("PK")]
		e.Data = slices.Clone(e.Data)
		binary.LittleEndian.PutUint64(e.Data[16:], 1<<63)
		e.Digest = sha256.Sum256(e.Data)
	},

	// Events that extend nothing.
	"no-action-pcr4":    func(l *Log) { l.insert(0, noAction(4, "StartupLocality\x00\x00")) },
	"no-action-unknown": func(l *Log) { l.insert(0, noAction(0, "Quorate knows me\x00")) },
	"no-action-digest": func(l *Log) {
		e := noAction(0, "StartupLocality\x00\x00")
		e.Digest[0] = 1
		l.insert(0, e)
	},
	"no-action-flood": func(l *Log) {
		for range 10_000 {
			l.Events = append(l.Events, noAction(0, "SP800-155 Event\x00"))
		}
	},
	"locality-five": func(l *Log) { l.insert(0, noAction(0, "StartupLocality\x00\x05")) },
	"locality-twice": func(l *Log) {
		l.insert(0, noAction(0, "StartupLocality\x00\x00"), noAction(0, "StartupLocality\x00\x00"))
	},
	"locality-late": func(l *Log) { l.insert(1, noAction(0, "StartupLocality\x00\x00")) },
	"hcrtm-late":    func(l *Log) { l.insert(1, hashed(0, EvEFIHCRTM, []byte("HCRTM"))) },

	// The header and the frame of records.
	"empty":              func(l *Log) { *l = Log{} },
	"header-missing":     func(l *Log) { l.Header = nil },
	"header-alone":       func(l *Log) { l.Events = nil },
	"header-signature":   func(l *Log) { l.Header = Header("Spec ID Event02", nil, Algorithm{algSHA256, 32}) },
	"header-no-sha256":   func(l *Log) { l.Header = Header("Spec ID Event03", nil, Algorithm{algSHA1, 20}) },
	"header-digest-size": func(l *Log) { l.Header = Header("Spec ID Event03", nil, Algorithm{algSHA256, 20}) },
	"header-two-algorithms": func(l *Log) {
		l.Header = Header("Spec ID Event03", nil, Algorithm{algSHA256, 32}, Algorithm{algSHA384, 48})
	},
	"header-vendor-info": func(l *Log) {
		l.Header[len(l.Header)-1] = 255
	},
	"header-twice":      func(l *Log) { l.Header = slices.Concat(l.Header, l.Header) },
	"log-twice":         func(l *Log) { l.Trailing = l.Bytes() },
	"trailing-garbage":  func(l *Log) { l.Trailing = []byte("garbage") },
	"trailing-padding":  func(l *Log) { l.Trailing = bytes.Repeat([]byte{0xff}, 4096) },
	"truncated":         func(l *Log) { l.Cut = 7 },
	"event-size":        func(l *Log) { l.Events[len(l.Events)-1].Size = new(uint32(0xffffffff)) },
	"digests-good-bad":  func(l *Log) { l.twoDigests(true) },
	"digests-bad-good":  func(l *Log) { l.twoDigests(false) },
	"digests-none":      func(l *Log) { l.Events[3].Digests = []Digest{} },
	"digests-of-sha384": func(l *Log) { l.Events[3].Digests = []Digest{{algSHA384, make([]byte, 48)}} },

	// PCRs and types.
	"type-unknown":   func(l *Log) { l.insert(l.separator(4)+1, hashed(4, 0x12345678, []byte("unknown"))) },
	"pcr-ima":        func(l *Log) { l.insert(len(l.Events), hashed(10, EvIPL, []byte("not for firmware\x00"))) },
	"pcr-resettable": func(l *Log) { l.insert(len(l.Events), hashed(16, EvIPL, []byte("not for firmware\x00"))) },
	"pcr-24":         func(l *Log) { l.insert(len(l.Events), hashed(24, EvIPL, []byte("no such PCR\x00"))) },
	"firmware-late": func(l *Log) {
		l.insert(len(l.Events)-2, described(0, EvEFIPlatformFirmwareBlob, []byte("x"), make([]byte, 16)))
	},
	"extend-unlogged": func(l *Log) {
		e := hashed(9, EvIPL, []byte("unseen\x00"))
		e.NotLogged = true
		l.insert(len(l.Events), e)
	},
	"log-unextended": func(l *Log) { l.Events[l.find(8, "grub_cmd: boot")].NotExtended = true },

	// Stages that are missing, and text that its digest does not cover.
	"exit-missing": func(l *Log) { l.Events = l.Events[:len(l.Events)-2] },
	"exit-twice":   func(l *Log) { l.insert(len(l.Events), l.Events[len(l.Events)-2:]...) },
	"command-line-cover": func(l *Log) {
		l.Events[l.find(8, "kernel_cmdline: ")].Data = []byte("kernel_cmdline: /vmlinuz harmless\x00")
	},
}

var wellFormed = map[Mutation]func(*Log){
	"debug-mode":        func(l *Log) { l.insert(l.separator(7), hashed(7, EvEFIAction, []byte("UEFI Debug Mode"))) },
	"dma-unprotected":   func(l *Log) { l.insert(l.separator(7), hashed(7, EvEFIAction, []byte("DMA Protection Disabled"))) },
	"command-line-gone": func(l *Log) { l.remove(l.find(8, "kernel_cmdline: ")) },
	"initrd-gone":       func(l *Log) { l.remove(l.find(9, "/initrd.img")) },
	"kernel-image-gone": func(l *Log) { l.removeKernelImages() },
	"kernel-file-gone":  func(l *Log) { l.remove(l.find(9, "/vmlinuz")) },
	"command-line-extra": func(l *Log) {
		l.insert(l.find(8, "grub_cmd: boot"), grubText("kernel_cmdline: ", "/vmlinuz init=/bin/sh"))
	},
	"secure-boot-empty": func(l *Log) {
		l.Events[l.variable("SecureBoot")] = hashed(7, EvEFIVariableDriverConfig, variable(guidGlobal, "SecureBoot", nil))
	},
	"setup-mode": func(l *Log) {
		l.insert(l.variable("db"), hashed(7, EvEFIVariableDriverConfig, variable(guidGlobal, "SetupMode", []byte{1})))
	},
	"test-platform-key": func(l *Log) {
		l.Events[l.variable("PK")] = hashed(7, EvEFIVariableDriverConfig, variable(guidGlobal, "PK", CertificateLists(Certificate("DO NOT TRUST - AMI Test PK"))))
	},
	"dbx-empty": func(l *Log) { l.dbx(nil) },
	"image-as-action": func(l *Log) { // another image ran first, and its bytes are logged as a text
		l.insert(l.separator(4)+1, hashed(4, EvEFIAction, []byte("MZ, and all that an Authenticode digest covers")))
	},
	"initrd-dropped": func(l *Log) { // allowed commands again, by which GRUB forgets the initrd
		linux, line := l.Events[l.find(8, "grub_cmd: linux ")], l.Events[l.find(8, "kernel_cmdline: ")]
		l.insert(l.find(8, "grub_cmd: boot"), linux, line)
	},
	"grub-extra-file": func(l *Log) {
		l.insert(l.find(8, "grub_cmd: boot"), described(9, EvIPL, []byte("module"), []byte("/evil.mod\x00")))
	},
	"grub-extra-command": func(l *Log) { l.insert(l.find(8, "grub_cmd: boot"), grubText("grub_cmd: ", "insmod evil")) },
}

// CutAfter leaves only the first n events, logged and extended.
func (l *Log) CutAfter(n int) { l.Events = l.Events[:n] }

func noAction(pcr uint32, data string) Event {
	return Event{PCR: pcr, Type: EvNoAction, Data: []byte(data)}
}

func (l *Log) insert(at int, events ...Event) { l.Events = slices.Insert(l.Events, at, events...) }

func (l *Log) remove(at int) Event {
	e := l.Events[at]
	l.Events = slices.Delete(l.Events, at, at+1)
	return e
}

// separator returns the index of a PCR's separator.
func (l *Log) separator(pcr uint32) int {
	return slices.IndexFunc(l.Events, func(e Event) bool { return e.PCR == pcr && e.Type == EvSeparator })
}

// variable returns the index of a Secure Boot variable's event.
func (l *Log) variable(name string) int {
	wide := utf16le(name)
	return slices.IndexFunc(l.Events, func(e Event) bool {
		return e.Type == EvEFIVariableDriverConfig &&
			binary.LittleEndian.Uint64(e.Data[16:]) == uint64(len(wide)/2) && bytes.HasPrefix(e.Data[32:], wide)
	})
}

// find returns the index of the event in the PCR whose data starts with text.
func (l *Log) find(pcr uint32, text string) int {
	return slices.IndexFunc(l.Events, func(e Event) bool {
		return e.PCR == pcr && bytes.HasPrefix(e.Data, []byte(text))
	})
}

// removeKernelImages removes the images that GRUB started.
func (l *Log) removeKernelImages() {
	first := l.find(8, "grub_cmd: ")
	l.Events = slices.Concat(l.Events[:first], slices.DeleteFunc(slices.Clone(l.Events[first:]), func(e Event) bool {
		return e.Type == EvEFIBootServicesApplication
	}))
}

// dbx replaces the content of the variable dbx.
func (l *Log) dbx(content []byte) {
	l.Events[l.variable("dbx")] = hashed(7, EvEFIVariableDriverConfig, variable(guidSecurity, "dbx", content))
}

// flip changes the last byte of an event's data, but not its digest.
func (l *Log) flip(at int) {
	e := &l.Events[at]
	e.Data = slices.Clone(e.Data)
	e.Data[len(e.Data)-1] ^= 1
}

// twoDigests gives the first event two SHA-256 digests, one of them false.
func (l *Log) twoDigests(goodFirst bool) {
	e := &l.Events[0]
	bad := sha256.Sum256([]byte("another version"))
	e.Digests = []Digest{{algSHA256, e.Digest[:]}, {algSHA256, bad[:]}}
	if !goodFirst {
		slices.Reverse(e.Digests)
	}
}
