// Package account holds what a program says against a file that a person has read.
//
// The file is the whole wording of a package: every refusal with got, want and where.
// A change that is meant is written with
//
//	go test ./that/package -update
//
// and read, line by line, before it is kept.
package account

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the accounts in testdata again; read the difference before keeping it")

// Hold fails the test at the first line in which text and file differ. A file that
// is missing or empty fails it too.
func Hold(t *testing.T, path string, text []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil || len(file) == 0 {
		t.Fatalf("%d bytes, %v", len(file), err)
	}
	if said := difference(text, file); said != "" {
		t.Fatalf("%s, %s", path, said)
	}
}

// difference names the first line in which two texts differ, or says nothing.
func difference(text, file []byte) string {
	got, want := bytes.Split(text, []byte("\n")), bytes.Split(file, []byte("\n"))
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d lines, want %d", len(got), len(want))
	}
	return ""
}
