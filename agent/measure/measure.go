// Package measure reads what firmware and kernel measured: the TCG boot log and
// the IMA list. It bounds every read and interprets as little as it can; the
// verifier judges the bytes.
package measure

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// Where Linux exposes the logs of the first TPM.
const (
	DefaultBootLog = "/sys/kernel/security/tpm0/binary_bios_measurements"
	DefaultIMAList = "/sys/kernel/security/ima/binary_runtime_measurements"
	DefaultBootID  = "/proc/sys/kernel/random/boot_id"
)

// Sizes in bytes that a read never exceeds.
const (
	MaxBootLog = 1 << 20
	MaxIMA     = 64 << 20 // of one answer; a longer list continues with the next challenge
)

// ErrTooLarge reports a boot log of more than MaxBootLog bytes.
var ErrTooLarge = errors.New("measure: boot log exceeds 1 MiB")

// Source is where one host's measurements are. Paths are slash-separated and
// relative to FS. A Source is safe for concurrent use if its FS is.
type Source struct {
	FS      fs.FS
	BootLog string
	IMAList string
	BootID  string
}

// Relative turns an absolute path into one that os.DirFS("/") accepts.
func Relative(path string) string {
	return strings.TrimPrefix(filepath.ToSlash(filepath.Clean(path)), "/")
}

// ReadBootLog returns the whole boot log. Error is fs.ErrNotExist when firmware
// or boot loader left none, ErrTooLarge when it exceeds MaxBootLog.
func (s Source) ReadBootLog() ([]byte, error) {
	f, err := s.FS.Open(s.BootLog)
	if err != nil {
		return nil, fmt.Errorf("measure: boot log: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBootLog+1))
	if err != nil {
		return nil, fmt.Errorf("measure: boot log: %w", err)
	}
	if len(data) > MaxBootLog {
		return nil, ErrTooLarge
	}
	return data, nil
}

// ReadBootID returns the kernel's random id of this boot, or "" where there is none.
// It is a hint for people and proves nothing.
func (s Source) ReadBootID() string {
	f, err := s.FS.Open(s.BootID)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// IMASize returns the length of the IMA list in bytes. It reads the list
// through, since securityfs does not tell sizes; a host without IMA has size 0.
func (s Source) IMASize() (uint64, error) {
	f, err := s.openIMA(0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(io.Discard, f)
	if err != nil {
		return 0, fmt.Errorf("measure: IMA list: %w", err)
	}
	return uint64(n), nil
}

// IMA is a stretch of the list that is ready to be read: exactly Size bytes.
// Close releases the file.
type IMA struct {
	io.Reader
	Size uint64

	file io.Closer
}

// Close releases the file.
func (i *IMA) Close() error {
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

// OpenIMA returns the list from byte offset to the end it has now, at most
// MaxIMA bytes. Nothing is held in memory: the list is measured in a first pass
// and read in a second, and since the kernel only appends, both see the same
// bytes. An offset behind the end, or a host without IMA, gives size 0.
func (s Source) OpenIMA(offset uint64) (*IMA, error) {
	size, err := s.sizeFrom(offset)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return &IMA{Reader: strings.NewReader("")}, nil
	}
	f, err := s.openIMA(offset)
	if err != nil {
		return nil, err
	}
	return &IMA{Reader: io.LimitReader(f, int64(size)), Size: size, file: f}, nil
}

func (s Source) sizeFrom(offset uint64) (uint64, error) {
	f, err := s.openIMA(offset)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.EOF) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(f, MaxIMA))
	if err != nil {
		return 0, fmt.Errorf("measure: IMA list: %w", err)
	}
	return uint64(n), nil
}

// openIMA opens the list and skips to offset.
func (s Source) openIMA(offset uint64) (fs.File, error) {
	if offset > 1<<40 {
		return nil, fmt.Errorf("measure: IMA offset %d is out of range: %w", offset, io.EOF)
	}
	f, err := s.FS.Open(s.IMAList)
	if err != nil {
		return nil, fmt.Errorf("measure: IMA list: %w", err)
	}
	if err := skip(f, int64(offset)); err != nil {
		f.Close()
		return nil, fmt.Errorf("measure: IMA list: skip to %d: %w", offset, err)
	}
	return f, nil
}

// skip reads over offset bytes. An fs.File need not seek, and the kernel walks
// the records of this file from the start on a seek in any case.
func skip(f fs.File, offset int64) error {
	if offset == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, f, offset)
	return err
}

// CountIMA returns the number of entries in the list, for people. Error when
// the list is not in the kernel's binary format.
func (s Source) CountIMA() (int, error) {
	f, err := s.openIMA(0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return countEntries(bufio.NewReaderSize(io.LimitReader(f, MaxIMA), 32<<10))
}
