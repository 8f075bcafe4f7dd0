package function

import (
	"fmt"
	"slices"
	"strings"
)

// httpMethods are what a route may begin with.
var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// Route is the method and the path of an HTTP trigger, as it says them:
// GET and /fields/{field}.
func (t *Trigger) Route() (method, path string) {
	method, path, _ = strings.Cut(t.HTTP, " ")
	return method, strings.TrimLeft(path, " ")
}

func (t *Trigger) validateHTTP(at func(string, ...any)) {
	method, path := t.Route()
	switch {
	case !slices.Contains(httpMethods, method):
		at(fmt.Sprintf("%q must begin with a method, one of %s: GET /fields/{field}", t.HTTP, strings.Join(httpMethods, ", ")), "http")
	case !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " ?"):
		at(fmt.Sprintf("%q needs a path behind the method, which starts with / and has no blanks and no query: GET /fields/{field}", t.HTTP), "http")
	}
}
