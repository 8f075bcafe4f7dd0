package trigger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/expr-lang/expr/vm"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// Function is what the table must know of a function's live version.
type Function struct {
	Name     string
	Version  int
	Config   map[string]any
	Triggers []function.Trigger
}

// Table knows which functions a message starts. Lookups take no lock; changing
// a function is one step, so that a message sees either its old triggers or
// its new ones. The zero Table is not usable; call NewTable.
type Table struct {
	tree *topic.Tree[*rule]

	mu        sync.Mutex // guards functions and all changes of the tree
	functions map[string]*slot
	changes   atomic.Uint64 // odd while a change is being made

	matchers sync.Pool
	stats    counters
}

// slot is one function's place; which rules count is one pointer.
type slot struct {
	name string
	live atomic.Pointer[ruleSet]
}

// ruleSet are the compiled triggers of one version.
type ruleSet struct {
	slot    *slot
	version int
	config  map[string]any
	rules   []*rule
}

// rule is one compiled trigger.
type rule struct {
	set      *ruleSet
	index    int
	pattern  *topic.Pattern
	qos      byte
	retained bool
	when     *condition
	// order is the ordering key: the capture with that number, or for -1 the
	// field of data below orderPath.
	order     int
	orderPath []string
}

type counters struct {
	missing, typeErrors, noKey atomic.Uint64
}

// Stats are counters since NewTable.
type Stats struct {
	// Functions and Rules are what the table holds now.
	Functions, Rules int
	// MissingFields counts conditions that spoke of a field that was not
	// there, TypeErrors those that did not fit the data, NoKey events without
	// the field that orders them.
	MissingFields, TypeErrors, NoKey uint64
}

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{tree: topic.NewTree[*rule](), functions: make(map[string]*slot)}
	t.matchers.New = func() any { return &matcher{t: t, vm: &vm.VM{}} }
	return t
}

// FieldError is a fault in one field of a trigger.
type FieldError struct {
	// Trigger is its index, Field its name: "mqtt", "when", "order_by", "qos".
	Trigger int
	Field   string
	Err     error
}

// Error names the field.
func (e *FieldError) Error() string {
	return fmt.Sprintf("triggers[%d].%s: %v", e.Trigger, e.Field, e.Err)
}

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// Check compiles the triggers and returns every fault, joined, each a
// *FieldError.
func Check(f Function) error {
	_, err := compile(f)
	return err
}

func compile(f Function) (*ruleSet, error) {
	set := &ruleSet{version: f.Version, config: f.Config}
	var errs []error
	for i := range f.Triggers {
		tr := &f.Triggers[i]
		r := &rule{set: set, index: i, retained: tr.Retained}
		fail := func(field string, err error) { errs = append(errs, &FieldError{i, field, err}) }
		if tr.QoS != nil && (*tr.QoS < 0 || *tr.QoS > 2) {
			fail("qos", fmt.Errorf("%d is not a quality of service: use 0, 1 or 2", *tr.QoS))
		}
		r.qos = tr.EffectiveQoS()
		var err error
		if r.pattern, err = topic.ParsePattern(tr.MQTT, topic.DefaultLimits); err != nil {
			fail("mqtt", err)
			continue
		}
		if err := r.compileOrder(tr.OrderBy); err != nil {
			fail("order_by", err)
		}
		if strings.TrimSpace(tr.When) != "" {
			if r.when, err = compileCondition(tr.When); err != nil {
				fail("when", fmt.Errorf("%s: %w", tr.When, err))
			} else if err := r.checkNames(f.Config); err != nil {
				fail("when", err)
			}
		}
		set.rules = append(set.rules, r)
	}
	return set, errors.Join(errs...)
}

func (r *rule) compileOrder(by string) error {
	r.order = -2
	if by == "" {
		return nil
	}
	names := r.pattern.Names()
	for i, n := range names {
		if n == by {
			r.order = i
			return nil
		}
	}
	field, ok := strings.CutPrefix(by, "data.")
	if !ok || field == "" {
		if len(names) == 0 {
			return fmt.Errorf("%q is not a capture of %s: name a level there, such as {%s}, or use a field such as data.id", by, r.pattern, by)
		}
		return fmt.Errorf("%q is not a capture of %s: use one of %s, or a field such as data.id", by, r.pattern, strings.Join(names, ", "))
	}
	r.order, r.orderPath = -1, strings.Split(field, ".")
	return nil
}

// checkNames refuses conditions on params and config that can never be there.
func (r *rule) checkNames(config map[string]any) error {
	for _, p := range r.when.required {
		switch p.root {
		case "params":
			if !slices.Contains(r.pattern.Names(), p.names[0]) {
				return fmt.Errorf("params.%s: %s has no {%s}", p.names[0], r.pattern, p.names[0])
			}
		case "config":
			if _, ok := dig(config, p.names); !ok {
				return fmt.Errorf("%s is not in the function's config: add it there", p)
			}
		}
	}
	return nil
}

// Set makes f's triggers the ones that count for f.Name, or returns every
// fault and changes nothing.
func (t *Table) Set(f Function) error {
	set, err := compile(f)
	if err != nil {
		return fmt.Errorf("function %s: %w", f.Name, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.functions[f.Name]
	if s == nil {
		s = &slot{name: f.Name}
		t.functions[f.Name] = s
	}
	set.slot = s
	t.changes.Add(1)
	defer t.changes.Add(1)
	for _, r := range set.rules {
		t.tree.Add(r.pattern.Filter(), r)
	}
	t.drop(s.live.Swap(set))
	return nil
}

// Remove takes away a function's triggers.
func (t *Table) Remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.functions[name]; s != nil {
		t.changes.Add(1)
		defer t.changes.Add(1)
		t.drop(s.live.Swap(nil))
		delete(t.functions, name)
	}
}

func (t *Table) drop(set *ruleSet) {
	if set == nil {
		return
	}
	for _, r := range set.rules {
		t.tree.Remove(r.pattern.Filter(), func(o *rule) bool { return o == r })
	}
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	n := len(t.functions)
	t.mu.Unlock()
	return Stats{
		Functions: n, Rules: t.tree.Len(),
		MissingFields: t.stats.missing.Load(), TypeErrors: t.stats.typeErrors.Load(), NoKey: t.stats.noKey.Load(),
	}
}
