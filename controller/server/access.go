package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/account"
	"github.com/headgate-io/headgate/controller/store"
)

// scope is one thing that a token may do. Write includes read.
type scope string

const (
	readGateways   scope = "gateways:read"
	writeGateways  scope = "gateways:write"
	readEnrolment  scope = "enrolment:read"
	writeEnrolment scope = "enrolment:write"
	readUsers      scope = "users:read"
	writeUsers     scope = "users:write"
	readAudit      scope = "audit:read"
	readTenants    scope = "tenants:read"
	writeTenants   scope = "tenants:write"
	readMetrics    scope = "metrics:read"
	readUsage      scope = "usage:read"
	readFleet      scope = "fleet:read"
	writeFleet     scope = "fleet:write"
	readBilling    scope = "billing:read"
	writeBilling   scope = "billing:write"
	readContent    scope = "content:read"
	writeContent   scope = "content:write"
	// initContent is for the first root, which decides whom the gateways believe.
	initContent scope = "content:init"
	// anyone needs no more than a token that is good.
	anyone scope = ""
)

// Roles, each with all of those before.
const (
	Viewer   = "viewer"
	Operator = "operator"
	Admin    = "admin"
	// Platform is who runs the controller: it has the tenants too.
	Platform = "platform"
)

var roles = []string{Viewer, Operator, Admin, Platform}

// grants are the scopes that a role adds.
var grants = map[string][]scope{
	Viewer:   {readGateways, readUsage, readFleet},
	Operator: {writeGateways, readEnrolment, writeEnrolment, writeFleet, readContent, writeContent},
	Admin:    {readUsers, writeUsers, readAudit, readBilling, initContent},
	Platform: {readTenants, writeTenants, writeBilling, readMetrics},
}

// allowed are the scopes of a role.
func allowed(role string) []scope {
	var out []scope
	for _, r := range roles[:slices.Index(roles, role)+1] {
		out = append(out, grants[r]...)
	}
	return out
}

// within reports whether have covers want.
func within(want scope, have []scope) bool {
	if want == anyone || slices.Contains(have, want) {
		return true
	}
	subject, reads := strings.CutSuffix(string(want), ":read")
	return reads && slices.Contains(have, scope(subject+":write"))
}

// lacks refuses a bearer who has not the scope.
func lacks(need scope) string {
	return "the token lacks the scope " + string(need) + ": 'headgate fleet whoami' shows what it may, and an administrator gives roles"
}

// who is the bearer of a request's token.
type who struct {
	store.Bearer
	scopes  []scope
	secret  string // of the token
	address string
	key     string // Idempotency-Key
	// then is what follows once the operation's change is committed, or nil. The
	// operation may run several times before that.
	then func(context.Context)
}

// after does what follows.
func (w *who) after(ctx context.Context) {
	if w.then != nil {
		w.then(ctx)
	}
}

func (w *who) tenant() string { return w.Account.Tenant }

// narrowed reports whether the token may less than its user.
func (w *who) narrowed() bool { return len(w.Token.Scopes) > 0 }

type whoKey struct{}

func whoOf(ctx context.Context) *who {
	w, _ := ctx.Value(whoKey{}).(*who)
	return w
}

var errToken = errors.New("the token is missing, unknown, revoked or expired: log in with a good one; when none is left, 'headgate-controller operator recover' on the controller's machine prints one")

// lastUsedEvery is how old the stored time of a token's last use may be.
const lastUsedEvery = time.Hour

// bearer finds out who holds a token.
func (s *Server) bearer(ctx context.Context, authorization, remote string) (*who, error) {
	secret, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || len(secret) > 256 {
		s.counters.refused.Add(1)
		return nil, errToken
	}
	secret = account.Secret(secret)
	w := &who{secret: secret}
	now := s.deps.Now()
	err := s.deps.Store.View(ctx, func(tx *store.Tx) (err error) {
		// The hash is looked up, so that the time tells nothing that could be
		// built upon.
		w.Bearer, err = tx.Bearer(ctx, sha256.Sum256([]byte(secret)))
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !w.Token.Expires.IsZero() && !now.Before(w.Token.Expires) {
		s.counters.refused.Add(1)
		return nil, errToken
	}
	if err != nil {
		return nil, err
	}
	w.scopes = allowed(w.Account.Role)
	if w.narrowed() {
		role := w.scopes
		w.scopes = nil
		for _, v := range w.Token.Scopes {
			if within(scope(v), role) {
				w.scopes = append(w.scopes, scope(v))
			}
		}
	}
	if w.address, _, err = net.SplitHostPort(remote); err != nil {
		w.address = remote
	}
	if now.Sub(w.Token.LastUsed) >= lastUsedEvery {
		err := s.deps.Store.Update(ctx, func(tx *store.Tx) error { return tx.APITokenUsed(ctx, w.Token.ID, now) })
		if err != nil {
			s.deps.Logger.Warn("note when a token was used", "token", w.Token.ID, "error", err)
		}
	}
	return w, nil
}

// admit checks the request's token before the operation sees anything of it.
func (s *Server) admit(need scope) func(huma.Context, func(huma.Context)) {
	return func(c huma.Context, next func(huma.Context)) {
		w, err := s.bearer(c.Context(), c.Header("Authorization"), c.RemoteAddr())
		if errors.Is(err, errToken) {
			c.SetHeader("WWW-Authenticate", "Bearer")
			s.refuse(c, http.StatusUnauthorized, err.Error())
			return
		}
		if err != nil {
			s.deps.Logger.Error("look up a token", "error", err)
			s.refuse(c, http.StatusInternalServerError, "the controller's database does not answer: try again")
			return
		}
		if !within(need, w.scopes) {
			s.refuse(c, http.StatusForbidden, lacks(need))
			return
		}
		w.key = c.Header(idempotencyHeader)
		next(huma.WithValue(c, whoKey{}, w))
	}
}

func (s *Server) refuse(c huma.Context, status int, detail string) {
	if err := huma.WriteErr(s.api, c, status, detail); err != nil {
		s.deps.Logger.Debug("answer", "error", err)
	}
}
