// Package bootlog composes what a measured boot leaves behind: the TCG boot log
// and the kernel's IMA list, together with the PCR values that they lead to. A
// composed log is either what firmware, shim, GRUB and Linux write, or that with
// a named defect; in both cases the TPM is extended to match, so that only a
// judgement of the log itself can tell.
package bootlog

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/quorate/quorate/simulator/papertpm"
)

// Event types that composed logs use; names and values are TCG's.
const (
	EvNoAction                    = 0x03
	EvSeparator                   = 0x04
	EvEventTag                    = 0x06
	EvSCRTMVersion                = 0x08
	EvIPL                         = 0x0d
	EvEFIVariableDriverConfig     = 0x80000001
	EvEFIVariableBoot             = 0x80000002
	EvEFIBootServicesApplication  = 0x80000003
	EvEFIBootServicesDriver       = 0x80000004
	EvEFIGPT                      = 0x80000006
	EvEFIAction                   = 0x80000007
	EvEFIPlatformFirmwareBlob     = 0x80000008
	EvEFIHCRTM                    = 0x80000010
	EvEFIVariableAuthority        = 0x800000e0
	maxPCR                        = 23
	algSHA1, algSHA256, algSHA384 = 0x0004, 0x000b, 0x000c
)

// Event is one record of a log.
type Event struct {
	PCR         uint32
	Type        uint32
	Digest      [sha256.Size]byte // what is extended; zeros for EvNoAction
	Data        []byte
	Digests     []Digest // what the record shows; nil: Digest, as SHA-256
	Size        *uint32  // data size that the record claims; nil: the length of Data
	NotExtended bool     // logged, but the TPM never saw it
	NotLogged   bool     // extended, but left out of the log
}

// Digest is one digest of a record, with its TPM algorithm identifier.
type Digest struct {
	Alg   uint16
	Value []byte
}

// extends reports whether the event changes a PCR.
func (e Event) extends() bool {
	return e.Type != EvNoAction && !e.NotExtended && e.PCR <= maxPCR
}

// append encodes the record in the crypto-agile format.
func (e Event) append(b []byte) []byte {
	digests := e.Digests
	if digests == nil {
		digests = []Digest{{algSHA256, e.Digest[:]}}
	}
	b = binary.LittleEndian.AppendUint32(b, e.PCR)
	b = binary.LittleEndian.AppendUint32(b, e.Type)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(digests)))
	for _, d := range digests {
		b = binary.LittleEndian.AppendUint16(b, d.Alg)
		b = append(b, d.Value...)
	}
	size := uint32(len(e.Data))
	if e.Size != nil {
		size = *e.Size
	}
	b = binary.LittleEndian.AppendUint32(b, size)
	return append(b, e.Data...)
}

// Log is a composed log. All fields may be altered.
type Log struct {
	Header   []byte // the Specification ID record, whole
	Events   []Event
	Trailing []byte // follows the last record
	Cut      int    // bytes to leave out at the end
}

// Bytes encodes the log as binary_bios_measurements has it.
func (l *Log) Bytes() []byte {
	b := append([]byte(nil), l.Header...)
	for _, e := range l.Events {
		if !e.NotLogged {
			b = e.append(b)
		}
	}
	b = append(b, l.Trailing...)
	return b[:max(0, len(b)-l.Cut)]
}

// PCRs computes the PCR values of a TPM that went through the boot.
func (l *Log) PCRs() papertpm.PCRs {
	pcrs := papertpm.ResetPCRs()
	for _, e := range l.Events {
		if e.extends() {
			pcrs.Extend(int(e.PCR), e.Digest)
		}
	}
	return pcrs
}

// Extend extends a TPM by the events, in order. Its PCRs must be as a power
// cycle leaves them for the quote to match the log.
func (l *Log) Extend(tpm transport.TPM) error {
	for i, e := range l.Events {
		if !e.extends() {
			continue
		}
		if err := extend(tpm, e.PCR, e.Digest); err != nil {
			return fmt.Errorf("bootlog: event %d: %w", i+1, err)
		}
	}
	return nil
}

func extend(tpm transport.TPM, pcr uint32, digest [sha256.Size]byte) error {
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{
			{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]},
		}},
	}.Execute(tpm)
	return err
}

// Algorithm is one entry of the header's list.
type Algorithm struct{ Alg, Size uint16 }

// Header encodes a Specification ID record.
func Header(signature string, vendorInfo []byte, algorithms ...Algorithm) []byte {
	spec := append([]byte(signature), make([]byte, 16)...)[:16]
	spec = append(spec, 0, 0, 0, 0, 0, 2, 0, 2) // class, version 2.0, errata 0, 64-bit words
	spec = binary.LittleEndian.AppendUint32(spec, uint32(len(algorithms)))
	for _, a := range algorithms {
		spec = binary.LittleEndian.AppendUint16(spec, a.Alg)
		spec = binary.LittleEndian.AppendUint16(spec, a.Size)
	}
	spec = append(spec, byte(len(vendorInfo)))
	spec = append(spec, vendorInfo...)
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = binary.LittleEndian.AppendUint32(b, EvNoAction)
	b = append(b, make([]byte, 20)...) // SHA-1 digest of the old format
	b = binary.LittleEndian.AppendUint32(b, uint32(len(spec)))
	return append(b, spec...)
}

// hashed is an event whose digest covers exactly its data.
func hashed(pcr, kind uint32, data []byte) Event {
	return Event{PCR: pcr, Type: kind, Digest: sha256.Sum256(data), Data: data}
}

// described is an event whose data only describes what the digest covers.
func described(pcr, kind uint32, measured, data []byte) Event {
	return Event{PCR: pcr, Type: kind, Digest: sha256.Sum256(measured), Data: data}
}
