package bootlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/quorate/quorate/verifier/verdict"
)

// Quirk is a way in which genuine firmware or a genuine boot loader departs from the
// specification, or uses what others do not. Refusing a genuine machine is an attack
// too, so each has to be read, except where it hides something.
type Quirk struct {
	Name  string
	Seen  string          // where
	Odd   bool            // an oddity in the facts of the log tells of it
	Check verdict.CheckID // that refuses it; empty: it is accepted
	apply func(*Log)
}

// Apply changes a log that Debian's Boot.Log made.
func (q Quirk) Apply(l *Log) { q.apply(l) }

// Quirks returns all of them.
func Quirks() []Quirk { return slices.Clone(quirks) }

// Event types that only quirks use; names and values are TCG's.
const (
	evPostCode            = 0x01
	evSCRTMContents       = 0x07
	evPlatformConfigFlags = 0x0a
	evCompactHash         = 0x0c
	evOmitBootDevice      = 0x12
	evEFIHandoffTables    = 0x80000009
	evEFIVariableBoot2    = 0x8000000c
	evSPDMDevicePolicy    = 0x800000e3
	evVendor              = 0x8401 // of no specification
	noPCR                 = 0xffffffff
)

var quirks = []Quirk{
	{Name: "no exit", Seen: "kernels that drop the firmware's last events", Check: verdict.BootlogExit, apply: func(l *Log) {
		l.Events = l.Events[:len(l.Events)-2]
	}},
	{Name: "first exit failed", Seen: "Google Compute Engine", Odd: true, apply: func(l *Log) {
		l.insert(len(l.Events)-2, hashed(5, EvEFIAction, []byte("Exit Boot Services Returned with Failure")))
	}},
	{Name: "locality 3", Seen: "servers with TXT, where the processor starts the TPM", apply: func(l *Log) {
		l.insert(0, noAction(0, "StartupLocality\x00\x03"))
	}},
	{Name: "platform identity without a PCR", Seen: "firmware after revision 1.05", apply: func(l *Log) {
		l.insert(0, noAction(noPCR, "SP800-155 Event3"+"platform"))
	}},
	{Name: "Windows event without a PCR", Seen: "Windows", Check: verdict.BootlogNoAction, apply: func(l *Log) {
		l.insert(0, noAction(noPCR, "WBCL and more of it"))
	}},
	{Name: "vendor's own type", Seen: "an option ROM, type 0x8401 in PCR 2", apply: func(l *Log) {
		l.insert(l.separator(2), hashed(2, evVendor, []byte("option ROM")))
	}},
	{Name: "memory encryption after the separator", Seen: "AMD, type 0x8401 in PCR 2", Odd: true, apply: func(l *Log) {
		l.insert(l.separator(2)+1, hashed(2, evVendor, []byte{1}))
	}},
	{Name: "vendor's own type after the separator", Seen: "nowhere", Check: verdict.BootlogAfter, apply: func(l *Log) {
		l.insert(l.separator(2)+1, hashed(2, evVendor, []byte("option ROM")))
	}},
	{Name: "state of Secure Boot unknown", Seen: "older workstations", Odd: true, apply: func(l *Log) {
		l.Events[l.variable("SecureBoot")] = hashed(7, EvEFIVariableDriverConfig, variable(guidGlobal, "SecureBoot", nil))
	}},
	{Name: "separator under another type", Seen: "a workstation's S-CRTM contents", Check: verdict.BootlogSeparator, apply: func(l *Log) {
		l.insert(0, Event{PCR: 0, Type: evSCRTMContents, Digest: sha256.Sum256(make([]byte, 4)), Data: []byte("S-CRTM")})
	}},
	{Name: "application before the boot", Seen: "management agents of servers", Odd: true, apply: func(l *Log) {
		l.insert(l.find(4, "Calling EFI"), Event{PCR: 4, Type: EvEFIBootServicesApplication, Digest: sha256.Sum256([]byte("agent")), Data: imageEvent(5, filePath(`\agent.efi`))})
	}},
	{Name: "boot attempts omitted", Seen: "firmware that logs only the boot that worked", apply: func(l *Log) {
		l.insert(l.find(4, "Calling EFI"), hashed(4, evOmitBootDevice, []byte("BOOT ATTEMPTS OMITTED")))
	}},
	{Name: "boot option by name", Seen: "firmware that follows revision 1.06", apply: func(l *Log) {
		l.insert(l.separator(4), hashed(4, EvEFIAction, []byte("Booting to Boot0001 Option")))
	}},
	{Name: "second boot option", Seen: "a first option that returned", apply: func(l *Log) {
		calling := l.Events[l.find(4, "Calling EFI")]
		l.insert(l.separator(4)+1, hashed(4, EvEFIAction, []byte("Returning from EFI Application from Boot Option")), calling)
	}},
	{Name: "boot variables with their names", Seen: "firmware that follows revision 1.05", apply: func(l *Log) {
		l.bootVariables(EvEFIVariableBoot)
	}},
	{Name: "boot variables of the second kind", Seen: "firmware after revision 1.05", apply: func(l *Log) {
		l.bootVariables(evEFIVariableBoot2)
	}},
	{Name: "boot variables after the separator", Seen: "AMI", Odd: true, apply: func(l *Log) {
		at := slices.IndexFunc(l.Events, func(e Event) bool { return e.Type == EvEFIVariableBoot })
		order := l.remove(at)
		l.insert(l.separator(1)+1, order)
	}},
	{Name: "handoff tables after the separator", Seen: "servers", Odd: true, apply: func(l *Log) {
		l.insert(l.separator(1)+1, described(1, evEFIHandoffTables, []byte("tables"), make([]byte, 32)))
	}},
	{Name: "configuration by digest", Seen: "flags of which 17 of 18 are no digest of their text", apply: func(l *Log) {
		l.insert(0, described(1, evPlatformConfigFlags, []byte("flags"), []byte("ACPI DATA")))
	}},
	{Name: "POST code by digest", Seen: "all of eight", apply: func(l *Log) {
		l.insert(0, described(0, evPostCode, []byte("code"), []byte("POST CODE")))
	}},
	{Name: "version that is not its text", Seen: "a server with Boot Guard", Odd: true, apply: func(l *Log) {
		l.Events[0] = described(0, EvSCRTMVersion, []byte("something else"), l.Events[0].Data)
	}},
	{Name: "compact hash", Seen: "Dell, in PCR 6", apply: func(l *Log) {
		l.insert(l.separator(6), described(6, evCompactHash, []byte("configuration"), []byte("Dell Configuration Information 1")))
	}},
	{Name: "setup was entered", Seen: "HP, in PCR 1", apply: func(l *Log) {
		l.insert(l.separator(1), hashed(1, EvEFIAction, []byte("Entering ROM Based Setup")))
	}},
	{Name: "authority of an option ROM", Seen: "servers with Secure Boot: before the separator", apply: func(l *Log) {
		db := l.Events[l.variable("db")].Data
		l.insert(l.separator(7), hashed(7, EvEFIVariableAuthority, variable(guidSecurity, "db", db[len(db)-64:])))
	}},
	{Name: "further databases", Seen: "dbt and dbr behind dbx", apply: func(l *Log) {
		l.insert(l.variable("dbx")+1, hashed(7, EvEFIVariableDriverConfig, variable(guidSecurity, "dbt", nil)),
			hashed(7, EvEFIVariableDriverConfig, variable(guidSecurity, "dbr", nil)))
	}},
	{Name: "device policy", Seen: "firmware that asks devices who they are, in PCR 7", apply: func(l *Log) {
		l.insert(l.separator(7), hashed(7, evSPDMDevicePolicy, variable(guidSecurity, "devdb", []byte("policy"))))
	}},
	{Name: "authority with padding", Seen: "shim 15 and older", Odd: true, apply: func(l *Log) {
		at := slices.IndexFunc(l.Events, func(e Event) bool { return e.Type == EvEFIVariableAuthority })
		padded := append(slices.Clone(l.Events[at].Data), 0, 0, 0)
		l.Events[at] = described(7, EvEFIVariableAuthority, padded[:len(padded)-1], padded)
	}},
	{Name: "labels without a colon", Seen: "Red Hat Enterprise Linux 8", Odd: true, apply: func(l *Log) {
		for i, e := range l.Events {
			if text, ok := bytes.CutPrefix(e.Data, []byte("grub_cmd: ")); ok && e.PCR == 8 {
				l.Events[i] = described(8, EvIPL, text, append([]byte("grub_cmd "), text...)) // the NUL is measured too
			}
			if text, ok := bytes.CutPrefix(e.Data, []byte("kernel_cmdline: ")); ok && e.PCR == 8 {
				l.Events[i].Data = append([]byte("grub_kernel_cmdline "), text...)
			}
		}
	}},
	{Name: "three banks", Seen: "most machines", apply: func(l *Log) { l.banks(algSHA1, algSHA256, algSHA384) }},
	{Name: "a vendor's words in the header", Seen: "firmware of the first years", apply: func(l *Log) {
		l.Header = Header("Spec ID Event03", []byte("vendor"), Algorithm{algSHA256, sha256.Size})
	}},
	{Name: "SHA-1 alone", Seen: "machines of the first years", Check: verdict.BootlogHeader, apply: func(l *Log) {
		l.Header = nil
	}},
	{Name: "padded to its memory", Seen: "logs of confidential machines", Check: verdict.BootlogAlgorithms, apply: func(l *Log) {
		l.Trailing = bytes.Repeat([]byte{0xff}, 64<<10)
	}},
}

// bootVariables measures the boot variables with their names.
func (l *Log) bootVariables(kind uint32) {
	for i, e := range l.Events {
		if e.Type == EvEFIVariableBoot {
			l.Events[i] = hashed(1, kind, e.Data)
		}
	}
}

// banks gives every event a digest of each algorithm. Those of other banks than
// SHA-256 are only as long as they should be: nobody reads them.
func (l *Log) banks(algorithms ...uint16) {
	sizes := map[uint16]uint16{algSHA1: 20, algSHA256: sha256.Size, algSHA384: 48}
	var header []Algorithm
	for _, alg := range algorithms {
		header = append(header, Algorithm{alg, sizes[alg]})
	}
	l.Header = Header("Spec ID Event03", nil, header...)
	for i := range l.Events {
		e := &l.Events[i]
		for _, alg := range algorithms {
			value := make([]byte, sizes[alg])
			if alg == algSHA256 {
				copy(value, e.Digest[:])
			} else {
				binary.LittleEndian.PutUint64(value, uint64(i))
			}
			e.Digests = append(e.Digests, Digest{alg, value})
		}
	}
}
