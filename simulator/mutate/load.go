package mutate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// source is a package as its files say it, with the types of its expressions.
type source struct {
	dir   string // absolute
	name  string
	fset  *token.FileSet
	files []*ast.File
	text  map[string][]byte // by absolute path
	types *types.Package
	info  *types.Info
}

// listed is what `go list -json` tells of a package.
type listed struct {
	ImportPath string
	Dir        string
	Name       string
	Export     string
	GoFiles    []string
	DepOnly    bool
}

// load parses and checks the package at path below the module's folder,
// without its tests.
func load(ctx context.Context, module, path string) (*source, error) {
	packages, err := list(ctx, module, path)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	var target *listed
	for i, p := range packages {
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			target = &packages[i]
		}
	}
	if target == nil {
		return nil, fmt.Errorf("%s: no such package", path)
	}
	return check(target, exports)
}

func list(ctx context.Context, module, path string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Name,Export,GoFiles,DepOnly", "./"+filepath.ToSlash(path))
	cmd.Dir = module
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w\n%s", path, err, stderr.Bytes())
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

func check(p *listed, exports map[string]string) (*source, error) {
	s := &source{
		dir: p.Dir, name: p.Name, fset: token.NewFileSet(), text: map[string][]byte{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}},
	}
	for _, file := range p.GoFiles {
		path := filepath.Join(p.Dir, file)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		parsed, err := parser.ParseFile(s.fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.text[path] = text
		s.files = append(s.files, parsed)
	}
	compiled := importer.ForCompiler(s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	var err error
	s.types, err = (&types.Config{Importer: compiled}).Check(p.ImportPath, s.fset, s.files, s.info)
	return s, err
}
