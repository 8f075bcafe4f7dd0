package trigger

import (
	"fmt"
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
	trees [kinds]*topic.Tree[*rule]
	// watched are the namespaces whose keys somebody watches.
	watched atomic.Pointer[map[string]bool]

	mu        sync.Mutex // guards functions and all changes of the trees
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
	set   *ruleSet
	index int
	kind  Kind
	// text is what the trigger says, pattern the subjects that it means.
	text    string
	pattern *topic.Pattern
	// glob, where set, is what a subject of one level must match besides.
	glob string
	// change, where set, is the type of event that it is for.
	change string
	// happens, where there are any, are what of an actuator it is for.
	happens  []string
	qos      byte
	retained bool
	// gate, of a sensor trigger, remembers what it has seen.
	gate *gate
	when *condition
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
	t := &Table{functions: make(map[string]*slot)}
	for k := range t.trees {
		t.trees[k] = topic.NewTree[*rule]()
	}
	t.watched.Store(&map[string]bool{})
	t.matchers.New = func() any { return &matcher{t: t, vm: &vm.VM{}} }
	return t
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
		t.trees[r.kind].Add(r.pattern.Filter(), r)
	}
	t.drop(s.live.Swap(set))
	t.watchLocked()
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
		t.watchLocked()
	}
}

func (t *Table) drop(set *ruleSet) {
	if set == nil {
		return
	}
	for _, r := range set.rules {
		t.trees[r.kind].Remove(r.pattern.Filter(), func(o *rule) bool { return o == r })
	}
}

// watchLocked notes whose keys are watched now.
func (t *Table) watchLocked() {
	watched := make(map[string]bool)
	for _, s := range t.functions {
		set := s.live.Load()
		if set == nil {
			continue
		}
		for _, r := range set.rules {
			if r.kind == State {
				namespace, _, _ := strings.Cut(r.pattern.Filter(), "/")
				watched[namespace] = true
			}
		}
	}
	t.watched.Store(&watched)
}

// Watches reports whether a change of some key of the namespace may start a
// function.
func (t *Table) Watches(namespace string) bool { return (*t.watched.Load())[namespace] }

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	n := len(t.functions)
	t.mu.Unlock()
	rules := 0
	for _, tree := range t.trees {
		rules += tree.Len()
	}
	return Stats{
		Functions: n, Rules: rules,
		MissingFields: t.stats.missing.Load(), TypeErrors: t.stats.typeErrors.Load(), NoKey: t.stats.noKey.Load(),
	}
}
