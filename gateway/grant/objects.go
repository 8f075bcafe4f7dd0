package grant

import (
	"fmt"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sandbox/host"
)

// objects are the filters of objects that a function may read, and write.
type objects struct{ read, write []string }

var _ host.ObjectPolicy = objects{}

func newObjects(p *function.ObjectPermissions) objects {
	filters := func(entries []string) (out []string) {
		for _, entry := range entries {
			filter, _ := function.ObjectFilter(entry)
			out = append(out, filter)
		}
		return out
	}
	return objects{filters(p.Read), filters(p.Write)}
}

func checkObjects(spec *function.Spec, add func(err error, path ...any)) {
	for field, entries := range map[string][]string{"read": spec.Permissions.Objects.Read, "write": spec.Permissions.Objects.Write} {
		for i, entry := range entries {
			filter, _ := function.ObjectFilter(entry)
			if err := topic.DefaultLimits.CheckFilter(filter); err != nil {
				add(err, "permissions", "objects", field, i)
			}
		}
	}
}

// MayReadObject reports why name, a bucket and a key, may not be read.
func (o objects) MayReadObject(name string) error { return within(o.read, name, "read") }

// MayWriteObject reports why name may not be put or deleted.
func (o objects) MayWriteObject(name string) error { return within(o.write, name, "write") }

func within(filters []string, name, access string) error {
	for _, f := range filters {
		if topic.Match(f, name) {
			return nil
		}
	}
	return fmt.Errorf("it is not in permissions.objects.%s: add it, or a filter that matches it, to the manifest", access)
}

// MayListObjects reports why the names that start with prefix may not be
// listed: some filter has to match all of them.
func (o objects) MayListObjects(prefix string) error {
	for _, f := range o.read {
		if all, ok := strings.CutSuffix(f, "#"); ok && !strings.Contains(all, "+") && strings.HasPrefix(prefix, all) {
			return nil
		}
	}
	return fmt.Errorf("no filter of permissions.objects.read has all that starts so: one such as camera/front/# lets list camera/front/")
}
