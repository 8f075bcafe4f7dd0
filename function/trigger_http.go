package function

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// httpMethods are what a route may begin with.
var httpMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// AnyMethod is the method of a route that takes all of them.
const AnyMethod = "ANY"

// Bounds of a route's options.
const (
	defaultHTTPBody    ByteSize = 1 << 20
	maxHTTPBody        ByteSize = 16 << 20
	defaultHTTPTimeout          = Duration(30 * time.Second)
	maxRoute                    = 512
)

// Route is the method and the path of an HTTP trigger of the function called
// own: GET and /fields/{field}. A trigger without a method takes all of them,
// one without a path is at /fn/ and the function's name.
func (t *Trigger) Route(own string) (method, path string) {
	method, path, _ = strings.Cut(t.HTTP, " ")
	if strings.HasPrefix(method, "/") {
		method, path = AnyMethod, t.HTTP
	}
	if path = strings.TrimLeft(path, " "); path == "" {
		path = "/fn/" + own
	}
	return method, path
}

// BodyLimit is MaxBody or its default.
func (t *Trigger) BodyLimit() ByteSize {
	if t.MaxBody == 0 {
		return defaultHTTPBody
	}
	return t.MaxBody
}

// ReplyWithin is Timeout or its default.
func (t *Trigger) ReplyWithin() time.Duration {
	if t.Timeout == 0 {
		return defaultHTTPTimeout.Std()
	}
	return t.Timeout.Std()
}

func (t *Trigger) validateHTTP(own string, at func(string, ...any)) {
	method, path := t.Route(own)
	if method != AnyMethod && !slices.Contains(httpMethods, method) {
		at(fmt.Sprintf("%q must begin with a method, one of %s, %s, or with a path: GET /fields/{field}", t.HTTP, strings.Join(httpMethods, ", "), AnyMethod), "http")
	} else if why := checkRoute(path); why != "" {
		at(fmt.Sprintf("%q %s", t.HTTP, why), "http")
	}
	switch {
	case t.MaxBody < 0 || t.MaxBody > maxHTTPBody:
		at(fmt.Sprintf("%v is over %v", t.MaxBody, maxHTTPBody), "max_body")
	case t.Timeout < 0 || t.Timeout > maxTimeout:
		at(fmt.Sprintf("%v is over %v", t.Timeout, maxTimeout), "timeout")
	case t.Public && len(t.Keys) > 0:
		at("names who may call a route that everybody may: remove keys or public", "keys")
	case t.OrderBy != "" && !t.Durable:
		at("orders what waits, and the caller of this route waits for its own answer: add durable: true, or remove it", "order_by")
	}
	for i, name := range t.Keys {
		if !validKeyName.MatchString(name) {
			at(fmt.Sprintf("%q is not the name of a key, as 'headgate token add' makes it", name), "keys", i)
		}
	}
	for i, origin := range t.CORS {
		if origin == "*" {
			continue
		}
		if o, err := ParseOrigin(origin); err != nil || o.Subdomains || o.Path != "" {
			at(fmt.Sprintf("%q is not an origin: write it as https://app.example.org, or * for every page", origin), "cors", i)
		}
	}
}

var (
	validKeyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	routeLevel   = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*,;=:@-]+$`)
	routeCapture = regexp.MustCompile(`^\{[A-Za-z_][A-Za-z0-9_]*(\.\.\.)?\}$`)
)

// checkRoute says what is wrong with a path; captures' names are checked where
// they are compiled.
func checkRoute(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "needs a path that starts with /: GET /fields/{field}"
	case len(path) > maxRoute:
		return fmt.Sprintf("is longer than %d bytes", maxRoute)
	}
	levels := strings.Split(path[1:], "/")
	for i, level := range levels {
		last := i == len(levels)-1
		switch {
		case level == "" && last:
		case strings.ContainsAny(level, "{}"):
			if !routeCapture.MatchString(level) {
				return fmt.Sprintf("has %q: a capture is a whole part of the path, {field}, or {rest...} at its end", level)
			}
			if strings.HasSuffix(level, "...}") && !last {
				return fmt.Sprintf("has %s before its end: it takes all that follows", level)
			}
		case level == "." || level == ".." || !routeLevel.MatchString(level):
			return fmt.Sprintf("has %q: a part of a path has letters, digits and -._~!$&'()*,;=:@, and no query; captures are written {field}", level)
		}
	}
	return ""
}
