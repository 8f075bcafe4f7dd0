package function

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// maxValues bounds what the aliases of a file unfold to: twelve lines can ask
// for gigabytes.
const maxValues = 100_000

// unfolded checks how many values a document has once its aliases are
// followed.
func (s *source) unfolded(doc ast.Node) error {
	w := weighing{anchors: map[string]int{}}
	w.weigh(doc)
	if w.fault == "" {
		return nil
	}
	f := &Fault{File: s.file, Message: w.fault}
	if t := w.at.GetToken(); t != nil && t.Position != nil {
		f.Line, f.Column = t.Position.Line, t.Position.Column
	}
	return f
}

// weighing counts the values of a document.
type weighing struct {
	anchors map[string]int // complete ones
	fault   string
	at      ast.Node
}

func (w *weighing) weigh(n ast.Node) (values int) {
	switch n := n.(type) {
	case nil:
		return 0
	case *ast.MappingNode:
		values = 1
		for _, v := range n.Values {
			values = w.add(n, values, w.weigh(v))
		}
	case *ast.MappingValueNode:
		values = w.add(n, w.weigh(n.Key), w.weigh(n.Value))
	case *ast.SequenceNode:
		values = 1
		for _, v := range n.Values {
			values = w.add(n, values, w.weigh(v))
		}
	case *ast.TagNode:
		values = w.weigh(n.Value)
	case *ast.AnchorNode:
		values = w.weigh(n.Value)
		w.anchors[name(n.Name)] = values
	case *ast.AliasNode:
		var known bool
		if values, known = w.anchors[name(n.Value)]; !known {
			w.refuse(n, fmt.Sprintf("*%s names nothing that was said before", name(n.Value)))
		}
	default:
		values = 1
	}
	return values
}

// add keeps sums within the bound, so that they cannot overflow.
func (w *weighing) add(at ast.Node, a, b int) int {
	if a+b > maxValues {
		w.refuse(at, fmt.Sprintf("unfolds to more than %d values: use fewer aliases", maxValues))
		return maxValues
	}
	return a + b
}

func (w *weighing) refuse(at ast.Node, fault string) {
	if w.fault == "" {
		w.fault, w.at = fault, at
	}
}

func name(n ast.Node) string {
	if n == nil {
		return ""
	}
	return n.GetToken().Value
}
