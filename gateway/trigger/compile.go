package trigger

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// FieldError is a fault in one field of a trigger.
type FieldError struct {
	// Trigger is its index, Field its name: "mqtt", "when", "order_by", …
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
		r, faults := compileRule(set, &f, i)
		errs = append(errs, faults...)
		if r != nil {
			set.rules = append(set.rules, r)
		}
	}
	return set, errors.Join(errs...)
}

// compileRule compiles one trigger. It returns no rule for one whose subjects
// cannot be told.
func compileRule(set *ruleSet, f *Function, i int) (*rule, []error) {
	tr := &f.Triggers[i]
	r := &rule{set: set, index: i, retained: tr.Retained, qos: tr.EffectiveQoS()}
	var errs []error
	fail := func(field string, err error) { errs = append(errs, &FieldError{i, field, err}) }
	if tr.QoS != nil && (*tr.QoS < 0 || *tr.QoS > 2) {
		fail("qos", fmt.Errorf("%d is not a quality of service: use 0, 1 or 2", *tr.QoS))
	}
	if err := r.compileSubject(tr, f.Name); err != nil {
		fail(string(tr.Kind()), err)
		return nil, errs
	}
	if err := r.compileOrder(tr.OrderBy); err != nil {
		fail("order_by", err)
	}
	if strings.TrimSpace(tr.When) != "" {
		var err error
		if r.when, err = compileCondition(tr.When); err != nil {
			fail("when", fmt.Errorf("%s: %w", tr.When, err))
		} else if err := r.checkNames(f.Config); err != nil {
			fail("when", err)
		}
	}
	return r, errs
}

// compileSubject finds the kind of a trigger and the subjects that it means.
func (r *rule) compileSubject(tr *function.Trigger, own string) (err error) {
	kind := tr.Kind()
	var pattern string
	switch kind {
	case function.TriggerMQTT:
		r.kind, r.text, pattern = MQTT, tr.MQTT, tr.MQTT
	case function.TriggerHTTP:
		r.kind, r.text, pattern = HTTP, tr.HTTP, httpPattern(tr, own)
	case function.TriggerCron, function.TriggerEvery:
		r.kind, r.text = Timer, tr.String()
		pattern, _, _ = tr.Timer(own)
	case function.TriggerState:
		namespace, keys := tr.StateNamespace(own)
		r.kind, r.text, pattern = State, tr.State, StateSubject(namespace, keys)
	case function.TriggerQueue:
		r.kind, r.text, pattern = Queue, tr.Queue, tr.Queue
	case function.TriggerFile:
		r.kind, r.text, pattern = File, tr.File, tr.FilePattern()
		r.change = fileChanges[tr.FileChange()]
	case function.TriggerSensor:
		r.kind, r.text, pattern, r.gate = Sensor, tr.Sensor, tr.Sensor, newGate(tr)
		if strings.Contains(pattern, "*") {
			r.glob, pattern = pattern, "+"
		}
	case function.TriggerLifecycle:
		r.kind, r.text, pattern = Lifecycle, tr.Lifecycle, tr.Lifecycle
	case function.TriggerFailure:
		r.kind, r.text, pattern = Failure, tr.Failure, tr.Failure
		if strings.Contains(pattern, "*") {
			r.glob, pattern = pattern, "+"
		}
	case function.TriggerActuator:
		r.kind, r.text, pattern, r.happens = Actuator, tr.Actuator, tr.Actuator, tr.Happens
		if strings.Contains(pattern, "*") {
			r.glob, pattern = pattern, "+"
		}
		pattern += "/+"
	default:
		return errors.New("the trigger is of no kind")
	}
	r.pattern, err = topic.ParsePattern(pattern, topic.DefaultLimits)
	return err
}

// fileChanges are the types of events that a file trigger is for, by its
// change; empty is every one.
var fileChanges = map[string]string{function.ObjectCreated: event.TypeObjectCreated, function.ObjectDeleted: event.TypeObjectDeleted}

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
			return fmt.Errorf("%q is not a capture of %s: name a level there, such as {%s}, or use a field such as data.id", by, r.text, by)
		}
		return fmt.Errorf("%q is not a capture of %s: use one of %s, or a field such as data.id", by, r.text, strings.Join(names, ", "))
	}
	r.order, r.orderPath = -1, strings.Split(field, ".")
	return nil
}

// checkNames refuses conditions on params and config that can never be there.
func (r *rule) checkNames(config map[string]any) error {
	if r.kind != MQTT && r.when.mqtt != "" {
		return fmt.Errorf("%s is for mqtt triggers: use subject, source, type, id or properties", r.when.mqtt)
	}
	for _, p := range r.when.required {
		switch p.root {
		case "params":
			if !slices.Contains(r.pattern.Names(), p.names[0]) {
				return fmt.Errorf("params.%s: %s has no {%s}", p.names[0], r.text, p.names[0])
			}
		case "config":
			if _, ok := dig(config, p.names); !ok {
				return fmt.Errorf("%s is not in the function's config: add it there", p)
			}
		}
	}
	return nil
}
