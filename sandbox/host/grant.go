package host

import (
	"slices"

	"github.com/headgate-io/headgate/function"
)

// TopicPolicy decides which topics a function may publish to. Its error says
// what was refused and which permission would allow it.
type TopicPolicy interface {
	MayPublish(topic string) error
}

// Grant is what one function version may do, compiled once from its manifest.
// It is immutable and may serve any number of calls at once.
type Grant struct {
	name   string
	limits function.Limits
	perms  function.Permissions
	config map[string][]byte
	topics TopicPolicy
}

// NewGrant compiles the permissions of the function called name. Zero limits
// take their defaults. Nil topics denies every publish.
func NewGrant(name string, perms function.Permissions, limits function.Limits, config map[string][]byte, topics TopicPolicy) *Grant {
	return &Grant{name: name, perms: perms, limits: limits.WithDefaults(), config: config, topics: topics}
}

// Limits returns the limits with their defaults filled in.
func (g *Grant) Limits() function.Limits { return g.limits }

func (g *Grant) mayRead(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Read, ns) || slices.Contains(g.perms.State.Write, ns)
}

func (g *Grant) mayWrite(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Write, ns)
}
