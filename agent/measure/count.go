package measure

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of one IMA entry; the kernel's own are lower.
const (
	maxTemplateName = 255
	maxTemplateData = 1 << 20
)

// countEntries walks entries of the form PCR (4 bytes), template digest (20),
// template name and template data, each after a 4-byte length. Integers are in
// the host's order, little endian on every platform the agent is built for.
func countEntries(r *bufio.Reader) (int, error) {
	for n := 0; ; n++ {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return n, nil
		}
		if err := skipEntry(r); err != nil {
			return n, fmt.Errorf("measure: IMA entry %d: %w", n, err)
		}
	}
}

func skipEntry(r *bufio.Reader) error {
	if _, err := r.Discard(4 + 20); err != nil {
		return err
	}
	if err := skipField(r, maxTemplateName); err != nil {
		return fmt.Errorf("template name: %w", err)
	}
	if err := skipField(r, maxTemplateData); err != nil {
		return fmt.Errorf("template data: %w", err)
	}
	return nil
}

func skipField(r *bufio.Reader, limit uint32) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > limit {
		return fmt.Errorf("%d bytes, at most %d", n, limit)
	}
	_, err := r.Discard(int(n))
	return err
}
