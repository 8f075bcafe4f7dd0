package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/headgate-io/headgate/function"
)

// route is one HTTP trigger.
type route struct {
	function, method, path string
	index                  int // of the trigger in its function
	trigger                function.Trigger
}

// String is the route as its author wrote it.
func (r *route) String() string { return r.method + " " + r.path }

// pattern is the route as http.ServeMux takes it.
func (r *route) pattern() string {
	path := r.path
	if strings.HasSuffix(path, "/") {
		path += "{$}" // it alone, not what is below
	}
	if r.method == function.AnyMethod {
		return path
	}
	return r.method + " " + path
}

// routes knows the routes of every function. Look-ups take no lock.
type routes struct {
	mu         sync.Mutex // guards byFunction, and building
	byFunction map[string][]*route
	built      atomic.Pointer[built] // nil after a change, until somebody asks
}

// built is one state of the routes, immutable.
type built struct {
	mux       *http.ServeMux
	byPattern map[string]*route
}

func routesOf(s *function.Spec) []*route {
	var all []*route
	for i := range s.Triggers {
		if t := &s.Triggers[i]; t.HTTP != "" {
			method, path := t.Route(s.Name)
			all = append(all, &route{function: s.Name, method: method, path: path, index: i, trigger: *t})
		}
	}
	return all
}

func (r *routes) set(name string, all []*route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byFunction == nil {
		r.byFunction = map[string][]*route{}
	}
	if len(all) == 0 && len(r.byFunction[name]) == 0 {
		return
	}
	if len(all) == 0 {
		delete(r.byFunction, name)
	} else {
		r.byFunction[name] = all
	}
	r.built.Store(nil)
}

// current builds what changes have left to be built.
func (r *routes) current() *built {
	if b := r.built.Load(); b != nil {
		return b
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.built.Load(); b != nil {
		return b
	}
	b := &built{mux: http.NewServeMux(), byPattern: map[string]*route{}}
	for _, all := range r.byFunction {
		for _, x := range all {
			if b.add(x) == nil {
				b.byPattern[x.pattern()] = x
			}
		}
	}
	r.built.Store(b)
	return b
}

// add registers a route, or says why it cannot be: the mux panics.
func (b *built) add(x *route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	b.mux.Handle(x.pattern(), http.NotFoundHandler())
	return nil
}

// check says which routes of a function cannot be told from others'. Where one
// is a special case of the other, as GET /a/b of GET /a/{x}, it is the special
// one that is meant, and there is no fault.
func (r *routes) check(s *function.Spec) []*conflict {
	var faults []*conflict
	mine := routesOf(s)
	r.mu.Lock()
	var others []*route
	for name, all := range r.byFunction {
		if name != s.Name {
			others = append(others, all...)
		}
	}
	r.mu.Unlock()
	slices.SortFunc(others, func(a, b *route) int { return strings.Compare(a.function+a.String(), b.function+b.String()) })
	for i, x := range mine {
		for _, o := range append(slices.Clone(mine[:i]), others...) {
			pair := built{mux: http.NewServeMux()}
			if pair.add(x) == nil && pair.add(o) == nil {
				continue
			}
			faults = append(faults, &conflict{x, o})
			break
		}
	}
	return faults
}

// Conflict is an HTTP trigger that cannot be told from another one.
type Conflict struct {
	Function string
	// Trigger is its index in the function.
	Trigger int
	Err     error
}

// Conflicts says which routes of some functions cannot be told from others of
// them.
func Conflicts(specs []*function.Spec) (all []Conflict) {
	var known routes
	for _, s := range specs {
		for _, c := range known.check(s) {
			all = append(all, Conflict{s.Name, c.route.index, c})
		}
		known.set(s.Name, routesOf(s))
	}
	return all
}

// conflict are two routes that the same request could mean.
type conflict struct{ route, other *route }

// Error names both.
func (c *conflict) Error() string {
	return fmt.Sprintf("http: %s and %s of function %s are both meant by the same requests: change one of them, a request starts one function", c.route, c.other, c.other.function)
}

// find returns the route of a request; nil where there is none, with the
// methods that there are for its path, if any.
func (b *built) find(r *http.Request) (x *route, allowed []string) {
	if _, pattern := b.mux.Handler(r); pattern != "" {
		return b.byPattern[pattern], nil
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		other := *r
		other.Method = method
		if _, pattern := b.mux.Handler(&other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	return nil, allowed
}
