package trigger

import "github.com/headgate-io/headgate/function"

// HTTPSubject is the subject of a request.
func HTTPSubject(method, path string) string { return method + path }

// httpPattern is the subjects of the requests that a route of the function
// called own means.
func httpPattern(t *function.Trigger, own string) string {
	method, path := t.Route(own)
	if method == function.AnyMethod {
		method = "+"
	}
	return HTTPSubject(method, path)
}
