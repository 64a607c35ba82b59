// Package cmd_test states which package may import which, and reads the
// imports from the source files themselves, so the answer is never a cached one.
package cmd_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/quorate/quorate/"

// pure packages decide; they may not read, write, dial, log, wait or start anything.
var pure = []string{
	"proto/binding", "verifier/eventlog", "verifier/ima", "verifier/enroll", "verifier/evidence", "verifier/policy",
	"verifier/appraise", "verifier/trust", "verifier/verdict", "verifier/node", "admission", "admission/power", "admission/values", "admission/watch/allowlist",
	"agent/signer/permit",
}

// impure imports are refused in pure packages, by exact path or, with a slash
// at the end, by prefix.
var impure = []string{
	"context", "os", "os/", "net", "net/http", "net/http/", "log", "log/", "database/sql", "math/rand", "math/rand/",
	"google.golang.org/grpc", "google.golang.org/grpc/", module + "proto/quorate/", module + "simulator/", "syscall", "os/exec",
	"sync", "time/tzdata", "unsafe",
}

// fences are the remaining rules: files below from may not import anything
// below to.
var fences = []struct{ from, to, why string }{
	{"agent", "verifier", "an agent must not need a verifier's code"},
	{"verifier", "agent", "a verifier must not need an agent's code"},
	{"admission", "agent", "a ledger imports admission alone"},
	{"admission", "verifier", "a ledger imports admission alone"},
	{"proto", "agent", "the contract stands below both sides"},
	{"proto", "verifier", "the contract stands below both sides"},
	{"agent", "simulator", "shipped code holds no simulator"},
	{"verifier", "simulator", "shipped code holds no simulator"},
	{"admission", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate-agent", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate-signer", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate-verifier", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate-gate", "simulator", "shipped code holds no simulator"},
	{"cmd/quorate-gate", "verifier", "a gate stands beside a ledger, not beside a verifier"},
	{"cmd/quorate-gate", "agent", "a gate stands beside a ledger, not on a host"},
}

func TestPurePackagesTouchNothing(t *testing.T) {
	for _, dir := range pure {
		seen := 0
		eachImport(t, dir, false, func(file, path string) {
			seen++
			for _, bad := range impure {
				if path == bad || strings.HasSuffix(bad, "/") && strings.HasPrefix(path, bad) {
					t.Errorf("%s imports %s: %s decides and must touch nothing", file, path, dir)
				}
			}
		})
		if seen == 0 {
			t.Errorf("%s: no imports read; did the package move?", dir)
		}
	}
}

func TestPurePackagesReadNoClock(t *testing.T) {
	for _, dir := range pure {
		for _, file := range goFiles(t, dir, false) {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"time.Now(", "time.Since(", "time.Sleep(", "\tgo func", "crypto/rand"} {
				if strings.Contains(string(source), bad) {
					t.Errorf("%s contains %q: time, randomness and goroutines belong to the caller", file, bad)
				}
			}
		}
	}
}

func TestFences(t *testing.T) {
	for _, f := range fences {
		eachImport(t, f.from, true, func(file, path string) {
			if path == module+f.to || strings.HasPrefix(path, module+f.to+"/") {
				t.Errorf("%s imports %s: %s", file, path, f.why)
			}
		})
	}
}

// eachImport calls visit for every import of the non-test Go files in dir and,
// if deep, below it.
func eachImport(t *testing.T, dir string, deep bool, visit func(file, path string)) {
	t.Helper()
	for _, file := range goFiles(t, dir, deep) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			visit(file, path)
		}
	}
}

func goFiles(t *testing.T, dir string, deep bool) []string {
	t.Helper()
	var files []string
	root := filepath.Join("..", dir)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (!deep || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}
