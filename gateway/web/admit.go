package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/gateway/token"
)

// KeyHeader carries a key where Authorization is taken.
const KeyHeader = "X-Api-Key"

// caller is who a request comes from.
type caller struct {
	// name is that of the key; empty where none was needed.
	name string
	done func()
	// shown are the headers that carried the key, and are not the function's.
	shown []string
}

// admit says who calls a route, or why they may not. With a caller, done must be
// called at the end of the request.
func (s *Server) admit(r *http.Request, x *route) (*http.Request, caller, *refusal) {
	return s.admitTo(r, x.trigger.Public, "this route", func(grant *token.Grant) string {
		if !grant.MayCall(x.function) || len(x.trigger.Keys) > 0 && !slices.Contains(x.trigger.Keys, grant.Name) {
			return "call this route"
		}
		return ""
	})
}

// admitTo says who asks for what, which denied names where a key may not.
func (s *Server) admitTo(r *http.Request, public bool, what string, denied func(*token.Grant) string) (*http.Request, caller, *refusal) {
	if public && s.cfg.Public {
		return r, caller{done: func() {}}, nil
	}
	if q := r.URL.Query(); q.Has("key") && strings.HasPrefix(q.Get("key"), "headgate_") {
		return r, caller{}, &refusal{
			status: http.StatusBadRequest, count: &s.stats.malformed, unread: true,
			detail: "a key in the address ends up in logs and histories: revoke that one, and show another in the header Authorization: Bearer",
		}
	}
	secret, shown := keyOf(r.Header)
	info, err := s.deps.Keys.Lookup(secret)
	known := secret != "" && err == nil
	if wait := s.deps.Guesses.Wait(r.RemoteAddr, info.Name); wait > 0 {
		return r, caller{}, &refusal{status: http.StatusTooManyRequests, count: &s.stats.held, unread: true, wait: wait, detail: "too many wrong keys from here"}
	}
	var grant *token.Grant
	if known {
		grant, err = s.deps.Keys.Enter(r.Context(), secret)
	}
	if !known || err != nil {
		if secret != "" {
			s.deps.Guesses.Failed(r.RemoteAddr, "")
		}
		return r, caller{}, s.noKey(public, what)
	}
	s.deps.Guesses.Passed(r.RemoteAddr, info.Name)
	if act := denied(grant); act != "" {
		grant.Done()
		return r, caller{}, &refusal{
			status: http.StatusForbidden, count: &s.stats.unauthorized, unread: true,
			detail: fmt.Sprintf("key %s may not %s", grant.Name, act),
		}
	}
	return r.WithContext(grant.Context), caller{grant.Name, grant.Done, shown}, nil
}

func (s *Server) noKey(public bool, what string) *refusal {
	detail := what + " needs a key: show one in the header Authorization: Bearer or " + KeyHeader
	if public {
		detail += " (routes that everybody may call are off here: http.public in the gateway's configuration)"
	}
	return &refusal{
		status: http.StatusUnauthorized, count: &s.stats.unauthorized, unread: true, detail: detail,
		header: http.Header{"Www-Authenticate": {`Bearer realm="headgate"`}},
	}
}

// keyOf is the key of a request that shows exactly one.
func keyOf(h http.Header) (secret string, shown []string) {
	bearer, own := h.Values("Authorization"), h.Values(KeyHeader)
	switch {
	case len(bearer) == 1 && len(own) == 0:
		scheme, secret, _ := strings.Cut(bearer[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(secret), []string{"Authorization"}
		}
	case len(own) == 1:
		// Authorization may then be for the function.
		return own[0], []string{KeyHeader}
	}
	return "", nil
}
