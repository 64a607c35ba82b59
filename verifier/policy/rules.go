package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"go.yaml.in/yaml/v3"
)

// Bounds of rules. The estimate is CEL's own, for boots at the assumed sizes;
// the limit while running holds for every boot.
const (
	maxRules       = 64
	maxExpression  = 4096    // bytes
	assumedItems   = 256     // items of any list of facts
	assumedText    = 512     // bytes of any text of facts
	maxEstimate    = 500_000 // CEL cost units, at the assumed sizes
	maxCost        = 2_000_000
	maxNestedDepth = 32
)

// forbidden are standard functions that rules may not use: patterns, because an
// unanchored one silently matches more than it says, and dyn, because it would
// hide unknown fields from the type check.
var forbidden = map[string]string{
	"matches": "patterns are not allowed; compare whole values or digests",
	"dyn":     "dyn is not allowed; it hides misspelt fields from the check",
}

// compiler checks and compiles rules. It declares the facts to CEL for its first
// rule, and is for one goroutine: whoever reads or compiles a policy makes one.
type compiler struct{ env *cel.Env }

func (c *compiler) environment() (_ *cel.Env, err error) {
	if c.env == nil {
		c.env, err = newEnvironment()
	}
	return c.env, err
}

func newEnvironment() (*cel.Env, error) {
	return cel.NewEnv(
		ext.NativeTypes(
			ext.ParseStructTags(true),
			reflect.TypeFor[TPMFacts](), reflect.TypeFor[FirmwareFacts](),
			reflect.TypeFor[SecureBootFacts](), reflect.TypeFor[BootFacts](),
		),
		cel.Variable("tpm", cel.ObjectType("policy.TPMFacts")),
		cel.Variable("firmware", cel.ObjectType("policy.FirmwareFacts")),
		cel.Variable("secureBoot", cel.ObjectType("policy.SecureBootFacts")),
		cel.Variable("boot", cel.ObjectType("policy.BootFacts")),
		cel.ParserRecursionLimit(maxNestedDepth),
		cel.ParserExpressionSizeLimit(maxExpression),
	)
}

func (d *decoder) rules(n *yaml.Node, key string) (all []Rule) {
	seen := map[string]bool{}
	d.list(n, key, func(n *yaml.Node, key string) {
		r := d.rule(n, key)
		if seen[r.ID] {
			d.add(n.Line, key+".id", "%q appears twice", bounded(r.ID))
		}
		seen[r.ID] = true
		all = append(all, r)
	})
	if len(all) > maxRules {
		d.add(n.Line, key, "has %d rules, more than %d", len(all), maxRules)
	}
	return all
}

func (d *decoder) rule(n *yaml.Node, key string) (r Rule) {
	d.mapping(n, key, []field{
		{"id", true, func(n *yaml.Node) { r.ID = d.name(n, key+".id") }},
		{"mode", false, func(n *yaml.Node) { r.Mode = d.mode(n, key+".mode") }},
		{"deny", true, func(n *yaml.Node) {
			s, ok := d.text(n, key+".deny")
			r.Deny = s
			if !ok {
				return
			}
			if _, err := d.compiler.compile(s, nil); err != nil {
				d.add(n.Line, key+".deny", "%v", err)
			}
		}},
		{"message", true, func(n *yaml.Node) { r.Message = d.prose(n, key+".message") }},
		{"remedy", true, func(n *yaml.Node) { r.Remedy = d.prose(n, key+".remedy") }},
	})
	return r
}

// compile checks an expression against the facts: its fields exist, its result
// is a boolean, it looks at some fact, uses no pattern, and its cost is bounded.
//
// What it looks at is added to read, if that is not nil.
func (c *compiler) compile(expression string, read reads) (cel.Program, error) {
	if len(expression) > maxExpression || strings.ContainsRune(expression, 0) {
		return nil, fmt.Errorf("must have at most %d bytes", maxExpression)
	}
	env, err := c.environment()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, errors.New(explain(issues))
	}
	if checked.OutputType() != types.BoolType {
		return nil, fmt.Errorf("gives %s; a rule must give true or false", checked.OutputType())
	}
	if err := inspect(checked.NativeRep()); err != nil {
		return nil, err
	}
	if read != nil {
		read.add(checked.NativeRep())
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, err
	}
	if estimate.Max > maxEstimate {
		return nil, fmt.Errorf("may cost %d steps, more than %d; nest fewer loops", estimate.Max, maxEstimate)
	}
	return env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
}

// explain puts what the CEL checker found on one line.
func explain(issues *cel.Issues) string {
	var parts []string
	for _, e := range issues.Errors() {
		parts = append(parts, fmt.Sprintf("column %d: %s", e.Location.Column()+1, bounded(strings.ReplaceAll(e.Message, "\n", " "))))
	}
	return strings.Join(parts, "; ")
}

// inspect walks the expression for forbidden functions, and for at least one fact:
// a rule that looks at none always says the same.
func inspect(tree *ast.AST) error {
	var problem error
	facts := false
	visit := ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.CallKind:
			if why, bad := forbidden[e.AsCall().FunctionName()]; bad {
				problem = errors.New(why)
			}
		case ast.IdentKind:
			facts = facts || isFact(e.AsIdent())
		}
	})
	ast.PreOrderVisit(tree.Expr(), visit)
	if problem == nil && !facts {
		return errors.New("looks at no fact, so it says the same about every host")
	}
	return problem
}

// reads are the names of the fields that rules look at.
type reads map[string]bool

// all stands for every field: a rule takes a structure as a whole.
const all = "*"

func (r reads) everything() bool { return r[all] }

// add adds what an expression looks at: the fields that it selects, or everything
// if it takes a variable but to select from it, or names a structure's type, as
// both could compare structures with fields that are not named.
func (r reads) add(tree *ast.AST) {
	variables, selected := 0, 0
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			r[e.AsSelect().FieldName()] = true
			if operand := e.AsSelect().Operand(); operand.Kind() == ast.IdentKind && isFact(operand.AsIdent()) {
				selected++
			}
		case ast.IdentKind:
			if isFact(e.AsIdent()) {
				variables++
			}
		case ast.StructKind:
			r[all] = true
		}
	}))
	if variables != selected {
		r[all] = true
	}
}

// isFact reports whether a name is a variable of the facts.
func isFact(name string) bool {
	return name == "tpm" || name == "firmware" || name == "secureBoot" || name == "boot"
}

// sizes tells CEL's cost estimate how large facts are assumed to be.
type sizes struct{}

// EstimateSize returns the assumed size of lists and texts that come from facts.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	switch node.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Max: assumedItems}
	case types.StringKind, types.BytesKind:
		return &cost.SizeEstimate{Max: assumedText}
	}
	return nil
}

// EstimateCallCost leaves the cost of calls to CEL.
func (sizes) EstimateCallCost(function, overload string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	return nil
}

// CompiledRule is a rule ready to run. It is safe for concurrent use.
type CompiledRule struct {
	Rule
	program cel.Program
}

// Denies evaluates the rule. An error means that it could not be evaluated for
// this boot, which callers must treat as a refusal.
func (r *CompiledRule) Denies(f *Facts) (bool, error) {
	out, _, err := r.program.Eval(activation{f})
	if err != nil {
		return true, err
	}
	deny, ok := out.Value().(bool)
	if !ok {
		return true, errors.New("policy: the rule gave no boolean")
	}
	return deny, nil
}

// activation gives rules their variables.
type activation struct{ facts *Facts }

// ResolveName implements cel.Activation.
func (a activation) ResolveName(name string) (any, bool) {
	switch name {
	case "tpm":
		return &a.facts.TPM, true
	case "firmware":
		return &a.facts.Firmware, true
	case "secureBoot":
		return &a.facts.SecureBoot, true
	case "boot":
		return &a.facts.Boot, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (a activation) Parent() cel.Activation { return nil }
