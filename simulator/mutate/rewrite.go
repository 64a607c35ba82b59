package mutate

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
)

// edit replaces the bytes from at to end. Texts that close something stand
// before those that open something at the same place.
type edit struct {
	at, end int
	opens   bool
	text    string
}

// rewriter walks one file, numbers the mutants it finds and collects the edits
// that compile all of them in. No edit holds a line break, so lines keep their
// numbers.
type rewriter struct {
	*source
	module  string
	path    string
	edits   []edit
	mutants []Mutant
	next    int // the next mutant's id
	stack   []ast.Node
	behind  map[ast.Node][]string
	nth     map[string]int
}

// rewrite returns the files of s with every mutant compiled in, by absolute
// path, and the mutants.
func rewrite(s *source, module string) (map[string]string, []Mutant) {
	files := map[string]string{}
	var mutants []Mutant
	for _, file := range s.files {
		r := &rewriter{source: s, module: module, path: s.fset.Position(file.Package).Filename, next: len(mutants),
			behind: map[ast.Node][]string{}, nth: map[string]int{}}
		ast.Inspect(file, r.visit)
		files[r.path] = r.apply()
		mutants = append(mutants, r.mutants...)
	}
	return files, mutants
}

// visit is called before each node, and with nil after it.
func (r *rewriter) visit(n ast.Node) bool {
	if n == nil {
		last := len(r.stack) - 1
		r.close(r.stack[last])
		r.stack = r.stack[:last]
		return true
	}
	if skipped(n) {
		return false
	}
	r.stack = append(r.stack, n)
	r.open(n)
	return true
}

// skipped are the parts of a program that decide nothing: types, constants,
// whose value the compiler needs, and texts for people.
func skipped(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok.String() != "var"
	case *ast.FuncDecl:
		return n.Name.Name == "String" || n.Name.Name == "Error" || n.Body == nil
	case *ast.FuncType, *ast.ArrayType, *ast.MapType, *ast.StructType, *ast.FieldList, *ast.CommentGroup:
		return true
	}
	return false
}

// parent is the node n levels above the one being visited, 1 for its parent.
func (r *rewriter) parent(n int) ast.Node {
	if i := len(r.stack) - 1 - n; i >= 0 {
		return r.stack[i]
	}
	return nil
}

// function is the nearest function around the node being visited: its type and its name.
func (r *rewriter) function() (*ast.FuncType, string) {
	var signature *ast.FuncType
	for _, n := range slices.Backward(r.stack) {
		switch n := n.(type) {
		case *ast.FuncLit:
			if signature == nil {
				signature = n.Type
			}
		case *ast.FuncDecl:
			if signature == nil {
				signature = n.Type
			}
			return signature, receiver(n) + n.Name.Name
		case *ast.ValueSpec:
			if len(r.stack) > 2 && r.stack[2] == ast.Node(n) {
				return signature, "var " + n.Names[0].Name
			}
		}
	}
	return signature, "file"
}

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if index, ok := t.(*ast.IndexExpr); ok {
		t = index.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "."
	}
	return ""
}

// add numbers a mutant of the node n.
func (r *rewriter) add(n ast.Node, change string) int {
	file, err := filepath.Rel(r.module, r.path)
	if err != nil {
		file = r.path
	}
	_, name := r.function()
	m := Mutant{File: filepath.ToSlash(file), Line: r.fset.Position(n.Pos()).Line, Func: name, Change: change, id: r.next}
	r.nth[m.Name()]++
	m.Nth = r.nth[m.Name()]
	r.mutants = append(r.mutants, m)
	r.next++
	return m.id
}

// said is the source text of n on one short line.
func (r *rewriter) said(n ast.Node) string {
	text := strings.Join(strings.Fields(r.slice(n)), " ")
	if runes := []rune(text); len(runes) > 70 {
		text = string(runes[:67]) + "..."
	}
	return text
}

func (r *rewriter) offset(p token.Pos) int { return r.fset.Position(p).Offset }

func (r *rewriter) slice(n ast.Node) string {
	return string(r.text[r.path][r.offset(n.Pos()):r.offset(n.End())])
}

// before inserts text in front of n, after behind it.
func (r *rewriter) before(n ast.Node, format string, args ...any) {
	at := r.offset(n.Pos())
	r.edits = append(r.edits, edit{at: at, end: at, opens: true, text: fmt.Sprintf(format, args...)})
}

func (r *rewriter) after(n ast.Node, format string, args ...any) {
	at := r.offset(n.End())
	r.edits = append(r.edits, edit{at: at, end: at, text: fmt.Sprintf(format, args...)})
}

func (r *rewriter) apply() string {
	slices.SortStableFunc(r.edits, func(a, b edit) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		return compareBool(a.opens, b.opens)
	})
	var out strings.Builder
	text, done := r.text[r.path], 0
	for _, e := range r.edits {
		out.Write(text[done:e.at])
		out.WriteString(e.text)
		done = e.end
	}
	out.Write(text[done:])
	return out.String()
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
