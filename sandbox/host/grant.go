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

	secretNames []string
	secrets     Secrets
}

// Secrets answers secret for one function. It is asked for declared names only,
// and may be asked by any goroutine.
type Secrets interface {
	// Secret returns a value that the caller may keep; found is false where
	// none was set.
	Secret(name string) (value []byte, found bool, err error)
}

// NewGrant compiles the permissions of the function called name. Zero limits
// take their defaults. Nil topics denies every publish.
func NewGrant(name string, perms function.Permissions, limits function.Limits, config map[string][]byte, topics TopicPolicy) *Grant {
	return &Grant{name: name, perms: perms, limits: limits.WithDefaults(), config: config, topics: topics}
}

// WithSecrets returns a grant that may also read these secrets of from.
func (g *Grant) WithSecrets(names []string, from Secrets) *Grant {
	with := *g
	with.secretNames, with.secrets = names, from
	return &with
}

// Limits returns the limits with their defaults filled in.
func (g *Grant) Limits() function.Limits { return g.limits }

func (g *Grant) mayRead(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Read, ns) || slices.Contains(g.perms.State.Write, ns)
}

func (g *Grant) mayWrite(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Write, ns)
}
