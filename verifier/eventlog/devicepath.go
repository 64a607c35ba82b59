package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	maxPathNodes = 64   // nodes of one device path; genuine ones have up to 12
	maxPathText  = 2048 // bytes of text for one node
)

var errDevicePath = errors.New("eventlog: malformed device path")

// DevicePath puts an EFI device path into words, such as
// "PciRoot(0x0)/Pci(0x2,0x0)/HD(1,GPT,5d2f…)/\EFI\debian\shimx64.efi". Nodes of
// kinds it does not know appear as "Path(type,subtype,hex)". It never recurses.
func DevicePath(data []byte) (string, error) {
	nodes, err := readPath(data)
	if err != nil {
		return "", err
	}
	parts := make([]string, 0, len(nodes))
	for _, n := range nodes[:len(nodes)-1] {
		parts = append(parts, n.String())
	}
	return strings.Join(parts, "/"), nil
}

// pathNode is one EFI_DEVICE_PATH_PROTOCOL: type, subtype and what follows them.
type pathNode struct {
	kind, sub uint8
	body      []byte // aliases the path
}

const (
	endType  = 0x7F // type of the nodes that end a path, or one of several
	endAll   = 0xFF
	endOne   = 0x01
	nodeHead = 4
)

// readPath reads a whole path: at most maxPathNodes nodes, of which the last one,
// and no other, ends it.
func readPath(data []byte) ([]pathNode, error) {
	var nodes []pathNode
	c := cursor{b: data}
	for len(nodes) < maxPathNodes {
		n := pathNode{kind: c.u8(), sub: c.u8()}
		n.body = c.take(int(c.u16()) - nodeHead)
		if c.bad || n.kind == endType && (n.sub != endAll && n.sub != endOne || len(n.body) != 0) {
			return nil, errDevicePath
		}
		nodes = append(nodes, n)
		if n.kind == endType && n.sub == endAll {
			if c.left() != 0 {
				return nil, errDevicePath
			}
			return nodes, nil
		}
	}
	return nil, errDevicePath
}

// String puts the node into words: "," where one path of several ends.
func (n pathNode) String() string {
	if n.kind == endType {
		return ","
	}
	if name, ok := pathNames[[2]uint8{n.kind, n.sub}]; ok {
		if text, ok := name(n.body); ok {
			return text
		}
	}
	return fmt.Sprintf("Path(%d,%d,%x)", n.kind, n.sub, n.body[:min(len(n.body), 64)])
}

// pathNames says how the body of a node reads; false if it has another size.
var pathNames = map[[2]uint8]func([]byte) (string, bool){
	{1, 1}: func(b []byte) (string, bool) {
		if len(b) != 2 {
			return "", false
		}
		return fmt.Sprintf("Pci(0x%x,0x%x)", b[1], b[0]), true
	},
	{1, 3}: func(b []byte) (string, bool) {
		if len(b) != 20 {
			return "", false
		}
		return fmt.Sprintf("MemoryMapped(0x%x,0x%x)", binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])), true
	},
	{1, 4}:  guidNode("VenHw"),
	{2, 1}:  acpiNode,
	{3, 1}:  pairNode("Ata", 4),
	{3, 2}:  pairNode("Scsi", 4),
	{3, 5}:  pairNode("USB", 2),
	{3, 10}: guidNode("VenMsg"),
	{3, 11}: func(b []byte) (string, bool) {
		if len(b) != 33 {
			return "", false
		}
		return fmt.Sprintf("MAC(%x)", b[:6]), true
	},
	{3, 18}: func(b []byte) (string, bool) {
		if len(b) != 6 {
			return "", false
		}
		return fmt.Sprintf("Sata(0x%x)", binary.LittleEndian.Uint16(b)), true
	},
	{3, 23}: func(b []byte) (string, bool) {
		if len(b) != 12 {
			return "", false
		}
		return fmt.Sprintf("NVMe(0x%x,%x)", binary.LittleEndian.Uint32(b), b[4:]), true
	},
	{4, 1}: diskNode,
	{4, 3}: guidNode("VenMedia"),
	{4, 4}: fileNode,
	{4, 6}: guidNode("FvFile"),
	{4, 7}: guidNode("Fv"),
}

func guidNode(name string) func([]byte) (string, bool) {
	return func(b []byte) (string, bool) {
		if len(b) < 16 {
			return "", false
		}
		if rest := b[16:]; len(rest) > 0 {
			return fmt.Sprintf("%s(%s,%x)", name, GUID(b[:16]), rest[:min(len(rest), 64)]), true
		}
		return fmt.Sprintf("%s(%s)", name, GUID(b[:16])), true
	}
}

// pairNode prints the first two bytes or 16-bit numbers of a node.
func pairNode(name string, size int) func([]byte) (string, bool) {
	return func(b []byte) (string, bool) {
		if len(b) < size {
			return "", false
		}
		if size == 2 {
			return fmt.Sprintf("%s(0x%x,0x%x)", name, b[0], b[1]), true
		}
		return fmt.Sprintf("%s(0x%x,0x%x)", name, binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])), true
	}
}

func acpiNode(b []byte) (string, bool) {
	if len(b) != 8 {
		return "", false
	}
	hid, uid := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	switch hid {
	case 0x0a0341d0:
		return fmt.Sprintf("PciRoot(0x%x)", uid), true
	case 0x0a0841d0:
		return fmt.Sprintf("PcieRoot(0x%x)", uid), true
	}
	return fmt.Sprintf("Acpi(0x%08x,0x%x)", hid, uid), true
}

func diskNode(b []byte) (string, bool) {
	if len(b) != 38 {
		return "", false
	}
	part := binary.LittleEndian.Uint32(b)
	if b[36] == 2 && b[37] == 2 {
		return fmt.Sprintf("HD(%d,GPT,%s)", part, GUID(b[20:36])), true
	}
	return fmt.Sprintf("HD(%d,MBR,0x%08x)", part, binary.LittleEndian.Uint32(b[20:])), true
}

func fileNode(b []byte) (string, bool) {
	if len(b) < 2 || len(b) > maxPathText || b[len(b)-1] != 0 || b[len(b)-2] != 0 {
		return "", false
	}
	return decodeUTF16(b[:len(b)-2])
}

// imagePath reads the device path of UEFI_IMAGE_LOAD_EVENT. The event's data is
// not measured, so whatever does not read well is simply no path.
func imagePath(data []byte) string {
	c := cursor{b: data}
	c.take(3 * 8)
	size := c.u64()
	if c.bad || size > uint64(c.left()) {
		return ""
	}
	path, err := DevicePath(c.take(int(size)))
	if err != nil {
		return ""
	}
	return path
}
