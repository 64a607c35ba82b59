package bootlog

import (
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"math/big"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/quorate/quorate/simulator/papertpm"
)

// GUID is an EFI identifier as it lies in memory.
type GUID [16]byte

// mustGUID reads the usual text form, of which the first three groups are
// numbers, and so little endian in memory.
func mustGUID(text string) GUID {
	raw, err := hex.DecodeString(text[0:8] + text[9:13] + text[14:18] + text[19:23] + text[24:36])
	if err != nil {
		panic(err) // only called on constants
	}
	slices.Reverse(raw[0:4])
	slices.Reverse(raw[4:6])
	slices.Reverse(raw[6:8])
	return GUID(raw)
}

var (
	guidGlobal   = mustGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c") // EFI_GLOBAL_VARIABLE
	guidSecurity = mustGUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f") // EFI_IMAGE_SECURITY_DATABASE
	guidShim     = mustGUID("605dab50-e046-4300-abb6-3dd810dd8b23")
	guidX509     = mustGUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
	guidSHA256   = mustGUID("c1c41626-504c-4092-aca9-41f936934328")
	guidOwner    = mustGUID("77fa9abd-0359-4d32-bd60-28f4e78f784b") // Microsoft, as in most databases
)

// Certificate returns a self-signed certificate for a signature database. The
// same name gives the same certificate.
func Certificate(commonName string) []byte {
	key := papertpm.ECCKey(elliptic.P256(), "bootlog/"+commonName, papertpm.NodeKeyAttributes()).Signer
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key) // no randomness: the same bytes every time
	if err != nil {
		panic(fmt.Sprintf("bootlog: %v", err)) // the template is constant but for the name
	}
	return der
}

// CertificateLists encodes a signature database with one list per certificate.
func CertificateLists(certificates ...[]byte) []byte {
	var b []byte
	for _, der := range certificates {
		b = append(b, signatureList(guidX509, nil, 16+uint32(len(der)), slices.Concat(guidOwner[:], der))...)
	}
	return b
}

// DigestList encodes a signature database with one list of SHA-256 digests.
func DigestList(digests ...[sha256.Size]byte) []byte {
	var entries []byte
	for _, d := range digests {
		entries = slices.Concat(entries, guidOwner[:], d[:])
	}
	return signatureList(guidSHA256, nil, 16+sha256.Size, entries)
}

func signatureList(kind GUID, header []byte, entrySize uint32, entries []byte) []byte {
	b := append([]byte(nil), kind[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(28+len(header)+len(entries)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	b = binary.LittleEndian.AppendUint32(b, entrySize)
	return slices.Concat(b, header, entries)
}

// variable encodes a UEFI_VARIABLE_DATA.
func variable(guid GUID, name string, data []byte) []byte {
	b := append([]byte(nil), guid[:]...)
	wide := utf16.Encode([]rune(name))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(wide)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	return slices.Concat(b, utf16le(name), data)
}

func utf16le(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// imageEvent encodes a UEFI_IMAGE_LOAD_EVENT.
func imageEvent(size int, devicePath []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, 0x3cd1c018) // where it was loaded
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	b = binary.LittleEndian.AppendUint64(b, 0) // link time address
	b = binary.LittleEndian.AppendUint64(b, uint64(len(devicePath)))
	return append(b, devicePath...)
}

var endOfPath = []byte{0x7f, 0xff, 4, 0}

// filePath encodes a device path that is just a file's path.
func filePath(path string) []byte {
	text := append(utf16le(path), 0, 0)
	node := []byte{4, 4, byte(4 + len(text)), byte((4 + len(text)) >> 8)}
	return slices.Concat(node, text, endOfPath)
}

// diskPath encodes the device path of a file on the first disk's EFI partition.
func diskPath(path string) []byte {
	pci := []byte{2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, 1}
	disk := []byte{4, 1, 42, 0, 1, 0, 0, 0}
	disk = binary.LittleEndian.AppendUint64(disk, 0x800)
	disk = binary.LittleEndian.AppendUint64(disk, 0x1c000)
	disk = append(disk, guidPartition[:]...)
	disk = append(disk, 2, 2) // GPT, named by GUID
	return slices.Concat(pci, disk, filePath(path))
}

var (
	guidDisk      = mustGUID("11111111-2222-4333-8444-555555555501")
	guidPartition = mustGUID("11111111-2222-4333-8444-555555555502")
	guidRoot      = mustGUID("11111111-2222-4333-8444-555555555503")
	guidESP       = mustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	guidLinux     = mustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
)

// partitionTable encodes a UEFI_GPT_DATA with an EFI and a Linux partition.
func partitionTable() []byte {
	entries := slices.Concat(partition(guidESP, guidPartition, 0x800, 0x1c7ff), partition(guidLinux, guidRoot, 0x1c800, 0x307ff))
	b := append([]byte("EFI PART"), 0, 0, 1, 0, 92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, block := range []uint64{1, 0x31fff, 34, 0x31fde} { // itself, its copy, first and last usable
		b = binary.LittleEndian.AppendUint64(b, block)
	}
	b = append(b, guidDisk[:]...)
	b = binary.LittleEndian.AppendUint64(b, 2) // where the entries are
	b = binary.LittleEndian.AppendUint32(b, 128)
	b = binary.LittleEndian.AppendUint32(b, 128)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(append(slices.Clone(entries), make([]byte, 126*128)...)))
	binary.LittleEndian.PutUint32(b[16:], crc32.ChecksumIEEE(b))
	b = binary.LittleEndian.AppendUint64(b, 2) // entries in use
	return append(b, entries...)
}

func partition(kind, id GUID, first, last uint64) []byte {
	b := slices.Concat(kind[:], id[:])
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint64(b, last)
	return append(b, make([]byte, 128-len(b))...) // no attributes, no name
}
