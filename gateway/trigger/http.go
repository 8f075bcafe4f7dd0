package trigger

import "github.com/headgate-io/headgate/function"

// HTTPSubject is the subject of a request.
func HTTPSubject(method, path string) string { return method + path }

// httpPattern is the subjects of the requests that a route means.
func httpPattern(t *function.Trigger) string { return HTTPSubject(t.Route()) }
