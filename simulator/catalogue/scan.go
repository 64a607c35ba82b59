package catalogue

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Test is a test that answers a row.
type Test struct {
	Package Component // directory from the module's root
	Name    string
}

// Tests are the tests of each row, by the row's number.
type Tests map[int][]Test

// rowName is the name of a test that answers rows, for example
// TestA042_A043_Identity: each row with three digits.
var rowName = regexp.MustCompile(`^Test((?:A[0-9]+_)+)[A-Za-z0-9_]+$`)

// Scan finds the tests of a module that answer rows, ordered by package and name.
// It reads what is compiled, so that a test in a comment does not count, and it
// refuses names with a number of other than three digits or of no row.
func Scan(module fs.FS) (Tests, error) {
	found := make(Tests)
	err := fs.WalkDir(module, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped(name):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		return found.file(module, name)
	})
	if err != nil {
		return nil, fmt.Errorf("looking for tests: %w", err)
	}
	for _, tests := range found {
		slices.SortFunc(tests, func(a, b Test) int {
			return strings.Compare(string(a.Package)+" "+a.Name, string(b.Package)+" "+b.Name)
		})
	}
	return found, nil
}

// skipped are directories that the go command does not look into either.
func skipped(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || len(base) > 1 && (base[0] == '.' || base[0] == '_')
}

func (t Tests) file(module fs.FS, name string) error {
	source, err := fs.ReadFile(module, name)
	if err != nil {
		return err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		if err := t.add(Component(path.Dir(name)), f.Name.Name); err != nil {
			return err
		}
	}
	return nil
}

func (t Tests) add(dir Component, name string) error {
	m := rowName.FindStringSubmatch(name)
	if m == nil {
		return nil
	}
	for _, id := range strings.Split(strings.Trim(m[1], "A_"), "_A") {
		row, err := strconv.Atoi(id)
		if err != nil || len(id) != 3 || row < 1 || row > Size {
			return fmt.Errorf("%s: %s names no row; rows are A001 to A%03d", dir, name, Size)
		}
		t[row] = append(t[row], Test{Package: dir, Name: name})
	}
	return nil
}
