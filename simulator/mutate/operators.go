package mutate

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// open makes the mutants of n and inserts what stands in front of it, the
// outermost first; what stands behind it is kept until close.
func (r *rewriter) open(n ast.Node) {
	switch n := n.(type) {
	case *ast.ReturnStmt:
		r.returns(n)
	case ast.Stmt:
		r.statement(n)
	case ast.Expr:
		r.condition(n)
		r.operand(n)
		r.integer(n)
		if binary, ok := n.(*ast.BinaryExpr); ok {
			r.binary(binary)
		}
	}
}

func (r *rewriter) close(n ast.Node) {
	for _, text := range slices.Backward(r.behind[n]) {
		r.after(n, "%s", text)
	}
	delete(r.behind, n)
}

// wrap puts n between two texts.
func (r *rewriter) wrap(n ast.Node, before, behind string) {
	r.before(n, "%s", before)
	r.behind[n] = append(r.behind[n], behind)
}

// condition makes the condition of an if or a switch case false and true, and
// that of a loop false. False stands for the check that got lost.
func (r *rewriter) condition(e ast.Expr) {
	switch p := r.parent(1).(type) {
	case *ast.IfStmt:
		if p.Cond == e {
			r.falseAndTrue(e)
		}
	case *ast.CaseClause:
		if s, ok := r.parent(3).(*ast.SwitchStmt); ok && s.Tag == nil && slices.Contains(p.List, e) {
			r.falseAndTrue(e)
		}
	case *ast.ForStmt:
		if p.Cond == e {
			r.wrap(e, "((", fmt.Sprintf(") && !mutateOn(%d))", r.add(e, r.said(e)+": false")))
		}
	}
}

func (r *rewriter) falseAndTrue(e ast.Expr) {
	no, yes := r.add(e, r.said(e)+": false"), r.add(e, r.said(e)+": true")
	r.wrap(e, "((", fmt.Sprintf(") && !mutateOn(%d) || mutateOn(%d))", no, yes))
}

// operand takes one side of an && or || away. That is more than swapping the
// two: what notices a side's absence notices the swap.
func (r *rewriter) operand(e ast.Expr) {
	p, ok := r.parent(1).(*ast.BinaryExpr)
	if !ok || p.Op != token.LAND && p.Op != token.LOR {
		return
	}
	if inner, ok := e.(*ast.BinaryExpr); ok && inner.Op == p.Op {
		return // its own sides are taken away one by one
	}
	if id := r.add(e, fmt.Sprintf("%s: without %s", r.said(p), r.said(e))); p.Op == token.LAND {
		r.wrap(e, "(", fmt.Sprintf(" || mutateOn(%d))", id))
	} else {
		r.wrap(e, "((", fmt.Sprintf(") && !mutateOn(%d))", id))
	}
}

var (
	boundaries = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}
	compares   = map[token.Token]string{token.LSS: "mutateLess", token.LEQ: "mutateLessEqual", token.GTR: "mutateGreater", token.GEQ: "mutateGreaterEqual"}
	sums       = map[token.Token]string{token.ADD: "mutateSum", token.SUB: "mutateDifference"}
)

// binary moves the boundary of a comparison, turns an equality round and swaps
// plus and minus.
func (r *rewriter) binary(e *ast.BinaryExpr) {
	if r.constant(e) {
		return
	}
	switch {
	case boundaries[e.Op] != "":
		r.call(e, compares[e.Op], r.add(e, r.said(e)+": "+boundaries[e.Op]))
	case (e.Op == token.EQL || e.Op == token.NEQ) && !r.decides(e):
		r.wrap(e, "((", fmt.Sprintf(") != mutateOn(%d))", r.add(e, r.said(e)+": the reverse")))
	case sums[e.Op] != "" && isInteger(r.info.Types[e].Type):
		r.call(e, sums[e.Op], r.add(e, r.said(e)+": the other sign"))
	}
}

// decides reports whether other mutants make the expression true and false already.
func (r *rewriter) decides(e ast.Expr) bool {
	switch p := r.parent(1).(type) {
	case *ast.IfStmt, *ast.ForStmt, *ast.ReturnStmt:
		return true
	case *ast.CaseClause:
		return slices.Contains(p.List, e)
	case *ast.BinaryExpr:
		return p.Op == token.LAND || p.Op == token.LOR
	}
	return false
}

// call makes a call of two arguments from a binary expression.
func (r *rewriter) call(e *ast.BinaryExpr, name string, id int) {
	r.wrap(e, fmt.Sprintf("%s(%d, ", name, id), ")")
	at := r.offset(e.OpPos)
	r.edits = append(r.edits, edit{at: at, end: at + len(e.Op.String()), opens: true, text: ","})
}

// statement leaves out a call, an assignment, a break or a continue.
func (r *rewriter) statement(s ast.Stmt) {
	if !r.listed() || !droppable(s) {
		return
	}
	id := r.add(s, "without "+r.said(s))
	r.wrap(s, fmt.Sprintf("if !mutateOn(%d) { ", id), " }")
}

func droppable(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		return ok && name(call.Fun) != "panic"
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE && name(s.Lhs[0]) != "_"
	case *ast.BranchStmt:
		return s.Tok == token.BREAK || s.Tok == token.CONTINUE
	case *ast.IncDecStmt, *ast.DeferStmt:
		return true
	}
	return false
}

// listed reports whether the statement being visited stands in a list of
// statements, so that another can be put around or before it.
func (r *rewriter) listed() bool {
	switch p := r.parent(1).(type) {
	case *ast.BlockStmt:
		return true
	case *ast.CaseClause:
		return slices.Contains(p.Body, r.stack[len(r.stack)-1].(ast.Stmt))
	}
	return false
}

// returns gives back zero values instead of the results, and both true and
// false where the one result is a bool.
func (r *rewriter) returns(s *ast.ReturnStmt) {
	signature, _ := r.function()
	if !r.listed() || len(s.Results) == 0 || signature == nil || signature.Results == nil {
		return
	}
	var zeros []string
	for _, field := range signature.Results.List {
		for range max(1, len(field.Names)) {
			zeros = append(zeros, fmt.Sprintf("*new(%s)", r.slice(field.Type)))
		}
	}
	if slices.ContainsFunc(s.Results, notZero) {
		r.before(s, "if mutateOn(%d) { return %s }; ", r.add(s, r.said(s)+": zero"), strings.Join(zeros, ", "))
	}
	if len(zeros) == 1 && zeros[0] == "*new(bool)" && name(s.Results[0]) != "true" {
		r.before(s, "if mutateOn(%d) { return true }; ", r.add(s, r.said(s)+": true"))
	}
}

func notZero(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name != "nil" && e.Name != "false"
	case *ast.BasicLit:
		return e.Value != "0" && e.Value != `""`
	case *ast.CompositeLit:
		return len(e.Elts) > 0
	}
	return true
}

// integer makes a constant that is written as a number one more and one less.
func (r *rewriter) integer(e ast.Expr) {
	typed := r.typeName(e)
	if typed == "" || !r.constant(e) || !hasNumber(e) || r.isKey(e) || r.isHint(e) {
		return
	}
	if p, ok := r.parent(1).(ast.Expr); ok && r.constant(p) {
		return // part of a larger constant
	}
	more, less := -2, -2
	same := r.sameAsBoundary(e)
	if same != 1 {
		more = r.add(e, r.context(e)+": +1")
	}
	if same != -1 {
		less = r.add(e, r.context(e)+": -1")
	}
	r.wrap(e, fmt.Sprintf("mutateInt[%s](%d, %d, ", typed, more, less), ")")
}

// context names a constant by what it stands in, since many are alike.
func (r *rewriter) context(e ast.Expr) string {
	if p, ok := r.parent(1).(ast.Expr); ok {
		if _, literal := p.(*ast.CompositeLit); !literal {
			return fmt.Sprintf("%s in %s", r.said(e), r.said(p))
		}
	}
	return r.said(e)
}

// sameAsBoundary is the change of a compared constant that another mutant,
// which moves the comparison's boundary, makes already.
func (r *rewriter) sameAsBoundary(e ast.Expr) int {
	p, ok := r.parent(1).(*ast.BinaryExpr)
	if !ok || p.Y != e {
		return 0
	}
	return map[token.Token]int{token.LSS: 1, token.GEQ: 1, token.LEQ: -1, token.GTR: -1}[p.Op]
}

func (r *rewriter) constant(e ast.Expr) bool { return r.info.Types[e].Value != nil }

// typeName is the name of e's integer type as this file can write it, or "".
func (r *rewriter) typeName(e ast.Expr) string {
	t := r.info.Types[e].Type
	if t == nil || !isInteger(t) {
		return ""
	}
	if named, ok := t.(*types.Named); ok && named.Obj().Pkg() != r.types {
		return ""
	}
	return types.TypeString(t, types.RelativeTo(r.types))
}

func isInteger(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsInteger != 0 && basic.Info()&types.IsUntyped == 0
}

func hasNumber(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		found = found || ok && literal.Kind == token.INT
		return true
	})
	return found
}

// isKey reports whether e is an index in a literal, which has to be a constant.
func (r *rewriter) isKey(e ast.Expr) bool {
	p, ok := r.parent(1).(*ast.KeyValueExpr)
	return ok && p.Key == e
}

// isHint reports whether e only sizes memory or formats text: the capacity
// given to make, or an argument of package fmt.
func (r *rewriter) isHint(e ast.Expr) bool {
	call, ok := r.parent(1).(*ast.CallExpr)
	if !ok {
		return false
	}
	if s, ok := call.Fun.(*ast.SelectorExpr); ok && name(s.X) == "fmt" {
		return true
	}
	if name(call.Fun) != "make" {
		return false
	}
	_, isMap := r.info.Types[call.Args[0]].Type.Underlying().(*types.Map)
	return isMap || len(call.Args) > 2 && call.Args[2] == e
}

func name(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
