package update

import (
	"slices"

	"github.com/headgate-io/headgate/function"
)

// permissions are what a function may do, a line each.
func permissions(s *function.Spec) (all []string) {
	p := &s.Permissions
	for _, x := range []struct {
		what string
		list []string
	}{
		{"publish", p.Publish},
		{"read state", p.State.Read},
		{"write state", p.State.Write},
		{"read objects", p.Objects.Read},
		{"write objects", p.Objects.Write},
		{"invoke", p.Invoke},
		{"enqueue", p.Enqueue},
		{"sensors", p.Sensors},
		{"actuators", p.Actuators},
		{"fetch", p.Fetch},
		{"secret", s.Secrets},
	} {
		for _, name := range x.list {
			all = append(all, x.what+" "+name)
		}
	}
	return all
}

// added are the permissions that a version has and the one before had not, as
// they are written.
func added(before, now *function.Spec) (all []string) {
	had := permissions(before)
	for _, p := range permissions(now) {
		if !slices.Contains(had, p) {
			all = append(all, p)
		}
	}
	return all
}
