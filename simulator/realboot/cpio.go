package realboot

import (
	"bytes"
	"fmt"
	"io"
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its first
// file system. Owner and time are always zero: the same files give the same
// bytes, and so the same measurement, on every machine.
type cpioWriter struct {
	out  io.Writer
	at   int
	node int
	err  error
}

const (
	cpioDirectory = 0o040755
	cpioFile      = 0o100755
)

func (w *cpioWriter) add(name string, mode int, content []byte) {
	w.node++
	links := 1
	if mode == cpioDirectory {
		links = 2
	}
	w.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		w.node, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0))
	w.write(append([]byte(name), 0))
	w.align()
	w.write(content)
	w.align()
}

func (w *cpioWriter) align() { w.write(make([]byte, -w.at&3)) }

func (w *cpioWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	_, w.err = w.out.Write(b)
	w.at += len(b)
}

func (w *cpioWriter) close() error {
	w.add("TRAILER!!!", 0, nil)
	return w.err
}

// cpioArchive is a small convenience for one archive in memory.
func cpioArchive(fill func(*cpioWriter)) ([]byte, error) {
	var buffer bytes.Buffer
	w := &cpioWriter{out: &buffer}
	fill(w)
	if err := w.close(); err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	return buffer.Bytes(), nil
}
