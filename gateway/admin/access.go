package admin

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/internal/bounded"
)

// access says what each endpoint needs. One that is missing here is reached by
// nobody, the socket included.
var access = map[string]token.Scope{
	"GET /healthz":                 token.Read,
	"GET /readyz":                  token.Read,
	"GET /metrics":                 token.Read,
	"GET /openapi.json":            token.Read,
	"GET /openapi.yaml":            token.Read,
	"GET /v1/about":                token.Read,
	"GET /v1/doctor":               token.Read,
	"GET /v1/author":               token.Read,
	"GET /v1/deadletters":          token.Read,
	"GET /v1/devices":              token.Read,
	"GET /v1/events":               token.Read,
	"GET /v1/functions":            token.Read,
	"GET /v1/invocations":          token.Read,
	"GET /v1/logs":                 token.Read,
	"GET /v1/messages":             token.Read,
	"GET /v1/deadletters/{id}":     token.Read,
	"POST /v1/deadletters/redrive": token.Operate,
	"POST /v1/deadletters/drop":    token.Operate,
	"GET /v1/usage":                token.Read,
	"GET /v1/clock":                token.Read,
	"PUT /v1/clock":                token.Admin,

	"GET /openapi-3.0.json": token.Read,
	"GET /openapi-3.0.yaml": token.Read,

	"GET /v1/functions/{name}":           token.Read,
	"GET /v1/state/{namespace}":          token.Read,
	"GET /v1/state/{namespace}/entry":    token.Read,
	"PUT /v1/state/{namespace}/entry":    token.Operate,
	"DELETE /v1/state/{namespace}/entry": token.Operate,

	"PUT /v1/functions/{name}/recording":    token.Operate,
	"DELETE /v1/functions/{name}/recording": token.Operate,
	"GET /v1/recordings":                    token.Read,
	"GET /v1/recordings/{id}":               token.Operate,
	"DELETE /v1/recordings/{id}":            token.Operate,

	"POST /v1/functions":                 token.Deploy,
	"POST /v1/functions/{name}/rollback": token.Deploy,
	"DELETE /v1/functions/{name}":        token.Deploy,

	"PUT /v1/functions/{name}/aliases/{alias}":    token.Deploy,
	"DELETE /v1/functions/{name}/aliases/{alias}": token.Deploy,

	"POST /v1/functions/{name}/invoke": token.Operate,
	"POST /v1/messages":                token.Operate,
	"POST /v1/queues":                  token.Operate,
	"POST /v1/timers":                  token.Operate,
	"POST /v1/explain":                 token.Operate,
	"POST /v1/devices":                 token.Operate,
	"POST /v1/devices/{name}/rotate":   token.Operate,
	"POST /v1/devices/{name}/revoke":   token.Operate,
	"POST /v1/devices/{name}/restore":  token.Operate,
	"DELETE /v1/devices/{name}":        token.Operate,

	"GET /v1/tokens":           token.Admin,
	"POST /v1/tokens":          token.Admin,
	"DELETE /v1/tokens/{name}": token.Admin,

	"GET /v1/secrets":                      token.Read,
	"PUT /v1/secrets/{function}/{name}":    token.Admin,
	"DELETE /v1/secrets/{function}/{name}": token.Admin,
	"POST /v1/secrets/rekey":               token.Admin,

	"GET /v1/backup": token.Admin,

	"GET /v1/bridges":           token.Read,
	"GET /v1/enrolment":         token.Read,
	"POST /v1/enrolment":        token.Admin,
	"POST /v1/enrolment/send":   token.Operate,
	"GET /v1/sensors":           token.Read,
	"GET /v1/sensors/{name}":    token.Read,
	"POST /v1/hardware":         token.Operate,
	"GET /v1/system":            token.Read,
	"PUT /v1/system/binary":     token.Admin,
	"GET /v1/updates":           token.Read,
	"POST /v1/updates":          token.Operate,
	"GET /v1/actuators":         token.Read,
	"POST /v1/actuators/{name}": token.Operate,
	"GET /v1/actuator-records":  token.Read,

	"GET /v1/buckets":                    token.Read,
	"GET /v1/buckets/{bucket}":           token.Read,
	"GET /v1/buckets/{bucket}/stat":      token.Read,
	"GET /v1/buckets/{bucket}/object":    token.Read,
	"PUT /v1/buckets/{bucket}/object":    token.Operate,
	"DELETE /v1/buckets/{bucket}/object": token.Operate,

	"POST /v1/updates/{name}/allow": token.Deploy,
	"POST /v1/updates/{name}/retry": token.Deploy,

	// A backup brings its own author, tokens and devices.
	"PUT /v1/backup": token.Local,

	// The token admits uploads, it does not choose whose: that is for who is
	// on the gateway itself.
	"DELETE /v1/author": token.Local,
}

// routes is a mux that knows what it was given.
type routes struct {
	*http.ServeMux
	patterns []string
}

func newRoutes() *routes { return &routes{ServeMux: http.NewServeMux()} }

// Handle registers a handler.
func (r *routes) Handle(pattern string, h http.Handler) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.Handle(pattern, h)
}

// HandleFunc registers a handler.
func (r *routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	r.Handle(pattern, http.HandlerFunc(h))
}

// quiet endpoints change nothing that an operator set up: they are the work
// itself, and go to the log at the debug level.
var quiet = map[string]bool{
	"POST /v1/messages":                true,
	"POST /v1/queues":                  true,
	"POST /v1/timers":                  true,
	"POST /v1/explain":                 true,
	"POST /v1/hardware":                true,
	"POST /v1/functions/{name}/invoke": true,
}

// localName is who came over the socket, where the kernel does not say more.
const localName = "socket"

type peerKey struct{}

// withPeer remembers who is at the other end of a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if b, ok := c.(*bounded.Conn); ok {
		c = b.Conn
	}
	if u, ok := c.(*net.UnixConn); ok {
		return context.WithValue(ctx, peerKey{}, peerName(u))
	}
	return ctx
}

// local serves the socket.
func (s *Server) local(w http.ResponseWriter, r *http.Request) {
	who, ok := r.Context().Value(peerKey{}).(string)
	if !ok {
		who = localName
	}
	_, pattern := s.mux.Handler(r)
	if _, known := access[pattern]; !known && pattern != "" {
		s.refuseUnlisted(w, pattern)
		return
	}
	s.answer(w, r, pattern, who)
}

// bearer serves the network (RFC 6750).
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Has("token") || q.Has("access_token") {
		turnAway(w, http.StatusBadRequest, "a token in the address ends up in logs and histories: revoke that one, and pass another in the header Authorization: Bearer")
		return
	}
	secret, ok := bearerToken(r)
	info, err := s.deps.Tokens.Lookup(secret)
	known := ok && err == nil
	if wait := s.deps.Guesses.Wait(r.RemoteAddr, info.Name); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		turnAway(w, http.StatusTooManyRequests, fmt.Sprintf("too many wrong tokens from here: try again in %v", wait.Round(time.Second)))
		return
	}
	var grant *token.Grant
	if known {
		grant, err = s.deps.Tokens.Enter(r.Context(), secret)
	}
	if !known || err != nil {
		if secret != "" {
			s.deps.Guesses.Failed(r.RemoteAddr, "")
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="headgate"`)
		turnAway(w, http.StatusUnauthorized, "the admin API over TCP needs the gateway's token, or another that 'headgate token add' made there: pass it with --token or HEADGATE_TOKEN")
		return
	}
	defer grant.Done()
	s.deps.Guesses.Passed(r.RemoteAddr, info.Name)
	_, pattern := s.mux.Handler(r)
	switch scope, listed := access[pattern]; {
	case pattern == "": // the mux says what is wrong
	case !listed:
		s.refuseUnlisted(w, pattern)
		return
	case scope == token.Local:
		turnAway(w, http.StatusForbidden, "this can be done on the gateway itself only, over its socket")
		return
	case !grant.May(scope):
		s.deps.Logger.Warn("refused: the token's scopes do not allow it", "who", "token "+info.Name, "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
		turnAway(w, http.StatusForbidden, fmt.Sprintf("token %s may not do this: it needs the scope %s and has %v", info.Name, scope, info.Scopes))
		return
	}
	s.answer(w, r.WithContext(grant.Context), pattern, "token "+info.Name)
}

// bearerToken is the token of a request that shows exactly one.
func bearerToken(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, secret, _ := strings.Cut(headers[0], " ")
	return secret, strings.EqualFold(scheme, "Bearer") && secret != ""
}

// turnAway refuses a request without reading its body, and closes the
// connection: whoever is not admitted gets no more of it.
func turnAway(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second)) // of a body that is on its way
	refuse(w, status, detail)
}

func (s *Server) refuseUnlisted(w http.ResponseWriter, pattern string) {
	s.deps.Logger.Error("endpoint without a scope", "pattern", pattern)
	turnAway(w, http.StatusForbidden, "this endpoint is open to nobody")
}

// answer lets the API answer, and writes down who changed what.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, pattern, who string) {
	if pattern == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		s.mux.ServeHTTP(w, r)
		return
	}
	rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	s.mux.ServeHTTP(rec, r)
	level := slog.LevelInfo
	if quiet[pattern] {
		level = slog.LevelDebug
	}
	s.deps.Logger.Log(r.Context(), level, "admin change", "who", who, "method", r.Method, "path", r.URL.Path, "status", rec.status, "remote", r.RemoteAddr)
}

// statusRecorder remembers what was answered.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
