package sqlite

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/verifier/node"
	"github.com/quorate/quorate/verifier/store"
	"github.com/quorate/quorate/verifier/store/storetest"
)

// hostile are texts that would end a literal, add a condition or a statement, if
// they were ever part of one.
var hostile = []string{
	"' OR '1'='1", "x' OR 1=1 --", "'; DROP TABLE nodes; --", "'; UPDATE nodes SET state='admitted'; --", `" OR ""="`,
	"%", "_", "*", "org-a/validator-1' UNION SELECT record FROM nodes --", "\x00", "?1", ":id", "NULL", "(SELECT id FROM nodes)",
}

// Text that somebody else chose is a value, in every query that takes one: it
// finds nothing and changes nothing.
func TestA147_TextStaysText(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "q.db"))
	defer s.Close()
	rec, err := s.CreateNode(t.Context(), storetest.NewRecord(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	invite := store.Invite{Token: node.Digest{1}, Node: "org-a/validator-9", Role: "validator", By: "org-a/alice", Created: now, NotAfter: now.Add(time.Hour)}
	if err := s.CreateInvite(t.Context(), invite); err != nil {
		t.Fatal(err)
	}
	for _, text := range hostile {
		if _, err := s.Node(t.Context(), text); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("node %q: %v", text, err)
		}
		if _, err := s.NodeByHost(t.Context(), text); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("host %q: %v", text, err)
		}
		if before, err := s.Predecessor(t.Context(), text); before != "" {
			t.Errorf("predecessor %q: %q, %v", text, before, err)
		}
		if _, err := s.ConsumeInvite(t.Context(), invite.Token, text, now); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("invitation for %q: %v", text, err)
		}
		if _, err := s.ActivePolicy(t.Context(), text); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("policy of %q: %v", text, err)
		}
		if _, err := s.Meta(t.Context(), text); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("meta %q: %v", text, err)
		}
		if err := s.SetMeta(t.Context(), text, []byte(text)); err != nil {
			t.Errorf("meta %q: %v", text, err)
		} else if got, err := s.Meta(t.Context(), text); err != nil || string(got) != text {
			t.Errorf("meta %q gives %q, %v", text, got, err)
		}
		if err := s.SavePositions(t.Context(), []store.Position{{Node: text, Data: []byte("x")}}); err != nil {
			t.Errorf("position of %q: %v", text, err)
		}
	}
	after, err := s.Node(t.Context(), rec.ID)
	if err != nil || after.Version != rec.Version || after.State != rec.State {
		t.Errorf("the node is %+v, %v", after, err)
	}
	if positions, err := s.Positions(t.Context()); err != nil || len(positions) != 0 {
		t.Errorf("positions %v, %v", positions, err)
	}
	if _, err := s.ConsumeInvite(t.Context(), invite.Token, invite.Node, now); err != nil {
		t.Errorf("the twin: %v", err)
	}
}

// Statements are written out: constants and nothing else, so that no later change
// can put a value into one.
func TestA147_StatementsAreConstant(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	constants, statements := map[string]bool{}, 0
	var parsed []*ast.File
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
				for _, spec := range d.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						constants[id.Name] = true
					}
				}
			}
			return true
		})
	}
	constants["schema"] = true // embedded from schema.sql
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			m, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(m.Sel.Name, "Context") || len(call.Args) < 2 {
				return true
			}
			// A prepared statement takes values only; what it was prepared from is looked at.
			if x, ok := m.X.(*ast.Ident); !ok || x.Name != "statement" {
				if statements++; !constant(call.Args[1], constants) {
					t.Errorf("%s: the statement is not a constant", fset.Position(call.Pos()))
				}
			}
			return true
		})
	}
	if statements < 20 {
		t.Errorf("%d statements found", statements)
	}
}

// constant reports whether an expression is a literal, a constant of the package,
// or a sum of such.
func constant(e ast.Expr, names map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return names[e.Name]
	case *ast.BinaryExpr:
		return constant(e.X, names) && constant(e.Y, names)
	}
	return false
}
