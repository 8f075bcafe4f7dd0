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
	// objects decides about objects; nil allows none.
	objects ObjectPolicy

	secretNames []string
	secrets     Secrets

	origins []function.Origin
	fetcher Fetcher
	sensors Sensors
}

// Secrets answers secret for one function. It is asked for declared names only,
// and may be asked by any goroutine.
type Secrets interface {
	// Secret returns a value that the caller may keep; found is false where
	// none was set.
	Secret(name string) (value []byte, found bool, err error)
}

// NewGrant compiles the permissions of the function called name. Zero limits
// take their defaults. Nil topics denies every publish. Entries of
// permissions.fetch that are not well formed allow nothing.
func NewGrant(name string, perms function.Permissions, limits function.Limits, config map[string][]byte, topics TopicPolicy) *Grant {
	g := &Grant{name: name, perms: perms, limits: limits.WithDefaults(), config: config, topics: topics}
	for _, s := range perms.Fetch {
		if o, err := function.ParseOrigin(s); err == nil {
			g.origins = append(g.origins, o)
		}
	}
	return g
}

// WithFetcher returns a grant whose http_fetch is sent by f.
func (g *Grant) WithFetcher(f Fetcher) *Grant {
	with := *g
	with.fetcher = f
	return &with
}

// WithSecrets returns a grant that may also read these secrets of from.
func (g *Grant) WithSecrets(names []string, from Secrets) *Grant {
	with := *g
	with.secretNames, with.secrets = names, from
	return &with
}

// Name is the name of the function.
func (g *Grant) Name() string { return g.name }

// Limits returns the limits with their defaults filled in.
func (g *Grant) Limits() function.Limits { return g.limits }

func (g *Grant) mayRead(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Read, ns) || slices.Contains(g.perms.State.Write, ns)
}

func (g *Grant) mayWrite(ns string) bool {
	return ns == g.name || slices.Contains(g.perms.State.Write, ns)
}
