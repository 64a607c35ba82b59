package measure

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"testing"
	"testing/fstest"
)

func files(log, list []byte) Source {
	m := fstest.MapFS{"boot_id": {Data: []byte("1234-abcd\n")}}
	if log != nil {
		m["log"] = &fstest.MapFile{Data: log}
	}
	if list != nil {
		m["list"] = &fstest.MapFile{Data: list}
	}
	return Source{FS: m, BootLog: "log", IMAList: "list", BootID: "boot_id"}
}

func TestBootLogIsBounded(t *testing.T) {
	full := bytes.Repeat([]byte{7}, MaxBootLog)
	if got, err := files(full, nil).ReadBootLog(); err != nil || len(got) != MaxBootLog {
		t.Errorf("a log of the largest size: %d bytes, %v", len(got), err)
	}
	if _, err := files(append(full, 0), nil).ReadBootLog(); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := files(nil, nil).ReadBootLog(); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if id := files(nil, nil).ReadBootID(); id != "1234-abcd" {
		t.Errorf("boot id %q", id)
	}
}

func TestIMAFromOffset(t *testing.T) {
	list := []byte("0123456789")
	for _, c := range []struct {
		offset uint64
		want   string
	}{{0, "0123456789"}, {4, "456789"}, {10, ""}, {11, ""}, {1 << 63, ""}} {
		ima, err := files(nil, list).OpenIMA(c.offset)
		if err != nil {
			t.Errorf("offset %d: %v", c.offset, err)
			continue
		}
		got, err := io.ReadAll(ima)
		if err != nil || string(got) != c.want || ima.Size != uint64(len(c.want)) || ima.Close() != nil {
			t.Errorf("offset %d: %q of %d, %v", c.offset, got, ima.Size, err)
		}
	}
	if n, err := files(nil, list).IMASize(); n != 10 || err != nil {
		t.Error(n, err)
	}
}

func TestIMAIsBounded(t *testing.T) {
	ima, err := files(nil, make([]byte, MaxIMA+5)).OpenIMA(2)
	if err != nil || ima.Size != MaxIMA {
		t.Fatalf("%d, %v", ima.Size, err)
	}
}

func TestNoIMA(t *testing.T) {
	s := files(nil, nil)
	ima, err := s.OpenIMA(0)
	if err != nil || ima.Size != 0 || ima.Close() != nil {
		t.Error(ima, err)
	}
	if n, err := s.IMASize(); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// entry is one IMA entry with the given template name and data.
func entry(name, data string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 10)
	b = append(b, make([]byte, 20)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func TestCountIMA(t *testing.T) {
	list := append(entry("ima-ng", "one"), entry("ima-sig", "the second")...)
	if n, err := files(nil, list).CountIMA(); n != 2 || err != nil {
		t.Error(n, err)
	}
	for i := 1; i < len(list); i++ {
		if _, err := files(nil, list[:i]).CountIMA(); err == nil && i != len(entry("ima-ng", "one")) {
			t.Errorf("a list cut at %d was counted", i)
		}
	}
	huge := entry("ima-ng", "")
	binary.LittleEndian.PutUint32(huge[len(huge)-4:], 1<<31)
	if _, err := files(nil, huge).CountIMA(); err == nil {
		t.Error("an entry of 2 GiB was counted")
	}
}

func FuzzCountEntries(f *testing.F) {
	seeds := [][]byte{nil, entry("ima-ng", "data"), append(entry("ima-ng", "a"), entry("ima-buf", "b")...), {1, 2, 3}}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		n, err := countEntries(bufio.NewReader(bytes.NewReader(list)))
		if n < 0 || n > len(list)/32+1 {
			t.Errorf("%d entries in %d bytes (%v)", n, len(list), err)
		}
	})
}

func TestRelative(t *testing.T) {
	if got := Relative("/sys//kernel/../x"); got != "sys/x" {
		t.Error(got)
	}
}
