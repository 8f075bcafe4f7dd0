package web

import (
	"net/http"
	"slices"
	"strings"
)

// How long a browser may remember what a route allows.
const preflightAge = "600"

// maxRequestedHeaders bounds what a preflight names.
const maxRequestedHeaders = 1024

// preflight answers a browser that asks before it sends (the Fetch standard,
// 3.3); it reports false for what is no such question.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request, b *built) bool {
	method, origin := r.Header.Get("Access-Control-Request-Method"), r.Header.Get("Origin")
	if r.Method != http.MethodOptions || method == "" || origin == "" {
		return false
	}
	meant := *r
	meant.Method = method
	x, _ := b.find(&meant)
	if x == nil || len(x.trigger.CORS) == 0 {
		return false
	}
	h := w.Header()
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	if allowed := x.allowOrigin(origin); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Allow-Methods", method)
		h.Set("Access-Control-Max-Age", preflightAge)
		if asked := r.Header.Get("Access-Control-Request-Headers"); len(asked) <= maxRequestedHeaders && headerNames(asked) {
			h.Set("Access-Control-Allow-Headers", asked)
		}
	} else {
		s.stats.crossOrigin.Add(1)
	}
	s.mayWrite(w)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// headerNames reports whether s is a list of names, and worth repeating.
func headerNames(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_, ") == ""
}

// crossOrigin lets a page read the answer where the route names its origin.
func (s *Server) crossOrigin(h http.Header, r *http.Request, x *route) {
	if len(x.trigger.CORS) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	if allowed := x.allowOrigin(origin); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Expose-Headers", "*")
		return
	}
	s.stats.crossOrigin.Add(1)
}

// allowOrigin is what a page of origin is told; empty is nothing.
func (x *route) allowOrigin(origin string) string {
	switch {
	case slices.Contains(x.trigger.CORS, "*"):
		return "*"
	case slices.Contains(x.trigger.CORS, origin):
		return origin
	}
	return ""
}
