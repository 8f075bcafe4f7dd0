// Package grant compiles what a manifest permits into what the sandbox asks:
// it is where topic permissions, which only mqtt/topic understands, meet host
// calls.
package grant

import (
	"errors"
	"fmt"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sandbox/host"
)

// New compiles the permissions, limits and configuration of a function.
func New(spec *function.Spec) (*host.Grant, error) {
	config, err := spec.ConfigJSON()
	if err != nil {
		return nil, fmt.Errorf("function %s: config: %w", spec.Name, err)
	}
	if err := Check(spec); err != nil {
		return nil, fmt.Errorf("function %s: %w", spec.Name, err)
	}
	return host.NewGrant(spec.Name, spec.Permissions, spec.Limits, config, topics(spec.Permissions.Publish)).WithObjects(newObjects(&spec.Permissions.Objects)), nil
}

// FieldError is a fault in one field of a function.
type FieldError struct {
	// Path leads to it: names of fields, and indexes in lists.
	Path []any
	Err  error
}

// Error names the field.
func (e *FieldError) Error() string { return fmt.Sprintf("%s: %v", function.FieldPath(e.Path), e.Err) }

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// Check joins every fault of the permissions and of what needs one, each a
// *FieldError.
func Check(spec *function.Spec) error {
	var faults []error
	add := func(err error, path ...any) { faults = append(faults, &FieldError{path, err}) }
	for i, f := range spec.Permissions.Publish {
		if err := topic.DefaultLimits.CheckFilter(f); err != nil {
			add(err, "permissions", "publish", i)
		} else if strings.HasPrefix(f, "$") {
			add(fmt.Errorf("%q: topics that start with $ are the broker's own", f), "permissions", "publish", i)
		}
	}
	checkObjects(spec, add)
	if to := spec.OnFailure.Topic; to != "" {
		if err := topics(spec.Permissions.Publish).MayPublish(to); err != nil {
			add(err, "on_failure", "topic")
		}
	}
	return errors.Join(faults...)
}

// topics are the filters that a function may publish to.
type topics []string

var _ host.TopicPolicy = topics(nil)

// MayPublish reports why name may not be published to.
func (t topics) MayPublish(name string) error {
	if err := topic.DefaultLimits.CheckName(name); err != nil {
		return err
	}
	for _, f := range t {
		if topic.Match(f, name) {
			return nil
		}
	}
	return fmt.Errorf("topic %q is not in permissions.publish: add it, or a filter that matches it, to the manifest", name)
}
