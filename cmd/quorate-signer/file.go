package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds a file that a command is given, in bytes.
const maxFile = 64 << 10

// readSmall reads a file, or standard input for "-".
func readSmall(path string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return readLimited(in, path, maxFile)
}

// readAtMost reads a file of at most that many bytes.
func readAtMost(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path, limit)
}

func readLimited(in io.Reader, path string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return data, err
}

// readFile reads a file that a flag names.
func readFile(flag, path string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%s is not set", flag)
	}
	data, err := readSmall(path, strings.NewReader(""))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return data, nil
}
