package trigger

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
)

// A condition is evaluated where messages arrive, outside any sandbox, so what
// it may cost is bounded here: what makes values larger than those it was given
// is not part of the language, and what looks at many values pays for each.

// Bounds of a condition.
const (
	maxConditionBytes = 4 << 10
	maxConditionNodes = 500
	// conditionSteps is what one evaluation may look at: elements, and 16 bytes
	// of text each. It is over after some tens of milliseconds at most.
	conditionSteps = 1 << 18
	bytesPerStep   = 16
)

// builtins are the functions of the language that conditions have. The others
// make texts and lists, out of which small messages could make huge ones.
var builtins = []string{
	"all", "any", "none", "one", "filter", "find", "findIndex", "findLast", "findLastIndex", "count", "sum", "len", "type", "abs", "ceil",
	"floor", "round", "int", "float", "string", "trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "indexOf", "lastIndexOf",
	"hasPrefix", "hasSuffix", "max", "min", "mean", "median", "now", "duration", "date", "timezone", "first", "last", "get", "keys", "values",
	"bitand", "bitor", "bitxor", "bitnand", "bitnot", "bitshl", "bitshr", "bitushr",
}

// errSteps says that a condition looks at too much of a message.
var errSteps = errors.New("the condition looks at too much of the data: shorten the lists or texts that it goes through, or leave it to the function")

// bounds finds what conditions cannot have.
type bounds struct{ err error }

// Visit implements ast.Visitor.
func (b *bounds) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if n.Value == "$env" {
			b.refuse("$env is not part of conditions: name what you mean")
		}
	case *ast.VariableDeclaratorNode:
		b.refuse("let is not part of conditions: write the value where it is used")
	case *ast.BuiltinNode:
		if !slices.Contains(builtins, n.Name) {
			b.refuse(fmt.Sprintf("%s is not part of conditions, which look at values and make none: leave that to the function", n.Name))
		}
	case *ast.BinaryNode:
		if n.Operator == "matches" && !fixed(n.Right) {
			b.refuse("matches takes a pattern that is written there or in config, not one that a message brings")
		}
	}
}

func (b *bounds) refuse(why string) {
	if b.err == nil {
		b.err = errors.New(why)
	}
}

// fixed reports whether messages have no say in a value.
func fixed(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NilNode, *ast.ConstantNode:
		return true
	case *ast.MemberNode:
		at, ok := memberPath(n)
		return ok && at.root == "config"
	case *ast.ArrayNode:
		return !slices.ContainsFunc(n.Nodes, func(n ast.Node) bool { return !fixed(n) })
	}
	return false
}

// spendName names the function that pays. Nobody can write it.
const spendName = "pay for"

// bounded are the options that a condition is compiled with.
func bounded() []expr.Option {
	return []expr.Option{
		expr.MaxNodes(maxConditionNodes), expr.Patch(payer{}),
		expr.Function(spendName, func(args ...any) (any, error) {
			e, ok := args[0].(*env)
			if !ok {
				return nil, errSteps
			}
			if e.steps -= 1 + weight(args[1], e.steps); e.steps < 0 {
				return nil, errSteps
			}
			return args[1], nil
		}, new(func(any, any) any)),
	}
}

// payer makes the bodies of loops, and what they go through, be paid for.
type payer struct{}

// Visit implements ast.Visitor.
func (payer) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		ast.Walk(&n.Node, looker{})
		pay(&n.Node)
	case *ast.BinaryNode:
		if n.Operator == "+" && !paid(*node) && (mayBeLong(n.Left) || mayBeLong(n.Right)) {
			pay(node)
		}
	}
}

// looker makes operands in the body of a loop be paid for whose length decides
// what is done with them.
type looker struct{}

// Visit implements ast.Visitor.
func (looker) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.BinaryNode:
		switch n.Operator {
		case "==", "!=", "<", ">", "<=", ">=", "startsWith", "endsWith":
			// No longer than the shorter of the two.
			if !fixed(n.Left) && !fixed(n.Right) {
				pay(&n.Left)
			}
		case "matches", "contains", "in", "not in":
			payUnlessFixed(&n.Left, &n.Right)
		}
	case *ast.BuiltinNode:
		for i := range n.Arguments {
			if _, body := n.Arguments[i].(*ast.PredicateNode); !body {
				payUnlessFixed(&n.Arguments[i])
			}
		}
	}
}

func payUnlessFixed(nodes ...*ast.Node) {
	for _, n := range nodes {
		if !fixed(*n) {
			pay(n)
		}
	}
}

func mayBeLong(n ast.Node) bool {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return false
	}
	return true
}

func paid(n ast.Node) bool {
	call, ok := n.(*ast.CallNode)
	if !ok {
		return false
	}
	callee, ok := call.Callee.(*ast.IdentifierNode)
	return ok && callee.Value == spendName
}

func pay(node *ast.Node) {
	if !paid(*node) {
		ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: spendName}, Arguments: []ast.Node{&ast.IdentifierNode{Value: "$env"}, *node}})
	}
}

// weight is what it costs to look at all of a value; more than most is told as
// soon as it is known.
func weight(v any, most int) int {
	switch v := v.(type) {
	case string:
		return len(v) / bytesPerStep
	case []any:
		n := len(v)
		for i := 0; i < len(v) && n <= most; i++ {
			n += weight(v[i], most-n)
		}
		return n
	case map[string]any:
		n := len(v)
		for key, value := range v {
			if n += len(key)/bytesPerStep + weight(value, most-n); n > most {
				break
			}
		}
		return n
	case map[string]string:
		n := len(v)
		for key, value := range v {
			n += (len(key) + len(value)) / bytesPerStep
		}
		return n
	}
	return 0
}

// checkBounds says what a condition cannot have.
func checkBounds(text string, tree *ast.Node) error {
	if len(text) > maxConditionBytes {
		return fmt.Errorf("the condition has %d bytes, more than the %d that it may have: leave it to the function", len(text), maxConditionBytes)
	}
	b := &bounds{}
	ast.Walk(tree, b)
	return b.err
}

// outOfSteps reports whether an evaluation was ended because of what it cost.
func outOfSteps(err error) bool {
	return errors.Is(err, errSteps) || err != nil && strings.Contains(err.Error(), "memory budget exceeded")
}
