package trigger

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// env is what a condition may speak of.
type env struct {
	Data       any               `expr:"data"`
	Params     map[string]string `expr:"params"`
	Topic      string            `expr:"topic"`
	QoS        int               `expr:"qos"`
	Retained   bool              `expr:"retained"`
	Properties map[string]string `expr:"properties"`
	Config     map[string]any    `expr:"config"`
	Subject    string            `expr:"subject"`
	Source     string            `expr:"source"`
	Type       string            `expr:"type"`
	ID         string            `expr:"id"`

	// steps are what is left of conditionSteps.
	steps int
}

const envNames = "data, params, topic, qos, retained, subject, source, type, id, properties and config"

// condition is a compiled when.
type condition struct {
	text    string
	program *vm.Program
	// required are the paths below data and config that must be there, in
	// dots; data?.x, x ?? y and comparisons with nil require nothing.
	required []path
	// params says whether Params must be filled, attributes whether those of
	// the event must; mqtt is a name in it that only a message of MQTT has.
	params, attributes bool
	mqtt               string
}

type path struct {
	root  string
	names []string
}

func (p path) String() string { return p.root + "." + strings.Join(p.names, ".") }

// errMissing says that a field the condition speaks of is not there.
var errMissing = errors.New("missing field")

func compileCondition(text string) (*condition, error) {
	tree, err := parser.Parse(text)
	if err != nil {
		return nil, firstLine(err)
	}
	if err := checkBounds(text, &tree.Node); err != nil {
		return nil, err
	}
	c := &condition{text: text}
	c.program, err = expr.Compile(text, append(bounded(), expr.Env(env{}), expr.AsBool())...)
	if err != nil {
		err = firstLine(err)
		if strings.Contains(err.Error(), "unknown name") {
			return nil, fmt.Errorf("%w: a condition may use %s", err, envNames)
		}
		return nil, err
	}
	p := &paths{}
	ast.Walk(&tree.Node, p)
	optional := make(map[string]bool)
	for _, o := range p.optional {
		optional[o.String()] = true
	}
	seen := make(map[string]bool)
	for _, r := range p.all {
		if s := r.String(); !optional[s] && !seen[s] {
			seen[s] = true
			c.required = append(c.required, r)
		}
	}
	c.params, c.attributes, c.mqtt = p.params, p.attributes, p.mqtt
	return c, nil
}

// firstLine drops the drawing that the expression compiler adds.
func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// paths collects the fields that an expression reads.
type paths struct {
	all, optional      []path
	params, attributes bool
	mqtt               string
}

// Visit implements ast.Visitor.
func (p *paths) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		switch n.Value {
		case "params":
			p.params = true
		case "subject", "source", "type", "id":
			p.attributes = true
		case "topic", "qos", "retained":
			p.mqtt = n.Value
		}
	case *ast.MemberNode:
		if at, ok := memberPath(n); ok {
			p.all = append(p.all, at)
		}
	case *ast.ChainNode:
		p.markOptional(n.Node)
	case *ast.BinaryNode:
		_, left := n.Left.(*ast.NilNode)
		_, right := n.Right.(*ast.NilNode)
		if n.Operator == "??" || right {
			p.markOptional(n.Left)
		}
		if left {
			p.markOptional(n.Right)
		}
	}
}

func (p *paths) markOptional(n ast.Node) {
	inner := &paths{}
	ast.Walk(&n, inner)
	p.optional = append(p.optional, inner.all...)
}

// memberPath returns data.a.b as a path; other members have none.
func memberPath(n *ast.MemberNode) (path, bool) {
	name, ok := n.Property.(*ast.StringNode)
	if !ok || n.Method {
		return path{}, false
	}
	switch base := n.Node.(type) {
	case *ast.IdentifierNode:
		if base.Value == "data" || base.Value == "config" || base.Value == "params" {
			return path{base.Value, []string{name.Value}}, true
		}
	case *ast.MemberNode:
		if p, ok := memberPath(base); ok {
			return path{p.root, append(p.names[:len(p.names):len(p.names)], name.Value)}, true
		}
	}
	return path{}, false
}

// holds evaluates the condition. The error is errMissing (wrapped) or that of
// an expression that does not fit the data.
func (c *condition) holds(m *vm.VM, e *env) (bool, error) {
	for _, p := range c.required {
		if !present(e, p) {
			return false, fmt.Errorf("%w %s", errMissing, p)
		}
	}
	e.steps = conditionSteps
	out, err := m.Run(c.program, e)
	if outOfSteps(err) {
		return false, errSteps
	}
	if err != nil {
		return false, firstLine(err)
	}
	b, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("the condition is %T, not true or false", out)
	}
	return b, nil
}

// values are the fields that the condition needs, with what they are.
func (c *condition) values(e *env) map[string]any {
	out := make(map[string]any, len(c.required))
	for _, p := range c.required {
		switch p.root {
		case "data":
			out[p.String()], _ = dig(e.Data, p.names)
		case "config":
			out[p.String()], _ = dig(e.Config, p.names)
		default:
			out[p.String()] = e.Params[p.names[0]]
		}
	}
	return out
}

func present(e *env, p path) bool {
	var at any
	switch p.root {
	case "data":
		at = e.Data
	case "config":
		at = e.Config
	default:
		_, ok := e.Params[p.names[0]]
		return ok
	}
	_, ok := dig(at, p.names)
	return ok
}

// dig walks down objects.
func dig(at any, names []string) (any, bool) {
	for _, name := range names {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[name]; !ok {
			return nil, false
		}
	}
	return at, true
}
